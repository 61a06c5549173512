"""Groups of asks that share every limit except the recipient's: checked once and sent to Redis once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bulksend.limits.types import Ask, SenderLimits
from bulksend.messaging.states import LANES, Kind

_RANK = {kind: rank for rank, kind in enumerate(LANES)}


@dataclass(frozen=True, slots=True)
class Group:
    """``places``: the indexes of the asks, in their order."""

    kind: Kind
    sender: str
    campaign_id: str
    limits: SenderLimits
    campaign_rate: float | None
    counted: bool
    places: list[int]


def group_asks(asks: Sequence[Ask]) -> list[Group]:
    """The groups, better lanes first, so that within one call a code gets its slice before a blast."""
    groups: dict[tuple[object, ...], Group] = {}
    for place, ask in enumerate(asks):
        limits = ask.sender_limits
        key = (
            ask.kind,
            ask.sender,
            ask.campaign_id,
            limits.rate,
            limits.quota,
            ask.campaign_rate,
            ask.counted,
        )
        group = groups.get(key)
        if group is None:
            groups[key] = Group(
                ask.kind, ask.sender, ask.campaign_id, limits, ask.campaign_rate, ask.counted, [place]
            )
        else:
            group.places.append(place)
    return sorted(groups.values(), key=lambda group: _RANK[group.kind])
