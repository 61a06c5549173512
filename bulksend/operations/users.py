"""People who may sign in: add, list, reset and disable them; set a password by setup token; check a password."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection

from bulksend.errors import InvalidValue, NotFound, NotSignedIn, WrongState
from bulksend.ledger import users
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.users import User
from bulksend.messaging import Kind, parse_sender
from bulksend.messaging.secret_text import ID_BYTES, SECRET_BYTES, base62, compose, id_of
from bulksend.messaging.units import parse_choice
from bulksend.operations.access import Origin, Principal, Role
from bulksend.operations.api_keys import checked_name
from bulksend.operations.json_shape import to_json
from bulksend.operations.passwords import Passwords, check_new, lock_ms

PREFIX = "bss"
#: A setup token may be used within this time.
SETUP_MS = 24 * 3_600_000
_SHOWN = (
    *("name", "role", "created_at", "created_by", "signed_in_at", "disabled_at", "locked_until"),
    *("setup_expires_at", "issuer", "subject"),
)
_NAME = re.compile(r"\w[\w.@+-]*")
_WRONG = (
    "the name or the password is wrong, or there were too many failures; wait, or ask an admin for a reset"
)


def add_user(
    database: Database,
    *,
    name: str,
    role: str,
    kinds: Sequence[str] = (),
    senders: Sequence[str] = (),
    default_region: str | None = None,
    actor: str,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> dict[str, Any]:
    """Add a user without a password, on record: its fields, and as ``setup_token`` what sets the first one.

    Empty ``kinds`` or ``senders``: all; ``default_region`` completes numbers that are written without one.
    The token is shown once. A disabled user of that name becomes a new one. Raises InvalidValue, which names the field.
    """
    name = checked_user_name(name)
    wanted = parse_choice(Role, role, field="role")
    of_kinds = {parse_choice(Kind, kind, field="kinds") for kind in kinds}
    of_senders = {parse_sender(each, default_region=default_region, field="senders") for each in senders}
    token = _new_token(random)
    with database.write() as tx:
        existing = users.get(tx, name, to_change=True)
        if existing is not None and existing.disabled_at is None:
            raise InvalidValue(
                "name", name[:40], "is a user; `bulksend users reset NAME` gives another setup token"
            )
        users.add(
            tx,
            name=name,
            role=wanted.value,
            kinds=",".join(sorted(of_kinds)),
            senders=",".join(sorted(of_senders)),
            setup_hash=_hash(token),
            setup_expires_at=read_clock(tx) + SETUP_MS,
            actor=actor,
        )
        return as_json(_existing(tx, name)) | {"setup_token": token}


def reset_user(
    database: Database,
    name: str,
    *,
    actor: str,
    why: str,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> dict[str, Any]:
    """Take a user's password and lock away, on record, and give another setup token. Raises NotFound."""
    token = _new_token(random)
    with database.write() as tx:
        user = _existing(tx, name)
        if user.disabled_at is not None:
            raise NotFound("this user is disabled; `bulksend users add` adds it again")
        _check_local(user, "its password is there")
        users.set_setup(
            tx, name, hash=_hash(token), expires_at=read_clock(tx) + SETUP_MS, actor=actor, why=why
        )
        return as_json(_existing(tx, name)) | {"setup_token": token}


def list_users(tx: Connection) -> list[dict[str, Any]]:
    """Every user without hashes, by name."""
    return [as_json(user) for user in users.all_users(tx)]


def show_user(tx: Connection, name: str) -> dict[str, Any]:
    """One user without hashes. Raises NotFound."""
    return as_json(_existing(tx, name))


def as_json(user: User) -> dict[str, Any]:
    """A user as lists show it; ``issuer`` and ``subject`` of those who sign in at one."""
    return to_json({name: getattr(user, name) for name in _SHOWN}) | {
        "has_password": user.password_hash is not None,
        "kinds": user.kinds.split(",") if user.kinds else [],
        "senders": user.senders.split(",") if user.senders else [],
    }


def disable_user(database: Database, name: str, *, actor: str, why: str) -> dict[str, Any]:
    """Refuse a user from now on, on record. Raises NotFound."""
    with database.write() as tx:
        changed = users.disable(tx, _existing(tx, name).name, actor=actor, why=why)
        return {"name": name, "disabled": True, "changed": changed}


def enable_user(database: Database, name: str, *, actor: str, why: str) -> dict[str, Any]:
    """Let a disabled user of an issuer sign in there again, on record. Raises NotFound, WrongState."""
    with database.write() as tx:
        user = _existing(tx, name)
        if user.issuer is None:
            raise WrongState("this user has no password any more; `bulksend users add` adds it again")
        return {"name": name, "disabled": False, "changed": users.enable(tx, name, actor=actor, why=why)}


