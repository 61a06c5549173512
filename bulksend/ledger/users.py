"""People who may sign in. Of a password, a setup token and a link only hashes are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, delete, insert, select, update

from bulksend.ledger import operator_log, sessions
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import first, insert_if_new, rows_changed
from bulksend.ledger.operator_log import Values
from bulksend.ledger.schema import users


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored. Instants in ms. ``failures``: sign-ins that failed since the last one that did not."""

    name: str
    role: str
    password_hash: str | None
    setup_hash: bytes | None
    setup_expires_at: int | None
    created_at: int
    created_by: str
    disabled_at: int | None
    failures: int
    locked_until: int | None
    signed_in_at: int | None
    kinds: str
    senders: str
    link_hash: bytes | None
    link_expires_at: int | None
    issuer: str | None
    subject: str | None


#: A link that was not used yet is void.
_NO_LINK = {"link_hash": None, "link_expires_at": None}


def add(
    tx: Connection,
    *,
    name: str,
    role: str,
    kinds: str,
    senders: str,
    setup_hash: bytes,
    setup_expires_at: int,
    actor: str,
) -> None:
    """Store a new user, or one that was disabled again as a new one, on record.

    ``kinds`` and ``senders`` are separated by commas; empty: all.
    """
    tx.execute(delete(users).where(users.c.name == name, users.c.disabled_at.is_not(None)))
    tx.execute(
        insert(users).values(
            name=name,
            role=role,
            kinds=kinds,
            senders=senders,
            setup_hash=setup_hash,
            setup_expires_at=setup_expires_at,
            created_at=current_ms(),
            created_by=storable(actor, 100),
            failures=0,
        )
    )
    _record(tx, name, "add", actor=actor, why=role, after=_rights(role, kinds, senders))


def add_of_issuer(
    tx: Connection, *, name: str, role: str, issuer: str, subject: str, actor: str, why: str
) -> bool:
    """Store a new user who signs in at an issuer, on record. Returns whether name and subject were free.

    A disabled user of the name gives it up, except one of the same issuer: it would be no longer known as disabled.
    """
    is_free = users.c.issuer.is_(None) | (users.c.issuer != issuer)
    tx.execute(delete(users).where(users.c.name == name, users.c.disabled_at.is_not(None), is_free))
    new = insert_if_new(tx, users).values(
        name=name,
        role=role,
        created_at=current_ms(),
        created_by=storable(actor, 100),
        failures=0,
        issuer=issuer,
        subject=subject,
    )
    if not rows_changed(tx, new):
        return False
    _record(tx, name, "add", actor=actor, why=why, after=_rights(role, "", ""))
    return True


def _rights(role: str, kinds: str, senders: str) -> Values:
    """What it may do, without what does not limit it."""
    limits = {"kinds": kinds, "senders": senders}
    return {"role": role, **{name: value for name, value in limits.items() if value}}


def get(tx: Connection, name: str, *, to_change: bool = False) -> User | None:
    """One user; None where there is none of that name. ``to_change``: others wait until this transaction ends."""
    found = select(users).where(users.c.name == name)
    return first(tx, found.with_for_update() if to_change else found, User)


def by_setup_hash(tx: Connection, hash: bytes) -> User | None:
    """The user whose setup token has this hash."""
    return first(tx, select(users).where(users.c.setup_hash == hash), User)


def by_link_hash(tx: Connection, hash: bytes) -> User | None:
    """The user whose link has a token with this hash."""
    return first(tx, select(users).where(users.c.link_hash == hash), User)


def by_subject(tx: Connection, issuer: str, subject: str) -> User | None:
    """The user who is this subject at the issuer; others wait until this transaction ends."""
    found = select(users).where(users.c.issuer == issuer, users.c.subject == subject)
    return first(tx, found.with_for_update(), User)


def all_users(tx: Connection) -> list[User]:
    """Every user, by name."""
    return [User(**row) for row in tx.execute(select(users).order_by(users.c.name)).mappings()]


def set_values(tx: Connection, name: str, **values: Any) -> None:
    """Set columns of one user. It does the same work where there is none of that name."""
    tx.execute(update(users).where(users.c.name == name).values(**values))


