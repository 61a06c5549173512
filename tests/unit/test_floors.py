"""Which module may import which: an import goes down or stays in its room; never up, never sideways."""

from __future__ import annotations

import ast
import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Each room with its height. Rooms of one floor have an order as well: messaging must not import settings.
ROOMS = {
    "bulksend": 0.0,
    "bulksend.errors": 0.05,
    "bulksend.messaging": 0.1,
    "bulksend.failpoints": 0.2,
    "bulksend.settings": 0.3,
    "bulksend.logs": 0.2,
    "bulksend.clock": 0.2,
    "bulksend.batcher": 0.25,
    "bulksend.redis_client": 0.2,
    "bulksend.client": 0.2,
    "bulksend.metrics": 0.2,
    "bulksend.tracing": 0.2,
    "bulksend.ledger": 1.0,
    "bulksend.gateway": 1.0,
    "bulksend.oidc": 1.0,
    "bulksend.broker": 1.0,
    "bulksend.limits": 1.0,
    "bulksend.bootstrap": 1.4,
    "bulksend.operations": 1.5,
    "migrations": 2.0,
    "producer": 2.0,
    "worker.session": 2.1,
    "worker.prefetch": 2.1,
    "worker.recovery": 2.2,
    "worker.permits": 2.2,
    "worker.delivery": 2.3,
    "worker.engine": 2.4,
    "worker": 2.5,
    "simulator": 2.0,
    "notifier": 2.0,
    "ops": 3.0,
}
PRODUCT = sorted({room.partition(".")[0] for room in ROOMS})

#: Modules that may read the environment, besides every face in ops, and why.
DOORS = {
    "worker": "celery -A worker worker",
    "producer.client": "Producer.from_env()",
    "simulator.__main__": "the rehearsal vendor's own entry",
    "migrations.env": "alembic's own command line",
    "bulksend.logs": "NO_COLOR, which is the terminal's",
    "bulksend.client.connection": "Client.from_env()",
}
DATABASE_LIBRARIES = {"sqlalchemy", "alembic", "psycopg", "sqlite3", "pysqlite3"}
DATABASE_TYPES = {"sqlalchemy.Connection", "sqlalchemy.RowMapping"}
#: Modules outside the ledger with a query that only they need. They may not write.
READERS = {"ops.run_report"}

#: What only faces use.
OF_A_FACE = {"sys", "typer", "click", "rich", "getpass", "subprocess", "signal"}
#: Commands that are about the ledger itself, or turn its errors into exit codes.
USES_THE_LEDGER = {
    "ops.cli.context": {"bulksend.ledger.driver_errors", "sqlalchemy.exc"},
    "ops.cli.keys": {"bulksend.ledger.key_file"},
    "ops.cli.send": {"bulksend.ledger.campaigns", "sqlalchemy.exc"},
    "ops.cli.servers": {"bulksend.ledger.migrate", "bulksend.ledger.readiness"},
}

