"""`bulksend serve` is killed while it answers: a program that repeats its requests sends each message once."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from bulksend.ledger.database import Database
from bulksend.ledger.schema import messages
from bulksend.operations.access import Role
from tests.acceptance.many_commands import Shell
from tests.acceptance.serving import Serving


@pytest.fixture
def serving(shell: Shell, postgres_ledger_url: str, valkey_url: str, tmp_path: Path) -> Serving:
    return Serving.on(shell, postgres_ledger_url, valkey_url, tmp_path, Role.SENDER)


def post_code(serving: Serving, n: int) -> httpx.Response:
    """One code, with a key of its own."""
    body = {
        "to": f"4477009{n:05d}",
        "sender": "8615000579987",
        "kind": "otp",
        "type": "text",
        "content": {"body": "123456 is your code"},
    }
    return serving.post("/v1/messages", body, f"login-{n}")


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
                post_code(serving, 0)
            assert child.wait(30) == -signal.SIGKILL
        assert count(postgres_ledger_url) == stored
    answered = threading.Semaphore(0)

    def post(n: int) -> httpx.Response | None:
        try:
            answer = post_code(serving, n)
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