def change_role(database: Database, name: str, role: str, *, actor: str, why: str) -> dict[str, Any]:
    """Give a user another role, on record; it holds from the user's next request.

    Raises NotFound, InvalidValue, and WrongState for a user whose role comes from an issuer.
    """
    wanted = parse_choice(Role, role, field="role")
    with database.write() as tx:
        user = users.get(tx, name, to_change=True)
        if user is None or user.disabled_at is not None:
            raise NotFound("no user of this name may sign in; `bulksend users list` shows the names")
        _check_local(user, "its role comes from there at each sign-in")
        changed = users.set_role(tx, user, wanted.value, actor=actor, why=why)
        return {"name": name, "role": wanted.value, "changed": changed}


def change_password(
    database: Database, principal: Principal, old: str, new: str, *, session: str, passwords: Passwords
) -> None:
    """Set another password of the user who is signed in; the sessions but that of the hash ``session`` end.

    A wrong old password counts as a failed attempt to sign in. Raises NotSignedIn for it, InvalidValue for a weak
    new one.
    """
    check_new(new, principal.name)
    user = database.retrying(lambda tx: users.get(tx, principal.name))
    check_password(database, principal.name, old, passwords=passwords, origin=principal.origin)
    hash = passwords.hash(new)
    with database.write() as tx:
        if user is None or not users.change_password(tx, user, hash, session=session, actor=principal.actor):
            raise NotSignedIn(_WRONG)


def set_password(database: Database, token: str, password: str, *, passwords: Passwords) -> str:
    """Set the password of the user that a setup token is for, which is used up by it. Returns the user's name.

    Raises NotSignedIn when the token is unknown, used or expired, InvalidValue for a weak password.
    """
    with database.read() as tx:
        user = users.by_setup_hash(tx, _hash(token)) if id_of(token, PREFIX) else None
        now = read_clock(tx)
    if user is None or user.setup_expires_at is None or user.setup_expires_at <= now:
        raise _unusable()
    check_new(password, user.name)
    hash = passwords.hash(password)
    with database.write() as tx:
        if not users.set_password(tx, user, hash):
            raise _unusable()
    return user.name


def check_password(
    database: Database,
    name: str,
    password: str,
    *,
    passwords: Passwords,
    origin: Origin = Origin(),  # noqa: B008 - it is frozen
) -> Principal:
    """The user of that name and password.

    Raises NotSignedIn, with the same text and after the same work for each cause. The attempt counts as failed
    before the password is looked at: so attempts at the same time count too.
    """
    hash = database.retrying(lambda tx: _begin_attempt(tx, name))
    if not passwords.is_right(password, hash):
        raise NotSignedIn(_WRONG)
    with database.write() as tx:
        user = users.get(tx, name, to_change=True)
        if user is None or user.password_hash != hash:
            raise NotSignedIn(_WRONG)
        users.set_values(tx, name, failures=0, locked_until=None, signed_in_at=read_clock(tx))
    return Principal.of_user(user.name, user.role, user.kinds, user.senders, origin)


def _begin_attempt(tx: Connection, name: str) -> str | None:
    """Count an attempt to sign in. The hash to compare with; None where no password would be right."""
    now = read_clock(tx)
    user = users.get(tx, name, to_change=True)
    is_locked = user is not None and user.locked_until is not None and now < user.locked_until
    failures = 0 if user is None else user.failures + (not is_locked)
    locked_until = user.locked_until if user is not None and is_locked else now + lock_ms(failures)
    users.set_values(tx, name, failures=failures, locked_until=locked_until if lock_ms(failures) else None)
    return None if user is None or is_locked or user.disabled_at is not None else user.password_hash


def checked_user_name(text: str) -> str:
    """The name as a part of a path can be. Raises InvalidValue."""
    name = checked_name(text)
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            "name", name[:40], "may have letters, digits and . _ @ + -, e.g. ann or ann@shop.example"
        )
    return name


def host_of(issuer: str) -> str:
    """What an issuer is called in the operator log and in lists."""
    return urlsplit(issuer).netloc[:100]


def _check_local(user: User, why: str) -> None:
    if user.issuer is not None:
        raise WrongState(f"this user signs in at {host_of(user.issuer)}: {why}")


def _existing(tx: Connection, name: str) -> User:
    user = users.get(tx, name)
    if user is None:
        raise NotFound("no user has this name; `bulksend users list` shows the names")
    return user


def _new_token(random: Callable[[int], bytes]) -> str:
    return compose(PREFIX, base62(random(ID_BYTES), 9), random(SECRET_BYTES))


def _unusable() -> NotSignedIn:
    return NotSignedIn(
        "the setup token is unknown, used or older than a day; `bulksend users reset NAME` gives another"
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
