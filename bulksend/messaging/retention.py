"""How long a message is kept: first its content goes, then its row, then the totals of its campaign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from bulksend.messaging.states import ENDED, Kind, Status

DAY_MS = 86_400_000
#: The shortest and the longest time, days: a message is found by its receipts for some days.
SHORTEST, LONGEST = 1, 36_500


class Due(Enum):
    """What is deleted of a message now."""

    NOTHING = "nothing"
    CONTENT = "content"
    ROW = "row"


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days after its end something is kept, by kind; a kind that is not named is kept for ever."""

    content: Mapping[Kind, float] = field(default_factory=dict)
    rows: Mapping[Kind, float] = field(default_factory=dict)
    totals: Mapping[Kind, float] = field(default_factory=dict)
    inbound: float | None = None
    """What people wrote, days after it came."""

    def of_message(self, kind: Kind, status: Status, ended_at: int | None, now: int) -> Due:
        """What is due of a message. One that has not ended is kept, and so is an unknown one."""
        if ended_at is None or status is Status.UNKNOWN or status not in ENDED:
            return Due.NOTHING
        if _is_over(self.rows.get(kind), ended_at, now):
            return Due.ROW
        return Due.CONTENT if _is_over(self.content.get(kind), ended_at, now) else Due.NOTHING

    def totals_end_before(self, kind: Kind, now: int) -> int | None:
        """The totals of campaigns that ended before this instant are due; None: of none."""
        days = self.totals.get(kind)
        return None if days is None else now - int(days * DAY_MS)

    @property
    def youngest_ms(self) -> int | None:
        """The age below which no message has anything due; None where nothing is ever due."""
        days = [*self.content.values(), *self.rows.values()]
        return int(min(days) * DAY_MS) if days else None


def _is_over(days: float | None, ended_at: int, now: int) -> bool:
    return days is not None and ended_at < now - days * DAY_MS


def parse_days(text: str) -> dict[Kind, float]:
    """``400``, or ``otp=30,marketing=90``. Raises ValueError, which says what is wrong."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) == 1 and "=" not in parts[0]:
        return dict.fromkeys(Kind, _days(parts[0]))
    found: dict[Kind, float] = {}
    for part in parts:
        name, given, number = (each.strip() for each in part.partition("="))
        if not given or name not in {kind.value for kind in Kind} or Kind(name) in found:
            raise ValueError(f"has {part[:40]!r}; write days, or days by kind such as otp=30,marketing=90")
        found[Kind(name)] = _days(number)
    return found


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not SHORTEST <= days <= LONGEST:
        raise ValueError(f"has {text[:40]!r}; write days from {SHORTEST} to {LONGEST}")
    return days


def in_order(shorter: Mapping[Kind, float], longer: Mapping[Kind, float]) -> Kind | None:
    """The first kind whose ``shorter`` time is the longer one; None where all are in order."""
    for kind in Kind:
        if kind in shorter and kind in longer and shorter[kind] > longer[kind]:
            return kind
    return None
