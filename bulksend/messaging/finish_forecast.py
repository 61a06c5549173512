"""When the last message of a campaign is sent, under the limits in force and beside other campaigns of its sender.

Campaigns of one lane share their sender's rate by their weights, up to their own rates; those of an earlier lane come
first, as in the worker's queue. Instants are ms since the epoch, rates messages a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bulksend.messaging.states import Kind
from bulksend.messaging.units import sent_by_ms

_DAY_MS = 86_400_000
#: Due times beside other campaigns are rounded up to this many instants: each is a step of the computation.
_MOST_INSTANTS = 2000
_LITTLE = 1e-6
#: The order of the lanes.
_LANES = (Kind.OTP, Kind.UTILITY, Kind.MARKETING)


@dataclass(frozen=True, slots=True)
class OtherCampaign:
    """A campaign of the same sender with messages left. ``rate`` is its own limit; None: the sender's."""

    kind: Kind
    left: int
    rate: float | None
    due_at: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Quota:
    """Unique recipients that the account may reach in 24 h, without what is reserved, and how many it has reached."""

    most: int
    used: int


@dataclass(slots=True)
class _Flow:
    """Messages that are sent at a share of the rate."""

    left: float
    most: float
    due_at: float
    comes_first: bool
    weight: int


def finish_ms(
    due: Mapping[int, int],
    kind: Kind,
    rate: float | None,
    sender_rate: float,
    others: Sequence[OtherCampaign] = (),
    quota: Quota | None = None,
    *,
    weight: int = 1,
) -> int:
    """When the last of the messages is sent; ``due`` counts those of each instant and is not empty.

    ``rate`` is the campaign's own, ``sender_rate`` that of its sender and account together.
    """
    most = min(rate or math.inf, sender_rate)
    rivals = [each for each in others if each.left > 0 and _LANES.index(each.kind) <= _LANES.index(kind)]
    by_rate = sent_by_ms(due, most) if not rivals else _beside(due, kind, most, weight, sender_rate, rivals)
    return by_rate if quota is None else max(by_rate, _by_quota(due, most, quota))


def _by_quota(due: Mapping[int, int], rate: float, quota: Quota) -> int:
    """When the last message has a place in the quota, if all of it is this campaign's from now on."""
    total = sum(due.values())
    later = total - max(0, quota.most - quota.used)
    if later <= 0:
        return min(due)
    days = math.ceil(later / max(1, quota.most))
    last_day = later - (days - 1) * quota.most
    return min(due) + days * _DAY_MS + round(last_day * 1000 / rate)


def _beside(
    due: Mapping[int, int],
    kind: Kind,
    most: float,
    weight: int,
    sender_rate: float,
    rivals: Iterable[OtherCampaign],
) -> int:
    """From one event to the next: a due time, or the end of a campaign. Between two of them all rates stay."""
    coming = _rounded(due)
    at = float(coming[0][0])
    ours = _Flow(0.0, most, at, False, weight)
    flows = [
        ours,
        *(
            _Flow(
                *(each.left, min(each.rate or math.inf, sender_rate), each.due_at),
                *(each.kind is not kind, each.weight),
            )
            for each in rivals
        ),
    ]
    next_due = 0
    while True:
        while next_due < len(coming) and coming[next_due][0] <= at + _LITTLE:
            ours.left += coming[next_due][1]
            next_due += 1
        if ours.left <= _LITTLE and next_due == len(coming):
            return round(at)
        moving = [flow for flow in flows if flow.left > _LITTLE and flow.due_at <= at + _LITTLE]
        shares = _shares(moving, sender_rate)
        waits = [
            flow.left * 1000 / share for flow, share in zip(moving, shares, strict=True) if share > _LITTLE
        ]
        waits += [flow.due_at - at for flow in flows if flow.left > _LITTLE and flow.due_at > at + _LITTLE]
        if next_due < len(coming):
            waits.append(coming[next_due][0] - at)
        step = min(waits)
        for flow, share in zip(moving, shares, strict=True):
            flow.left = max(0.0, flow.left - share * step / 1000)
        at += step


def _shares(moving: Sequence[_Flow], rate: float) -> list[float]:
    """The rate of each: those that come first have what they can use, the others share the rest."""
    first = _shared([flow for flow in moving if flow.comes_first], rate)
    rest = _shared([flow for flow in moving if not flow.comes_first], max(0.0, rate - sum(first)))
    by_order = iter(first), iter(rest)
    return [next(by_order[0] if flow.comes_first else by_order[1]) for flow in moving]


def _shared(flows: Sequence[_Flow], rate: float) -> list[float]:
    """``rate`` by their weights, none above its own limit; what one cannot use goes to the others."""
    shares = [0.0] * len(flows)
    left, weights = rate, sum(flow.weight for flow in flows)
    for n in sorted(range(len(flows)), key=lambda n: flows[n].most / flows[n].weight):
        shares[n] = min(flows[n].most, left * flows[n].weight / weights)
        left -= shares[n]
        weights -= flows[n].weight
    return shares


def _rounded(due: Mapping[int, int]) -> list[tuple[int, int]]:
    """Instants in their order with their counts, not more than _MOST_INSTANTS."""
    first, last = min(due), max(due)
    grid = 1 if len(due) <= _MOST_INSTANTS else max(1, math.ceil((last - first) / _MOST_INSTANTS))
    found: dict[int, int] = {}
    for instant, count in due.items():
        place = first + math.ceil((instant - first) / grid) * grid
        found[place] = found.get(place, 0) + count
    return sorted(found.items())
