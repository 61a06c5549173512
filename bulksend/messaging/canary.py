"""A canary: the first slice of a campaign is sent, and its receipts decide whether the rest follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from bulksend.errors import InvalidValue
from bulksend.messaging.sentences import say
from bulksend.messaging.states import Status
from bulksend.messaging.units import counted, format_duration, format_share, parse_share

#: Fewer messages say too little.
LEAST = 50
_MOST = 1_000_000
#: Products of a share and a number are rounded to this.
_EXACT = 1e-9


class CanaryState(StrEnum):
    """How far a campaign's canary is."""

    PENDING = "pending"
    """All rows are stored first: then its slice is known. Nothing is sent."""
    SENDING = "sending"
    """Its slice is sent, and its receipts are awaited; the rest stays unsent."""
    PASSED = "passed"
    """The rest is sent."""
    FAILED = "failed"
    """The campaign is paused, the rest unsent; a resume sends it."""
    SKIPPED = "skipped"
    """A person resumed the campaign after its canary failed: the rest is sent."""


class Next(StrEnum):
    """What follows from a look at a canary."""

    WAIT = "wait"
    GO = "go"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class CanaryRules:
    """When a canary passes: at most ``max_failed`` of it failed and at least ``min_delivered`` was delivered.

    Both are shares of the slice, by the receipts that came within ``wait_ms`` after its last message was sent.
    """

    max_failed: float = 0.05
    min_delivered: float = 0.7
    wait_ms: int = 900_000


class Slice(NamedTuple):
    """A canary's messages: how many, how many have no result of a POST yet, were delivered, and failed.

    ``sent_ms``: when the newest of them was sent; None: none was.
    """

    size: int
    left: int
    delivered: int
    failed: int
    sent_ms: int | None


def parse_canary(text: str, *, field: str = "canary") -> str:
    """``1%`` of the messages, or ``200`` of them. Raises InvalidValue."""
    cleaned = text.strip()
    if cleaned.isascii() and cleaned.isdigit():
        if not LEAST <= int(cleaned) <= _MOST:
            raise InvalidValue(
                field, text[:40], f"must be at least {LEAST} and at most {_MOST:,} messages, or 1%"
            )
        return str(int(cleaned))
    if not cleaned.endswith("%"):
        raise InvalidValue(field, text[:40], "is no share and no number; write it like 1% or 200")
    share = parse_share(cleaned, field=field)
    if not 0 < share < 1:
        raise InvalidValue(field, text[:40], "must be more than 0% and less than 100%")
    return format_share(share)


def slice_size(canary: str, messages: int) -> int:
    """How many of a campaign's messages are in its canary: at least LEAST, if there are as many."""
    wanted = math.ceil(parse_share(canary) * messages - _EXACT) if canary.endswith("%") else int(canary)
    return min(messages, max(LEAST, wanted))


def slice_of(size: int, left: int, statuses: Mapping[Status, int], sent_ms: int | None) -> Slice:
    """The slice by the counts of its campaign, of which nothing else was sent."""
    delivered = statuses.get(Status.DELIVERED, 0) + statuses.get(Status.READ, 0)
    return Slice(size, left, delivered, statuses.get(Status.FAILED, 0), sent_ms)


def judge(found: Slice, rules: CanaryRules, now_ms: int) -> tuple[Next, str]:
    """What follows, and why. It is decided as soon as what is still awaited cannot change it."""
    messages = counted(found.size, "message")
    shares = say(
        "of {messages} {delivered} delivered, {failed} failed",
        messages=messages,
        delivered=f"{found.delivered:,}",
        failed=f"{found.failed:,}",
    )
    most_failed = rules.max_failed * found.size + _EXACT
    if found.failed > most_failed:
        share = format_share(rules.max_failed)
        return Next.PAUSE, say("{first}: more than {share} failed", first=shares, share=share)
    if found.left:
        return Next.WAIT, say("{first}, {count} to send", first=shares, count=f"{found.left:,}")
    if found.sent_ms is None:
        return Next.PAUSE, say("none of its {messages} could be sent", messages=messages)
    enough = found.delivered >= rules.min_delivered * found.size - _EXACT
    if enough and found.size - found.delivered <= most_failed:
        return Next.GO, shares
    over_ms = found.sent_ms + rules.wait_ms
    if now_ms < over_ms:
        left = format_duration(over_ms - now_ms)
        return Next.WAIT, say(
            "{first}; its receipts are awaited for {length} more", first=shares, length=left
        )
    if enough:
        return Next.GO, shares
    waited = format_duration(rules.wait_ms)
    if not found.delivered + found.failed:
        return (
            Next.PAUSE,
            say(
                "no receipt came within {length}: see `bulksend doctor` and `bulksend receipts list`",
                length=waited,
            ),
        )
    fewer = say(
        "{first} within {length}: fewer than {share} were delivered",
        first=shares,
        length=waited,
        share=format_share(rules.min_delivered),
    )
    return Next.PAUSE, fewer
