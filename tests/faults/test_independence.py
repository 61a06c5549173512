"""The judge must not share the product's beliefs: what a code means, what follows from it, what a status may become.

A judge that imports the table of codes calls a double send right whenever the table does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.installation import ROOT

PRODUCT = ("bulksend", "producer", "worker", "notifier", "ops", "migrations")
#: All that the bench takes from the product: to start it, to feed it, and to read what it wrote down.
BENCH_MAY = {
    "bulksend.broker": {"batches", "job_ids", "publish"},
    "bulksend.broker.app": {"make_app"},
    "bulksend.errors": {"TooLate"},
    "bulksend.failpoints": {"STEPS"},
    "bulksend.client": {"ApiError", "ApiRefused", "Client", "Retries"},
    "bulksend.ledger": {"audit", "leases", "pauses", "senders"},
    "bulksend.ledger.database": {"Database"},
    "bulksend.ledger.endings": {"WORKER_LOST"},
    "bulksend.ledger.key_file": {"new_encryption_key"},
    "bulksend.ledger.migrate": {"migrate"},
    "bulksend.ledger.schema": {
        *("attempts", "campaigns", "in_flight", "messages", "receipts", "raw_receipts"),
        *("unreadable_receipts", "uploads", "webhook_deliveries", "webhook_endpoints"),
    },
    "bulksend.messaging": {"Kind"},
    "bulksend.operations": {"api_keys", "receipt_tokens"},
    "bulksend.operations.access": {"Role"},
    "bulksend.settings": {"Settings"},
    "producer": {"Producer"},
    "ops.local.ports": {"free_port"},
    "ops.local.process": {"ChildProcess"},
    "ops.local.postgres": {"EmbeddedPostgres"},
    "ops.local.valkey": {"EmbeddedValkey"},
}
#: The vendor of the rehearsals is the other witness. It checks the signature as the vendor's page has it.
VENDOR_MAY = {
    "bulksend.gateway.signature": {"sign"},
    "bulksend.errors": {"InvalidInput", "InvalidValue"},
    "bulksend.messaging.masking": {"mask_digits"},
}
JUDGES = [ROOT / "tests" / "faults" / name for name in ("judge.py", "judge_faces.py")]


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every import, also of those inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports relatively"
            yield from ((node.module or "", alias.name) for alias in node.names)


def of_the_product(file: Path) -> set[tuple[str, str]]:
    return {(module, name) for module, name in imported(file) if module.split(".")[0] in PRODUCT}


@pytest.mark.parametrize("judge", JUDGES, ids=["judge", "judge_faces"])
def test_the_judge_imports_nothing_of_ours(judge: Path) -> None:
    ours = {"tests", "simulator", "bench", *PRODUCT}
    found = {module for module, _ in imported(judge) if module.split(".")[0] in ours}
    assert found <= {"tests.faults.judge"}


@pytest.mark.parametrize("judge", JUDGES, ids=["judge", "judge_faces"])
def test_the_judge_knows_no_code_by_heart(judge: Path) -> None:
    numbers = {
        node.value
        for node in ast.walk(ast.parse(judge.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is int
    }
    # HTTP statuses, the gateway's RetCodes, WhatsApp's codes.
    assert [n for n in numbers if 100 <= n < 600 or 17100 <= n < 17200 or 130_000 <= n < 140_000] == []


@pytest.mark.parametrize(
    ("folder", "may"),
    [("tests/faults", BENCH_MAY), ("simulator", VENDOR_MAY)],
    ids=["the bench", "the vendor"],
)
def test_what_is_imported_of_the_product_holds_no_belief(folder: str, may: dict[str, set[str]]) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 10
    wrong = {
        f"{file.name}: {module} {name}"
        for file in files
        for module, name in of_the_product(file)
        if name not in may.get(module, ())
    }
    assert wrong == set()
