"""A message's way through a worker, stage by stage: render, permit, write-ahead, slot, POST, decision, record.

Read ``Deliverer`` from ``begin`` on: each stage ends by handing the message to the next one. Permits, write-aheads and
results travel in batches, and what follows one of them is a plain call for each message of the batch. Only a POST is a
task of its own: a task a stage costs as much as the stage.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from bulksend.clock import steady_seconds, wait_until
from bulksend.failpoints import reach
from bulksend.gateway import SendOrder, StartSignal
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.ids import new_id
from bulksend.ledger.sending import Claimed, Opening, Release, Settlement
from bulksend.limits import Ask
from bulksend.messaging import (
    Accepted,
    Answer,
    AttemptedMessage,
    Evidence,
    Kind,
    MessageType,
    NotSent,
    Policy,
    Remedy,
    Retry,
    Status,
    Unknown,
    decide,
)
from worker.delivery.batcher import Batcher
from worker.delivery.decision_effects import DecisionEffects
from worker.delivery.in_flight import Delivery, InFlightTable, Stage
from worker.delivery.timer_queue import TimerQueue
from worker.permits.permit_queue import PermitQueue
from worker.permits.sender_queue import Held, Slot
from worker.recovery.flight_recorder import FlightRecorder
from worker.session.campaign_cache import CampaignCache, CannotRender
from worker.session.lease import LeaseKeeper

log = structlog.get_logger(__name__)

Item = TypeVar("Item")

_AFTER_A_BUG_MS = 30_000
#: So long until what the ledger did not take is offered to it again.
_AGAIN_S = 0.5
#: Names of errands.
_GIVING_BACK, _AFTER_A_BUG = "giving back", "after a bug"


class Vendor(Protocol):
    """What a delivery needs of the vendor: never raises, whatever the network does."""

    async def send(self, order: SendOrder, start: StartSignal | None = None) -> Answer:
        """POST once, when ``start`` lets it."""
        ...

    def send_now(
        self, order: SendOrder, begin: Callable[[], bool], done: Callable[[Answer], None]
    ) -> asyncio.Future[Any] | None:
        """POST before this returns, where a connection is up and idle and ``begin`` says yes, right before the first
        byte; else None, and nothing was done."""
        ...

    def idle_connections(self) -> int:
        """How many POSTs could begin at once, over connections that are up; 0 where it cannot say."""
        ...

    def open_connections(self) -> int:
        """How many connections are up, in use or not; 0 where it cannot say."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@dataclass(slots=True)
class Tally:
    """What this worker has done since it started."""

    claimed: int = 0
    posted: int = 0
    accepted: int = 0
    given_back: int = 0
    stale_slots: int = 0


@dataclass(frozen=True, slots=True)
class Doers:
    """Who does what of a delivery."""

    hands: InFlightTable
    campaign_cache: CampaignCache
    desk: PermitQueue
    openers: Mapping[Kind, Batcher[Opening, bool]]
    vendor: Vendor
    settler: Batcher[Settlement, None]
    releaser: Batcher[Release, None]
    follower: DecisionEffects
    lease: LeaseKeeper
    recorder: FlightRecorder
    fail: Callable[[list[tuple[str, str]], str], Awaitable[None]]
    """End messages that can never be sent: (id, why) of each, and the lease."""


