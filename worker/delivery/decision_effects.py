"""What an answer asks for beyond its own message: slower, a pause, a suppression, the breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.sending import Claimed
from bulksend.limits import Permits
from bulksend.messaging import Answer, Decision, Scope, Status
from worker.session.store import PauseOrder, Store, SuppressOrder

log = structlog.get_logger(__name__)

#: So long are reports to the limiter gathered: of an outage, as each further POST may leave a message in doubt; what
#: asks for slower; and that all is well.
_OUTAGE_S, _SLOW_S, _GOOD_NEWS_S = 0.0, 0.020, 0.100


class DecisionEffects:
    """Acts on decisions. ``in_thread`` runs blocking work away from the event loop; ``on_report`` is told when the
    breaker opened, None where it is closed."""

    def __init__(
        self,
        store: Store,
        permits: Permits,
        in_thread: Callable[..., Awaitable[Any]],
        on_report: Callable[[float | None], None],
    ) -> None:
        self._store = store
        self._permits = permits
        self._in_thread = in_thread
        self._on_report = on_report
        self._streaks: dict[tuple[Scope, str], int] = {}
        self._slow: set[tuple[Scope, str]] = set()
        self._outages = 0
        self._successes = 0
        self._probe_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._reporting: asyncio.Task[None] | None = None

    def note(self, message: Claimed, decision: Decision) -> list[PauseOrder]:
        """Take note of a decision; the pauses that are due now: ``act`` on them before its message is settled."""
        if decision.slow is Scope.ACCOUNT:
            self._slow.add((Scope.ACCOUNT, self._store.account))
        elif decision.slow is not None:
            self._slow.add((Scope.SENDER, message.sender))
        if decision.outage is True:
            self._outages += 1
            self._report_within(_OUTAGE_S)
        elif decision.outage is False:
            self._successes += 1
            self._outages = 0  # in a row: those before do not count any more
        if decision.slow is not None:
            self._report_within(_SLOW_S)
        elif self._timer is None:
            self._report_within(_GOOD_NEWS_S)
        if decision.alert:
            log.error("vendor_alert", message=message.id, campaign=message.campaign_id, why=decision.error)
        return self._pauses_due(message, decision)

    async def act(
        self, message: Claimed, answer: Answer, decision: Decision, pauses: list[PauseOrder]
    ) -> None:
        """Pause and suppress. Whatever fails in it, the message is settled in any case."""
        try:
            for order in pauses:
                await self._pause(order)
            if decision.suppress is not None:
                why = decision.error or "asked for by the vendor"
                wanted = SuppressOrder(
                    message.recipient, decision.suppress, answer.evidence.whatsapp_code, why
                )
                await self._in_thread(self._store.suppress, [wanted])
        except Exception as error:  # noqa: BLE001 - its own message is settled in any case
            log.error("not_followed", message=message.id, error=log_text(error))

    def probe_is_over(self) -> None:
        """The probe of an outage was answered, or is not sent after all: say so before another may go."""
        self._probe_over = True
        self._report_within(_OUTAGE_S)

    def _report_within(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._begin_report)

    def _begin_report(self) -> None:
        self._timer = None
        self._reporting = asyncio.create_task(self._report())

    async def _report(self) -> None:
        slow, self._slow = sorted(self._slow), set()
        outages, successes, probe_over = self._outages, self._successes, self._probe_over
        self._outages = self._successes = 0
        self._probe_over = False
        if not (slow or outages or successes or probe_over):
            return
        try:
            opened_ms = await self._in_thread(
                lambda: self._permits.report(
                    slow=slow, outages=outages, successes=successes, probe_over=probe_over
                )
            )
            self._on_report(opened_ms)
        except Exception as error:  # noqa: BLE001 - only advice to the limiter
            log.warning("not_reported", error=log_text(error))

    def _pauses_due(self, message: Claimed, decision: Decision) -> list[PauseOrder]:
        """A pause at once, or once so many in a row ended alike."""
        pause = decision.pause
        if pause is None and not self._streaks:
            return []
        ids = {
            Scope.CAMPAIGN: message.campaign_id,
            Scope.SENDER: message.sender,
            Scope.ACCOUNT: self._store.account,
        }
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
        paused = await self._in_thread(self._store.pause, [order])
        if paused:
            log.error("paused", scope=order.scope.value, why=order.why)
        await self._in_thread(self._permits.pause, order.scope, order.id)
