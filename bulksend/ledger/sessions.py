"""Sessions of browsers. Of the token in the cookie only a hash is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from bulksend.ledger import operator_log
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import among, rows_changed
from bulksend.ledger.operator_log import Actor
from bulksend.ledger.schema import sessions, users

#: A session ends after this long, and sooner when no request comes with it for as long as IDLE_MS.
LIFE_MS, IDLE_MS = 7 * 86_400_000, 12 * 3_600_000
#: ``seen_at`` is written when it is older than this.
SEEN_MS = 60_000


@dataclass(frozen=True, slots=True)
class Session:
    """A live session with what its user may do now. ``is_seen``: its ``seen_at`` need not be written."""

    user: str
    role: str
    kinds: str
    senders: str
    created_at: int
    expires_at: int
    is_seen: bool


def add(tx: Connection, user: str, hash: str, *, actor: Actor, why: str, life_ms: int = LIFE_MS) -> None:
    """Store a new session, on record; those that have ended are deleted."""
    now = read_clock(tx)
    tx.execute(delete(sessions).where(sessions.c.expires_at <= now))
    tx.execute(delete(sessions).where(sessions.c.seen_at <= now - IDLE_MS))
    tx.execute(
        insert(sessions).values(
            hash=hash, user_name=user, created_at=now, seen_at=now, expires_at=now + life_ms, ip=actor.ip
        )
    )
    operator_log.record(tx, actor=actor, act="sign in", scope="user", subject=user, why=why)


def get(tx: Connection, hash: str) -> Session | None:
    """The live session of a token with this hash; None where there is none, or its user is disabled."""
    now = read_clock(tx)
    found = tx.execute(
        _live(now)
        .add_columns(
            users.c.kinds, users.c.senders, sessions.c.created_at, sessions.c.expires_at, sessions.c.seen_at
        )
        .where(sessions.c.hash == hash)
    ).one_or_none()
    if found is None:
        return None
    _, user, role, kinds, senders, created_at, expires_at, seen_at = found
    return Session(user, role, kinds, senders, created_at, expires_at, is_seen=now - seen_at < SEEN_MS)


def live_roles(tx: Connection, hashes: Sequence[str]) -> dict[str, str]:
    """The role that the user of each of these sessions has now, of those that are live."""
    found = tx.execute(_live(read_clock(tx)).where(among(tx, sessions.c.hash, hashes)))
    return {hash: role for hash, _, role in found}


def _live(now: int) -> Select[Any]:
    return (
        select(sessions.c.hash, sessions.c.user_name, users.c.role)
        .join(users, users.c.name == sessions.c.user_name)
        .where(users.c.disabled_at.is_(None), sessions.c.expires_at > now, sessions.c.seen_at > now - IDLE_MS)
    )


def note_seen(tx: Connection, hash: str) -> None:
    """A request came with this session."""
    tx.execute(update(sessions).where(sessions.c.hash == hash).values(seen_at=current_ms()))


def end(tx: Connection, hash: str, *, actor: Actor) -> None:
    """End one session, on record where there was one."""
    found = tx.execute(delete(sessions).where(sessions.c.hash == hash).returning(sessions.c.user_name))
    user = found.scalar_one_or_none()
    if user is not None:
        operator_log.record(tx, actor=actor, act="sign out", scope="user", subject=user, why="by the user")


def of_user(tx: Connection, user: str) -> list[dict[str, Any]]:
    """The live sessions of a user, the newest first, with the hash of each token."""
    columns = (
        sessions.c.hash,
        sessions.c.created_at,
        sessions.c.seen_at,
        sessions.c.expires_at,
        sessions.c.ip,
    )
    found = _live(read_clock(tx)).with_only_columns(*columns).where(sessions.c.user_name == user)
    return [dict(row) for row in tx.execute(found.order_by(sessions.c.created_at.desc())).mappings()]


def end_others(tx: Connection, user: str, hash: str) -> int:
    """End every session of a user but the one of a token with this hash; returns how many."""
    return rows_changed(tx, delete(sessions).where(sessions.c.user_name == user, sessions.c.hash != hash))


def end_every(tx: Connection) -> None:
    """End the sessions of all users, and make their links void."""
    tx.execute(delete(sessions))
    tx.execute(update(users).values(link_hash=None, link_expires_at=None))


def end_all(tx: Connection, user: str) -> int:
    """End every session of a user; returns how many."""
    return rows_changed(tx, delete(sessions).where(sessions.c.user_name == user))