class Deliverer:
    """Takes messages through their stages, on one event loop. ``on_room`` is told the lane of each that is let go."""

    def __init__(
        self,
        doers: Doers,
        *,
        policy: Policy,
        tally: Tally,
        dice: Callable[[], float],
        on_room: Callable[[Kind], None],
    ) -> None:
        self._do = doers
        self.hands = doers.hands
        self._lease = doers.lease
        self._policy = policy
        self._tally = tally
        self._dice = dice
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._departures: TimerQueue[Delivery] = TimerQueue(self._depart_in_time)
        self._errands: set[asyncio.Task[None]] = set()
        self._has_finished = False

    # -- in hand -----------------------------------------------------------------------------------------

    def begin(self, message: Claimed, lease: str, asked: float) -> None:
        """A message was claimed under ``lease``; ``asked`` is when its claim was asked for (``steady_seconds``)."""
        deadline = None if message.left_ms is None else asked + message.left_ms / 1000
        delivery = Delivery(Opening(message, new_id()), lease, deadline, self._on_permit)
        self.hands.take(delivery)
        try:
            content = self._render(message)
            type = MessageType(message.type)
            delivery.order = SendOrder(message.sender, message.recipient, type, content, message.kind)
            self._do.desk.join(self._ask_of(message), delivery)
        except CannotRender as error:
            self._errand(delivery, self._fail(delivery, f"cannot be rendered: {error}"))
        except Exception as error:  # noqa: BLE001 - see _broke
            self._broke(delivery, error)

    def forget(self) -> None:
        """Let go of all that nothing was written of: it belongs to others now, or is given back in one go."""
        for delivery in self.hands:
            if delivery.stage is Stage.WAITING:
                self._let_go(delivery)
        for errand in list(self._errands):
            if errand.get_name() == _GIVING_BACK:
                errand.cancel()

    async def finish(self, seconds: float) -> None:
        """Let go of what is not begun, wait for the rest so long at most, then leave it to the end of our lease.

        Results that the ledger has not taken until then are offered to it no more: they are in ``hands.unsettled``.
        """
        self.forget()
        await wait_until(self.hands.empty, self._loop.time() + seconds)
        self._has_finished = True
        self._departures.clear()
        tasks = [d.task for d in self.hands if d.task is not None] + list(self._errands)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        for delivery in self.hands:
            self.hands.let_go(delivery)

    def _let_go(self, delivery: Delivery) -> None:
        self._end_probe(delivery)
        self.hands.let_go(delivery)
        self._on_room(delivery.message.kind)

    def _render(self, message: Claimed) -> str:
        """The vendor's Content; on record as long as it takes, since it may be what kills us. Raises CannotRender."""
        self._do.recorder.begin_render(message.id)
        try:
            reach("rendering", message.id)
            return self._do.campaign_cache.render(message)
        finally:
            self._do.recorder.end_render()

    async def _fail(self, delivery: Delivery, why: str) -> None:
        id = delivery.message.id
        self.hands.unopened.discard(id)
        await self._do.fail([(id, why)], delivery.lease)
        self._let_go(delivery)

    # -- permit ------------------------------------------------------------------------------------------

    def _ask_of(self, message: Claimed, missed: Slot | None = None) -> Ask:
        cache = self._do.campaign_cache
        return Ask(
            kind=message.kind,
            sender=message.sender,
            campaign_id=message.campaign_id,
            recipient=message.recipient,
            sender_limits=cache.sender_limits(message.sender),
            campaign_rate=cache.campaign(message.campaign_id).rate,
            missed_ms=None if missed is None else missed.permit.slot_ms,
        )

    def _on_permit(self, delivery: Delivery, answer: Slot | Held) -> None:
        """It has its slot; or something longer holds it, and it goes back to the ledger."""
        message = delivery.message
        if delivery.stage is Stage.MISSED:
            self._on_exchange(delivery, answer)
            return
        if isinstance(answer, Held):
            release = Release(message.id, answer.until_ms or 0, answer.gate.value, answer.until_ms)
            self._errand(delivery, self._return(delivery, release), _GIVING_BACK)
            return
        try:
            delivery.slot = answer
            delivery.stage = Stage.OPENING
            self.hands.permitted(delivery)
            reach("permitted", message.id)
            self.hands.unopened.discard(message.id)
            self._open(delivery)
        except Exception as error:  # noqa: BLE001 - see _broke
            self._broke(delivery, error)

    async def _return(self, delivery: Delivery, release: Release) -> None:
        await self._give_back(release)
        self._let_go(delivery)

    async def _give_back(self, release: Release) -> None:
        """Into the ledger, however long that takes: what stays claimed waits for our end."""
        self._tally.given_back += 1
        await _put_surely(self._do.releaser, release, "not_given_back", release.id)
        self.hands.unopened.discard(release.id)

    # -- write-ahead -------------------------------------------------------------------------------------

    def _open(self, delivery: Delivery) -> None:
        if delivery.stage is Stage.OPENING:
            self._do.openers[delivery.message.kind].submit(delivery.opening, self._on_opened)

    def _on_opened(self, opening: Opening, opened: bool | Exception) -> None:
        """Committed as open, and may be POSTed; or it belongs to somebody else now; or the ledger is away."""
        delivery = self.hands.get(opening.message.id)
        if delivery is None or delivery.opening is not opening:
            return
        if isinstance(opened, Exception):
            # Nothing goes out without it: tried again while the lease holds.
            log.warning("not_opened", message=opening.message.id, error=type(opened).__name__)
            if self._lease.id == delivery.lease:
                self._loop.call_later(_AGAIN_S, self._open, delivery)
                return
            opened = False
        if not opened:
            self._let_go(delivery)
            return
        try:
            self._is_open(delivery)
        except Exception as error:  # noqa: BLE001 - see _broke
            self._broke(delivery, error)

    def _is_open(self, delivery: Delivery) -> None:
        delivery.stage = Stage.OPEN
        # With a connection for everybody ahead of it and one more, or one for each place, it begins at its slot.
        # Else it begins now: a connection is had before the slot, and may take its time.
        vendor = self._do.vendor
        has_line = vendor.open_connections() >= self.hands.places or vendor.idle_connections() > len(
            self._departures
        )
        if delivery.slot is not None and has_line:
            self._departures.add(delivery.slot.at, delivery)
        else:
            self._depart(delivery)

    # -- POST --------------------------------------------------------------------------------------------

    def _depart_in_time(self, delivery: Delivery) -> None:
        """Its slot has come, or passed: a miss costs no more than a place in the next call for slots."""
        if delivery.stage is not Stage.OPEN:
            return
        try:
            if not self._may_use(delivery):
                self._exchange(delivery)
            elif self._is_late(delivery):
                self._do.desk.overslept()
                self._exchange(delivery)
            elif not self.hands.has_place(delivery.message.kind):
                self._errand(delivery, self._exchange_at_a_place(delivery))
            elif not self._post_now(delivery):
                self._depart(delivery, was_ready=True)
        except Exception as error:  # noqa: BLE001 - see _broke
            if delivery.began_at is not None:
                self.ends(delivery)
            self._broke(delivery, error)

    def _is_late(self, delivery: Delivery) -> bool:
        assert delivery.slot is not None
        return delivery.slot.is_missed(self._loop.time())

    def _may_use(self, delivery: Delivery) -> bool:
        assert delivery.slot is not None
        return self._do.desk.may_use(delivery.slot)

    def _end_probe(self, delivery: Delivery) -> None:
        """Where it had a probe's permit, the limiter learns that it will not be used any more."""
        if delivery.slot is not None and delivery.slot.permit.probe:
            delivery.slot = replace(delivery.slot, permit=replace(delivery.slot.permit, probe=False))
            self._do.follower.probe_is_over()

    def _post_now(self, delivery: Delivery) -> bool:
        """POST over a connection that is up, without a task; False where there is none, or it is too late."""
        assert delivery.order is not None
        obstacle = self.last_look(delivery.lease, delivery.deadline)
        if obstacle is not None:
            self._answered(delivery, Answer(obstacle, Evidence()), 0.0)
            return True
        delivery.task = self._do.vendor.send_now(
            delivery.order, partial(self._begins_in_time, delivery), partial(self._replied, delivery)
        )
        return delivery.task is not None

    def _begins_in_time(self, delivery: Delivery) -> bool:
        """The very last look at the clock: whoever was kept from the processor since the one before is late."""
        if self._is_late(delivery) or not self._may_use(delivery):
            return False
        self.begins(delivery)
        return True

    def _replied(self, delivery: Delivery, answer: Answer) -> None:
        self.ends(delivery)
        answered_at = self._loop.time()
        self.hands.answers.note(answered_at)
        try:
            self._answered(delivery, answer, (answered_at - (delivery.began_at or answered_at)) * 1000)
        except Exception as error:  # noqa: BLE001 - see _broke
            self._broke(delivery, error)

    def _exchange(self, delivery: Delivery) -> None:
        self._tally.stale_slots += 1
        self._end_probe(delivery)
        delivery.stage = Stage.MISSED
        self._do.desk.join(self._ask_of(delivery.message, delivery.slot), delivery)

    async def _exchange_at_a_place(self, delivery: Delivery) -> None:
        """Slots are no use without a place: more were let ahead than were answered since."""
        await self.hands.wait_for_place(delivery.message.kind)
        if delivery.stage is Stage.OPEN:
            self._exchange(delivery)

    def _on_exchange(self, delivery: Delivery, answer: Slot | Held) -> None:
        try:
            if isinstance(answer, Held):
                self._answered(delivery, Answer(_held_back(answer), Evidence()), 0.0)
                return
            delivery.slot = answer
            self._is_open(delivery)
        except Exception as error:  # noqa: BLE001 - see _broke
            self._broke(delivery, error)

    def _depart(self, delivery: Delivery, *, was_ready: bool = False) -> None:
        if delivery.stage is Stage.OPEN:
            delivery.stage = Stage.POSTING
            delivery.task = self._loop.create_task(self._post(delivery, was_ready))

    async def _post(self, delivery: Delivery, was_ready: bool) -> None:
        departure = _Departure(self, delivery, was_ready)
        asked_at = self._loop.time()
        try:
            assert delivery.order is not None
            try:
                answer = await self._do.vendor.send(delivery.order, departure)
            finally:
                departure.end()
            if departure.obstacle is not None:
                answer = Answer(departure.obstacle, Evidence())
            answered_at = self._loop.time()
            self.hands.answers.note(answered_at)
            self._answered(delivery, answer, (answered_at - (delivery.began_at or asked_at)) * 1000)
        except Exception as error:  # noqa: BLE001 - see _broke
            self._broke(delivery, error)

    async def in_time(self, slot: Slot, was_ready: bool) -> bool:
        """Wait for a slot; False where it was missed, or an outage was noticed since it was given."""
        delay = slot.at - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        if not self._do.desk.may_use(slot):
            return False
        missed = slot.is_missed(self._loop.time())
        if missed and (was_ready or delay > 0):
            self._do.desk.overslept()
        return not missed

    async def exchange(self, delivery: Delivery, missed: Slot) -> Slot | Held:
        """Another slot for one that was missed."""
        self._tally.stale_slots += 1
        self._end_probe(delivery)
        answer = await self._do.desk.acquire(self._ask_of(delivery.message, missed))
        if isinstance(answer, Slot):
            delivery.slot = answer
        return answer

    def begins(self, delivery: Delivery) -> None:
        """A POST begins: from here on a kill leaves it in doubt."""
        delivery.stage = Stage.POSTING
        delivery.began_at = self._loop.time()
        self._tally.posted += 1
        self.hands.begins(delivery.message.kind)
        self._do.recorder.begin_post(delivery.opening.attempt_id)

    def ends(self, delivery: Delivery) -> None:
        """A POST is over, however it went."""
        self.hands.ends(delivery.message.kind)

    def last_look(self, lease: str, deadline: float | None) -> NotSent | None:
        """What still forbids the POST at the instant before it."""
        if self._lease.id != lease:
            return NotSent("the worker's lease was lost before the POST", Remedy(retry=Retry.FREE))
        if deadline is not None and steady_seconds() >= deadline:
            return NotSent("its time to live passed before the POST", Remedy(retry=Retry.BACKOFF))
        return None

    # -- what follows ------------------------------------------------------------------------------------

    def _answered(self, delivery: Delivery, answer: Answer, latency_ms: float) -> None:
        message = delivery.message
        subject = AttemptedMessage(
            kind=message.kind,
            tries=message.tries,
            waits=message.waits,
            expires_at_ms=message.expires_at,
            on_unknown=self._do.campaign_cache.campaign(message.campaign_id).on_unknown,
        )
        decision = decide(answer.outcome, subject, self._policy, self._lease.now_ms(), self._dice())
        self._tally.accepted += isinstance(answer.outcome, Accepted)
        attempt_id = delivery.opening.attempt_id
        settlement = Settlement(
            message=message.id,
            attempt_id=attempt_id,
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
        self.hands.unsettled[attempt_id] = settlement
        delivery.stage = Stage.ANSWERED
        self._end_probe(delivery)
        pauses = self._do.follower.note(message, decision)
        if not pauses and decision.suppress is None:
            self._settle(settlement)
            return

        async def follow() -> None:
            # Pauses first: what comes back to the queue because of one must find it in force.
            await self._do.follower.act(message, answer, decision, pauses)
            self._settle(settlement)

        self._errand(delivery, follow())

    def _settle(self, settlement: Settlement) -> None:
        if not self._has_finished:
            self._do.settler.submit(settlement, self._on_settled)

    def _on_settled(self, settlement: Settlement, result: Exception | None) -> None:
        """The ledger has it; or is away, and is offered it again, however long that takes. A stop spools the rest."""
        if isinstance(result, Exception):
            log.warning("not_settled", message=settlement.message, error=type(result).__name__)
            self._loop.call_later(_AGAIN_S, self._settle, settlement)
            return
        self._is_settled(settlement)
        delivery = self.hands.get(settlement.message)
        if delivery is not None and delivery.opening.attempt_id == settlement.attempt_id:
            self._let_go(delivery)

    def _is_settled(self, settlement: Settlement) -> None:
        self.hands.settled(settlement.attempt_id)
        self._do.recorder.end_post(settlement.attempt_id)

    # -- bugs --------------------------------------------------------------------------------------------

    def _broke(self, delivery: Delivery, error: Exception) -> None:
        """A bug must not hold a message as long as we live."""
        log.error("delivery_broke", message=delivery.message.id, error=log_text(error), at=_where(error))
        if delivery.stage is not Stage.OVER:
            delivery.stage = Stage.ANSWERED
            self._errand(delivery, self._after_a_bug(delivery), _AFTER_A_BUG)

    async def _after_a_bug(self, delivery: Delivery) -> None:
        """What was opened may have gone out, unless its result is known; what was only claimed is given back."""
        message, attempt_id = delivery.message, delivery.opening.attempt_id
        why = "the worker failed while it was being sent; its log says where"
        unknown = Settlement(
            message=message.id,
            attempt_id=attempt_id,
            outcome=Unknown(why),
            evidence=Evidence(error="a bug"),
            latency_ms=None,
            status=Status.UNKNOWN,
            due_at=None,
            tries=message.tries,
            waits=message.waits,
            error=why,
        )
        settlement = self.hands.unsettled.get(attempt_id, unknown)
        await _put_surely(self._do.settler, settlement, "not_settled", message.id)
        self._is_settled(settlement)
        # Not at once: what broke us breaks us again.
        await self._give_back(Release(message.id, self._lease.now_ms() + _AFTER_A_BUG_MS, None, None))
        self._let_go(delivery)

    def _errand(self, delivery: Delivery, work: Coroutine[Any, Any, None], name: str = "errand") -> None:
        """Something for one message that takes a while; what is raised in it is a bug like any other."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - see _broke
                if name != _AFTER_A_BUG:
                    self._broke(delivery, error)
                    return
                log.error("message_not_let_go", message=delivery.message.id, error=log_text(error))
                self._let_go(delivery)

        task = asyncio.create_task(run(), name=name)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


@dataclass(slots=True)
class _Departure:
    """What holds a POST back until its slot, once its connection is up, and takes the last look before it."""

    deliverer: Deliverer
    delivery: Delivery
    was_ready: bool
    obstacle: NotSent | None = None

    async def wait(self) -> bool:
        """Wait for the slot, then look once more; says whether the POST may begin."""
        self.obstacle = await self._reach_slot() or self.deliverer.last_look(
            self.delivery.lease, self.delivery.deadline
        )
        return self.obstacle is None

    def begin(self) -> None:
        """See Deliverer.begins."""
        self.deliverer.begins(self.delivery)

    def end(self) -> None:
        """The POST is over, or never began."""
        if self.delivery.began_at is not None:
            self.deliverer.ends(self.delivery)

    async def _reach_slot(self) -> NotSent | None:
        """A slot that was missed is exchanged for another. Says what came up meanwhile."""
        slot, was_ready = self.delivery.slot, self.was_ready
        assert slot is not None
        hands, lane = self.deliverer.hands, self.delivery.message.kind
        while not (await self.deliverer.in_time(slot, was_ready) and hands.has_place(lane)):
            await hands.wait_for_place(lane)
            answer = await self.deliverer.exchange(self.delivery, slot)
            if isinstance(answer, Held):
                return _held_back(answer)
            slot, was_ready = answer, False
        return None


def _held_back(held: Held) -> NotSent:
    return NotSent(f"held by {held.gate.value} before the POST", Remedy(retry=Retry.FREE))


async def _put_surely(batcher: Batcher[Item, None], item: Item, event: str, message: str) -> None:
    """Offer it until it is taken; ``event`` is logged each time that it is not: the ledger is away."""
    while True:
        try:
            await batcher.put(item)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning(event, message=message, error=log_text(error))
            await asyncio.sleep(_AGAIN_S)
        else:
            return


def _where(error: Exception) -> list[str]:
    """Where it was raised, without its text: nobody knows what that holds."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return [f"{frame.name}:{frame.lineno}" for frame in frames]
