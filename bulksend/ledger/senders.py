"""Senders (business numbers) and accounts: their limits and their pauses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select, update

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.ledger import operator_log
from bulksend.ledger.database import among, db_now, insert_if_new, rows_changed
from bulksend.ledger.schema import accounts, senders
from bulksend.messaging.mistyped import nearly
from bulksend.messaging.states import CampaignStatus

#: WhatsApp's default throughput of a business number, messages per second (Meta, throughput, 2026-05-21).
DEFAULT_RATE = 80.0
#: So long a cancelled campaign keeps its flag in Redis, by which workers let go of what they hold of it.
LETTING_GO_MS = 60_000


@dataclass(frozen=True, slots=True)
class Sender:
    """A business number: ``rate`` in messages/s, ``quota`` in unique recipients per rolling 24 h (None: none)."""

    phone: str
    name: str
    rate: float
    quota: int | None
    added_at: int
    paused_at: int | None
    pause_why: str | None


@dataclass(frozen=True, slots=True)
class Pauses:
    """Everything that is held back now; the truth behind the flags in Redis. See ``pauses``."""

    campaigns: frozenset[str]
    senders: frozenset[str]
    accounts: frozenset[str]


def register(
    tx: Connection, phone: str, *, name: str = "", rate: float = DEFAULT_RATE, quota: int | None = None
) -> bool:
    """Put a sender on record where it is not; says whether it was new."""
    values = {
        "phone": phone,
        "name": name[:100],
        "rate": rate,
        "quota": quota,
        "added_at": db_now(),
    }
    return rows_changed(tx, insert_if_new(tx, senders).values(**values)) == 1


def check_spelling(tx: Connection, phone: str, field: str) -> None:
    """Raises InvalidValue for a sender that is not on record and that one slip turns into one that is."""
    known = tx.execute(select(senders.c.phone).order_by(senders.c.phone)).scalars().all()
    if phone in known:
        return
    alike = nearly(phone, known)
    if alike:
        raise InvalidValue(
            field,
            phone,
            f"is not on record, and is one digit away from {alike[0]}, which is; if it is right all the same, put it "
            f"on record first: bulksend senders add {phone}",
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
    """Set what is given, on record. Raises InvalidInput for a sender that is not on record."""
    get(tx, phone)
    values: dict[str, object] = {}
    if name is not None:
        values["name"] = name[:100]
    if rate is not None:
        values["rate"] = rate
    if quota is not None or no_quota:
        values["quota"] = quota
    if values:
        tx.execute(update(senders).where(senders.c.phone == phone).values(**values))
        told = ", ".join(f"{key}={value}" for key, value in values.items())
        operator_log.record(tx, actor=actor, act="set", scope="sender", subject=phone, why=told)
    return get(tx, phone)


def get(tx: Connection, phone: str) -> Sender:
    """One sender. Raises InvalidInput."""
    row = tx.execute(select(senders).where(senders.c.phone == phone)).mappings().one_or_none()
    if row is None:
        raise InvalidInput(
            f"sender {phone} is not on record; `bulksend senders add {phone}` registers it, and so does its "
            "first campaign"
        )
    return Sender(**row)


def listed(tx: Connection) -> list[Sender]:
    """Every sender, by number."""
    return [Sender(**row) for row in tx.execute(select(senders).order_by(senders.c.phone)).mappings()]


def some(tx: Connection, phones: Iterable[str]) -> dict[str, Sender]:
    """Those of the phones that are on record."""
    rows = tx.execute(select(senders).where(among(tx, senders.c.phone, list(phones)))).mappings()
    return {row["phone"]: Sender(**row) for row in rows}


def pause(tx: Connection, phone: str, *, actor: str, why: str) -> bool:
    """Hold back everything this sender would send. Says whether it ran before."""
    changed = (
        tx.execute(
            update(senders)
            .where(senders.c.phone == phone, senders.c.paused_at.is_(None))
            .values(paused_at=db_now(), pause_why=why[:500])
        ).rowcount
        == 1
    )
    if changed:
        operator_log.record(tx, actor=actor, act="pause", scope="sender", subject=phone, why=why)
    return changed


def resume(tx: Connection, phone: str, *, actor: str, why: str) -> bool:
    """Let it send again. Says whether it was paused before."""
    changed = (
        tx.execute(
            update(senders)
            .where(senders.c.phone == phone, senders.c.paused_at.is_not(None))
            .values(paused_at=None, pause_why=None)
        ).rowcount
        == 1
    )
    if changed:
        operator_log.record(tx, actor=actor, act="resume", scope="sender", subject=phone, why=why)
    return changed


def pause_account(tx: Connection, account: str, *, actor: str, why: str) -> bool:
    """Hold back everything: no money, wrong key, account restricted. Says whether it ran before."""
    values = {"id": account, "paused_at": None, "pause_why": None}
    tx.execute(insert_if_new(tx, accounts).values(**values))
    changed = (
        tx.execute(
            update(accounts)
            .where(accounts.c.id == account, accounts.c.paused_at.is_(None))
            .values(paused_at=db_now(), pause_why=why[:500])
        ).rowcount
        == 1
    )
    if changed:
        operator_log.record(tx, actor=actor, act="pause", scope="account", subject=account, why=why)
    return changed


def resume_account(tx: Connection, account: str, *, actor: str, why: str) -> bool:
    """Let the account send again. Says whether it was paused before."""
    changed = (
        tx.execute(
            update(accounts)
            .where(accounts.c.id == account, accounts.c.paused_at.is_not(None))
            .values(paused_at=None, pause_why=None)
        ).rowcount
        == 1
    )
    if changed:
        operator_log.record(tx, actor=actor, act="resume", scope="account", subject=account, why=why)
    return changed


def account_pause(tx: Connection, account: str) -> tuple[int, str] | None:
    """Since when and why the account is paused; None when it runs."""
    row = tx.execute(
        select(accounts.c.paused_at, accounts.c.pause_why).where(
            accounts.c.id == account, accounts.c.paused_at.is_not(None)
        )
    ).one_or_none()
    return (row.paused_at, row.pause_why or "") if row is not None else None


def pauses(tx: Connection) -> Pauses:
    """Everything that is paused now, and the campaigns cancelled within LETTING_GO_MS: workers let go of them."""
    from bulksend.ledger.schema import campaigns

    is_cancelled = campaigns.c.status == CampaignStatus.CANCELLED.value
    return Pauses(
        campaigns=frozenset(
            tx.execute(
                select(campaigns.c.id).where(
                    or_(
                        campaigns.c.status == CampaignStatus.PAUSED.value,
                        is_cancelled & (campaigns.c.ended_at > db_now() - LETTING_GO_MS),
                    )
                )
            ).scalars()
        ),
        senders=frozenset(
            tx.execute(select(senders.c.phone).where(senders.c.paused_at.is_not(None))).scalars()
        ),
        accounts=frozenset(
            tx.execute(select(accounts.c.id).where(accounts.c.paused_at.is_not(None))).scalars()
        ),
    )
