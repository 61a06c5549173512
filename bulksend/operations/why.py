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
from bulksend.messaging.sentences import joined, say
from bulksend.messaging.states import ENDED, SENT
from bulksend.messaging.units import NEVER_MS, format_duration, format_schedule
from bulksend.operations.blockers import paused_since
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
    Status.ACCEPTED: say("nothing holds it: the vendor accepted it; receipts report its delivery"),
    Status.DELIVERED: say("nothing holds it: it was delivered"),
    Status.READ: say("nothing holds it: it was read"),
    Status.FAILED: say("it failed and is not tried again"),
    Status.EXPIRED: say("its time to live passed before it could be sent"),
    Status.SUPPRESSED: say("its recipient must not get this kind of message"),
    Status.CANCELLED: say("its campaign was cancelled"),
    Status.SUPERSEDED: say("a newer code for the same person and purpose was sent in its place"),
    Status.UNKNOWN: say(
        "it may have gone out; a receipt settles it, or a person with `bulksend messages resolve`"
    ),
}
#: No gate holds it any more, whatever was paused since.
_UNDER_WAY = say("its POST is under way: it may have gone out already")


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
        id, status = str(row["id"]), Status(row["status"])
        if status in ENDED:
            return Why(id, status.value, None, _ending(status, row["error"]), None)
        if status is Status.SENDING:
            return Why(id, status.value, "in_hand", _UNDER_WAY, None)
        now = read_clock(tx)
        campaign = campaigns.get(tx, row["campaign_id"])
        sender = senders.by_phones(tx, [row["sender"]]).get(row["sender"])
        quota = senders.quota_in_force(tx)
        zone = campaign.timezone or timezone or "UTC"
        holding = _by_ledger(tx, row, campaign, sender, account, now, zone)
        ahead = messages.count_ahead(tx, row, AHEAD_COUNTED)
        workers = leases.alive(tx)
        replies = progress.recent_replies(tx)
    limits = SenderLimits(rate=sender.rate if sender else default_rate, quota=quota.limit)
    if silent:
        holding.append(Holding("redis", silent, None))
    if permits is not None:
        holding += _by_limiter(permits, row, campaign, limits, {h.gate for h in holding})
    # The vendor's own replies, which may blame the request and not the vendor.
    holding = [
        replace(h, why=say("{first}; the last replies: {replies}", first=h.why, replies=replies))
        if h.gate == Gate.OUTAGE.value
        else h
        for h in holding
    ]
    if {each.gate for each in holding} <= _TURNS:
        # The limiter knows the next slot, and not how many messages are before this one.
        turn = _its_turn(row, ahead, limits, campaign, workers, now)
        if not holding or turn.until is None or turn.until > now:
            holding = [*(each for each in holding if each.gate != turn.gate), turn]
    if permits is not None:
        holding = _with_pace(holding, permits, row["sender"])
    holding.sort(key=lambda h: (h.until is None, h.until or 0), reverse=True)
    first = holding[0]
    why, expires = first.why, row["expires_at"]
    if expires is not None and (first.until is None or first.until > expires):
        when = format_schedule(expires, zone)
        why = say("{first}; it expires at {when} if it is not sent before", first=why, when=when)
    return Why(id, status.value, first.gate, why, first.until, holding[1:])