def set_setup(tx: Connection, name: str, *, hash: bytes, expires_at: int, actor: str, why: str) -> None:
    """Give the user another setup token; its password, its lock and its sessions are gone, on record."""
    sessions.end_all(tx, name)
    set_values(
        tx,
        name,
        setup_hash=hash,
        setup_expires_at=expires_at,
        password_hash=None,
        failures=0,
        locked_until=None,
        **_NO_LINK,
    )
    _record(tx, name, "reset", actor=actor, why=why)


def set_link(tx: Connection, name: str, *, hash: bytes, expires_at: int, actor: str) -> None:
    """Give the user a link that signs in once, instead of one that was not used, on record."""
    set_values(tx, name, link_hash=hash, link_expires_at=expires_at)
    _record(tx, name, "link", actor=actor, why="to sign in once")


def use_link(tx: Connection, user: User) -> bool:
    """Use the link of the user up. Returns whether it was there still."""
    is_current: ColumnElement[bool] = users.c.link_hash == user.link_hash
    change = update(users).where(users.c.name == user.name, is_current)
    return tx.execute(change.values(**_NO_LINK, signed_in_at=current_ms())).rowcount > 0


def set_password(tx: Connection, user: User, password_hash: str) -> bool:
    """Set the password of the user of a setup token, which is used up by it. Returns whether it was there still."""
    is_current: ColumnElement[bool] = users.c.setup_hash == user.setup_hash
    change = (
        update(users)
        .where(users.c.name == user.name, is_current)
        .values(
            password_hash=password_hash,
            setup_hash=None,
            setup_expires_at=None,
            failures=0,
            locked_until=None,
        )
    )
    sessions.end_all(tx, user.name)
    return operator_log.apply(
        tx, change, actor=user.name, act="set password", scope="user", subject=user.name, why="by setup token"
    )


def change_password(tx: Connection, user: User, password_hash: str, *, session: str, actor: str) -> bool:
    """Set another password, on record; the user's sessions but this one end. Returns whether the old one was there."""
    is_current: ColumnElement[bool] = users.c.password_hash == user.password_hash
    change = update(users).where(users.c.name == user.name, is_current).values(password_hash=password_hash)
    changed = operator_log.apply(
        tx, change, actor=actor, act="set password", scope="user", subject=user.name, why="by the user"
    )
    if changed:
        sessions.end_others(tx, user.name, session)
    return changed


def set_role(tx: Connection, user: User, role: str, *, actor: str, why: str) -> bool:
    """Give a user another role, on record. Returns whether it is another one."""
    change = update(users).where(users.c.name == user.name, users.c.role != role).values(role=role)
    return operator_log.apply(
        tx,
        change,
        actor=actor,
        act="change",
        scope="user",
        subject=user.name,
        why=why,
        before={"role": user.role},
        after={"role": role},
    )


def disable(tx: Connection, name: str, *, actor: str, why: str) -> bool:
    """Refuse a user from now on, and in its sessions, on record; returns whether it was not disabled before."""
    sessions.end_all(tx, name)
    change = (
        update(users)
        .where(users.c.name == name, users.c.disabled_at.is_(None))
        .values(
            disabled_at=current_ms(), password_hash=None, setup_hash=None, setup_expires_at=None, **_NO_LINK
        )
    )
    return _set_disabled(tx, change, name, True, actor=actor, why=why)


def enable(tx: Connection, name: str, *, actor: str, why: str) -> bool:
    """Let a disabled user sign in again, on record; returns whether it was disabled."""
    change = (
        update(users).where(users.c.name == name, users.c.disabled_at.is_not(None)).values(disabled_at=None)
    )
    return _set_disabled(tx, change, name, False, actor=actor, why=why)


def _set_disabled(tx: Connection, change: Update, name: str, disabled: bool, *, actor: str, why: str) -> bool:
    return operator_log.apply(
        tx,
        change,
        actor=actor,
        act="disable" if disabled else "enable",
        scope="user",
        subject=name,
        why=why,
        before={"disabled": not disabled},
        after={"disabled": disabled},
    )


def _record(
    tx: Connection, name: str, act: str, *, actor: str, why: str, after: Values | None = None
) -> None:
    operator_log.record(tx, actor=actor, act=act, scope="user", subject=name, why=why, after=after)
