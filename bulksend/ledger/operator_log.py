"""The operator log: who did what to which campaign, message, sender, account or number, from where, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Update, func, insert, select, text

from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import among, delete_found, newest_first, prefer_indexes
from bulksend.ledger.ids import lowest_at, new_id
from bulksend.ledger.schema import READ_ACTS_SQL, acts

#: Values before or after an act: small, and never private.
Values = Mapping[str, object]
#: Longer text of ``before`` or ``after`` is left out.
_LONGEST_VALUES = 2000
#: Acts of reading may be many more than all others.
_LOOKED_AT = 2000


class Actor(str):
    """Who acts, and the address and the request that the act came by. A plain text is an actor without them.

    It is a text because an actor is one wherever it is stored or shown; so the origin of an act reaches the operator
    log through every function that hands on ``actor``, and through threads.
    """

    __slots__ = ("ip", "request_id")
    ip: str | None
    request_id: str | None

    def __new__(cls, name: str, *, ip: str | None = None, request_id: str | None = None) -> Actor:
        made = super().__new__(cls, name)
        made.ip, made.request_id = ip, request_id
        return made


@dataclass(frozen=True, slots=True)
class Act:
    """One entry. ``scope`` is what ``subject`` is: campaign, message, sender, account, suppression, key, user, token;
    for an act of reading it is read, and ``subject`` what was read.

    ``ip`` and ``request_id`` are None outside the HTTP API, ``before`` and ``after`` where nothing has values.
    """

    at: int
    actor: str
    act: str
    scope: str
    subject: str
    why: str
    ip: str | None = None
    request_id: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


def apply(
    tx: Connection,
    change: Update,
    *,
    actor: str,
    act: str,
    scope: str,
    subject: str,
    why: str,
    before: Values | None = None,
    after: Values | None = None,
) -> bool:
    """Run an act that is one statement, and record it where it changed a row. Returns whether it did."""
    changed = tx.execute(change).rowcount > 0
    if changed:
        record(tx, actor=actor, act=act, scope=scope, subject=subject, why=why, before=before, after=after)
    return changed


def record(
    tx: Connection,
    *,
    actor: str,
    act: str,
    scope: str,
    subject: str,
    why: str,
    before: Values | None = None,
    after: Values | None = None,
) -> None:
    """Add an entry, in the transaction of the act itself.

    ``before`` and ``after`` have the values that the act changed, by the names that the interface shows.
    """
    record_many(tx, [subject], actor=actor, act=act, scope=scope, why=why, before=before, after=after)


def record_many(
    tx: Connection,
    subjects: Iterable[str],
    *,
    actor: str,
    act: str,
    scope: str,
    why: str,
    before: Values | None = None,
    after: Values | None = None,
) -> None:
    """``record`` for the same act on several subjects."""
    origin = actor if isinstance(actor, Actor) else Actor(actor)
    same = {
        "actor": storable(str(actor), 100),
        "act": act,
        "scope": scope,
        "why": storable(why, 500),
        "ip": origin.ip,
        "request_id": origin.request_id,
        "before": _as_text(before),
        "after": _as_text(after),
    }
    rows = [{"id": new_id(), "subject": storable(subject, 100), **same} for subject in subjects]
    if rows:
        tx.execute(insert(acts).values(at=current_ms()), rows)


def changes(before: Values, after: Values) -> tuple[dict[str, object], dict[str, object]]:
    """What differs between two states of a thing: as it was, and as it is."""
    changed = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in changed}, {name: after[name] for name in changed}


def of(tx: Connection, scope: str, subject: str) -> list[Act]:
    """The entries of one subject, oldest first."""
    found = select(acts).where(acts.c.scope == scope, acts.c.subject == subject)
    return _read(tx, found.order_by(acts.c.id))


def newest(
    tx: Connection, scope: str, subject: str, act: str, *, since: int = 0, limit: int = 20
) -> list[Act]:
    """The newest entries of this kind on a subject, not older than ``since`` (ms), newest first."""
    found = select(acts).where(acts.c.scope == scope, acts.c.subject == subject)
    found = found.where(acts.c.act == act, acts.c.at >= since)
    return _read(tx, newest_first(found, acts.c.id, limit))


def recent(tx: Connection, limit: int, *, scope: str | None = None) -> list[Act]:
    """The newest entries of all, newest first, without those of reading: as many as are among the newest _LOOKED_AT.

    ``scope``: those on such subjects alone.
    """
    newest = select(acts).order_by(acts.c.id.desc()).limit(_LOOKED_AT).subquery()
    found = select(newest).where(newest.c.scope != "read" if scope is None else newest.c.scope == scope)
    return _read(tx, newest_first(found, newest.c.id, limit))


@dataclass(frozen=True, slots=True)
class Sought:
    """Which entries: empty texts and None stand for all. ``actor`` is a part of its name, ``act`` its beginning.

    Instants in ms.
    """

    actor: str = ""
    act: str = ""
    scope: str = ""
    subject: str = ""
    since: int | None = None
    until: int | None = None
    readings: bool = False
    """With the acts of reading, which may be many more than all others."""


def page(
    tx: Connection, sought: Sought, *, before: str | None, limit: int, looked_at: int = _LOOKED_AT
) -> tuple[list[tuple[str, Act]], str | None]:
    """Entries with their ids, the newest first, those before the id ``before``; and the id to go on before, or None.

    At most ``looked_at`` entries are looked at, so a page may have fewer than ``limit``, or none, and another after it.
    """
    prefer_indexes(tx)
    query = newest_first(select(acts), acts.c.id, looked_at, before)
    if sought.since is not None:
        query = query.where(acts.c.id >= lowest_at(sought.since))
    if sought.until is not None:
        query = query.where(acts.c.id < lowest_at(sought.until))
    if sought.scope and sought.subject:
        query = query.where(acts.c.scope == sought.scope, acts.c.subject == sought.subject)
    seen = query.subquery()
    found = select(seen).order_by(seen.c.id.desc()).limit(limit)
    for name in ("scope", "subject"):
        if getattr(sought, name):
            found = found.where(seen.c[name] == getattr(sought, name))
    if sought.act:
        found = found.where(seen.c.act.startswith(sought.act, autoescape=True))
    if sought.actor:
        found = found.where(seen.c.actor.icontains(sought.actor, autoescape=True))
    if not sought.readings:
        found = found.where(seen.c.scope != "read")
    rows = tx.execute(found).mappings().all()
    if len(rows) == limit:
        last = rows[-1]["id"]
    else:
        last = tx.execute(query.with_only_columns(acts.c.id).offset(looked_at - 1).limit(1)).scalar()
    return [(str(row["id"]), _act(**row)) for row in rows], None if last is None else str(last)


def last(tx: Connection, scope: str, subject: str, act: str) -> int:
    """When the newest act of this kind on a subject happened, in ms; 0: never."""
    return last_of_each(tx, scope, [subject], act).get(subject, 0)


def last_of_each(tx: Connection, scope: str, subjects: Sequence[str], act: str) -> dict[str, int]:
    """When the newest act of this kind on each of these subjects happened, in ms, of those that had one."""
    found = (
        select(acts.c.subject, func.max(acts.c.at))
        .where(acts.c.scope == scope, among(tx, acts.c.subject, subjects), acts.c.act == act)
        .group_by(acts.c.subject)
    )
    return {subject: int(at) for subject, at in tx.execute(found)}


def delete_old_readings(tx: Connection, keep_ms: int, limit: int = 2000) -> int:
    """Delete the oldest acts of reading that are older than ``keep_ms``; returns how many. All other acts stay."""
    before = lowest_at(read_clock(tx) - keep_ms)
    prefer_indexes(tx)
    old = select(acts.c.id).where(text(READ_ACTS_SQL), acts.c.id < before).order_by(acts.c.id).limit(limit)
    return delete_found(tx, acts.c.id, old)


def _read(tx: Connection, query: Select[Any]) -> list[Act]:
    return [_act(**row) for row in tx.execute(query).mappings()]


def _act(id: str, before: str | None, after: str | None, **rest: Any) -> Act:
    return Act(before=json.loads(before or "null"), after=json.loads(after or "null"), **rest)


def _as_text(values: Values | None) -> str | None:
    if not values:
        return None
    text = json.dumps(dict(values), default=str)
    return text if len(text) <= _LONGEST_VALUES else None
