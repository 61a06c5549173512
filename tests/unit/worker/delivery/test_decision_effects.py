"""What decisions ask for beyond their message: pauses, suppressions and reports to the limiter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import redis

from bulksend.limits import Reported
from bulksend.messaging import Decision, Pause, Scope, Status, Suppress
from tests.limiter.local_permits import LocalPermits
from tests.unit.worker.fakes import ACCEPTED, SENDER, MemoryStore, VirtualTimeLoop, a_message, run
from worker.delivery.decision_effects import DecisionEffects
from worker.session.store import PauseOrder


class Reports(LocalPermits):
    """The limiter, with a list of the reports that it got and when."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__(lambda: loop.time() * 1000, began_ms=0.0)
        self.restore(pauses=(), recent=None)
        self._loop = loop
        self.reports: list[tuple[float, int, int, bool]] = []
        self.is_away = False

    def pause(self, scope: Scope, id: str) -> None:
        if self.is_away:
            raise redis.ConnectionError("Connection refused")
        super().pause(scope, id)

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> Reported:
        self.reports.append((self._loop.time(), outages, successes, probe_over))
        return super().report(slow=slow, outages=outages, successes=successes, probe_over=probe_over)


class Rig:
    def __init__(self, loop: VirtualTimeLoop) -> None:
        loop.work_s = 0.0
        self.store = MemoryStore()
        self.limiter = Reports(loop)
        self.opened: list[float | None] = []
        self.effects = DecisionEffects(
            self.store, self.limiter, self._thread, self._thread, self.opened.append
        )
        self._loop = loop

    async def _thread(self, work: Any, *args: Any) -> Any:
        return await self._loop.run_in_executor(None, work, *args)


def a_decision(status: Status = Status.FAILED, **effects: Any) -> Decision:
    return Decision(status, None, 1, 0, **effects)


MESSAGE = a_message("447700900123")


def test_a_pause_is_due_once_enough_decisions_in_a_row_asked_for_it() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        effects = Rig(loop).effects
        decision = a_decision(pause=Pause(Scope.CAMPAIGN, 3, "a new code"))
        order = PauseOrder(Scope.CAMPAIGN, "campaign", "a new code")
        assert [effects.note(MESSAGE, decision) for _ in range(4)] == [[], [], [order], []]

    run(main)


def test_an_accepted_message_ends_the_row() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        effects = Rig(loop).effects
        decision = a_decision(pause=Pause(Scope.SENDER, 2, "no channel"))
        assert effects.note(MESSAGE, decision) == []
        effects.note(MESSAGE, a_decision(Status.ACCEPTED))
        assert effects.note(MESSAGE, decision) == []
        effects.note(MESSAGE, a_decision(Status.FAILED))
        assert effects.note(MESSAGE, decision) == [PauseOrder(Scope.SENDER, SENDER, "no channel")]

    run(main)


def test_a_pause_is_recorded_in_the_ledger_and_then_set_in_the_limiter() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        decision = a_decision(pause=Pause(Scope.ACCOUNT, 1, "no money"))
        await rig.effects.apply(MESSAGE, ACCEPTED, decision, rig.effects.note(MESSAGE, decision))
        assert rig.store.calls.events == [("pause", "default")]
        assert rig.limiter.paused() == ((Scope.ACCOUNT, "default"),)

    run(main)


def test_a_pause_that_the_ledger_does_not_take_is_not_set_in_the_limiter() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        rig.store.away = {"pause"}
        decision = a_decision(pause=Pause(Scope.ACCOUNT, 1, "no money"))
        await rig.effects.apply(MESSAGE, ACCEPTED, decision, rig.effects.note(MESSAGE, decision))
        assert rig.limiter.paused() == ()

    run(main)