#: What the pure rooms are handed as arguments instead.
IMPURE = {
    *("asyncio", "logging", "os", "pathlib", "random", "secrets", "shutil", "signal", "socket", "sqlite3"),
    *("structlog", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request", "httpx", "redis"),
}


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """What a relative import starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def imports(self, tree: ast.AST | None = None) -> Iterator[tuple[str, int]]:
        """Modules that it imports anywhere, in functions and for types too, each with its line."""
        for node in ast.walk(tree or self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = ".".join(self.package.split(".")[: -node.level + 1 or None]) if node.level else ""
                source = ".".join(part for part in (start, node.module) if part)
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    yield (inner if inner in NAMES else source), node.lineno

    def imports_at_once(self) -> Iterator[str]:
        """Modules of ours without which it cannot be imported: not in functions, not for types only."""
        for statement in _run_at_import(self.tree.body):
            for name, _ in self.imports(statement):
                if name in NAMES:
                    yield name


def _run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from _run_at_import(statement.orelse)
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.ClassDef):
            for part in ("body", "orelse", "finalbody"):
                yield from _run_at_import(getattr(statement, part, []))


def _name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))
NAMES = {_name_of(path) for path in PATHS}


@cache
def modules() -> list[Module]:
    """All of them, read once and not before a test runs: each process of the tests collects this file.

    The garbage collector need not look at these trees, now or later.
    """
    gc.disable()
    found = [Module(_name_of(path), path, ast.parse(path.read_text(encoding="utf-8"))) for path in PATHS]
    gc.freeze()
    gc.enable()
    return found


def room_of(name: str) -> str | None:
    """The innermost room that a module lies in; None for other people's."""
    while name:
        if name in ROOMS:
            return name
        name = name.rpartition(".")[0]
    return None


def wrong_stair(importer: str, imported: str) -> str | None:
    """Why one of our modules may not import that one; None where it may."""
    here, there = room_of(importer), room_of(imported)
    if here is None or there is None or here == there:
        return None
    below, above = ROOMS[there], ROOMS[here]
    if here.partition(".")[0] != there.partition(".")[0]:
        # The order within a product is no order between two: a worker must not import the producer below it.
        below, above = int(below), int(above)
    return None if below < above else "up" if below > above else "sideways"


def where(module: Module, line: int) -> str:
    return f"{module.path.relative_to(ROOT)}:{line}"


def test_every_package_of_the_product_is_found_and_read() -> None:
    assert {name.partition(".")[0] for name in NAMES} == set(PRODUCT)
    assert set(ROOMS) <= NAMES


def test_every_module_is_in_a_room() -> None:
    directly_below = {m.name for m in modules() if m.name.count(".") == 1 and m.name.startswith("bulksend.")}
    assert directly_below <= set(ROOMS), "a new room under bulksend needs its place in ROOMS"


def test_an_import_goes_down_or_stays_in_its_room() -> None:
    wrong = [
        f"{where(module, line)} imports {imported}: {stair}"
        for module in modules()
        for imported, line in module.imports()
        if (stair := wrong_stair(module.name, imported)) is not None
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("importer", "imported", "stair"),
    [
        ("worker.engine", "producer.client", "sideways"),
        ("producer.intake", "worker", "sideways"),
        ("notifier.deliveries", "producer.relay", "sideways"),
        ("bulksend.ledger.intake", "bulksend.limits", "sideways"),
        ("bulksend.messaging.plan", "bulksend.settings", "up"),
        ("bulksend.gateway.client", "worker.permits.permit_queue", "up"),
        ("worker.runtime", "producer.client", "sideways"),
        ("worker.recovery.maintenance", "worker.delivery.in_flight", "up"),
        ("worker.permits.permit_queue", "worker.recovery.spool", "sideways"),
        ("worker.engine", "worker.delivery.pipeline", None),
        ("simulator.server", "ops.local", "up"),
        ("ops.demo", "simulator", None),
        ("worker.engine", "bulksend.gateway.client", None),
        ("bulksend.operations.senders", "producer.files", "up"),
        ("bulksend.ledger.intake", "bulksend.operations", "up"),
        ("bulksend.ledger.intake", "bulksend.ledger.schema", None),
        ("bulksend.ledger.intake", "sqlalchemy", None),
    ],
)
def test_the_table_of_floors_allows_and_refuses_the_right_imports(
    importer: str, imported: str, stair: str | None
) -> None:
    assert wrong_stair(importer, imported) == stair


def test_no_module_needs_itself_to_be_imported() -> None:
    graph = {module.name: set(module.imports_at_once()) - {module.name} for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as knot:
        pytest.fail(f"a knot of imports: {' -> '.join(knot.args[1])}")


def test_only_faces_and_entries_read_the_environment() -> None:
    reads = [
        where(module, node.lineno)
        for module in modules()
        if room_of(module.name) != "ops" and module.name not in DOORS
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and "environ" in {a.name for a in node.names}
        )
    ]
    assert not reads, f"{reads}: settings are read once at the door, then handed on"


def test_every_module_that_may_read_the_environment_or_query_exists() -> None:
    assert set(DOORS) | READERS <= NAMES


def test_messaging_uses_no_clock_no_random_number_and_no_io() -> None:
    pure = [module for module in modules() if room_of(module.name) == "bulksend.messaging"]
    impure = [
        f"{where(module, line)} imports {name}"
        for module in pure
        for name, line in module.imports()
        if name in IMPURE
    ]
    impure += [
        f"{where(module, node.lineno)} asks the clock"
        for module in pure
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")
    ]
    assert not impure, "\n".join(impure)


def sql_spoken_in(module: Module) -> list[str]:
    """Where a module imports what statements are made of; URLs, errors and types are no statements."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module not in ("sqlalchemy.engine", "sqlalchemy.exc"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [
            f"{where(module, node.lineno)} imports {name}"
            for name in names
            if name.partition(".")[0] in DATABASE_LIBRARIES and name not in DATABASE_TYPES
        ]
    return found


def test_only_the_ledger_speaks_sql() -> None:
    spoken = {
        module.name: sql_spoken_in(module)
        for module in modules()
        if room_of(module.name) not in ("bulksend.ledger", "migrations")
    }
    readers = [spoken.pop(name) for name in sorted(READERS)]
    assert all(readers), f"one of {sorted(READERS)} speaks no SQL any more: take it out of READERS"
    writes = tuple(f"sqlalchemy.{word}" for word in ("insert", "update", "delete", "text"))
    wrong = [words for reader in readers for words in reader if words.endswith(writes)]
    wrong += [words for of_one in spoken.values() for words in of_one]
    assert not wrong, "\n".join(wrong)


def test_an_operation_prints_nothing_and_ends_no_process() -> None:
    """Its faces do: a command line, an HTTP API and a console call the same operations."""
    wrong = []
    for module in (m for m in modules() if room_of(m.name) == "bulksend.operations"):
        wrong += [
            f"{where(module, line)} imports {name}" for name, line in module.imports() if name in OF_A_FACE
        ]
        wrong += [
            f"{where(module, node.lineno)} uses {node.id}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Name) and node.id in ("print", "input", "exit", "SystemExit")
        ]
    assert not wrong, "\n".join(wrong)


def test_a_command_reaches_the_ledger_through_operations_only() -> None:
    """Types, which nothing is called through, may be named."""
    commands = [module for module in modules() if module.name.startswith("ops.cli.")]
    assert {module.name: used for module in commands if (used := ledger_used_by(module))} == USES_THE_LEDGER


def test_a_page_reaches_the_ledger_through_operations_only() -> None:
    pages = [module for module in modules() if module.name.startswith("ops.web.")]
    assert len(pages) > 10
    assert {module.name: used for module in pages if (used := ledger_used_by(module))} == {
        "ops.web.live": {"bulksend.ledger.database"},
        "ops.web.problems": {"sqlalchemy.exc"},
    }


def ledger_used_by(module: Module) -> set[str]:
    """Modules of the ledger that it calls."""
    for_types = {
        line
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for _, line in module.imports(node)
    }
    used = {name for name, line in module.imports() if line not in for_types}
    return {name for name in used if name.startswith(("bulksend.ledger", "sqlalchemy"))}


def test_a_bench_uses_no_command() -> None:
    imports = re.compile(r"^\s*(?:from|import) ops\.cli", re.MULTILINE)
    assert not [path for path in (ROOT / "bench").rglob("*.py") if imports.search(path.read_text("utf-8"))]


def test_the_command_line_answers_before_anything_heavy_is_imported() -> None:
    """`bulksend --help` takes a third of a second; each of these would double it."""
    heavy = {
        "sqlalchemy",
        "celery",
        "kombu",
        "redis",
        "pydantic",
        "httpx",
        "structlog",
        "phonenumbers",
        "rich",
    }
    told = subprocess.run(
        [sys.executable, "-c", "import sys, ops.cli.main; print(*sys.modules)"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not heavy & set(told.stdout.split())
