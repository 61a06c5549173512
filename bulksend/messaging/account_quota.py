"""The account's quota: how many people all its senders together may write to in a rolling 24 h.

WhatsApp's messaging limit is that of the business portfolio, shared by its numbers (since 2025-10-07). The vendor tells
it of each number, as a tier.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

#: The name of the gate of a message that has no place in it.
GATE = "quota"
#: A notice may tell the bare number.
_TIER = re.compile(r"(?:TIER_)?([1-9]\d{0,8})([KM]?)", re.ASCII)
_UNITS = {"": 1, "K": 1000, "M": 1_000_000}
#: By the vendor's status: numbers that send nothing more, whose tier is an old one.
_GONE = frozenset({"BANNED", "DELETED", "DISCONNECTED", "MIGRATED"})


class Limited(Protocol):
    """A sender, as far as it decides about the quota."""

    @property
    def phone(self) -> str:
        """Its number."""
        ...

    @property
    def quota(self) -> int | None:
        """The account's quota as an operator set it at this sender."""
        ...

    @property
    def status(self) -> str | None:
        """As the vendor tells it."""
        ...

    @property
    def tier(self) -> str | None:
        """As the vendor tells it."""
        ...


@dataclass(frozen=True, slots=True)
class AccountQuota:
    """``limit`` in unique recipients in a rolling 24 h, None for no limit; ``source`` says whose word it is."""

    limit: int | None = None
    source: str | None = None


def tier_limit(tier: str | None) -> int | None:
    """The recipients of a tier, such as 2,000 of ``TIER_2K``; None where it has no limit or is not known."""
    found = _TIER.fullmatch((tier or "").upper())
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def account_quota(senders: Iterable[Limited]) -> AccountQuota:
    """The quota in force: the least that an operator set, else the least tier of the senders that still send.

    The least, because one reading of the vendor's list has all numbers: tiers that differ after it are not of one
    portfolio, or the vendor still counts by number. Only the least of them surely holds.
    """
    known = list(senders)
    own = [(each.quota, f"set at sender {each.phone}") for each in known if each.quota is not None]
    told = [
        (limit, f"{each.tier} of sender {each.phone}")
        for each in known
        if each.status not in _GONE and (limit := tier_limit(each.tier)) is not None
    ]
    least = min(own or told, default=None)
    return AccountQuota() if least is None else AccountQuota(*least)
