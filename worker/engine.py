"""The engine: every message in a worker's hands, from claim to settlement, on one event loop.

``deliver`` reads as the life of a message: render, wait for a permit, write ahead, wait for the slot, POST,
decide, record. Everything that touches the ledger or Redis runs on threads, in batches.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Protocol

import structlog

from bulksend.failpoints import reach
from bulksend.gateway import SendOrder, Start
from bulksend.ledger.ids import new_id
from bulksend.ledger.sending import Claimed, Opened, Opening, Release, Settlement
from bulksend.limits import MAX_LEAD_MS, Ask, Permits, is_stale
from bulksend.messaging import (
    Accepted,
    Answer,
    Decision,
    Evidence,
    Kind,
    MessageType,
    NotSent,
    Policy,
    Remedy,
    Retry,
    Scope,
    Status,
    Subject,
    Unknown,
    decide,
)
from worker.batcher import Batcher
from worker.book import Book, CannotRender
from worker.clock import steady_seconds
from worker.lanes import Backlog
from worker.lease import LeaseKeeper
from worker.lines import Held, Slot
from worker.pace import Pace
from worker.permit_desk import PermitDesk
from worker.recorder import FlightRecorder, bury
from worker.spool import Spool
from worker.store import PauseOrder, Store, SuppressOrder
from worker.waiting import wait_until

log = structlog.get_logger(__name__)

_AFTER_A_BUG_MS = 30_000
#: Hundreds are claimed together: begun in one turn of the loop, they would keep POSTs from their slots.
_BEGUN_AT_ONCE = 20
#: Between two transactions of results at least so much, unless there are many: nobody waits for a single one.
_SETTLE_BREATH_S = 0.025


class Vendor(Protocol):
    """What the engine needs of the vendor: never raises, whatever the network does."""

    async def send(self, order: SendOrder, start: Start | None = None) -> Answer:
        """POST once, when ``start`` lets it."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one worker process works. ``in_flight`` bounds POSTs under way; a tenth of it is kept for OTP."""

    in_flight: int = 200
    lease_seconds: float = 60.0
    stop_grace_seconds: float = 30.0
    in_hand: int = 4000
    """Claimed messages of a lane at most, most of them waiting for their turn."""
    claim_size: int = 500
    policy: Policy = field(default_factory=Policy)
    rescue_seconds: float = 5.0

    @property
    def bulk_in_flight(self) -> int:
        """POSTs under way of anything but OTP."""
        return max(1, self.in_flight - max(1, self.in_flight // 10))


@dataclass(slots=True)
class Tally:
    """What this worker has done since it started."""

    claimed: int = 0
    posted: int = 0
    accepted: int = 0
    given_back: int = 0
    stale_slots: int = 0


@dataclass(slots=True)
class _Departure:
    """What holds a POST back until its slot, once its connection is up, and takes the last look before it."""

    engine: Engine
    message: Claimed
    attempt_id: str
    lease: str
    deadline: float | None
    slot: Slot
    obstacle: NotSent | None = None
    began_at: float | None = None

    async def wait(self) -> bool:
        """Wait for the slot, then look once more; says whether the POST may begin."""
        self.obstacle = await self._reach_slot() or self.engine.last_look(self.lease, self.deadline)
        return self.obstacle is None

    def begin(self) -> None:
        """The POST begins: from here on a kill leaves it in doubt."""
        self.began_at = self.engine.begins(self.attempt_id)

    def end(self) -> None:
        """The POST is over, or never began."""
        if self.began_at is not None:
            self.engine.ends()

    async def _reach_slot(self) -> NotSent | None:
        """A slot that was missed is exchanged for another. Says what came up meanwhile."""
        while not (await self.engine.in_time(self.slot) and self.engine.has_place()):
            await self.engine.wait_for_place()
            answer = await self.engine.exchange(self.message)
            if isinstance(answer, Held):
                why = f"held by {answer.gate.value} before the POST"
                return NotSent(why, Remedy(retry=Retry.FREE))
            self.slot = answer
        return None


class Engine:
    """One a process. Made on any thread, runs on the event loop that calls ``run``."""

    def __init__(
        self,
        *,
        store: Store,
        book: Book,
        permits: Permits,
        vendor: Callable[[Callable[[], float]], Vendor],
        backlog: Backlog,
        spool: Spool,
        settings: EngineSettings,
        recorder: FlightRecorder,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._book = book
        self._permits = permits
        self._make_vendor = vendor
        self._backlog = backlog
        self._spool = spool
        self._settings = settings
        self._recorder = recorder
        self._dice = dice
        self.tally = Tally()
        self._hands: dict[str, asyncio.Task[None]] = {}
        self._of_lane: Counter[Kind] = Counter()
        self._strays: set[str] = set()
        self._posting: set[str] = set()
        self._permitted: dict[str, Kind] = {}
        """Messages that have a permit and are not settled: what is in flight, or about to be."""
        self._permitted_codes = 0
        self._answers = Pace()
        self._under_way = 0
        """POSTs that have begun and are not over."""
        self._unopened: set[str] = set()
        """Claimed and neither opened nor given back: a stop gives these back."""
        self._unsettled: dict[str, Settlement] = {}
        self._streaks: dict[tuple[Scope, str], int] = {}
        self._restoring: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._reports: list[tuple[list[tuple[Scope, str]], int, int]] = []

    # -- life ------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Work until ``stop`` is set, then stop cleanly: claim no more, finish what is in flight, give back."""
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._wakes = {lanes: asyncio.Event() for lanes in ((Kind.OTP,), (Kind.UTILITY, Kind.MARKETING))}
        with (
            # Codes have threads of their own: they wait for no transaction of a blast's.
            ThreadPoolExecutor(1, "code-claims") as code_claims,
            ThreadPoolExecutor(1, "claims") as claims,
            ThreadPoolExecutor(1, "code-openings") as code_openings,
            ThreadPoolExecutor(1, "openings") as openings,
            ThreadPoolExecutor(1, "settlements") as settlements,
            ThreadPoolExecutor(1, "permits") as permits,
            ThreadPoolExecutor(2, "chores") as chores,
        ):
            self._chores = chores
            self._claims = {lane: code_claims if lane is Kind.OTP else claims for lane in Kind}
            code_opener: Batcher[Opening, bool] = Batcher(self._open_batch, code_openings)
            opener: Batcher[Opening, bool] = Batcher(self._open_batch, openings)
            self._openers = {lane: code_opener if lane is Kind.OTP else opener for lane in Kind}
            self._settler: Batcher[Settlement, None] = Batcher(
                self._settle_batch, settlements, breath_s=_SETTLE_BREATH_S
            )
            self._releaser: Batcher[Release, None] = Batcher(self._give_back_batch, settlements)
            self._lease = LeaseKeeper(
                self._store,
                chores,
                lease_seconds=self._settings.lease_seconds,
                on_lost=self._forget_hands,
                on_taken=self._recorder.lease,
            )
            self._desk = PermitDesk(
                self._permits,
                permits,
                lead_ms=self._lead_ms,
                on_cold=self._restore_limits,
                room=self._free,
            )
            # Requests are signed by the ledger's clock: ours may be minutes off, and the vendor refuses that.
            self._vendor = self._make_vendor(lambda: self._lease.now_ms() / 1000)
            self._recorder.open()
            try:
                await self._work(stop, ready)
                self._recorder.close()
            finally:
                await self._vendor.aclose()
                # A good-bye: the other workers share the limits among fewer from now on.
                await self._thread(self._permits.close)

    async def _work(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        await self._lease.take()
        await self._replay_spool()
        loops = [
            asyncio.create_task(self._lease.keep(), name="lease"),
            asyncio.create_task(self._desk.run(), name="permits"),
            asyncio.create_task(self._rescue_loop(), name="rescue"),
        ]
        claiming = [
            asyncio.create_task(self._claim_loop(lanes, wake), name="claims")
            for lanes, wake in self._wakes.items()
        ]
        ready()
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopped, *claiming, *loops}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            log.error("engine_loop_ended", loop=task.get_name(), error=repr(task.exception()))
        await self._stop(claiming, loops)
        self._say_stopped()
        stopped.cancel()
        for task in done - {stopped}:
            task.result()  # a loop that ended by itself is a bug: the process ends with its traceback

    async def _stop(
        self, claiming: Sequence[asyncio.Task[None]], loops: Sequence[asyncio.Task[None]]
    ) -> None:
        self._backlog.close()
        for task in claiming:
            task.cancel()
        await asyncio.gather(*claiming, return_exceptions=True)
        for id, task in list(self._hands.items()):
            if id not in self._posting:
                task.cancel()
        if self._hands:
            await asyncio.wait(list(self._hands.values()), timeout=self._settings.stop_grace_seconds)
        for task in list(self._hands.values()):
            task.cancel()
        if self._hands:
            await asyncio.wait(list(self._hands.values()), timeout=5.0)
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self._releaser.idle()
        await self._settler.idle()
        await self._give_back_unopened()
        if self._unsettled:
            path = self._spool.save(list(self._unsettled.values()))
            log.error("results_spooled", count=len(self._unsettled), file=path.name)
        lease = self._lease.newest
        if lease is not None:
            try:
                await self._thread(self._store.end_lease, lease)
            except Exception as error:  # noqa: BLE001 - the lease lapses by itself
                log.warning("lease_not_ended", error=type(error).__name__)

    async def _give_back_unopened(self) -> None:
        lease = self._lease.newest
        releases = [Release(id, 0, None, None) for id in self._unopened]
        self._unopened.clear()
        if lease is None or not releases:
            return
        try:
            await self._thread(self._store.give_back, releases, lease)
            self.tally.given_back += len(releases)
        except Exception as error:  # noqa: BLE001 - the ended lease gives them back as well, a little later
            log.warning("not_given_back", count=len(releases), error=type(error).__name__)

    def _say_stopped(self) -> None:
        log.info("worker_stopped", **asdict(self.tally))

    def wake(self) -> None:
        """Ids came in: called from any thread."""
        self._loop.call_soon_threadsafe(self._look_again)

    def _look_again(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    # -- claiming --------------------------------------------------------------------------------------

    def _free(self, lane: Kind) -> int:
        """How many more POSTs of a lane may be under way, by the time that their attempts are open.

        Those that will have been answered by then leave their place, and so do half as many answers as there are
        places while the ledger takes them in: the more a ledger falls behind, the fewer POSTs begin.
        """
        places = self._settings.in_flight
        leaving = min(places, int(self._answers.rate(self._loop.time()) * self._lead_ms(lane) / 1000))
        under_way = len(self._permitted) - min(places // 2, len(self._unsettled)) - leaving
        if lane is Kind.OTP:
            return self._settings.in_flight - under_way
        bulk = under_way - self._permitted_codes
        return min(self._settings.in_flight - under_way, self._settings.bulk_in_flight - bulk)

    def _may_claim(self, lane: Kind) -> int:
        """How many more of a lane may be in hand.

        Many more than can be in flight: those of a slow sender wait here without standing in another's way.
        """
        room = self._settings.in_hand - self._of_lane[lane]
        # Full hands take the next handful, not one message for each that leaves: a claim is a transaction.
        handful = min(self._settings.claim_size, self._settings.in_hand // 4)
        enough = lane is Kind.OTP or room >= handful
        return max(0, min(room, self._settings.claim_size)) if enough else 0

    async def _claim_loop(self, lanes: Sequence[Kind], wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            lease = self._lease.id
            claimed_any = False
            if lease is not None:
                for lane in lanes:
                    claimed_any = await self._claim(lane, lease) or claimed_any
            if not claimed_any:
                await wait_until(wake, self._loop.time() + (0.5 if lease is None else 5.0))

    async def _claim(self, lane: Kind, lease: str) -> bool:
        ids = [id for id in self._backlog.take(lane, self._may_claim(lane)) if id not in self._hands]
        if not ids:
            return False
        asked = steady_seconds()
        try:
            claimed = await self._claim_whole(lane, ids, lease)
        except Exception as error:  # noqa: BLE001 - the ledger is away: the ids are in it, the relay finds them
            log.warning("claim_failed", lane=lane.value, error=type(error).__name__)
            await asyncio.sleep(0.5)
            return False
        self.tally.claimed += len(claimed)
        new = [message for message in claimed if message.id not in self._hands]
        self._unopened.update(message.id for message in new)
        for few in range(0, len(new), _BEGUN_AT_ONCE):
            if self._lease.id != lease:
                break  # whoever rescues it has it
            for message in new[few : few + _BEGUN_AT_ONCE]:
                task = asyncio.create_task(self._deliver(message, lease, asked))
                self._hands[message.id] = task
                self._of_lane[lane] += 1
                task.add_done_callback(lambda _, id=message.id, lane=lane: self._let_go(id, lane))  # type: ignore[misc]
            await asyncio.sleep(0)
        return True

    async def _claim_whole(self, lane: Kind, ids: Sequence[str], lease: str) -> list[Claimed]:
        """Claim on the thread; a stop in the middle of it learns what was claimed all the same, to give it back."""
        claiming = self._loop.run_in_executor(self._claims[lane], self._store.claim, ids, lease)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            self._unopened.update(message.id for message in await claiming)
            raise

    def _let_go(self, id: str, lane: Kind) -> None:
        task = self._hands.pop(id, None)
        self._of_lane[lane] -= task is not None
        self._posting.discard(id)
        self._permitted_codes -= self._permitted.pop(id, None) is Kind.OTP
        self._look_again()
        if task is not None and not task.cancelled() and task.exception() is not None:
            log.error("message_not_let_go", message=id, error=repr(task.exception()))

    def _forget_hands(self) -> None:
        """The lease is lost: what was not sent belongs to others now; what is being sent is settled as usual."""
        for id, task in list(self._hands.items()):
            if id not in self._posting:
                task.cancel("lease lost")
        self._unopened.clear()

    # -- one message -----------------------------------------------------------------------------------

    async def _deliver(self, message: Claimed, lease: str, asked: float) -> None:
        """The life of a message in a worker's hands; ``asked`` is when its claim was asked for."""
        opening = Opening(message, new_id())
        try:
            await self._send(message, opening, lease, asked)
        except Exception as error:  # noqa: BLE001 - a bug must not hold a message as long as we live
            log.error("delivery_broke", message=message.id, error=type(error).__name__, at=_where(error))
            await self._after_a_bug(message, opening)

    async def _after_a_bug(self, message: Claimed, opening: Opening) -> None:
        """What was opened may have gone out, unless its result is known; what was only claimed is given back."""
        why = "the worker failed while it was being sent; its log says where"
        known = self._unsettled.get(opening.attempt_id)
        await self._settle_surely(
            known
            or Settlement(
                message=message.id,
                attempt_id=opening.attempt_id,
                outcome=Unknown(why),
                evidence=Evidence(error="a bug"),
                latency_ms=None,
                status=Status.UNKNOWN,
                due_at=None,
                tries=message.tries,
                waits=message.waits,
                error=why,
            )
        )
        # Not at once: what broke us breaks us again.
        await self._give_back(Release(message.id, self._lease.now_ms() + _AFTER_A_BUG_MS, None, None))

    async def _send(self, message: Claimed, opening: Opening, lease: str, asked: float) -> None:
        deadline = None if message.left_ms is None else asked + message.left_ms / 1000
        try:
            content = self._render(message)
        except CannotRender as error:
            self._unopened.discard(message.id)
            await self._thread(self._store.fail, [(message.id, f"cannot be rendered: {error}")], lease)
            return
        order = SendOrder(message.sender, message.recipient, MessageType(message.type), content)
        slot = await self._permit(message)
        if slot is None:
            return
        self._permitted[message.id] = message.kind
        self._permitted_codes += message.kind is Kind.OTP
        reach("permitted", message.id)
        if not await self._open(opening, lease):
            return
        departure = _Departure(self, message, opening.attempt_id, lease, deadline, slot)
        asked_at = self._loop.time()
        try:
            answer = await self._vendor.send(order, departure)
        finally:
            departure.end()
        if departure.obstacle is not None:
            answer = Answer(departure.obstacle, Evidence())
        answered_at = self._loop.time()
        self._answers.note(answered_at)
        latency_ms = (answered_at - (departure.began_at or asked_at)) * 1000
        await self._record(message, opening, answer, latency_ms)

    def _render(self, message: Claimed) -> str:
        """The vendor's Content; on record as long as it takes, since it may be what kills us. Raises CannotRender."""
        self._recorder.rendering(message.id)
        try:
            reach("rendering", message.id)
            return self._book.content(message)
        finally:
            self._recorder.rendered()

    async def _permit(self, message: Claimed) -> Slot | None:
        """Its slot; None when something longer holds it and it went back to the ledger."""
        answer = await self._desk.acquire(self._ask_of(message))
        if isinstance(answer, Slot):
            return answer
        await self._release(message, answer)
        return None

    async def in_time(self, slot: Slot) -> bool:
        """Wait for a slot; False where it was missed: a POST later than a permit is good for could make a second
        fuller than the limit."""
        delay = slot.at - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        missed = is_stale(slot.at * 1000, self._loop.time() * 1000)
        if missed and delay > 0:
            self._desk.overslept()
        return not missed

    async def exchange(self, message: Claimed) -> Slot | Held:
        """Another slot for one that was missed."""
        self.tally.stale_slots += 1
        return await self._desk.acquire(self._ask_of(message, exchange=True))

    def has_place(self) -> bool:
        """Whether another POST may be under way."""
        return self._under_way < self._settings.in_flight

    async def wait_for_place(self) -> None:
        """Until another POST may be under way: more were let ahead than were answered since."""
        while not self.has_place():
            await self._over.wait()

    def ends(self) -> None:
        """A POST is over, however it went."""
        self._under_way -= 1
        self._over.set()
        self._over.clear()

    def begins(self, attempt_id: str) -> float:
        """A POST begins; the event loop's time."""
        self.tally.posted += 1
        self._under_way += 1
        self._recorder.begin(attempt_id)
        return self._loop.time()

    def last_look(self, lease: str, deadline: float | None) -> NotSent | None:
        """What still forbids the POST at the instant before it."""
        if self._lease.id != lease:
            return NotSent("the worker's lease was lost before the POST", Remedy(retry=Retry.FREE))
        if deadline is not None and steady_seconds() >= deadline:
            return NotSent("its time to live passed before the POST", Remedy(retry=Retry.BACKOFF))
        return None

    def _ask_of(self, message: Claimed, *, exchange: bool = False) -> Ask:
        return Ask(
            kind=message.kind,
            sender=message.sender,
            campaign_id=message.campaign_id,
            recipient=message.recipient,
            sender_limits=self._book.limits(message.sender),
            campaign_rate=self._book.campaign(message.campaign_id).rate,
            exchange=exchange,
        )

    async def _release(self, message: Claimed, held: Held) -> None:
        await self._give_back(Release(message.id, held.until_ms or 0, held.gate.value, held.until_ms))

    async def _give_back(self, release: Release) -> None:
        """Into the ledger, however long that takes: what stays claimed waits for our end."""
        self.tally.given_back += 1
        while self._lease.newest is not None:
            try:
                await self._releaser.put(release)
            except Exception as error:  # noqa: BLE001 - the ledger is away
                log.warning("not_given_back", message=release.id, error=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            self._unopened.discard(release.id)
            return

    async def _open(self, opening: Opening, lease: str) -> bool:
        """Whether the attempt is committed as open; tries while the lease holds."""
        self._posting.add(opening.message.id)
        self._unopened.discard(opening.message.id)
        while True:
            try:
                opened = await self._openers[opening.message.kind].put(opening)
            except Exception as error:  # noqa: BLE001 - the ledger is away; nothing goes out without it
                log.warning("not_opened", message=opening.message.id, error=type(error).__name__)
                if self._lease.id != lease:
                    return False
                await asyncio.sleep(0.5)
                continue
            return opened

    # -- what follows ----------------------------------------------------------------------------------

    async def _record(self, message: Claimed, opening: Opening, answer: Answer, latency_ms: float) -> None:
        subject = Subject(
            kind=message.kind,
            tries=message.tries,
            waits=message.waits,
            expires_at_ms=message.expires_at,
            on_unknown=self._book.campaign(message.campaign_id).on_unknown,
        )
        decision = decide(answer.outcome, subject, self._settings.policy, self._lease.now_ms(), self._dice())
        if isinstance(answer.outcome, Accepted):
            self.tally.accepted += 1
        settlement = Settlement(
            message=message.id,
            attempt_id=opening.attempt_id,
            outcome=answer.outcome,
            evidence=answer.evidence,
            latency_ms=round(latency_ms, 2),
            status=decision.status,
            due_at=decision.due_at_ms,
            tries=decision.tries,
            waits=decision.waits,
            error=decision.error,
            payload=message.payload if message.kind is Kind.OTP else None,
        )
        self._unsettled[opening.attempt_id] = settlement
        # Pauses first: what comes back to the queue because of one must find it in force.
        await self._follow(message, answer, decision)
        await self._settle_surely(settlement)

    async def _settle_surely(self, settlement: Settlement) -> None:
        """Into the ledger, however long that takes; a stop spools what is left."""
        while True:
            try:
                await self._settler.put(settlement)
            except Exception as error:  # noqa: BLE001 - a result must not be lost because the ledger is away
                log.warning("not_settled", message=settlement.message, error=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            self._unsettled.pop(settlement.attempt_id, None)
            self._recorder.settled(settlement.attempt_id)
            return

    async def _follow(self, message: Claimed, answer: Answer, decision: Decision) -> None:
        """What an answer asks for beyond its own message: slower, a pause, a suppression, the breaker."""
        self._permits_report(message, decision)
        try:
            for order in self._pauses_due(message, decision):
                await self._pause(order)
            if decision.suppress is not None:
                why = decision.error or "asked for by the vendor"
                wanted = SuppressOrder(
                    message.recipient, decision.suppress, answer.evidence.whatsapp_code, why
                )
                await self._thread(self._store.suppress, [wanted])
        except Exception as error:  # noqa: BLE001 - its own message is settled in any case
            log.error("not_followed", message=message.id, error=type(error).__name__)
        if decision.alert:
            log.error("vendor_alert", message=message.id, campaign=message.campaign_id, why=decision.error)

    def _permits_report(self, message: Claimed, decision: Decision) -> None:
        slow: list[tuple[Scope, str]] = []
        if decision.slow is Scope.ACCOUNT:
            slow.append((Scope.ACCOUNT, self._store.account))
        elif decision.slow is not None:
            slow.append((Scope.SENDER, message.sender))
        outages, successes = int(decision.outage is True), int(decision.outage is False)
        self._reports.append((slow, outages, successes))
        if self._reporting is None:
            self._reporting = asyncio.create_task(self._send_reports())

    async def _send_reports(self) -> None:
        await asyncio.sleep(0.02)
        reports, self._reports = self._reports, []
        self._reporting = None
        slow = sorted({item for slowed, _, _ in reports for item in slowed})
        outages, successes = sum(r[1] for r in reports), sum(r[2] for r in reports)
        if not slow and not outages and not successes:
            return
        try:
            await self._thread(self._permits_report_now, slow, outages, successes)
        except Exception as error:  # noqa: BLE001 - only advice to the limiter
            log.warning("not_reported", error=type(error).__name__)

    def _permits_report_now(self, slow: list[tuple[Scope, str]], outages: int, successes: int) -> None:
        self._permits.report(slow=slow, outages=outages, successes=successes)

    def _pauses_due(self, message: Claimed, decision: Decision) -> list[PauseOrder]:
        """A pause at once, or once so many in a row ended alike."""
        ids = {
            Scope.CAMPAIGN: message.campaign_id,
            Scope.SENDER: message.sender,
            Scope.ACCOUNT: self._store.account,
        }
        pause = decision.pause
        if pause is None:
            if decision.status is Status.ACCEPTED:
                for scope, id in ids.items():
                    self._streaks.pop((scope, id), None)
            return []
        key = (pause.scope, ids[pause.scope])
        self._streaks[key] = self._streaks.get(key, 0) + 1
        if self._streaks[key] < pause.after:
            return []
        self._streaks.pop(key)
        return [PauseOrder(pause.scope, key[1], pause.why)]

    async def _pause(self, order: PauseOrder) -> None:
        paused = await self._thread(self._store.pause, [order])
        if paused:
            log.error("paused", scope=order.scope.value, why=order.why)
        await self._thread(self._permits.pause, order.scope, order.id)

    # -- threads ---------------------------------------------------------------------------------------

    def _open_batch(self, openings: Sequence[Opening]) -> list[bool]:
        lease = self._lease.id
        if lease is None:
            return [False] * len(openings)
        opened: Opened = self._store.open(openings, lease)
        return [o.attempt_id in opened.attempts for o in openings]

    def _settle_batch(self, settlements: Sequence[Settlement]) -> list[None]:
        self._store.settle(settlements)
        return [None] * len(settlements)

    def _give_back_batch(self, releases: Sequence[Release]) -> list[None]:
        lease = self._lease.newest
        if lease is not None:
            self._store.give_back(releases, lease)
        return [None] * len(releases)

    def _lead_ms(self, lane: Kind) -> float:
        """How long before its slot a permit must be had: the time that a write-ahead takes lately."""
        return min(MAX_LEAD_MS, max(5.0, self._openers[lane].usual_seconds * 1000))

    async def _thread(self, work: Callable[..., object], *args: object):  # type: ignore[no-untyped-def]
        return await self._loop.run_in_executor(self._chores, work, *args)

    # -- chores ----------------------------------------------------------------------------------------

    async def _rescue_loop(self) -> None:
        wait_ms = self._settings.policy.resend_wait_ms
        while True:
            try:
                await self._thread(self._bury_the_dead)
                done = await self._thread(self._store.rescue, wait_ms)
                if done.given_back or done.unknown:
                    log.warning("rescued", given_back=len(done.given_back), unknown=len(done.unknown))
                await self._give_back_strays()
                await self._heal_pauses()
            except Exception as error:  # noqa: BLE001 - tried again soon
                log.warning("rescue_failed", error=type(error).__name__)
            await asyncio.sleep(self._settings.rescue_seconds)

    async def _give_back_strays(self) -> None:
        """What is claimed under our lease and not in our hands: a claim's COMMIT took place after we had given it up.

        Nobody else may touch it as long as we live. Twice seen, since a claim may be under way while we look.
        """
        lease = self._lease.id
        if lease is None:
            return
        strays = await self._thread(self._store.claimed_under, lease) - self._hands.keys()
        twice, self._strays = strays & self._strays, strays
        if twice:
            log.warning("strays_given_back", count=len(twice))
            await self._thread(self._store.give_back, [Release(id, 0, None, None) for id in twice], lease)

    def _bury_the_dead(self) -> None:
        """What dead workers of this machine held is free at once: nobody waits for their leases to lapse."""
        for flight, path in self._recorder.dead():
            done = self._store.bury(flight, self._settings.policy.resend_wait_ms)
            bury(path)
            log.warning(
                "neighbour_buried",
                given_back=len(done.given_back),
                unknown=len(done.unknown),
                quarantined=done.quarantined,
                rendering=flight.rendering,
            )

    async def _heal_pauses(self) -> None:
        """Lift pause flags that the ledger no longer has: somebody resumed while Redis could not be reached.

        Flags are read first: whoever pauses writes the ledger before the flag, so no flag is lifted too early.
        """
        flags = await self._thread(self._permits.paused)
        if not flags:
            return
        pauses = await self._thread(self._store.pauses)
        stale: list[tuple[Scope, str]] = [
            (flag.scope, flag.id)
            for flag in flags
            if (flag.scope is Scope.CAMPAIGN and flag.id not in pauses.campaigns)
            or (flag.scope is Scope.ACCOUNT and flag.id not in pauses.accounts)
        ]
        # Of senders the limiter only knows hashes.
        if sum(flag.scope is Scope.SENDER for flag in flags) > len(pauses.senders):
            running = await self._thread(self._store.running_senders)
            stale += [(Scope.SENDER, phone) for phone in running]
        for scope, id in stale:
            await self._thread(self._permits.resume, scope, id)

    def _restore_limits(self) -> None:
        """The limiter lost its memory: give it back what the ledger knows."""
        if self._restoring is None or self._restoring.done():
            self._restoring = asyncio.create_task(self._restore_now())

    async def _restore_now(self) -> None:
        try:
            pauses = await self._thread(self._store.pauses)
            recent = await self._thread(self._store.recent_recipients)
            flags = [
                *((Scope.CAMPAIGN, id) for id in pauses.campaigns),
                *((Scope.SENDER, id) for id in pauses.senders),
                *((Scope.ACCOUNT, id) for id in pauses.accounts),
            ]
            await self._thread(lambda: self._permits.restore(pauses=flags, recent=recent))
            log.info("limits_restored", pauses=len(flags), senders=len(recent))
        except Exception as error:  # noqa: BLE001 - asked for again with the next cold answer
            log.warning("limits_not_restored", error=type(error).__name__)
            await asyncio.sleep(0.5)

    async def _replay_spool(self) -> None:
        for path in self._spool.files():
            settlements = self._spool.load(path)
            if settlements:
                await self._thread(self._store.settle, settlements)
            self._spool.done(path)
            log.warning("spool_replayed", file=path.name, results=len(settlements))


def _where(error: Exception) -> list[str]:
    """Where it was raised, without its text: nobody knows what that holds."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return [f"{frame.name}:{frame.lineno}" for frame in frames]
