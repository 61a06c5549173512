"""Requests that come together with one key share one read of it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from bulksend.errors import NotSignedIn
from bulksend.operations.access import Origin, Principal, Role
from ops.http.principals import Principals


class Ledger:
    """Counts the reads of keys; each one ends when ``answers`` is set."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.answers = threading.Event()

    def read(self, key: str, origin: Origin) -> Principal:
        self.reads.append(key)
        assert self.answers.wait(10)
        if key == "unknown":
            raise NotSignedIn("the key is unknown")
        return Principal(key, "shop", Role.SENDER, origin=origin)


def test_requests_of_a_moment_share_one_read_and_keep_their_origin() -> None:
    asyncio.run(_share_one_read())


async def _share_one_read() -> None:
    ledger = Ledger()
    reads = Principals(ledger.read)
    asked = [asyncio.create_task(reads.of_key("a", Origin("10.0.0.1", f"r{n}"))) for n in range(50)]
    asked.append(asyncio.create_task(reads.of_key("b", Origin())))
    left = asyncio.create_task(reads.of_key("a", Origin()))
    await asyncio.sleep(0)
    left.cancel()
    ledger.answers.set()
    found = await asyncio.gather(*asked)
    assert sorted(ledger.reads) == ["a", "b"]
    assert [each.origin.request_id for each in found[:50]] == [f"r{n}" for n in range(50)]
    # A later request reads it again.
    await reads.of_key("a", Origin())
    assert len(ledger.reads) == 3


def test_each_of_them_gets_the_refusal() -> None:
    asyncio.run(_get_the_refusal())


async def _get_the_refusal() -> None:
    ledger = Ledger()
    ledger.answers.set()
    reads = Principals(ledger.read)
    found = await asyncio.gather(
        *(reads.of_key("unknown", Origin()) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in found] == [NotSignedIn] * 3
    assert ledger.reads == ["unknown"]
    with pytest.raises(NotSignedIn):
        await reads.of_key("unknown", Origin())
