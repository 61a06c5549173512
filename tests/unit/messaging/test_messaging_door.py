"""The room's one door, and what may come through it."""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path

import bulksend.messaging as room

PUBLIC = """
ALIASES ENDED HELD LANES MOVES OTP_TTL_MS RESERVED SENT WAITING Accepted Answer Audio Body Button
PlanningContext CampaignStatus ColumnMapping Content ContentTemplate Decision Document Evidence Header Image
Kind Language Location Media MessageType NotSent OnUnknown Outcome Parameter Pause
PlannedMessage Planner Policy RefusedRow Refused Remedy Retry Scope Status Sticker AttemptedMessage Suppress Template
Text
Throttled Unknown Video backoff_ms compile_content decide format_duration format_instant number_forms load_content_json
map_columns mask_digits mask_phone may_move normal_name pair_backoff_ms parse_content parse_duration_ms
parse_instant_ms parse_rate parse_recipient canonical_number region_of is_same_person zone_of
"""
MODULES = sorted(Path(str(room.__file__)).parent.glob("*.py"))


def test_what_others_may_use_is_exported_and_nothing_else() -> None:
    assert sorted(room.__all__) == sorted(PUBLIC.split())
    assert all(hasattr(room, name) for name in room.__all__)


def test_every_public_dataclass_is_frozen_and_has_slots() -> None:
    for name in room.__all__:
        made = getattr(room, name)
        if isinstance(made, type) and dataclasses.is_dataclass(made):
            assert made.__dataclass_params__.frozen, name  # type: ignore[attr-defined]
            assert "__slots__" in vars(made), name


def test_the_room_is_pure_it_imports_nothing_that_reads_a_clock_a_die_a_file_or_a_socket() -> None:
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
