"""The duties of a worker beside sending, with small stand-ins for the ledger and the limiter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bulksend.ledger.leases import Rescued
from bulksend.ledger.pauses import Pauses
from bulksend.ledger.release import Release
from bulksend.ledger.settle import Settlement
from bulksend.messaging.outcome import Accepted, Evidence, Scope
from bulksend.messaging.states import Status
from worker.recovery.flight_recorder import Flight
from worker.recovery.maintenance import (
    OrphanReclaimer,
    match_pauses,
    reap_dead_workers,
    replay_spool,
    rescue_lapsed_leases,
    restore_limits,
    run_duties,
)
from worker.recovery.spool import Spool

RESEND_WAIT_MS = 7
NOTHING = Rescued([], [], [])


@dataclass
class Ledger:
    """What the duties ask of a Store."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)
    paused: Pauses = field(default_factory=lambda: Pauses(frozenset(), frozenset(), frozenset()))
    running: list[str] = field(default_factory=list)
    away: bool = False

    def reap(
        self, lease: str, *, rendering: str | None, begun: Iterable[str] | None, resend_wait_ms: int
    ) -> Rescued:
        self._ask()
        self.calls.append(("reap", lease, rendering, begun, resend_wait_ms))
        return NOTHING

    def rescue(self, resend_wait_ms: int) -> Rescued:
        self._ask()
        self.calls.append(("rescue", resend_wait_ms))
        return NOTHING

    def claimed_under(self, lease: str) -> set[str]:
        return set(self.claimed)

    def give_back(self, releases: Sequence[Release], lease: str) -> None:
        self.calls.append(("give_back", {release.id for release in releases}, lease))

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._ask()
        self.calls.append(("settle", [settlement.message for settlement in settlements]))

    def pauses(self) -> Pauses:
        self._ask()
        return self.paused

    def running_senders(self) -> list[str]:
        return self.running

    def recent_recipients(self) -> list[tuple[str, int]] | None:
        return [("4477", 1)]

    def _ask(self) -> None:
        if self.away:
            raise ConnectionError("the ledger is away")


@dataclass
class Limiter:
    """What the duties ask of a limiter."""

    flags: list[tuple[Scope, str]] = field(default_factory=list)
    set: list[tuple[Scope, str]] = field(default_factory=list)
    resumed: list[tuple[Scope, str]] = field(default_factory=list)
    restored: list[tuple[Any, Any]] = field(default_factory=list)

    def paused(self) -> tuple[tuple[Scope, str], ...]:
        return tuple(self.flags)

    def pause(self, scope: Scope, id: str) -> None:
        self.set.append((scope, id))

    def resume(self, scope: Scope, id: str) -> None:
        self.resumed.append((scope, id))

    def restore(self, *, pauses: Iterable[tuple[Scope, str]], recent: Any) -> None:
        self.restored.append((set(pauses), recent))


@pytest.fixture
def ledger() -> Any:
    return Ledger()


@pytest.fixture
def limiter() -> Any:
    return Limiter()


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    return work(*args)


# -- the loop --------------------------------------------------------------------------------------------


def test_every_round_runs_every_duty_also_when_one_fails() -> None:
    ran: list[str] = []
    slept: list[float] = []

    def broken() -> None:
        ran.append("broken")
        raise ConnectionError("the ledger is away")

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError), capture_logs() as logs:
        asyncio.run(run_duties({"broken": broken, "next": lambda: ran.append("next")}, in_thread, 5.0, sleep))
    assert ran == ["broken", "next"] * 2
    assert slept == [5.0, 5.0]
    # An outage of an hour has a line a minute, not one a round.
    assert [line["duty"] for line in logs] == ["broken"]


def test_the_end_of_a_trouble_is_logged() -> None:
    errors = [ConnectionError("the ledger is away"), None, None]

    def duty() -> None:
        if (error := errors.pop(0)) is not None:
            raise error

    async def sleep(_: float) -> None:
        if not errors:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError), capture_logs() as logs:
        asyncio.run(run_duties({"rates": duty}, in_thread, 5.0, sleep))
    assert [line["event"] for line in logs] == ["maintenance_failed", "maintenance_works_again"]


# -- dead workers and lapsed leases ----------------------------------------------------------------------


class Recorder:
    """The flights that dead workers left in a folder."""

    def __init__(self, folder: Path, *flights: Flight) -> None:
        self._flights = [(flight, folder / f"{n}.flight") for n, flight in enumerate(flights)]
        for _, path in self._flights:
            path.write_text("")

    def dead(self) -> Iterator[tuple[Flight, Path]]:
        yield from self._flights


