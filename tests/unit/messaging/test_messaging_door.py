"""The public names of the package, and its purity."""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path

import bulksend.messaging as room

PUBLIC = """
Accepted Answer AttemptedMessage Body Button ColumnMapping ContentTemplate Decision Evidence Image Kind
Language MOVES MessageType NotSent OnUnknown Outcome Parameter Pause PlannedMessage Planner PlanningContext
Policy Refused RefusedRow Remedy Retry Scope Status Suppress Template Text Throttled Unknown backoff_ms
canonical_number compile_content decide format_duration format_instant is_same_person load_content_json
map_columns mask_digits mask_phone normal_name pair_backoff_ms parse_content parse_duration_ms
parse_instant_ms parse_rate parse_recipient parse_sender region_of zone_of
"""
MODULES = sorted(Path(str(room.__file__)).parent.glob("*.py"))


def test_the_package_exports_exactly_its_public_names() -> None:
    assert sorted(room.__all__) == sorted(PUBLIC.split())
    assert all(hasattr(room, name) for name in room.__all__)


def test_every_public_dataclass_is_frozen_and_has_slots() -> None:
    for name in room.__all__:
        made = getattr(room, name)
        if isinstance(made, type) and dataclasses.is_dataclass(made):
            assert made.__dataclass_params__.frozen, name  # type: ignore[attr-defined]
            assert "__slots__" in vars(made), name


def test_the_package_is_pure_and_imports_no_clock_random_number_file_or_socket() -> None:
    pure = set(sys.stdlib_module_names) - {
        "time",
        "random",
        "secrets",
        "os",
        "pathlib",
        "io",
        "socket",
        "asyncio",
        "logging",
    }
    allowed = pure | {"phonenumbers"}
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            elif isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            else:
                continue
            for name in imported:
                assert name.split(".")[0] in allowed or name.startswith(
                    ("bulksend.messaging", "bulksend.errors")
                ), (
                    module.name,
                    name,
                )


def test_no_module_asks_what_time_it_is() -> None:
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("now", "today", "utcnow"), (module.name, node.lineno)
