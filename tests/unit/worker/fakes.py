"""A virtual clock, a ledger in memory and a scripted vendor: all that the delivery of messages needs, without I/O."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis

from bulksend.errors import LedgerUnreachable
from bulksend.gateway import SendOrder
from bulksend.ledger.claim import Claimed
from bulksend.ledger.leases import Rescued
from bulksend.ledger.paces import PaceChange
from bulksend.ledger.pauses import Pauses
from bulksend.ledger.release import Release
from bulksend.ledger.settle import Settlement
from bulksend.ledger.write_ahead import Opening
from bulksend.limits import Ask, Grant, SenderLimits
from bulksend.messaging import Accepted, Answer, Evidence, Kind, OnUnknown, Scope, Suppress
from tests.limiter.local_permits import LocalPermits
from worker.recovery.flight_recorder import FlightRecorder
from worker.session.campaign_cache import CachedCampaign, CampaignCache, CannotRender
from worker.session.store import PauseOrder, Store

T = TypeVar("T")

SENDER = "447700900000"
ACCEPTED = Answer(Accepted("m-1", "r-1"), Evidence(bytes_sent=True, reply_began=True))


class _Selector(selectors.SelectSelector):
    """Waits for no socket: the loop's time jumps to its next timer."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("nothing will ever happen again in this loop")
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only between callbacks. Work for a thread takes ``work_s`` and then happens."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 1_000.0
        self.work_s = 0.001
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - as a thread hands it on
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(self.work_s, work)
        return future


