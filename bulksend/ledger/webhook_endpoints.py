"""Endpoints of webhooks: where each one is, what it gets, and whether it is served."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from bulksend.ledger import operator_log
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import among, first
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.schema import webhook_endpoints

ACTIVE, DISABLED, REMOVED = "active", "disabled", "removed"
SCOPE = "webhook"
NOTED_MS = 10_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as stored. ``url`` lacks its query; ``sealed`` has the whole URL and the secrets. Instants in ms."""

    id: str
    url: str
    sealed: bytes
    events: str
    numbers: bool
    status: str
    status_why: str | None
    cursor: int
    created_at: int
    created_by: str
    old_secret_until: int | None
    failing_since: int | None
    succeeded_at: int | None

    @property
    def filter(self) -> tuple[str, ...]:
        """The types of events that it gets; empty: all."""
        return tuple(self.events.split(",")) if self.events else ()

    @property
    def terms(self) -> tuple[int, str, bool, bytes]:
        """What decides which events it gets, how, and where."""
        return self.cursor, self.events, self.numbers, self.sealed


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that signs; ``until`` is in ms, None for the newest."""

    text: str
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What an endpoint keeps sealed: the whole URL, and its secrets, the newest first."""

    url: str
    secrets: tuple[Secret, ...]

    def signing(self, now_ms: int) -> list[str]:
        """The secrets that sign now."""
        return [secret.text for secret in self.secrets if secret.until is None or now_ms < secret.until]


def seal(cipher: Cipher, id: str, opened: Opened) -> bytes:
    """Encrypt it for the endpoint of that id."""
    secrets = [{"text": secret.text, "until": secret.until} for secret in opened.secrets]
    return cipher.encrypt({"url": opened.url, "secrets": secrets}, id)


def unseal(cipher: Cipher, id: str, sealed: bytes) -> Opened:
    """Decrypt it. Raises CannotDecrypt."""
    content: Any = cipher.decrypt(sealed, id)
    return Opened(content["url"], tuple(Secret(each["text"], each["until"]) for each in content["secrets"]))


def add(
    tx: Connection,
    *,
    id: str,
    url: str,
    sealed: bytes,
    events: Sequence[str],
    numbers: bool,
    cursor: int,
    actor: str,
) -> None:
    """Store a new endpoint, on record; it gets the events after ``cursor``."""
    tx.execute(
        insert(webhook_endpoints).values(
            id=id,
            url=url,
            sealed=sealed,
            events=",".join(events),
            numbers=numbers,
            status=ACTIVE,
            cursor=cursor,
            created_at=current_ms(),
            created_by=storable(actor, 100),
        )
    )
    record(tx, actor, "add", id, url)


def get(tx: Connection, id: str, *, for_update: bool = False) -> Endpoint | None:
    """One endpoint; None where there is none of that id. ``for_update`` locks it."""
    query = select(webhook_endpoints).where(
        webhook_endpoints.c.id == id, webhook_endpoints.c.status != REMOVED
    )
    return first(tx, query.with_for_update() if for_update else query, Endpoint)


def page(tx: Connection, *, after: str | None = None, limit: int = 1000) -> list[Endpoint]:
    """Endpoints by age, the oldest first."""
    query = select(webhook_endpoints).where(webhook_endpoints.c.status != REMOVED)
    if after is not None:
        query = query.where(webhook_endpoints.c.id > after)
    rows = tx.execute(query.order_by(webhook_endpoints.c.id).limit(limit)).mappings()
    return [Endpoint(**row) for row in rows]


def active(tx: Connection) -> list[Endpoint]:
    """Every endpoint that is served."""
    rows = tx.execute(select(webhook_endpoints).where(webhook_endpoints.c.status == ACTIVE)).mappings()
    return [Endpoint(**row) for row in rows]


def count_disabled(tx: Connection) -> int:
    """How many endpoints are disabled."""
    disabled = webhook_endpoints.c.status == DISABLED
    return tx.execute(select(func.count()).select_from(webhook_endpoints).where(disabled)).scalar_one()


def lock(tx: Connection, ids: Collection[str]) -> dict[str, Endpoint]:
    """Those of these endpoints that are active and that no other notifier works on now, by id, locked."""
    query = select(webhook_endpoints).where(
        among(tx, webhook_endpoints.c.id, list(ids)), webhook_endpoints.c.status == ACTIVE
    )
    rows = tx.execute(query.with_for_update(skip_locked=True)).mappings()
    return {row["id"]: Endpoint(**row) for row in rows}


def move_cursor(tx: Connection, id: str, cursor: int) -> None:
    """The events up to ``cursor`` are fanned out."""
    tx.execute(update(webhook_endpoints).where(webhook_endpoints.c.id == id).values(cursor=cursor))


def change(tx: Connection, id: str, *, actor: str, **values: Any) -> bool:
    """Set columns, on record; returns whether there is such an endpoint."""
    change = (
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == id, webhook_endpoints.c.status != REMOVED)
        .values(**values)
    )
    why = ", ".join(sorted(set(values) - {"sealed", "old_secret_until"})) or "secret"
    return operator_log.apply(tx, change, actor=actor, act="change", scope=SCOPE, subject=id, why=why)


def set_status(tx: Connection, id: str, status: str, *, actor: str, why: str) -> bool:
    """Move an endpoint to another status, on record; returns whether it was in another one."""
    change = (
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == id, webhook_endpoints.c.status.not_in((status, REMOVED)))
        .values(status=status, status_why=storable(why, 500) or None, failing_since=None)
    )
    act = {ACTIVE: "enable", DISABLED: "disable", REMOVED: "remove"}[status]
    return operator_log.apply(tx, change, actor=actor, act=act, scope=SCOPE, subject=id, why=why)


def note_results(tx: Connection, succeeded: Collection[str], failed: Collection[str]) -> None:
    """Remember which endpoints took something, and since when the others have not.

    A success is written every NOTED_MS only: a fan-out skips an endpoint whose row is locked.
    """
    table = webhook_endpoints.c
    if succeeded:
        is_old = or_(table.succeeded_at.is_(None), table.succeeded_at < current_ms() - NOTED_MS)
        tx.execute(
            update(webhook_endpoints)
            .where(among(tx, table.id, list(succeeded)), or_(table.failing_since.is_not(None), is_old))
            .values(failing_since=None, succeeded_at=current_ms())
        )
    if failed:
        tx.execute(
            update(webhook_endpoints)
            .where(among(tx, table.id, list(failed)), table.failing_since.is_(None))
            .values(failing_since=current_ms())
        )


def record(tx: Connection, actor: str, act: str, id: str, why: str) -> None:
    """Add an act on an endpoint to the operator log."""
    operator_log.record(tx, actor=actor, act=act, scope=SCOPE, subject=id, why=why)
