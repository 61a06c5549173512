"""An audience: those people of a campaign that another message is for, by what became of the first one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bulksend.errors import InvalidValue
from bulksend.messaging.states import UNSENT, Status

_CODE = re.compile(r"code=([0-9]{1,9})", re.ASCII)
_PARTS = {
    "all": frozenset(Status),
    # What waits may still arrive, and what is unknown may have.
    "undelivered": frozenset({Status.ACCEPTED, Status.FAILED, Status.EXPIRED, Status.CANCELLED}),
    "unread": frozenset({Status.DELIVERED}),
    "unsent": UNSENT,
}


@dataclass(frozen=True, slots=True)
class Audience:
    """Messages in these statuses; with ``code`` only those that failed with that code of the vendor or WhatsApp."""

    statuses: frozenset[Status]
    code: int | None = None


def parse_audience(text: str, *, field: str = "audience") -> Audience:
    """``all``, ``undelivered``, ``unread``, ``unsent``, or ``code=131049``. Raises InvalidValue."""
    given = text.strip().lower()
    if found := _CODE.fullmatch(given):
        return Audience(frozenset({Status.FAILED}), int(found[1]))
    if given not in _PARTS:
        raise InvalidValue(
            field, text[:40], f"must be one of {', '.join(_PARTS)}, or code=NUMBER, like code=131049"
        )
    return Audience(_PARTS[given])
