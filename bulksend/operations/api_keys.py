"""Keys of programs: make them, list them, revoke them, and tell whose a presented key is."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from bulksend.errors import InvalidValue, LedgerUnreachable, NotFound, NotSignedIn
from bulksend.ledger import api_keys
from bulksend.ledger.api_keys import ApiKey
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.messaging import parse_sender
from bulksend.messaging.secret_text import ID_BYTES, SECRET_BYTES, base62, compose, id_of
from bulksend.messaging.states import Kind
from bulksend.messaging.units import parse_choice, parse_instant_ms
from bulksend.operations.access import Origin, Principal, Role
from bulksend.operations.json_shape import to_json

log = structlog.get_logger(__name__)

PREFIX = "bsk"
_ID_LENGTH = 9
#: Where the id is in the text of a key.
_ID = slice(len(PREFIX) + 1, len(PREFIX) + 1 + _ID_LENGTH)
#: A revoked key is refused within this time.
REMEMBERED_S = 0.5
#: A key that is used after this time is read again beforehand, so that no request waits for it.
_READ_AGAIN_S = 0.25
#: The last use of a key is written at most once in this time.
USE_KEPT_S = 60
#: The ids of keys that do not exist are remembered up to this many.
_MOST_UNKNOWN = 10_000
_NOWHERE = Origin()
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
        parse_sender(sender, default_region=asked.default_region, field="senders") for sender in asked.senders
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
    id = base62(random(ID_BYTES), _ID_LENGTH)
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


def show_key(tx: Connection, id: str) -> dict[str, Any]:
    """One key without its hash. Raises NotFound."""
    return as_json(_existing(tx, id))


def revoke_key(database: Database, id: str, *, actor: str, why: str) -> dict[str, Any]:
    """Refuse a key from now on, on record. Raises NotFound."""
    with database.write() as tx:
        _existing(tx, id)
        return {"id": id, "revoked": True, "changed": api_keys.revoke(tx, id, actor=actor, why=why)}


def _existing(tx: Connection, id: str) -> ApiKey:
    key = api_keys.get(tx, id)
    if key is None:
        raise NotFound("no key has this id; `bulksend keys list` shows the ids")
    return key


@dataclass(slots=True)
class _Known:
    """A key as the ledger had it at ``read_at``, and what its text says."""

    read_at: float
    key: ApiKey
    role: Role = field(init=False)
    kinds: frozenset[Kind] = field(init=False)
    senders: frozenset[str] = field(init=False)
    is_being_read: bool = False

    def __post_init__(self) -> None:
        self.role = Role(self.key.role)
        self.kinds = frozenset(Kind(kind) for kind in _listed(self.key.kinds))
        self.senders = frozenset(_listed(self.key.senders))


class KeyRing:
    """Tells whose a presented key is. Thread-safe; it remembers each key for REMEMBERED_S.

    It also keeps when and from where each key was used last, once in USE_KEPT_S for each, on a thread of its own: no
    request waits for that or fails by it. ``now_ms`` is the ledger's clock, ``steady`` a clock that never goes back, in
    seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        now_ms: Callable[[], float] = lambda: time.time() * 1000,
        steady: Callable[[], float] = time.monotonic,
        most_unknown: int = _MOST_UNKNOWN,
    ) -> None:
        self._database = database
        self._most_unknown = most_unknown
        self._now_ms = now_ms
        self._steady = steady
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        """Keys that exist, by id: no flood of others displaces them."""
        self._unknown: dict[str, float] = {}
        """When the ledger had no key of that id."""
        self._used: dict[str, float] = {}
        self._forgot_at = float("-inf")
        self._thread = ThreadPoolExecutor(1, "keys")

    def close(self) -> None:
        """Write the last uses that wait to be written."""
        self._thread.shutdown()

    def principal(self, presented: str, origin: Origin = _NOWHERE) -> Principal:
        """The principal of a key; may read the ledger.

        Raises NotSignedIn when it is malformed, unknown, expired or revoked.
        """
        id = _id(presented)
        known = self._known.get(id)
        if known is None or self._is_old(known.read_at):
            known = self._read(id)
        return self._checked(known, presented, origin)

    def remembered(self, presented: str, origin: Origin = _NOWHERE) -> Principal | None:
        """The principal of a key that is remembered, without a read; None for any other. Raises as ``principal``."""
        known = self._known.get(presented[_ID])
        if known is None:
            if self._is_old(self._unknown.get(_id(presented), float("-inf"))):
                return None
            raise _not_known()
        if self._is_old(known.read_at):
            return None
        if self._is_old(known.read_at, _READ_AGAIN_S):
            self._read_beforehand(known)
        return self._checked(known, presented, origin)

    def forget(self, id: str) -> None:
        """Read a key again before its next use, as it has just been changed."""
        with self._lock:
            self._forgot_at = self._steady()
            self._known.pop(id, None)

    def has_seen(self, presented: str) -> bool:
        """Whether the ledger had a key of that id lately. Raises NotSignedIn when it is malformed."""
        return _id(presented) in self._known

    def _checked(self, known: _Known | None, presented: str, origin: Origin) -> Principal:
        if known is None or not hmac.compare_digest(known.key.hash, _hash(presented)):
            _id(presented)  # says so where it has a typing error
            raise _not_known()
        key = known.key
        if not key.is_live(int(self._now_ms())):
            raise NotSignedIn(f"the key {key.id} is {'revoked' if key.revoked_at else 'expired'}")
        self._note_use(key.id, origin.ip)
        return Principal(key.id, key.name, known.role, known.kinds, known.senders, origin)

    def _is_old(self, read_at: float, seconds: float = REMEMBERED_S) -> bool:
        return self._steady() - read_at >= seconds

    def _read(self, id: str) -> _Known | None:
        # Before the read: what is revoked after it is refused REMEMBERED_S later.
        now = self._steady()
        with self._database.translated_errors(), self._database.read() as tx:
            key = api_keys.get(tx, id)
        with self._lock:
            if key is not None:
                known = _Known(now, key)
                # A read that began before the change may have found the key as it was.
                if now > self._forgot_at:
                    self._known[id] = known
                return known
            self._known.pop(id, None)
            if len(self._unknown) >= self._most_unknown:
                self._unknown.clear()
            self._unknown[id] = now
            return None

    def _read_beforehand(self, known: _Known) -> None:
        if known.is_being_read:
            return
        known.is_being_read = True
        with suppress(RuntimeError):
            self._thread.submit(self._read_quietly, known.key.id)

    def _read_quietly(self, id: str) -> None:
        """A failure is the next request's, which reads it again."""
        with suppress(LedgerUnreachable, DBAPIError):
            self._read(id)

    def _note_use(self, id: str, ip: str | None) -> None:
        now = self._steady()
        with self._lock:
            if now - self._used.get(id, float("-inf")) < USE_KEPT_S:
                return
            self._used[id] = now
        # A request that is answered while the process stops comes after ``close``.
        with suppress(RuntimeError):
            self._thread.submit(self._write_use, id, ip)

    def _write_use(self, id: str, ip: str | None) -> None:
        try:
            with self._database.write(durable=False) as tx:
                api_keys.note_use(tx, id, ip)
        except (DBAPIError, LedgerUnreachable) as error:
            log.warning("last_use_not_written", key=id, error=log_text(error))


def _not_known() -> NotSignedIn:
    return NotSignedIn("the key is unknown; `bulksend keys list` shows those that exist")


def _id(presented: str) -> str:
    id = id_of(presented, PREFIX)
    if id is None:
        raise NotSignedIn("the key is not one of bulksend: it begins with bsk_ and ends with a checksum")
    return id


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _listed(text: str) -> list[str]:
    return text.split(",") if text else []
