"""What happened to a message, in the order in which it happened, from what ``messages.show`` gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from bulksend.gateway.error_codes import Explanation, Family, explain_code
from bulksend.ledger import templates
from bulksend.messaging.preview import preview
from bulksend.messaging.states import MessageType, Status
from bulksend.messaging.template_fit import template_of
from bulksend.messaging.template_shape import shape_from_json

_CODES = ((Family.WHATSAPP, "whatsapp_code"), (Family.RETCODE, "ret_code"), (Family.HTTP, "http_status"))
#: Endings that leave nothing behind but their time.
_ENDED = frozenset({Status.EXPIRED, Status.SUPPRESSED, Status.CANCELLED, Status.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. ``after_seconds``: since the step before, never less than 0.

    ``what``: queued, due, attempt, answer, receipt, undelivered, act or the ending. ``of`` is the attempt, receipt or
    act; ``code`` explains its code.
    """

    at: str
    what: str
    after_seconds: float = 0.0
    of: Mapping[str, Any] = field(default_factory=dict)
    code: Explanation | None = None


def story(shown: Mapping[str, Any]) -> list[Step]:
    """The steps of a message, oldest first.

    The vendor's clock is another one: a receipt does not stand before the answer that it follows.
    """
    found = sorted(_steps(shown), key=lambda pair: pair[0])
    steps: list[Step] = []
    for n, (at, step) in enumerate(found):
        gap = (at - found[n - 1][0]).total_seconds() if n else 0.0
        steps.append(Step(step.at, step.what, max(0.0, gap), step.of, step.code))
    return steps


def code_of(attempt: Mapping[str, Any]) -> Explanation | None:
    """What the vendor's code of an attempt means; None where it gave none, or took the message."""
    if attempt["outcome"] in (None, "accepted"):
        return None
    return next((explain_code(family, attempt[name]) for family, name in _CODES if attempt[name]), None)


def _steps(shown: Mapping[str, Any]) -> Iterator[tuple[datetime, Step]]:
    yield _at(shown["queued_at"]), Step(shown["queued_at"], "queued")
    due = shown.get("first_due_at") or shown["due_at"]
    # A gate may have set a later time than that at which the message ended.
    ended = shown["status"] in _ENDED and shown.get("ended_at")
    if due and due > shown["queued_at"] and not shown["attempts"] and not (ended and due > ended):
        yield _at(due), Step(due, "due")
    answered = None
    for attempt in shown["attempts"]:
        started, finished = attempt["started_at"], attempt["finished_at"]
        yield _at(started), Step(started, "attempt", of=attempt)
        if finished:
            answered = max(_at(started), _at(finished))
            yield answered, Step(finished, "answer", of=attempt, code=code_of(attempt))
    for receipt in shown["receipts"]:
        at, received = _at(receipt["at"]), _at(receipt["received_at"])
        # No later than it came, no earlier than what it follows.
        when = at if answered is None else min(max(at, answered), max(received, answered))
        code = str(receipt["code"] or "")
        known = explain_code(Family.WHATSAPP, int(code)) if code.isascii() and code.isdecimal() else None
        yield when, Step(receipt["at"], "receipt", of=receipt, code=known)
    for act in shown["acts"]:
        yield _at(act["at"]), Step(act["at"], "act", of=act)
    if shown.get("undelivered_at"):
        yield _at(shown["undelivered_at"]), Step(shown["undelivered_at"], "undelivered")
    if shown["status"] in _ENDED and shown.get("ended_at"):
        yield _at(shown["ended_at"]), Step(shown["ended_at"], str(shown["status"]))


def _at(instant: str) -> datetime:
    return datetime.fromisoformat(instant)


def looks(tx: Connection, shown: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content as its person sees it, see ``Preview``; None where it cannot be shown."""
    if shown["content"] is None:
        return None
    type, content = MessageType(shown["type"]), shown["content"]
    used = template_of(type, content)
    template = None if used is None else templates.get(tx, *used)
    return preview(type, content, None if template is None else shape_from_json(template.shape)).as_json()
