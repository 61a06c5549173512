"""`bulksend serve` is killed while it answers: a program that repeats its requests sends each message once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from bulksend.ledger.database import Database
from bulksend.ledger.key_file import new_encryption_key
from bulksend.ledger.schema import messages
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from ops.local.ports import free_port
from ops.stack import ROOT


class Serving:
    """A real ``bulksend serve``, which may be killed and started again."""

    def __init__(self, environ: dict[str, str], key: str, folder: Path) -> None:
        self._environ = environ
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
            while not self._answers():
                assert child.poll() is None, (self._folder / "serve.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield child
        finally:
            child.kill()
            child.wait(30)

    def post(self, n: int) -> httpx.Response:
        """One code, with a key of its own."""
        body = {
            "to": f"4477009{n:05d}",
            "sender": "8615000579987",
            "kind": "otp",
            "type": "text",
            "content": {"body": "123456 is your code"},
        }
        headers = self._headers | {"Idempotency-Key": f"login-{n}"}
        return httpx.post(
            f"http://127.0.0.1:{self._port}/v1/messages", json=body, headers=headers, timeout=30
        )

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture
def serving(postgres_ledger_url: str, valkey_url: str, tmp_path: Path) -> Serving:
    database = Database(postgres_ledger_url)
    with database.write() as tx:
        key = api_keys.add(tx, name="shop", role=Role.SENDER, actor="test").key
    database.close()
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BULKSEND_")},
        "DATABASE_URL": postgres_ledger_url,
        "REDIS_URL": valkey_url,
        "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
        "BULKSEND_SPOOL_DIR": str(tmp_path / "spool"),
        "PYTHONPATH": str(ROOT),
    }
    return Serving(environ, key, tmp_path)


def count(url: str) -> int:
    database = Database(url)
    try:
        with database.read() as tx:
            return int(tx.execute(select(func.count()).select_from(messages)).scalar_one())
    finally:
        database.close()


def test_what_is_repeated_after_a_death_is_sent_once(serving: Serving, postgres_ledger_url: str) -> None:
    # Killed before the commit of message and answer, then after it: both are there or neither.
    for step, stored in (("act_done", 0), ("act_kept", 1)):
        with serving.running(f"{step}:kill") as child:
            with pytest.raises(httpx.HTTPError):
                serving.post(0)
            assert child.wait(30) == -signal.SIGKILL
        assert count(postgres_ledger_url) == stored
    answered = threading.Semaphore(0)

    def post(n: int) -> httpx.Response | None:
        try:
            answer = serving.post(n)
        except httpx.HTTPError:
            return None
        answered.release()
        return answer

    # Killed at any moment, with eight requests under way.
    with serving.running() as child, ThreadPoolExecutor(8) as pool:
        found = post(0)
        assert found is not None
        assert "Idempotent-Replayed" in found.headers
        began = pool.map(post, range(60))
        for _ in range(10):
            assert answered.acquire(timeout=30)
        child.kill()
        before = [answer and answer.json()["id"] for answer in began]
    assert None in before, "the kill came after the last answer"
    with serving.running(), ThreadPoolExecutor(8) as pool:
        after = [answer and answer.json()["id"] for answer in pool.map(post, range(60))]
    assert count(postgres_ledger_url) == len(set(after)) == 60
    assert all(one in (None, two) for one, two in zip(before, after, strict=True))
