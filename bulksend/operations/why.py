"""Why a message waits: the gate that holds it, and the earliest instant it may be sent, by ledger and limiter."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping

from bulksend.ledger import campaigns, leases, messages, pauses, progress, senders
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.endings import NOT_SENT_AGAIN
from bulksend.limits import Ask, Gate, SenderLimits
from bulksend.messaging import Kind, Status
from bulksend.messaging.states import ENDED, SENT
from bulksend.messaging.units import NEVER_MS, counted, format_duration, format_in_zone, format_schedule
from bulksend.operations.json_shape import to_json

if TYPE_CHECKING:
    from bulksend.limits import RedisPermits


#: Messages of the campaign that are sent before are counted up to this number.
AHEAD_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class Holding:
    """One gate: its name, a sentence, and the earliest instant (ms) it lets go; None: when an operator acts."""

    gate: str
    why: str
    until: int | None


@dataclass(frozen=True, slots=True)
class Why:
    """The gate that holds a message longest, and the other gates that hold it."""

    id: str
    status: str
    gate: str | None
    why: str
    earliest: int | None
    also: list[Holding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The answer of ``messages why``."""
        return {**to_json(self), "also": [to_json(holding) for holding in self.also]}


_ENDINGS = {
    Status.ACCEPTED: "nothing holds it: the vendor accepted it; receipts report its delivery",
    Status.DELIVERED: "nothing holds it: it was delivered",
    Status.READ: "nothing holds it: it was read",
    Status.FAILED: "it failed and is not tried again",
    Status.EXPIRED: "its time to live passed before it could be sent",
    Status.SUPPRESSED: "its recipient must not get this kind of message",
    Status.CANCELLED: "its campaign was cancelled",
    Status.SUPERSEDED: "a newer code for the same person and purpose was sent in its place",
    Status.UNKNOWN: "it may have gone out; a receipt settles it, or a person with `bulksend messages resolve`",
}


def explain(
    database: Database,
    permits: RedisPermits | None,
    id: str,
    *,
    account: str,
    default_rate: float,
    timezone: str | None = None,
    silent: str = "",
) -> Why:
    """Which gate holds the message. Its sentences show times in the campaign's zone, else in ``timezone``, else UTC.

    ``silent`` is the reason why Redis cannot be asked; without Redis nothing is sent.

    Raises MessageNotFound.
    """
    with database.read() as tx:
        row = messages.get(tx, id)
        status = Status(row["status"])
        if status in ENDED:
            return Why(id, status.value, None, _ending(status, row["error"]), None)
        now = read_clock(tx)
        campaign = campaigns.get(tx, row["campaign_id"])
        sender = senders.by_phones(tx, [row["sender"]]).get(row["sender"])
        quota = senders.quota_in_force(tx)
        holding = _by_ledger(tx, row, campaign, sender, account, now, campaign.timezone or timezone or "UTC")
        ahead = messages.count_ahead(tx, row, AHEAD_COUNTED)
        workers = leases.alive(tx)
        replies = progress.recent_replies(tx)
    limits = SenderLimits(rate=sender.rate if sender else default_rate, quota=quota.limit)
    if silent:
        holding.append(Holding("redis", silent, None))
    if permits is not None:
        holding += _by_limiter(permits, row, campaign, limits, {h.gate for h in holding})
        holding = _with_pace(holding, permits, row["sender"])
    # The vendor's own replies, which may blame the request and not the vendor.
    holding = [
        replace(h, why=h.why.replace("{}", replies, 1)) if h.gate == Gate.OUTAGE.value else h for h in holding
    ]
    if not holding:
        holding = [_its_turn(row, ahead, limits, campaign, workers, now)]
    holding.sort(key=lambda h: (h.until is None, h.until or 0), reverse=True)
    first = holding[0]
    return Why(id, status.value, first.gate, first.why, first.until, holding[1:])


def _ending(status: Status, error: str | None) -> str:
    """How it ended. The ledger's own sentence about that is not repeated."""
    told = _ENDINGS[status]
    if not error:
        return told
    if status is Status.FAILED or status in SENT:
        return f"{told}: {error}"
    if status is Status.UNKNOWN:
        return f"{told}; its error: {error.removeprefix(NOT_SENT_AGAIN)}"
    return error


def _by_ledger(
    tx: Connection,
    row: RowMapping,
    campaign: campaigns.Campaign,
    sender: senders.Sender | None,
    account: str,
    now: int,
    zone: str,
) -> list[Holding]:
    pause_of_sender = (None, None) if sender is None else (sender.paused_at, sender.pause_why)
    paused = (
        (Gate.CAMPAIGN_PAUSED, f"campaign {campaign.name}", campaign.paused_at, campaign.pause_why),
        (Gate.SENDER_PAUSED, "its sender", *pause_of_sender),
        (Gate.ACCOUNT_PAUSED, "the account", *(pauses.account_pause(tx, account) or (None, None))),
    )
    found = [
        Holding(gate.value, f"{what} has been paused since {_when(at, zone)}: {why}", None)
        for gate, what, at, why in paused
        if at is not None
    ]
    if campaign.held_after is not None and str(row["id"]) > campaign.held_after:
        found.append(Holding(Gate.CANARY.value, _GATES[Gate.CANARY.value], None))
    if NEVER_MS > row["due_at"] > now and row["status"] in ("queued", "retry"):
        waiting = _until_due(row, zone)
        if waiting.gate not in {holding.gate for holding in found}:
            found.append(waiting)
    return found