def run(main: Callable[[VirtualTimeLoop], Coroutine[Any, Any, None]]) -> None:
    """Run a test to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        runner.run(main(loop))


async def until(condition: Callable[[], bool], step_s: float = 0.0005) -> None:
    """Let time pass until a condition holds, for 60,000 steps at most."""
    for _ in range(60_000):
        if condition():
            return
        await asyncio.sleep(step_s)
    raise AssertionError("it does not come to hold")


def a_message(id: str, kind: Kind = Kind.MARKETING, **changes: Any) -> Claimed:
    """A claimed message; its recipient is its id."""
    claimed = Claimed(id, "campaign", kind, SENDER, id, "text", b"payload", 0, None, 0, 0, 0, 0, None)
    return claimed._replace(**changes)


@dataclass(slots=True)
class Row:
    """A message in the ledger."""

    message: Claimed
    status: str = "queued"
    owner: str | None = None
    attempt_id: str | None = None
    gate: str | None = None
    due_at: int = 0


@dataclass
class Calls:
    """What happened, in order: (what, id of the message)."""

    events: list[tuple[str, str]] = field(default_factory=list)

    def note(self, what: str, id: str) -> None:
        self.events.append((what, id))

    def of(self, id: str) -> list[str]:
        """What happened to one message."""
        return [what for what, of in self.events if of == id]

    def ids(self, what: str) -> list[str]:
        """The messages that this happened to."""
        return [id for done, id in self.events if done == what]


class MemoryStore(Store):
    """The ledger in memory. Every call to a method named in ``away`` raises LedgerUnreachable."""

    def __init__(self, messages: Iterable[Claimed] = (), calls: Calls | None = None) -> None:
        self.account = "default"
        self.name = "test:1"
        self.lease = None
        self.calls = calls or Calls()
        self.rows = {message.id: Row(message) for message in messages}
        self.settlements: list[Settlement] = []
        self.paces: list[PaceChange] = []
        self.refused: set[str] = set()
        """Messages whose attempts it does not open."""
        self.newer: dict[str, str] = {}
        """Codes that go before others: the other's id -> its own."""
        self.away: set[str] = set()
        self.valid: set[str] = set()
        """Leases that hold."""
        self.now_ms = 1_000_000
        self._numbers = itertools.count(1)

    def _reach(self, method: str) -> None:
        if method in self.away:
            raise LedgerUnreachable(f"{method}: the ledger does not answer")

    def take_lease(self, lease_ms: int) -> tuple[str, int]:
        self._reach("take_lease")
        self.lease = f"lease-{next(self._numbers)}"
        self.valid.add(self.lease)
        return self.lease, self.now_ms

    def renew(self, lease: str, lease_ms: int) -> int | None:
        self._reach("renew")
        return self.now_ms if lease in self.valid else None

    def end_lease(self, lease: str, resend_wait_ms: int) -> Rescued:
        self._reach("end_lease")
        self.valid.discard(lease)
        held = sorted(self.claimed_under(lease))
        self.give_back([Release(id, 0, None, None) for id in held], lease)
        self.calls.note("end_lease", lease)
        return Rescued(held, [], [])

    def rescue(self, resend_wait_ms: int) -> Rescued:
        return Rescued([], [], [])

    def claim(self, ids: Sequence[str], lease: str) -> list[Claimed]:
        self._reach("claim")
        claimed = []
        for id in ids:
            row = self.rows.get(id)
            is_ours = row is not None and row.status == "claimed" and row.owner == lease
            if row is not None and lease in self.valid and (row.status in ("queued", "retry") or is_ours):
                row.status, row.owner, row.gate = "claimed", lease, None
                self.calls.note("claim", id)
                claimed.append(row.message)
        return claimed

    def claimed_under(self, lease: str) -> set[str]:
        return {id for id, row in self.rows.items() if row.status == "claimed" and row.owner == lease}

    def open(
        self,
        openings: Sequence[Opening],
        lease: str,
        on_next: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> frozenset[str]:
        self._reach("open")
        opened = set()
        for opening in openings:
            row = self.rows[opening.message.id]
            is_open = row.status == "sending" and row.attempt_id == opening.attempt_id
            may_open = row.status == "claimed" and opening.message.id not in self.refused
            if lease in self.valid and row.owner == lease and (is_open or may_open):
                row.status, row.attempt_id = "sending", opening.attempt_id
                self.calls.note("open", opening.message.id)
                opened.add(opening.attempt_id)
        held = [self.newer[o.message.id] for o in openings if o.message.id in self.newer]
        if held:
            on_next(held)
        return frozenset(opened)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._reach("settle")
        for settlement in settlements:
            row = self.rows[settlement.message]
            if row.status == "sending" and row.attempt_id == settlement.attempt_id:
                row.status, row.owner, row.due_at = settlement.status.value, None, settlement.due_at or 0
                self.settlements.append(settlement)
                self.calls.note("settle", settlement.message)

    def give_back(self, releases: Sequence[Release], lease: str) -> None:
        self._reach("give_back")
        for release in releases:
            row = self.rows[release.id]
            if row.status == "claimed" and row.owner == lease:
                row.status, row.owner = "queued", None
                row.gate, row.due_at = release.gate, release.due_at
                self.calls.note("give_back", release.id)

    def fail(self, failures: Sequence[tuple[str, str]], lease: str) -> None:
        for id, _ in failures:
            self.rows[id].status = "failed"
            self.calls.note("fail", id)

    def pause(self, order: PauseOrder) -> bool:
        self._reach("pause")
        self.calls.note("pause", order.id)
        return True

    def suppress(self, recipient: str, suppress: Suppress, code: int | None, why: str) -> None:
        self._reach("suppress")
        self.calls.note("suppress", recipient)

    def record_paces(self, changes: Sequence[PaceChange]) -> None:
        self._reach("record_paces")
        self.paces += changes

    def changed_rates(self) -> dict[str, float | None]:
        return {}

    def pauses(self) -> Pauses:
        self._reach("pauses")
        return Pauses(frozenset(), frozenset(), frozenset())

    def recent_recipients(self) -> list[tuple[str, int]] | None:
        return None

    def running_senders(self) -> list[str]:
        return [SENDER]

    def statuses(self) -> dict[str, str]:
        """The status of each message."""
        return {id: row.status for id, row in self.rows.items()}


class MemoryCampaigns(CampaignCache):
    """One campaign for all messages. A message whose payload is None cannot be rendered; ``bug`` is raised instead."""

    def __init__(self, rate: float = 1_000.0) -> None:
        self.limits = SenderLimits(rate, None)
        self.bug: Exception | None = None

    def campaign(self, id: str) -> CachedCampaign:
        return CachedCampaign(id, None, None, OnUnknown.HOLD)

    def weight(self, id: str) -> int:
        return 1

    def sender_limits(self, sender: str) -> SenderLimits:
        return self.limits

    def render(self, message: Claimed) -> str:
        if self.bug is not None:
            raise self.bug
        if message.payload is None:
            raise CannotRender("its content was wiped")
        return '{"body":"hello"}'


class MemoryLimiter(LocalPermits):
    """The limiter's rules by the loop's time, with all of its memory. While ``is_away`` it gives no answer."""

    def __init__(self, loop: VirtualTimeLoop, calls: Calls) -> None:
        super().__init__(lambda: loop.time() * 1000, began_ms=0.0)
        self.restore(pauses=(), recent=None)
        self._calls = calls
        self.is_away = False
        self.asked: list[str] = []
        """The recipients that were asked for, in order."""

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        if self.is_away:
            raise redis.ConnectionError("Connection refused")
        self.asked += [ask.recipient for ask in asks]
        return super().ask(asks, lead_ms=lead_ms, per_slice=per_slice)

    def pause(self, scope: Scope, id: str) -> None:
        super().pause(scope, id)
        self._calls.note("limiter_pause", id)


class NoRecorder(FlightRecorder):
    """Records nothing: a flight record holds UUIDs, and the ids of these tests are shorter."""

    def open(self) -> None:
        return


class ScriptedVendor:
    """Answers each recipient by ``answers``, after ``reply_s``; an exception among them is raised.

    ``idle`` connections are up; another one takes ``connect_s``, or fails with the answer ``refuses``.
    """

    def __init__(self, calls: Calls, *, idle: int, most: int = 100) -> None:
        self.calls = calls
        self.idle = idle
        self.most = most
        self.answers: dict[str, Answer | Exception] = {}
        self.refuses: Answer | None = None
        self.hangs_up = False
        """Whether each connection ends as soon as it is up."""
        self.make_ready: Callable[[SendOrder], None] = lambda order: None
        """Runs between the call and the look whether the POST may begin."""
        self.write: Callable[[SendOrder], None] = lambda order: None
        """Runs between that look and the first byte."""
        self.reply_s = 0.010
        self.connect_s = 0.0
        self.posted_at: list[float] = []
        self.most_under_way = 0
        self._connecting = 0
        self._under_way = 0

    async def connect(self) -> Answer | None:
        self._connecting += 1
        try:
            await asyncio.sleep(self.connect_s)
        finally:
            self._connecting -= 1
        if self.refuses is None:
            self.idle += 1
            if self.hangs_up:
                asyncio.get_running_loop().call_later(0.001, self._hang_up)
        return self.refuses

    def _hang_up(self) -> None:
        self.idle -= 1

    def post(
        self, order: SendOrder, begin: Callable[[], bool], done: Callable[[Answer], None]
    ) -> asyncio.Future[None] | Answer | None:
        if self.idle <= 0:
            return None
        self.make_ready(order)
        if not begin():
            return None
        self.write(order)
        answer = self.answers.get(order.to, ACCEPTED)
        self.calls.note("post", order.to)
        loop = asyncio.get_running_loop()
        self.posted_at.append(loop.time())
        if isinstance(answer, Exception):
            raise answer
        self.idle -= 1
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        future: asyncio.Future[None] = loop.create_future()

        def reply() -> None:
            self.idle += 1
            self._under_way -= 1
            if future.cancelled():
                self.calls.note("cancelled", order.to)
            else:
                future.set_result(None)
                done(answer)

        loop.call_later(self.reply_s, reply)
        return future

    def idle_connections(self) -> int:
        return self.idle

    def connections_left(self) -> int:
        return self.most - self.idle - self._under_way - self._connecting

    async def aclose(self) -> None:
        """Nothing is open."""