def test_a_limiter_that_is_away_keeps_neither_a_pause_nor_a_suppression_from_the_ledger() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        rig.limiter.is_away = True
        decision = a_decision(pause=Pause(Scope.ACCOUNT, 1, "no money"), suppress=Suppress("all"))
        await rig.effects.apply(MESSAGE, ACCEPTED, decision, rig.effects.note(MESSAGE, decision))
        assert rig.store.calls.events == [("pause", "default"), ("suppress", "447700900123")]

    run(main)


def test_a_decision_suppresses_its_recipient() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        decision = a_decision(suppress=Suppress("marketing"))
        await rig.effects.apply(MESSAGE, ACCEPTED, decision, [])
        assert rig.store.calls.events == [("suppress", "447700900123")]

    run(main)


def test_an_outage_is_reported_at_once_and_successes_are_collected() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        began = loop.time()
        for _ in range(5):
            rig.effects.note(MESSAGE, a_decision(Status.ACCEPTED, outage=False))
        await asyncio.sleep(1.0)
        (report,) = rig.limiter.reports
        assert report == (began + 0.1, 0, 5, False)
        began = loop.time()
        rig.effects.note(MESSAGE, a_decision(outage=True))
        await asyncio.sleep(1.0)
        assert rig.limiter.reports[1:] == [(began, 1, 0, False)]

    run(main)


def test_only_outages_in_a_row_are_reported() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        for outage in (True, True, False, True):
            rig.effects.note(MESSAGE, a_decision(outage=outage))
        await asyncio.sleep(1.0)
        assert [report[1:] for report in rig.limiter.reports] == [(1, 1, False)]

    run(main)


def test_the_opening_of_the_circuit_breaker_is_passed_on() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        rig.effects.note(MESSAGE, a_decision(Status.ACCEPTED, outage=False))
        await asyncio.sleep(1.0)
        rig.effects.note(MESSAGE, a_decision(outage=True))
        rig.effects.note(MESSAGE, a_decision(outage=True))
        await asyncio.sleep(1.0)
        assert rig.opened[0] is None
        assert rig.opened[-1] is not None

    run(main)


def test_the_end_of_a_probe_is_reported_at_once() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        began = loop.time()
        rig.effects.end_probe()
        await asyncio.sleep(1.0)
        assert rig.limiter.reports == [(began, 0, 0, True)]

    run(main)


def test_a_throttle_is_recorded_as_the_change_of_pace_that_it_made() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        slower = a_decision(Status.RETRY, slow=Scope.SENDER, error="too fast (#130429)")
        for _ in range(3):
            rig.effects.note(MESSAGE, slower)
        await asyncio.sleep(0.5)
        # Within a second it is the same storm: the pace does not change again.
        rig.effects.note(MESSAGE, slower)
        await asyncio.sleep(0.2)
        (change,) = rig.store.paces
        assert (change.scope, change.subject, change.why) == ("sender", SENDER, "too fast (#130429)")
        assert (change.before, change.after) == ({"pace": 1.0}, {"pace": 0.5})

    run(main)


def test_the_wait_of_a_pair_is_recorded_under_its_message() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        rig.effects.note(MESSAGE, a_decision(Status.RETRY, pair_wait_ms=4000, error="too many (#131056)"))
        await asyncio.sleep(0.5)
        (change,) = rig.store.paces
        assert (change.scope, change.subject) == ("message", MESSAGE.id)
        assert (change.before, change.after) == ({}, {"wait_seconds": 4.0})

    run(main)


def test_a_ledger_that_does_not_take_a_change_of_pace_stops_nothing() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        rig = Rig(loop)
        rig.store.away = {"record_paces"}
        rig.effects.note(MESSAGE, a_decision(Status.RETRY, slow=Scope.SENDER, error="too fast"))
        await asyncio.sleep(0.5)
        assert rig.store.paces == []
        rig.effects.note(MESSAGE, a_decision(Status.ACCEPTED, outage=False))
        await asyncio.sleep(0.5)
        assert len(rig.limiter.reports) == 2

    run(main)
