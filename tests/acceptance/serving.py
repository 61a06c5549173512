"""A real ``bulksend serve``, which may be killed and started again."""

from __future__ import annotations

import os
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
from tests.acceptance.many_commands import Shell, Started


class Serving:
    """Its settings are ``environ``, its folders and its log are in ``folder``; requests are made with ``key``.

    It is started by ``shell``, with everything imported.
    """

    def __init__(
        self,
        shell: Shell,
        environ: Mapping[str, str],
        folder: Path,
        *,
        key: str = "",
        port: int | None = None,
    ) -> None:
        self._shell = shell
        self.uploads = folder / "uploads"
        self._environ = {
            **environ,
            "BULKSEND_SPOOL_DIR": str(folder / "spool"),
            "BULKSEND_UPLOAD_DIR": str(self.uploads),
            "BULKSEND_EXPORT_DIR": str(folder / "exports"),
            "PYTHONPATH": str(ROOT),
        }
        self._log = folder / "serve.log"
        self._said_before = 0
        self.port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    @classmethod
    def on(
        cls, shell: Shell, ledger_url: str, redis_url: str, folder: Path, role: Role, **settings: str
    ) -> Serving:
        """On this ledger, with a new key of ``role`` and no other settings than these."""
        database = Database(ledger_url)
        with database.write() as tx:
            key = api_keys.add(tx, name="shop", role=role, actor="test").key
        database.close()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BULKSEND_")}
        own = {
            "DATABASE_URL": ledger_url,
            "REDIS_URL": redis_url,
            "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
        }
        return cls(shell, environ | own | settings, folder, key=key)

    @contextmanager
    def running(self, failpoints: str = "", **environ: str) -> Iterator[Started]:
        """Until the end of the block, however the process ends."""
        child = self.start(failpoints, **environ)
        try:
            yield child
        finally:
            child.kill()
            child.wait(60)

    def start(self, failpoints: str = "", **environ: str) -> Started:
        """Start it and wait until it answers; with ``failpoints`` it may have died before."""
        self._said_before = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            child = self._shell.popen(
                [sys.executable, "-m", "ops.cli.main", "serve", "--port", str(self.port)],
                env=self._environ | environ | ({"BULKSEND_FAILPOINTS": failpoints} if failpoints else {}),
                cwd=ROOT,
                stdout=log,
            )
        deadline = time.monotonic() + 60
        # One that an old job kills at once has answered before, or not at all.
        while child.poll() is None and not self._answers():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        assert failpoints or child.poll() is None, self.said()
        return child

    def said(self) -> str:
        """The log of the process that was started last."""
        return self._log.read_bytes()[self._said_before :].decode()

    def get(self, path: str) -> httpx.Response:
        """Ask."""
        return httpx.get(f"{self.url}{path}", headers=self.headers, timeout=30)

    def post(self, path: str, body: Mapping[str, Any], idempotency_key: str) -> httpx.Response:
        """Ask for something once, however often it is repeated."""
        headers = self.headers | {"Idempotency-Key": idempotency_key}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=30)

    def _answers(self) -> bool:
        try:
            return self.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False