def test_a_dead_worker_is_reaped_by_its_record_and_the_record_deleted(ledger: Any, tmp_path: Path) -> None:
    recorder: Any = Recorder(
        tmp_path, Flight("lease-1", "m", frozenset({"a"})), Flight("lease-2", None, None)
    )
    reap_dead_workers(ledger, recorder, RESEND_WAIT_MS)
    assert ledger.calls == [
        ("reap", "lease-1", "m", {"a"}, RESEND_WAIT_MS),
        ("reap", "lease-2", None, None, RESEND_WAIT_MS),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_dead_worker_that_had_no_lease_leaves_nothing_to_reap(ledger: Any, tmp_path: Path) -> None:
    recorder: Any = Recorder(tmp_path, Flight("", None, frozenset()))
    reap_dead_workers(ledger, recorder, RESEND_WAIT_MS)
    assert ledger.calls == []
    assert list(tmp_path.iterdir()) == []


def test_a_record_stays_until_the_ledger_has_taken_it(ledger: Any, tmp_path: Path) -> None:
    recorder: Any = Recorder(tmp_path, Flight("lease-1", None, frozenset()))
    ledger.away = True
    with pytest.raises(ConnectionError):
        reap_dead_workers(ledger, recorder, RESEND_WAIT_MS)
    assert len(list(tmp_path.iterdir())) == 1


def test_lapsed_leases_are_rescued(ledger: Any) -> None:
    rescue_lapsed_leases(ledger, RESEND_WAIT_MS)
    assert ledger.calls == [("rescue", RESEND_WAIT_MS)]


# -- orphans ---------------------------------------------------------------------------------------------


def test_an_orphan_is_given_back_when_two_rounds_in_a_row_find_it(ledger: Any) -> None:
    ledger.claimed = {"orphan", "in flight", "claim under way"}
    in_flight = {"in flight"}
    reclaimer = OrphanReclaimer(ledger, lease=lambda: "lease-1", in_flight=lambda: in_flight)
    reclaimer.run()
    assert ledger.calls == []
    in_flight.add("claim under way")
    reclaimer.run()
    assert ledger.calls == [("give_back", {"orphan"}, "lease-1")]


def test_without_a_valid_lease_nothing_is_given_back(ledger: Any) -> None:
    ledger.claimed = {"orphan"}
    reclaimer = OrphanReclaimer(ledger, lease=lambda: None, in_flight=set)
    reclaimer.run()
    reclaimer.run()
    assert ledger.calls == []


# -- pauses ----------------------------------------------------------------------------------------------


def test_a_flag_whose_pause_the_ledger_does_not_have_is_lifted(ledger: Any, limiter: Any) -> None:
    limiter.flags = [
        (Scope.CAMPAIGN, "c1"),
        (Scope.CAMPAIGN, "c2"),
        (Scope.ACCOUNT, "default"),
    ]
    ledger.paused = Pauses(frozenset({"c1"}), frozenset(), frozenset())
    match_pauses(ledger, limiter)
    assert set(limiter.resumed) == {(Scope.CAMPAIGN, "c2"), (Scope.ACCOUNT, "default")}


@pytest.mark.parametrize(("paused", "resumed"), [({"1555"}, []), (set(), [(Scope.SENDER, "1556")])])
def test_the_running_senders_are_resumed_when_more_flags_than_pauses_are_of_senders(
    ledger: Any, limiter: Any, paused: set[str], resumed: list[tuple[Scope, str]]
) -> None:
    limiter.flags = [(Scope.SENDER, "a hash")]
    ledger.paused = Pauses(frozenset(), frozenset(paused), frozenset())
    ledger.running = ["1556"]
    match_pauses(ledger, limiter)
    assert limiter.resumed == resumed


def test_a_pause_whose_flag_the_limiter_does_not_have_is_set(ledger: Any, limiter: Any) -> None:
    """A sender's flag has only its hash: those of all paused senders are set where one is missing."""
    limiter.flags = [(Scope.CAMPAIGN, "c1"), (Scope.SENDER, "a hash")]
    ledger.paused = Pauses(frozenset({"c1", "c2"}), frozenset({"1555", "1556"}), frozenset({"default"}))
    match_pauses(ledger, limiter)
    wanted = {
        (Scope.CAMPAIGN, "c2"),
        (Scope.ACCOUNT, "default"),
        (Scope.SENDER, "1555"),
        (Scope.SENDER, "1556"),
    }
    assert (set(limiter.set), limiter.resumed) == (wanted, [])


# -- the spool -------------------------------------------------------------------------------------------


def spooled(folder: Path) -> Spool:
    spool = Spool(folder)
    spool.save(
        [Settlement("m", "a", Accepted("wamid", "r"), Evidence(), 1.0, Status.ACCEPTED, None, 1, 0, "")]
    )
    return spool


def test_spooled_results_are_settled_and_their_file_deleted(ledger: Any, tmp_path: Path) -> None:
    replay_spool(ledger, spooled(tmp_path))
    assert ledger.calls == [("settle", ["m"])]
    assert list(tmp_path.iterdir()) == []


def test_spooled_results_stay_until_the_ledger_has_taken_them(ledger: Any, tmp_path: Path) -> None:
    ledger.away = True
    with pytest.raises(ConnectionError):
        replay_spool(ledger, spooled(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


# -- a limiter that lost its data ------------------------------------------------------------------------


def test_the_limiter_gets_the_pauses_and_recent_recipients_of_the_ledger(ledger: Any, limiter: Any) -> None:
    ledger.paused = Pauses(frozenset({"c"}), frozenset({"1555"}), frozenset({"default"}))
    restore_limits(ledger, limiter)
    flags = {(Scope.CAMPAIGN, "c"), (Scope.SENDER, "1555"), (Scope.ACCOUNT, "default")}
    assert limiter.restored == [(flags, [("4477", 1)])]
