"""Keys of programs: make them, list them, revoke them, and tell whose a presented key is."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidValue, NotFound, NotSignedIn
from bulksend.ledger import api_keys
from bulksend.ledger.api_keys import ApiKey
from bulksend.ledger.database import Database
from bulksend.messaging import parse_recipient
from bulksend.messaging.secret_text import ID_BYTES, SECRET_BYTES, base62, compose, id_of
from bulksend.messaging.states import Kind
from bulksend.messaging.units import parse_choice, parse_instant_ms
from bulksend.operations.access import Principal, Role
from bulksend.operations.json_shape import to_json

PREFIX = "bsk"
#: A revoked key is refused within this time.
REMEMBERED_S = 0.5
_HIDDEN = ("hash", "kinds", "senders")
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. ``key`` is shown once; the ledger keeps its hash."""

    id: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """A key that is asked for, each field as a person or a program writes it.

    Empty ``kinds`` or ``senders``: all. ``expires`` in ISO 8601; ``default_region`` and ``timezone`` complete
    numbers and times that are written without.
    """

    name: str
    role: str
    kinds: Sequence[str] = ()
    senders: Sequence[str] = ()
    expires: str | None = None
    default_region: str | None = None
    timezone: str | None = None

    def expires_at(self, now_ms: int) -> int | None:
        """The end in ms. Raises InvalidValue when it is no time, or has passed."""
        if self.expires is None:
            return None
        at = parse_instant_ms(self.expires, timezone=self.timezone or "UTC", now_ms=now_ms, field="expires")
        if at <= now_ms:
            raise InvalidValue("expires", self.expires[:40], "has passed; give a time in the future")
        return at


def add_key(database: Database, asked: KeyRequest, *, actor: str) -> dict[str, Any]:
    """Make a key, on record: its fields, and as ``key`` the key itself. Raises InvalidValue, which names the field."""
    name = checked_name(asked.name)
    role = parse_choice(Role, asked.role, field="role")
    kinds = [parse_choice(Kind, kind, field="kinds") for kind in asked.kinds]
    senders = [
        parse_recipient(sender, default_region=asked.default_region, field="senders")
        for sender in asked.senders
    ]
    expires_at = asked.expires_at(int(time.time() * 1000))
    with database.write() as tx:
        made = add(tx, name=name, role=role, kinds=kinds, senders=senders, expires_at=expires_at, actor=actor)
        return {"id": made.id, "key": made.key} | as_json(_existing(tx, made.id))


def checked_name(text: str) -> str:
    """The name of a key or user, which operator log and access log show. Raises InvalidValue."""
    name = text.strip()
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidValue("name", name[:40], f"must have 1 to {_LONGEST_NAME} visible characters")
    return name


def add(
    tx: Connection,
    *,
    name: str,
    role: Role,
    kinds: Sequence[Kind] = (),
    senders: Sequence[str] = (),
    expires_at: int | None = None,
    actor: str,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> NewKey:
    """Make a key. Empty ``kinds`` or ``senders`` (digits): all; ``expires_at`` in ms since the epoch."""
    id = base62(random(ID_BYTES), 9)
    key = compose(PREFIX, id, random(SECRET_BYTES))
    api_keys.add(
        tx,
        id=id,
        name=name,
        hash=_hash(key),
        role=role.value,
        kinds=",".join(sorted(set(kinds))),
        senders=",".join(sorted(set(senders))),
        expires_at=expires_at,
        actor=actor,
    )
    return NewKey(id, key)


def list_keys(tx: Connection) -> list[dict[str, Any]]:
    """Every key without its hash, the oldest first."""
    return [as_json(key) for key in api_keys.all_keys(tx)]


def as_json(key: ApiKey) -> dict[str, Any]:
    """A key as lists show it."""
    shown = {name: value for name, value in to_json(key).items() if name not in _HIDDEN}
    return shown | {"kinds": _listed(key.kinds), "senders": _listed(key.senders)}


def revoke(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """Revoke a key; returns whether it was live. Raises NotFound when there is none of that id."""
    return api_keys.revoke(tx, _existing(tx, id).id, actor=actor, why=why)


def _existing(tx: Connection, id: str) -> ApiKey:
    key = api_keys.get(tx, id)
    if key is None:
        raise NotFound("no key has this id; `bulksend keys list` shows the ids")
    return key


class KeyRing:
    """Tells whose a presented key is. Thread-safe; it remembers each key for REMEMBERED_S.

    ``now_ms`` is the ledger's clock, ``steady`` a clock that never goes back, in seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        now_ms: Callable[[], float] = lambda: time.time() * 1000,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._steady = steady
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[float, ApiKey | None]] = {}

    def principal(self, presented: str) -> Principal:
        """The principal of a key. Raises NotSignedIn when it is malformed, unknown, expired or revoked."""
        id = id_of(presented, PREFIX)
        if id is None:
            raise NotSignedIn("the key is not one of bulksend: it begins with bsk_ and ends with a checksum")
        key = self._find(id)
        if key is None or not hmac.compare_digest(key.hash, _hash(presented)):
            raise NotSignedIn("the key is unknown; `bulksend keys list` shows those that exist")
        if not key.is_live(int(self._now_ms())):
            raise NotSignedIn(f"the key {key.id} is {'revoked' if key.revoked_at else 'expired'}")
        return Principal(
            key.id,
            key.name,
            Role(key.role),
            frozenset(Kind(kind) for kind in _listed(key.kinds)),
            frozenset(_listed(key.senders)),
        )

    def _find(self, id: str) -> ApiKey | None:
        now = self._steady()
        with self._lock:
            seen_at, key = self._remembered.get(id, (float("-inf"), None))
        if now - seen_at < REMEMBERED_S:
            return key
        with self._database.translated_errors(), self._database.read() as tx:
            key = api_keys.get(tx, id)
        with self._lock:
            if len(self._remembered) > 10_000:
                self._remembered.clear()
            self._remembered[id] = now, key
        return key


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _listed(text: str) -> list[str]:
    return text.split(",") if text else []
