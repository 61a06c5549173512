"""`serve` is killed while it writes an export: the export is written again, whole, and nothing else is left."""

from __future__ import annotations

import hashlib
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from bulksend.ledger.database import Database
from bulksend.operations.access import Role
from tests.acceptance.many_commands import Shell
from tests.acceptance.serving import Serving
from tests.integration.ledger.conftest import Desk

ASKED = {"campaign": "spring", "format": "csv", "masked": False}


def ended(serving: Serving, id: str) -> dict[str, Any]:
    """The export once it ended."""
    deadline = time.monotonic() + 60
    while (shown := serving.get(f"/v1/exports/{id}").json())["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, shown
        time.sleep(0.05)
    return dict(shown)


def test_an_export_outlives_the_death_of_its_process(
    shell: Shell, postgres_ledger_url: str, valkey_url: str, tmp_path: Path
) -> None:
    database = Database(postgres_ledger_url)
    Desk(database).queued(n=500)
    database.close()
    folder = tmp_path / "exports"
    serving = Serving.on(
        shell, postgres_ledger_url, valkey_url, tmp_path, Role.SENDER, BULKSEND_LEASE_SECONDS="3"
    )
    with serving.running("export_row:kill:300") as child:
        # The answer may be lost with the process; the repeated request gets it.
        with suppress(httpx.HTTPError):
            serving.post("/v1/exports", ASKED, "one")
        assert child.wait(60) == -signal.SIGKILL
        (part,) = folder.iterdir()
        assert part.name.endswith(".csv.part")
    with serving.running("export_written:kill") as child:
        assert child.wait(60) == -signal.SIGKILL
        (whole,) = folder.iterdir()
        assert whole.suffix == ".csv"
        assert whole.name.partition(".")[0] == part.name.partition(".")[0]
        assert whole.name != part.name.removesuffix(".part")
    with serving.running():
        repeated = serving.post("/v1/exports", ASKED, "one")
        assert repeated.headers["Idempotent-Replayed"] == "true"
        shown = ended(serving, repeated.json()["id"])
        assert (shown["status"], shown["progress"]) == ("done", {"rows": 500, "of": 500})
        file = serving.get(shown["url"])
    assert hashlib.sha256(file.content).hexdigest() == shown["sha256"] == file.headers["ETag"].strip('"')
    assert len(file.text.splitlines()) == 501
    (left,) = folder.iterdir()
    assert left.read_bytes() == file.content
    assert folder.stat().st_mode & 0o077 == 0
