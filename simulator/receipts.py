"""Which status callbacks follow a message, and when. Pure: times and dice are arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from simulator.latency import draw
from simulator.receipt_shapes import Receipt, Sent
from simulator.settings import ReceiptSettings


@dataclass(frozen=True, slots=True)
class ScheduledReceipt:
    """A receipt, and how many seconds after the acceptance it is POSTed."""

    seconds: float
    receipt: Receipt


def plan_receipts(sent: Sent, settings: ReceiptSettings, dice: Random) -> list[ScheduledReceipt]:
    """All receipts of one message, by the time of their POST."""
    statuses = _statuses(sent, settings, dice)
    if settings.alias_share and dice.random() < settings.alias_share:
        statuses = [ScheduledReceipt(due.seconds, replace(due.receipt, by_alias=True)) for due in statuses]
    if dice.random() < settings.out_of_order_share:
        # Only the POSTs are reversed: each status keeps the time at which it happened.
        instants = sorted(due.seconds for due in statuses)
        statuses = [
            ScheduledReceipt(when, due.receipt)
            for when, due in zip(instants, reversed(statuses), strict=True)
        ]
    twice = [due for due in statuses if dice.random() < settings.duplicate_share]
    return sorted(statuses + twice, key=lambda due: due.seconds)


def _statuses(sent: Sent, settings: ReceiptSettings, dice: Random) -> list[ScheduledReceipt]:
    """sent, then failed; or sent, maybe delivered, maybe read; none before the previous one."""
    sent_after = draw(settings.sent, dice)
    statuses = [_due(sent, "sent", sent_after)]
    later = max(sent_after, draw(settings.delivered, dice))
    if dice.random() < settings.failed_share:
        statuses.append(_due(sent, "failed", later, settings.failed_code, settings.failed_title))
        return statuses
    if dice.random() >= settings.delivered_share:
        return statuses
    statuses.append(_due(sent, "delivered", later))
    if dice.random() < settings.read_share:
        statuses.append(_due(sent, "read", max(later, draw(settings.read, dice))))
    return statuses


def _due(
    sent: Sent, status: str, seconds: float, code: int | None = None, title: str = ""
) -> ScheduledReceipt:
    return ScheduledReceipt(seconds, Receipt(sent, status, int(sent.at_ms + seconds * 1000), code, title))