def _when(ms: int, zone: str) -> str:
    return f"{format_in_zone(ms, zone)} ({zone})"


def _until_due(row: RowMapping, zone: str) -> Holding:
    """What it waits for until ``due_at``: its scheduled time, a backoff, or a gate that gave it back."""
    when = format_schedule(row["due_at"], zone)
    if row["gate"] == Gate.QUIET_HOURS.value:
        gate, why = row["gate"], f"{_GATES[row['gate']]}, until {when}"
    elif row["gate"] is not None:
        gate, why = row["gate"], f"{_GATES.get(row['gate'], row['gate'])}; it is due again at {when}"
    elif row["status"] == "retry":
        gate, why = (
            Gate.BACKOFF.value,
            f"attempt {row['attempts']}: {row['error']}; the next is due at {when}",
        )
    else:
        gate, why = Gate.DUE_TIME.value, f"it is scheduled for {when}"
    return Holding(gate, why, row["due_at"])


#: Gates that a slower pace makes longer.
_RATES = frozenset({Gate.SENDER_RATE.value, Gate.ACCOUNT_RATE.value})
_GATES = {
    Gate.SENDER_RATE.value: "its sender's rate is used up",
    Gate.ACCOUNT_RATE.value: "the account's rate is used up",
    Gate.CAMPAIGN_RATE.value: "its campaign's rate is used up",
    Gate.PAIR_RATE.value: "its recipient got too many messages from this sender (limit: 1 per 6 s, burst 45)",
    Gate.QUOTA.value: "all senders of the account have together reached its quota of unique recipients in 24 h",
    Gate.SENDER_PAUSED.value: "its sender is paused",
    Gate.CAMPAIGN_PAUSED.value: "its campaign is paused",
    Gate.ACCOUNT_PAUSED.value: "the account is paused",
    Gate.OUTAGE.value: "POSTs to the vendor fail, so one at a time is tried until one succeeds; the last replies: {}",
    Gate.COLD.value: "the limiter lost its data and is being restored",
    Gate.CANARY.value: "its campaign sends a first part, whose receipts decide whether the others follow",
    Gate.QUIET_HOURS.value: "there are quiet hours at its recipient's",
    Gate.NEWER_CODE.value: "a newer code for this person and purpose waits; this one is sent if that one cannot be",
}


def _by_limiter(
    permits: RedisPermits,
    row: RowMapping,
    campaign: campaigns.Campaign,
    limits: SenderLimits,
    known: set[str],
) -> list[Holding]:
    ask = Ask(
        kind=Kind(row["kind"]),
        sender=row["sender"],
        campaign_id=str(row["campaign_id"]),
        recipient=row["recipient"],
        sender_limits=limits,
        campaign_rate=campaign.rate,
    )
    return [
        Holding(gate, _GATES.get(gate, gate), None if wait.until_ms is None else int(wait.until_ms))
        for wait in permits.peek(ask)
        if (gate := wait.gate.value) not in known
    ]


def _with_pace(holding: list[Holding], permits: RedisPermits, sender: str) -> list[Holding]:
    """The same; where a rate holds the message, with the part of it that the vendor's throttling left."""
    if not any(each.gate in _RATES for each in holding) or (pace := permits.pace_of(sender)) >= 1:
        return holding
    slower = f"the vendor throttled its sender, which uses {pace:.0%} of its rate now"
    return [replace(each, why=f"{each.why}; {slower}") if each.gate in _RATES else each for each in holding]


def _its_turn(
    row: RowMapping,
    ahead: int,
    limits: SenderLimits,
    campaign: campaigns.Campaign,
    workers: list[str],
    now: int,
) -> Holding:
    if not workers:
        return Holding("no_worker", "no worker is running; start one with `bulksend worker`", None)
    if row["status"] in ("claimed", "sending"):
        return Holding("in_hand", f"a worker is about to send it ({row['status']})", now)
    rate = min(limits.rate, campaign.rate or limits.rate)
    seconds = ahead / rate
    gate = (
        Gate.CAMPAIGN_RATE if campaign.rate is not None and campaign.rate < limits.rate else Gate.SENDER_RATE
    )
    more = f"{AHEAD_COUNTED:,} messages or more" if ahead >= AHEAD_COUNTED else counted(ahead, "message")
    first = f"{more} of its campaign {'is' if ahead == 1 else 'are'} sent before it"
    return Holding(
        gate.value,
        f"{first} at {rate:g}/s, about {format_duration(int(seconds * 1000))}",
        now + int(seconds * 1000),
    )
