"""Eight programs send codes to the same people at the same moment: of those that wait one is sent, and each is told."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

import pytest

from bulksend.ledger import pauses, senders
from bulksend.ledger.events import after
from bulksend.settings import Settings
from producer import AsyncProducer
from tests.acceptance.conftest import SENDER, MakeSite, Site

pytestmark = pytest.mark.alone

PROGRAMS, RATE = 8, 20
PEOPLE = [f"4477009001{n:02d}" for n in range(20)]
PAUSED_SENDER = "8615000571234"
#: A program waits this long for the ending of a code. All codes have ended in a third of it.
WAIT_S = 20
#: A code that is committed this long before the write-ahead of an older one was there for its look.
LOOK_MS = 500
#: The first two POSTs to some people are refused: an early code perhaps, and the newest one.
FAULTS = [
    {
        "match": {"to_regex": "[27]$", "attempt_up_to": 2},
        "fault": {"do": "ret_code", "ret_code": 17115, "message": "(#131026) Message undeliverable"},
    }
]
#: A new limiter takes it that each person got a burst of messages just before: codes wait for their pair rate.
ENVIRON = {"BULKSEND_DEFAULT_RATE": str(RATE), "BULKSEND_PAIR_INTERVAL_SECONDS": "2"}


class Told(NamedTuple):
    """A code, an instant at which it was committed (ms, by the clock that the ledger has, too), the status it got."""

    id: str
    stored_at: float
    status: str


def test_of_codes_that_wait_together_one_is_sent_and_the_program_of_each_other_is_told(
    make_site: MakeSite,
) -> None:
    with make_site(workers=2, faults=FAULTS, environ=ENVIRON) as site:
        _store_codes_behind_a_pause(site)
        told = {each.id: each for each in _send_from_all_programs(site)}
        rows = {str(row["id"]): row for row in site.messages()}
        left = {row["status"] for row in rows.values()} - {"accepted", "failed", "superseded"}
        assert not left, "a code behind its pair rate, a pause or a newer code still waits"
        assert {id: each.status for id, each in told.items()} == {id: rows[id]["status"] for id in told}
        _check_each_person(site, rows, told)
        superseded = {id for id, row in rows.items() if row["status"] == "superseded"}
        assert len(superseded) > len(rows) / 2, "few codes waited together"
        _check_events(site, superseded)
        assert len({attempt["worker"] for attempt in site.attempts()}) == 2
        sent = {row["message_id"] for row in rows.values() if row["status"] == "accepted"}
        assert sent == {row["message_id"] for row in site.vendor() if row["stored"]}
        site.audit_holds()


def _store_codes_behind_a_pause(site: Site) -> None:
    """For each person an older code for the same purpose, in a file of another sender."""
    with site.ledger.write() as tx:
        senders.register(tx, PAUSED_SENDER, rate=RATE)
        pauses.pause_sender(tx, PAUSED_SENDER, actor="test", why="its quality is low")
    rows = [{"to": to, "purpose": "login"} for to in PEOPLE]
    content = {"body": "000000 is your code"}
    of = {"name": "codes", "kind": "otp", "type": "text", "content": content, "rows": rows}
    assert site.producer.submit(sender=PAUSED_SENDER, ttl=timedelta(minutes=5), **of).messages == len(PEOPLE)


def _send_from_all_programs(site: Site) -> list[Told]:
    """What the programs were told of their codes."""
    # Each is a process of its own; what they import is imported once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["producer", "bulksend.settings", "tests.acceptance.conftest"])
    barrier, ends = context.Barrier(PROGRAMS), []
    for number in range(PROGRAMS):
        ours, its = context.Pipe(duplex=False)
        program = context.Process(target=_program, args=(number, site.environ, barrier, its))
        program.start()
        its.close()
        ends.append((program, ours))
    told: list[Told] = []
    for program, ours in ends:
        assert ours.poll(WAIT_S + 30), "a program did not end"
        told += ours.recv()
        program.join(10)
        assert program.exitcode == 0
    assert len(told) == PROGRAMS * len(PEOPLE)
    return told


def _program(number: int, environ: Mapping[str, str], barrier: Barrier, out: Connection) -> None:
    out.send(asyncio.run(_send_all(number, environ, barrier)))


async def _send_all(number: int, environ: Mapping[str, str], barrier: Barrier) -> list[Told]:
    people = random.Random(number).sample(PEOPLE, len(PEOPLE))
    async with AsyncProducer.from_settings(Settings.from_env(environ, None)) as producer:
        # A first code, to a person of its own: the connections are open then.
        await _send(producer, number, f"44770090020{number}")
        barrier.wait(30)
        return await asyncio.gather(*(_send(producer, number, to) for to in people))


async def _send(producer: AsyncProducer, number: int, to: str) -> Told:
    code: dict[str, Any] = {
        **{"to": to, "sender": SENDER, "kind": "otp", "type": "text", "purpose": "login"},
        **{"content": {"body": f"{number:06d} is your code"}, "key": f"{number} {to}"},
    }
    stored = await producer.send(**code)
    stored_at = time.time() * 1000
    # The same key finds the same code.
    ended = await producer.send(**code, wait=timedelta(seconds=WAIT_S))
    assert ended.id == stored.id
    return Told(stored.id, stored_at, str(ended.status))


def _check_each_person(site: Site, rows: Mapping[str, Any], told: Mapping[str, Told]) -> None:
    opened_at = {str(attempt["message_pk"]): attempt["started_at"] for attempt in site.attempts()}
    by_person: dict[str, list[str]] = defaultdict(list)
    for id in sorted(rows, key=lambda id: (rows[id]["queued_at"], id)):
        by_person[rows[id]["recipient"]].append(id)
    for to in PEOPLE:
        codes = by_person[to]
        gone = [id for id in codes if rows[id]["status"] == "accepted"]
        assert gone, "none was sent"
        for older, newer in pairwise(gone):
            assert opened_at[older] < told[newer].stored_at + LOOK_MS, "two were sent that waited together"
        for id in codes:
            if rows[id]["status"] == "superseded":
                by = str(rows[id]["superseded_by"])
                assert by in gone
                assert codes.index(by) > codes.index(id)


def _check_events(site: Site, superseded: set[str]) -> None:
    """Each superseded code has one event that says so; the relay numbers it within a second."""

    def found() -> Counter[str]:
        with site.ledger.read() as tx:
            all_events = after(tx, 0, 10_000)
        return Counter(str(each.data["id"]) for each in all_events if each.type == "message.superseded")

    site.wait("the events of all superseded codes", lambda: found().keys() >= superseded, 10)
    assert found() == Counter(superseded)
