"""The operator log as a person reads it: by actor, act, object and time, the newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidValue
from bulksend.ledger import operator_log
from bulksend.ledger.operator_log import Sought
from bulksend.messaging.failure_share import format_max_failed
from bulksend.messaging.units import parse_instant_ms
from bulksend.operations.json_shape import Page, checked_after, to_json

__all__ = ["ACTS", "SCOPES", "Sought", "acts_on", "find_acts", "times"]

#: What can be acted on, and the acts that there are, for the choices of a filter.
SCOPES = (
    *(
        "account",
        "campaign",
        "consent",
        "key",
        "ledger",
        "media",
        "message",
        "person",
        "plan",
        "receipt",
        "search",
    ),
    *("sender", "suppression", "template", "token", "user", "webhook"),
)
ACTS = (
    *(
        "add",
        "apply",
        "audit",
        "canary",
        "cancel",
        "change",
        "continue",
        "create",
        "delete",
        "disable",
        "enable",
    ),
    *(
        "expire",
        "export",
        "import",
        "link",
        "make",
        "pause",
        "place legal hold",
        "remove",
        "replay",
        "reparse",
    ),
    *(
        "reset",
        "resolve",
        "resume",
        "retry",
        "revoke",
        "set",
        "sign in",
        "sign out",
        "suppress",
        "test",
        "upload",
    ),
)

_FIELDS = ("at", "actor", "act", "why")
_ORIGIN = ("ip", "request_id", "before", "after")


def acts_on(tx: Connection, scope: str, subject: str) -> list[dict[str, Any]]:
    """The acts on a campaign or message, oldest first; with address, request and values where they have them."""
    return [
        to_json({name: getattr(act, name) for name in _FIELDS})
        | {name: _as_given(value) for name in _ORIGIN if (value := getattr(act, name)) is not None}
        for act in operator_log.of(tx, scope, subject)
    ]


def times(sought: Sought, since: str | None, until: str | None, *, timezone: str, now_ms: int) -> Sought:
    """The same within these times (ISO 8601, in the zone where they have none). Raises InvalidValue."""
    start, end = (
        None if not text else parse_instant_ms(text, timezone=timezone, now_ms=now_ms, field=field)
        for field, text in (("since", since), ("until", until))
    )
    if start is not None and end is not None and start >= end:
        raise InvalidValue("until", str(until)[:40], "is not later than since")
    return replace(sought, since=start, until=end)


def find_acts(tx: Connection, sought: Sought, *, after: str | None = None, limit: int = 50) -> Page:
    """Acts, the newest first, each with ``changes``: ``(name, before, after)`` of what it changed.

    A page looks at a few thousand acts at most, whatever there are: it may be short, or empty, and have a ``next``.
    The subject of an act on a suppression is a number and left out. Raises InvalidValue.
    """
    found, next = operator_log.page(tx, sought, before=checked_after(after), limit=limit)
    return Page([_as_json(id, act) for id, act in found], next)


def _as_given(value: Any) -> Any:
    """The values before or after an act as a person gives them: a limit of failures is a share in the ledger."""
    share = value.get("max_failed") if isinstance(value, Mapping) else None
    return value if share is None else {**value, "max_failed": format_max_failed(share)}


def _as_json(id: str, act: operator_log.Act) -> dict[str, Any]:
    shown = to_json(act)
    before, now = shown.pop("before") or {}, shown.pop("after") or {}
    names = [*before, *(name for name in now if name not in before)]
    hidden = {"subject": None} if act.scope == "suppression" else {}
    return shown | {"id": id, "changes": [(n, before.get(n), now.get(n)) for n in names]} | hidden
