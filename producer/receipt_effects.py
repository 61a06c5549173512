"""What the codes of failed receipts ask for, by the table of the vendor's replies: suppressions, pauses, slow-downs.

The vendor took these messages, so none of them is sent again. A receipt acts once, also when it comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from sqlalchemy import Connection

from bulksend.gateway import Family, outcome_of
from bulksend.gateway.receipts import whatsapp_code_of
from bulksend.ledger import counters, failed_receipts, operator_log, remedies, suppressions
from bulksend.ledger.clock import read_clock
from bulksend.ledger.failed_receipts import FailedReceipt
from bulksend.ledger.paces import PaceChange
from bulksend.limits import Reported
from bulksend.messaging.outcome import Accepted, Remedy, Scope, Suppress
from bulksend.messaging.states import Status

log = structlog.get_logger(__name__)

ACTOR = "receipts"
AT_ONCE = 300
#: An older receipt pauses nothing: what it reports may be mended since.
FRESH_MS = 3_600_000
#: An older receipt slows nothing down: the rate that it complains of is long over.
SLOW_FRESH_MS = 300_000


class Reports(Protocol):
    """The part of the limiter that is told whom the vendor wants slower, see ``bulksend.limits.Permits``."""

    def report(self, *, slow: Iterable[tuple[Scope, str]]) -> Reported:
        """Slow down these senders, or the account. Raises redis.RedisError."""
        ...


#: Opens the limiter; may raise LedgerUnreachable.
OpenPermits = Callable[[], Reports]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one receipt asks for."""

    receipt: FailedReceipt
    code: int
    remedy: Remedy
    why: str


class ReceiptEffects:
    """Acts on failed receipts, a bounded number in each call. ``account`` is the key of the account's pauses."""

    def __init__(
        self,
        account: str,
        permits: OpenPermits | None = None,
        record_paces: Callable[[Sequence[PaceChange]], object] = lambda changes: None,
    ) -> None:
        self._account = account
        self._permits = permits
        self._record_paces = record_paces
        self._slow: dict[tuple[Scope, str], str] = {}
        """Senders and account that the limiter has not yet been told about, and why."""
        self._slowed: list[PaceChange] = []
        """What became slower and is not on record yet."""
        self._in_a_row: dict[str, int] = {}
        """Failures that may pause their campaign, by its id, since the last pause."""

    def act(self, tx: Connection) -> dict[str, int]:
        """Act on the oldest failed receipts that nothing was done about; returns what was done."""
        found = failed_receipts.take(tx, AT_ONCE)
        asked = [each for receipt in found if (each := _asked_by(receipt)) is not None]
        suppressed = self._suppress(tx, asked)
        paused = self._pause(tx, asked)
        self._collect_slow(tx, asked)
        return {"failed_receipts": len(found), "suppressed": suppressed, "paused": paused}

    def slow_down(self) -> dict[str, int]:
        """Tell the limiter who must send slower, and put that on record.

        What Redis or the ledger does not take is kept for the next call. Raises redis.RedisError, LedgerUnreachable.
        """
        told = {} if self._permits is None else dict(self._slow)
        if told:
            self._tell(told)
        if self._slowed:
            self._record_paces(self._slowed)
            self._slowed = []
        return {"slowed": len(told)}

    def _tell(self, told: Mapping[tuple[Scope, str], str]) -> None:
        assert self._permits is not None
        reported = self._permits().report(slow=sorted(told))
        for each in told:
            del self._slow[each]
        self._slowed += [
            PaceChange.of_rate(each.scope, each.id, each.before, each.after, told[each.scope, each.id])
            for each in reported.slowed
        ]

    def _collect_slow(self, tx: Connection, asked: list[_Asked]) -> None:
        wanted = [each for each in asked if each.remedy.slow is not None]
        fresh = read_clock(tx) - SLOW_FRESH_MS if wanted else 0
        for each in wanted:
            if each.receipt.at > fresh and (scope := each.remedy.slow) is not None:
                self._slow[scope, self._id_of(scope, each.receipt)] = f"receipt: {each.why}"

    def _suppress(self, tx: Connection, asked: list[_Asked]) -> int:
        wanted = [each for each in asked if each.remedy.suppress is not None]
        lifted = suppressions.lifted_at(tx, {each.receipt.recipient for each in wanted})
        same: dict[tuple[Suppress, int, str], dict[str, int | None]] = {}
        for each in sorted(wanted, key=lambda each: each.receipt.at):
            recipient, at = each.receipt.recipient, each.receipt.at
            # A person has resumed, or was allowed again, since this message was sent.
            if each.remedy.suppress is not None and at > lifted[recipient]:
                same.setdefault((each.remedy.suppress, each.code, each.why), {})[recipient] = at
        return sum(
            remedies.suppress(tx, people, suppress, code=code, why=why, actor=ACTOR)
            for (suppress, code, why), people in same.items()
        )

    def _pause(self, tx: Connection, asked: list[_Asked]) -> int:
        """One pause for each campaign, sender and account that a receipt asks one for."""
        wanted: dict[tuple[Scope, str], _Asked] = {}
        fresh = read_clock(tx) - FRESH_MS if asked else 0
        for each in asked:
            if each.remedy.pause is not None and each.receipt.at > fresh:
                scope, id = each.remedy.pause, self._id_of(each.remedy.pause, each.receipt)
                if each.remedy.pause_after <= 1 or self._fails_in_a_row(tx, id, each.remedy.pause_after):
                    wanted.setdefault((scope, id), each)
        paused = 0
        for (scope, id), each in wanted.items():
            # A person has resumed it since this message was sent.
            if each.receipt.at <= operator_log.last(tx, scope.value, id, "resume"):
                continue
            if remedies.pause(tx, scope, id, why=f"receipt: {each.why}", actor=ACTOR):
                log.error("paused", scope=scope.value, why=each.why)
                paused += 1
        return paused

    def _id_of(self, scope: Scope, receipt: FailedReceipt) -> str:
        if scope is Scope.CAMPAIGN:
            return receipt.campaign_id
        return receipt.sender if scope is Scope.SENDER else self._account

    def _fails_in_a_row(self, tx: Connection, campaign: str, most: int) -> bool:
        """Whether this failure is the last of ``most`` in a campaign of which more fails than arrives."""
        self._in_a_row[campaign] = self._in_a_row.get(campaign, 0) + 1
        if self._in_a_row[campaign] < most:
            return False
        del self._in_a_row[campaign]
        statuses = counters.of(tx, [campaign])[campaign].statuses
        arrived = statuses.get(Status.DELIVERED.value, 0) + statuses.get(Status.READ.value, 0)
        return statuses.get(Status.FAILED.value, 0) > arrived


def _asked_by(receipt: FailedReceipt) -> _Asked | None:
    code = whatsapp_code_of(receipt.code)
    if code is None:
        return None
    outcome = outcome_of(Family.WHATSAPP, code)
    if isinstance(outcome, Accepted):
        return None
    if outcome.remedy.alert:
        log.error("vendor_alert", message=receipt.message, campaign=receipt.campaign_id, why=outcome.why)
    return _Asked(receipt, code, outcome.remedy, outcome.why)
