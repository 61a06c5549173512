"""What a decision asks for beyond its own message: a lower rate, a pause, a suppression, the circuit breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from bulksend.ledger.claim import Claimed
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.paces import PaceChange
from bulksend.limits import Permits
from bulksend.messaging import Answer, Decision, Scope, Status
from worker.session.store import PauseOrder, Store

log = structlog.get_logger(__name__)

#: Reports to the limiter are collected for this long. Of an outage not at all: each further POST may become unknown.
_OUTAGE_S, _SLOW_S, _SUCCESS_S = 0.0, 0.020, 0.100


class DecisionEffects:
    """Acts on decisions.

    ``in_thread`` runs calls of the ledger on a thread. ``in_limiter_thread`` runs calls of the limiter, on a thread
    that no slow ledger holds: until an outage is reported, further POSTs go into it. ``on_report`` gets the instant at
    which the circuit breaker opened, or None while it is closed.
    """

    def __init__(
        self,
        store: Store,
        permits: Permits,
        in_thread: Callable[..., Awaitable[Any]],
        in_limiter_thread: Callable[..., Awaitable[Any]],
        on_report: Callable[[float | None], None],
    ) -> None:
        self._store = store
        self._permits = permits
        self._in_thread = in_thread
        self._in_limiter_thread = in_limiter_thread
        self._on_report = on_report
        self._streaks: dict[tuple[Scope, str], int] = {}
        self._slow: dict[tuple[Scope, str], str] = {}
        """Who is to send slower, and why."""
        self._pair_waits: list[PaceChange] = []
        self._outages = 0
        self._successes = 0
        self._probe_ended = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._reporting: asyncio.Task[None] | None = None

    def note(self, message: Claimed, decision: Decision) -> list[PauseOrder]:
        """Count a decision; returns the pauses that are due now. ``apply`` them before the message is settled."""
        if decision.slow is Scope.ACCOUNT:
            self._slow[Scope.ACCOUNT, self._store.account] = decision.error
        elif decision.slow is not None:
            self._slow[Scope.SENDER, message.sender] = decision.error
        if decision.pair_wait_ms is not None:
            self._pair_waits.append(PaceChange.of_pair(message.id, decision.pair_wait_ms, decision.error))
        if decision.outage is True:
            self._outages += 1
            self._report_within(_OUTAGE_S)
        elif decision.outage is False:
            self._successes += 1
            self._outages = 0  # only outages in a row count
        if decision.slow is not None:
            self._report_within(_SLOW_S)
        elif self._timer is None:
            self._report_within(_SUCCESS_S)
        if decision.alert:
            log.error("vendor_alert", message=message.id, campaign=message.campaign_id, why=decision.error)
        return self._pauses_due(message, decision)

    async def apply(
        self, message: Claimed, answer: Answer, decision: Decision, pauses: list[PauseOrder]
    ) -> None:
        """Pause and suppress. A failure is logged: the message is settled all the same."""
        try:
            for pause in pauses:
                await self._pause(pause)
            if decision.suppress is not None:
                code, why = answer.evidence.whatsapp_code, decision.error or "asked for by the vendor"
                await self._in_thread(self._store.suppress, message.recipient, decision.suppress, code, why)
        except Exception as error:  # noqa: BLE001 - the message is settled all the same
            log.error("decision_effects_failed", message=message.id, error=log_text(error))

    def end_probe(self) -> None:
        """The probe of an outage was answered, or will not be sent: the limiter may permit another."""
        self._probe_ended = True
        self._report_within(_OUTAGE_S)

    def _report_within(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = loop.call_at(at, self._start_report), at

    def _start_report(self) -> None:
        self._timer = None
        self._reporting = asyncio.create_task(self._report())

    async def _report(self) -> None:
        slow, self._slow = self._slow, {}
        changes, self._pair_waits = self._pair_waits, []
        outages, successes, probe_ended = self._outages, self._successes, self._probe_ended
        self._outages = self._successes = 0
        self._probe_ended = False
        if not (slow or changes or outages or successes or probe_ended):
            return
        try:
            reported = await self._in_limiter_thread(
                lambda: self._permits.report(
                    slow=sorted(slow), outages=outages, successes=successes, probe_over=probe_ended
                )
            )
            self._on_report(reported.opened_ms)
            changes += [
                PaceChange.of_rate(each.scope, each.id, each.before, each.after, slow[each.scope, each.id])
                for each in reported.slowed
            ]
        except Exception as error:  # noqa: BLE001 - the limiter decides without this report
            log.warning("not_reported", error=log_text(error))
        if changes:
            await self._record(changes)

    async def _record(self, changes: list[PaceChange]) -> None:
        """Put changes of a pace on record. What the ledger does not take is in the log only."""
        try:
            await self._in_thread(self._store.record_paces, changes)
        except Exception as error:  # noqa: BLE001 - the slow-down is in force all the same
            log.warning("paces_not_recorded", count=len(changes), error=log_text(error))

    def _pauses_due(self, message: Claimed, decision: Decision) -> list[PauseOrder]:
        """A pause is due when ``Pause.after`` decisions in a row asked for it."""
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
        if await self._in_thread(self._store.pause, order):
            log.error("paused", scope=order.scope.value, why=order.why)
        try:
            await self._in_limiter_thread(self._permits.pause, order.scope, order.id)
        except Exception as error:  # noqa: BLE001 - the ledger decides, and its pauses are flagged by match_pauses
            log.warning("pause_flag_not_set", scope=order.scope.value, error=log_text(error))
