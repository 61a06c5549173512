"""Senders: the business numbers, with their rates, and the quota that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, func, select, update

from bulksend.errors import InvalidValue, SenderNotFound
from bulksend.ledger import operator_log
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import among, first, insert_if_new, rows_changed
from bulksend.ledger.in_flight import posts_since
from bulksend.ledger.schema import attempts, messages, senders
from bulksend.messaging.account_quota import AccountQuota, account_quota
from bulksend.messaging.typos import one_edit_away

#: WhatsApp's default throughput of a business number, messages per second (Meta, throughput, 2026-05-21).
DEFAULT_RATE = 80.0


@dataclass(frozen=True, slots=True)
class Sender:
    """A business number: ``rate`` in messages/s, ``quota`` that an operator set for its account (None: not set)."""

    phone: str
    name: str
    rate: float
    quota: int | None
    added_at: int
    paused_at: int | None
    pause_why: str | None
    status: str | None = None
    """As the vendor's notices tell it, like quality and tier; None: not told."""
    quality: str | None = None
    tier: str | None = None
    changed_at: int | None = None


def register(
    tx: Connection, phone: str, *, name: str = "", rate: float = DEFAULT_RATE, quota: int | None = None
) -> bool:
    """Add a sender where it is not on record; returns whether it was new."""
    values = {
        "phone": phone,
        "name": name[:100],
        "rate": rate,
        "quota": quota,
        "added_at": current_ms(),
    }
    return rows_changed(tx, insert_if_new(tx, senders).values(**values)) == 1


def check_spelling(tx: Connection, phone: str, field: str) -> None:
    """Raises InvalidValue when the number is not on record and one digit away from one that is."""
    known = tx.execute(select(senders.c.phone).order_by(senders.c.phone)).scalars().all()
    if phone in known:
        return
    similar = one_edit_away(phone, known)
    if similar:
        raise InvalidValue(
            field,
            phone,
            f"is not on record, and is one digit away from {similar[0]}, which is; if it is right, put it on record "
            f"first: bulksend senders add {phone}",
        )


def change(
    tx: Connection,
    phone: str,
    *,
    actor: str,
    name: str | None = None,
    rate: float | None = None,
    quota: int | None = None,
    no_quota: bool = False,
) -> Sender:
    """Set the given values. Raises SenderNotFound when the sender is not on record."""
    found = get(tx, phone)
    values: dict[str, object] = {}
    if name is not None:
        values["name"] = name[:100]
    if rate is not None:
        values["rate"] = rate
    if quota is not None or no_quota:
        values["quota"] = quota
    if values:
        tx.execute(update(senders).where(senders.c.phone == phone).values(**values))
        before, after = operator_log.changes(asdict(found), values)
        operator_log.record(
            tx,
            actor=actor,
            act="set",
            scope="sender",
            subject=phone,
            why=", ".join(f"{key}={value}" for key, value in values.items()),
            before=before,
            after=after,
        )
    return get(tx, phone)


def get(tx: Connection, phone: str) -> Sender:
    """One sender. Raises SenderNotFound when it is not on record."""
    found = first(tx, select(senders).where(senders.c.phone == phone), Sender)
    if found is None:
        raise SenderNotFound(
            f"sender {phone} is not on record; `bulksend senders add {phone}` registers it, and so does its "
            "first campaign"
        )
    return found


def all_senders(tx: Connection) -> list[Sender]:
    """Every sender, in the order of their numbers."""
    return [Sender(**row) for row in tx.execute(select(senders).order_by(senders.c.phone)).mappings()]


def by_phones(tx: Connection, phones: Iterable[str]) -> dict[str, Sender]:
    """Those of the numbers that are on record, by number."""
    rows = tx.execute(select(senders).where(among(tx, senders.c.phone, list(phones)))).mappings()
    return {row["phone"]: Sender(**row) for row in rows}


def reached(tx: Connection, day_ms: int = 86_400_000) -> int:
    """How many people the account has written to in the last 24 h, whichever sender it used."""
    query = (
        select(func.count(func.distinct(messages.c.recipient)))
        .select_from(attempts.join(messages, attempts.c.message_pk == messages.c.id))
        .where(attempts.c.started_at > current_ms() - day_ms)
        .where(attempts.c.sender.in_([sender.phone for sender in all_senders(tx)]))
    )
    return int(tx.execute(query).scalar_one())


def quota_in_force(tx: Connection) -> AccountQuota:
    """The account's quota by what is on record of its senders."""
    return account_quota(all_senders(tx))


def recent_recipients(tx: Connection, day_ms: int = 86_400_000) -> list[tuple[str, int]] | None:
    """The recipients of the last 24 h: (recipient, time of the last attempt) by each sender.

    None where the account has no quota.
    """
    found = all_senders(tx)
    if account_quota(found).limit is None:
        return None
    people: list[tuple[str, int]] = []
    for sender in found:
        posts = posts_since(tx, sender.phone, current_ms() - day_ms)
        by_person = (
            select(messages.c.recipient, func.max(posts.c.started_at))
            .join_from(posts, messages, posts.c.message_pk == messages.c.id)
            .group_by(messages.c.recipient)
        )
        people += [(recipient, at) for recipient, at in tx.execute(by_person)]
    return people
