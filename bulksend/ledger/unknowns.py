"""Unknown messages: what each attempt left behind, for the person who must decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, TextClause, case, select, text

from bulksend.ledger import search
from bulksend.ledger.database import among
from bulksend.ledger.endings import RESTORED, WORKER_LOST
from bulksend.ledger.schema import UNKNOWN_SQL, attempts, messages


class Trace(StrEnum):
    """What an attempt of unknown outcome left behind."""

    WORKER_LOST = "worker_lost"
    NO_ANSWER = "no_answer"
    ANSWER_CUT = "answer_cut"
    ODD_ANSWER = "odd_answer"
    RESTORED = "restored"


#: What each means, in one line.
MEANING = {
    Trace.WORKER_LOST: "its worker died while the POST was under way: look it up at the vendor",
    Trace.NO_ANSWER: "all or part of the request was written and no reply came: it may have been sent",
    Trace.ANSWER_CUT: "a reply began and broke off: most likely it was sent",
    Trace.ODD_ANSWER: "the reply neither accepts nor surely refuses it: its code and its error say more",
    Trace.RESTORED: "the ledger was restored from a backup that says it was not sent yet: it may have been sent since",
}

#: A page looks at this many messages for those of a trace, a kind or a sender; AT_ONCE at a time.
LOOKED_AT, AT_ONCE = 2_000, 500
# SQLite uses a partial index only for the exact text of its condition.
_IS_UNKNOWN = text(f"messages.{UNKNOWN_SQL}")
#: The attempt's columns that are shown, some of them by another name, which the message has for one of its own.
_SHOWN = (
    *("n", "worker", "started_at", "finished_at", "bytes_sent", "reply_began"),
    *("http_status", "ret_code", "error"),
)
_RENAMED = {"n": "attempt_n", "ret_code": "attempt_ret_code", "error": "attempt_error"}


def trace_of(attempt: Mapping[Any, Any]) -> Trace:
    """What an attempt of unknown outcome left behind."""
    if attempt["error"] == WORKER_LOST:
        return Trace.WORKER_LOST
    if attempt["error"] == RESTORED:
        return Trace.RESTORED
    if attempt["http_status"] is not None:
        return Trace.ODD_ANSWER
    return Trace.ANSWER_CUT if attempt["reply_began"] else Trace.NO_ANSWER


def unknown(
    tx: Connection,
    query: search.Query,
    *,
    traces: Sequence[Trace] = (),
    limit: int,
    before: str | None = None,
) -> list[dict[str, Any]]:
    """Unknown messages, newest first, each with its unknown attempt and the trace of that.

    ``query.status`` is ignored. ``before`` is the id of the last row of the previous page.
    """
    found: list[dict[str, Any]] = []
    while True:
        more, before = page(tx, query, traces=traces, limit=limit - len(found), before=before)
        found += more
        if before is None or len(found) == limit:
            return found


def page(
    tx: Connection,
    query: search.Query,
    *,
    traces: Sequence[Trace] = (),
    limit: int,
    before: str | None = None,
    looked_at: int = LOOKED_AT,
    at_once: int = AT_ONCE,
) -> tuple[list[dict[str, Any]], str | None]:
    """As ``unknown``, and the id to go on before, or None.

    No index has the trace, or the kind or sender of unknown messages: about ``looked_at`` messages are looked at, so a
    page may have fewer than ``limit``, or none, and another after it.
    """
    is_filtered = bool(traces) or query.kind is not None or query.sender is not None
    at_once = at_once if is_filtered else limit
    found: list[dict[str, Any]] = []
    for _ in range(-(-looked_at // at_once)):
        rows = _page(tx, replace(query, kind=None, sender=None), at_once, before)
        fitting = [
            row for row in rows if query.kind in (None, row["kind"]) and query.sender in (None, row["sender"])
        ]
        last = _unknown_attempts(tx, [str(row["id"]) for row in fitting])
        for row in fitting:
            attempt = last[str(row["id"])]
            if not traces or trace_of(attempt) in traces:
                found.append(_line(row, attempt))
            if len(found) == limit:
                return found, str(row["id"])
        if len(rows) < at_once:
            return found, None
        before = str(rows[-1]["id"])
    return found, before


def _page(tx: Connection, query: search.Query, limit: int, before: str | None) -> list[RowMapping]:
    narrowed: list[ColumnElement[bool] | TextClause] = [*search.conditions(tx, query), _IS_UNKNOWN]
    if before is not None:
        narrowed.append(messages.c.id < before)
    statement = select(*search.COLUMNS).where(*narrowed).order_by(messages.c.id.desc()).limit(limit)
    return list(tx.execute(statement).mappings())


def _unknown_attempts(tx: Connection, ids: Sequence[str]) -> dict[str, RowMapping]:
    """The newest attempt of unknown outcome of each message, by its id."""
    rows = tx.execute(
        select(attempts)
        .where(among(tx, attempts.c.message_pk, ids))
        .order_by(case((attempts.c.outcome == "unknown", 1), else_=0), attempts.c.n)
    ).mappings()
    return {str(row["message_pk"]): row for row in rows}


def _line(row: RowMapping, attempt: RowMapping) -> dict[str, Any]:
    """A message's fields, and beside them those of its attempt."""
    own = {_RENAMED.get(name, name): attempt[name] for name in _SHOWN}
    return {**row, **own, "trace": trace_of(attempt).value}
