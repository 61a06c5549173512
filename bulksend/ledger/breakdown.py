"""How far the messages of a campaign came, by country and by hour, counted from the messages themselves.

Each of the two reads every message of the campaign once, in the database; what it returns is small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from sqlalchemy import BigInteger, ColumnElement, Connection, case, cast, func, or_, select

from bulksend.ledger.database import set_statement_timeout
from bulksend.ledger.schema import messages
from bulksend.messaging.recipient import LONG_FRONTS, country_of
from bulksend.messaging.states import LEFT, SENT, UNSENT, Status

HOUR_MS = 3_600_000
#: How many digits tell countries apart, and how many where countries share a longer code.
_FRONT, _LONG_FRONT = 7, 9


@dataclass(frozen=True, slots=True)
class Reached:
    """How many messages there are, how far they came, and how they ended.

    ``accepted`` includes those that were delivered or failed afterwards, ``delivered`` those that were read.
    """

    messages: int = 0
    accepted: int = 0
    delivered: int = 0
    read: int = 0
    failed: int = 0
    unknown: int = 0
    unsent: int = 0
    """Expired, suppressed, cancelled or superseded."""
    open: int = 0
    """Not ended yet."""

    def __add__(self, other: Reached) -> Reached:
        return Reached(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Reached)))


@dataclass(frozen=True, slots=True)
class Hour:
    """What happened to messages in the hour that begins at ``hour`` (ms)."""

    hour: int
    accepted: int
    delivered: int
    read: int
    failed: int


_c = messages.c
_IS_READ = or_(_c.read_at.is_not(None), _c.status == Status.READ.value)
_IS_DELIVERED = or_(_c.delivered_at.is_not(None), _c.status == Status.DELIVERED.value, _IS_READ)
_IS_ACCEPTED = or_(_c.accepted_at.is_not(None), _c.status.in_([each.value for each in SENT]), _IS_DELIVERED)
#: In the order of the fields of Reached, after ``messages``.
_STEPS: tuple[ColumnElement[bool], ...] = (
    _IS_ACCEPTED,
    _IS_DELIVERED,
    _IS_READ,
    _c.status == Status.FAILED.value,
    _c.status == Status.UNKNOWN.value,
    _c.status.in_([each.value for each in UNSENT - {Status.FAILED}]),
    _c.status.in_([each.value for each in LEFT]),
)


def by_country(tx: Connection, campaign_id: str) -> Mapping[str, Reached]:
    """The messages of a campaign by the ISO 3166 country of their recipients; "" where the number does not show it."""
    set_statement_timeout(tx, 0)
    begins = or_(*(_c.recipient.startswith(code) for code in LONG_FRONTS))
    front = func.substr(_c.recipient, 1, case((begins, _LONG_FRONT), else_=_FRONT))
    sums = [func.sum(case((step, 1), else_=0)) for step in _STEPS]
    found = tx.execute(
        select(func.min(_c.recipient), func.count(), *sums)
        .where(_c.campaign_id == campaign_id)
        .group_by(front)
    )
    countries: dict[str, Reached] = {}
    for recipient, *counts in found:
        country = country_of(recipient) or ""
        countries[country] = countries.get(country, Reached()) + Reached(*map(int, counts))
    return countries


def by_hour(tx: Connection, campaign_id: str) -> Iterator[Hour]:
    """The hours in which messages of a campaign were accepted, delivered, read or failed, the oldest first."""
    set_statement_timeout(tx, 0)
    failed_at = case((_c.status == Status.FAILED.value, _c.ended_at))
    at = {"accepted": _c.accepted_at, "delivered": _c.delivered_at, "read": _c.read_at, "failed": failed_at}
    # A subquery: an expression with values is not the same in SELECT and in GROUP BY to PostgreSQL.
    each = (
        select(*(cast(instant // HOUR_MS, BigInteger).label(name) for name, instant in at.items()))
        .where(_c.campaign_id == campaign_id)
        .subquery()
    )
    hours = [each.c[name] for name in at]
    found = tx.execute(select(*hours, func.count()).group_by(*hours))
    steps = tuple(Counter[int]() for _ in hours)
    for *reached, count in found:
        for step, hour in zip(steps, reached, strict=True):
            if hour is not None:
                step[int(hour)] += int(count)
    for hour in sorted(set().union(*steps)):
        yield Hour(hour * HOUR_MS, *(step[hour] for step in steps))