def _ending(status: Status, error: str | None) -> str:
    """How it ended. The ledger's own sentence about that is not repeated."""
    told = _ENDINGS[status]
    if not error:
        return told
    if status is Status.FAILED or status in SENT:
        return say("{first}: {why}", first=told, why=error)
    if status is Status.UNKNOWN:
        return say("{first}; its error: {why}", first=told, why=error.removeprefix(NOT_SENT_AGAIN))
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
        (
            Gate.CAMPAIGN_PAUSED,
            say("campaign {name}", name=campaign.name),
            campaign.paused_at,
            campaign.pause_why,
        ),
        (Gate.SENDER_PAUSED, say("its sender"), *pause_of_sender),
        (Gate.ACCOUNT_PAUSED, say("the account"), *(pauses.account_pause(tx, account) or (None, None))),
    )
    found = [
        Holding(gate.value, paused_since(what, at, zone, why), None)
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


def _until_due(row: RowMapping, zone: str) -> Holding:
    """What it waits for until ``due_at``: its scheduled time, a backoff, or a gate that gave it back."""
    when = format_schedule(row["due_at"], zone)
    if row["gate"] == Gate.QUIET_HOURS.value:
        gate, why = row["gate"], say("{first}, until {when}", first=_GATES[row["gate"]], when=when)
    elif row["gate"] is not None:
        first = _GATES.get(row["gate"], row["gate"])
        gate, why = row["gate"], say("{first}; it is due again at {when}", first=first, when=when)
    elif row["status"] == "retry":
        gate, why = (
            Gate.BACKOFF.value,
            say(
                "attempt {n}: {why}; the next is due at {when}",
                n=row["attempts"],
                why=row["error"],
                when=when,
            ),
        )
    else:
        gate, why = Gate.DUE_TIME.value, say("it is scheduled for {when}", when=when)
    return Holding(gate, why, row["due_at"])


#: Gates that a slower pace makes longer.
_RATES = frozenset({Gate.SENDER_RATE.value, Gate.ACCOUNT_RATE.value})
#: Gates that let messages through one after the other.
_TURNS = _RATES | {Gate.CAMPAIGN_RATE.value}
_GATES = {
    Gate.SENDER_RATE.value: say("its sender's rate is used up"),
    Gate.ACCOUNT_RATE.value: say("the account's rate is used up"),
    Gate.CAMPAIGN_RATE.value: say("its campaign's rate is used up"),
    Gate.PAIR_RATE.value: say(
        "its recipient got too many messages from this sender (limit: 1 per 6 s, burst 45)"
    ),
    Gate.QUOTA.value: say(
        "all senders of the account have together reached its quota of unique recipients in 24 h"
    ),
    Gate.SENDER_PAUSED.value: say("its sender is paused"),
    Gate.CAMPAIGN_PAUSED.value: say("its campaign is paused"),
    Gate.ACCOUNT_PAUSED.value: say("the account is paused"),
    Gate.OUTAGE.value: say("POSTs to the vendor fail, so one at a time is tried until one succeeds"),
    Gate.COLD.value: say("the limiter lost its data and is being restored"),
    Gate.CANARY.value: say(
        "its campaign sends a first part, whose receipts decide whether the others follow"
    ),
    Gate.QUIET_HOURS.value: say("there are quiet hours at its recipient's"),
    Gate.NEWER_CODE.value: say(
        "a newer code for this person and purpose waits; this one is sent if that one cannot be"
    ),
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
    slower = say("the vendor throttled its sender, which uses {share} of its rate now", share=f"{pace:.0%}")
    return [
        replace(each, why=joined([each.why, slower])) if each.gate in _RATES else each for each in holding
    ]


def _its_turn(
    row: RowMapping,
    ahead: int,
    limits: SenderLimits,
    campaign: campaigns.Campaign,
    workers: list[str],
    now: int,
) -> Holding:
    if not workers:
        return Holding("no_worker", say("no worker is running; start one with `bulksend worker`"), None)
    if row["status"] == "claimed" and not ahead:
        return Holding("in_hand", say("a worker is about to send it"), now)
    rate = min(limits.rate, campaign.rate or limits.rate)
    seconds = ahead / rate
    gate = (
        Gate.CAMPAIGN_RATE if campaign.rate is not None and campaign.rate < limits.rate else Gate.SENDER_RATE
    )
    values = {"count": f"{ahead:,}", "rate": f"{rate:g}", "length": format_duration(int(seconds * 1000))}
    if ahead >= AHEAD_COUNTED:
        why = say(
            "{count} messages or more of its campaign are sent before it at {rate}/s, about {length}",
            **values,
        )
    elif ahead == 1:
        why = say("{count} message of its campaign is sent before it at {rate}/s, about {length}", **values)
    else:
        why = say("{count} messages of its campaign are sent before it at {rate}/s, about {length}", **values)
    return Holding(gate.value, why, now + int(seconds * 1000))
