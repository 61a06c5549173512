"""A real ``bulksend serve`` on a ledger of its own, which may be killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bulksend.ledger.database import Database
from bulksend.ledger.key_file import new_encryption_key
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from ops.local.ports import free_port
from ops.stack import ROOT


class Serving:
    """Its folders are in ``folder``; requests are made with a key of ``role``."""

    def __init__(self, ledger_url: str, redis_url: str, folder: Path, role: Role, **settings: str) -> None:
        database = Database(ledger_url)
        with database.write() as tx:
            key = api_keys.add(tx, name="shop", role=role, actor="test").key
        database.close()
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BULKSEND_")},
            "DATABASE_URL": ledger_url,
            "REDIS_URL": redis_url,
            "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
            "BULKSEND_SPOOL_DIR": str(folder / "spool"),
            "BULKSEND_UPLOAD_DIR": str(folder / "uploads"),
            "BULKSEND_EXPORT_DIR": str(folder / "exports"),
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        self._folder = folder
        self._port = free_port()
        self._headers = {"Authorization": f"Bearer {key}"}

    @contextmanager
    def running(self, failpoints: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """Until the end of the block, however the process ends."""
        with (self._folder / "serve.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "ops.cli.main", "serve", "--port", str(self._port)],
                env=self._environ | ({"BULKSEND_FAILPOINTS": failpoints} if failpoints else {}),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + 60
            # One that an old job kills at once has answered before, or not at all.
            while child.poll() is None and not self._answers():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert failpoints or child.poll() is None, (self._folder / "serve.log").read_text()
            yield child
        finally:
            child.kill()
            child.wait(30)

    def get(self, path: str) -> httpx.Response:
        """Ask."""
        return httpx.get(f"http://127.0.0.1:{self._port}{path}", headers=self._headers, timeout=30)

    def post(self, path: str, body: Mapping[str, Any], idempotency_key: str) -> httpx.Response:
        """Ask for something once, however often it is repeated."""
        headers = self._headers | {"Idempotency-Key": idempotency_key}
        return httpx.post(f"http://127.0.0.1:{self._port}{path}", json=body, headers=headers, timeout=30)

    def _answers(self) -> bool:
        try:
            return self.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False
