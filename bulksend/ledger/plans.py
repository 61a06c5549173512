"""Plans of campaigns: what a send would do, frozen until it is applied or expires."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from bulksend.errors import NotFound, WrongState
from bulksend.ledger import operator_log
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import among, delete_found, first, newest_first, rows_changed
from bulksend.ledger.ids import is_id, lowest_at
from bulksend.ledger.schema import plans
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.units import format_age

#: A plan stays on record for this long after it was made; its samples only until it expires.
KEPT_MS = 90 * 86_400_000


@dataclass(frozen=True, slots=True)
class NewPlan:
    """What a plan freezes. ``facts``, ``outlook`` and ``options`` are JSON; ``samples`` are sealed under its id."""

    id: str
    hash: str
    facts: str
    outlook: str
    samples: bytes | None
    options: str
    campaign_key: str
    source_hash: str
    file: str
    posted: int
    rows_planned: int
    messages_planned: int
    request_key: str | None
    created_by: str


@dataclass(frozen=True, slots=True)
class Plan(NewPlan):
    """A row of the table. Instants in ms since the epoch."""

    created_at: int
    expires_at: int
    campaign_id: str | None
    applied_at: int | None
    applied_by: str | None
    ended_why: str | None


def add(tx: Connection, new: NewPlan, *, lives_ms: int) -> Plan:
    """Put a plan on record. One that is there already stays as it is: the first COMMIT took place."""
    if (found := _find(tx, new.id)) is not None:
        return found
    now = read_clock(tx)
    values = {name: getattr(new, name) for name in NewPlan.__dataclass_fields__}
    values |= {"created_by": storable(str(new.created_by), 100), "file": storable(new.file, 4096)}
    tx.execute(insert(plans).values(**values, created_at=now, expires_at=now + lives_ms))
    operator_log.record(
        tx, actor=new.created_by, act="make", scope="plan", subject=new.id, why=f"hash {new.hash[:12]}"
    )
    return get(tx, new.id)


def get(tx: Connection, id: str) -> Plan:
    """The plan of an id. Raises NotFound."""
    found = _find(tx, id)
    if found is None:
        raise NotFound(f"there is no plan {mask_digits(id[:40])!r}; `bulksend plan FILE …` makes one")
    return found


def by_request(tx: Connection, request_key: str) -> Plan | None:
    """The plan of an earlier request; None where there is none."""
    return first(tx, select(plans).where(plans.c.request_key == request_key), Plan)


def end(tx: Connection, ids: list[str], *, actor: str, why: str) -> None:
    """End those of these plans that could still be applied, on record."""
    for id in sorted(live_files(tx, ids)):
        tx.execute(update(plans).where(plans.c.id == id).values(ended_why=why, samples=None))
        operator_log.record(tx, actor=actor, act="end", scope="plan", subject=id, why=why)


def check_live(tx: Connection, plan: Plan) -> None:
    """Raises WrongState when a plan that was not applied has ended or expired."""
    now = read_clock(tx)
    if plan.campaign_id is None and plan.ended_why is not None:
        raise WrongState(f"plan {plan.id} has ended: {plan.ended_why}; post the file again to make a new one")
    if plan.campaign_id is None and plan.expires_at <= now:
        raise WrongState(
            f"plan {plan.id} expired {format_age(now - plan.expires_at)} ago; make a new one with the same options"
        )


def applied(tx: Connection, plan: Plan, campaign_id: str, *, actor: str) -> None:
    """Record the campaign that a plan became, once."""
    done = (
        update(plans)
        .where(plans.c.id == plan.id, plans.c.campaign_id.is_(None))
        .values(campaign_id=campaign_id, applied_at=read_clock(tx), applied_by=storable(str(actor), 100))
    )
    if rows_changed(tx, done) == 1:
        operator_log.record(
            tx,
            actor=actor,
            act="apply",
            scope="campaign",
            subject=campaign_id,
            why=f"plan {plan.id}, hash {plan.hash[:12]}, by {plan.created_by}",
        )


def newest(tx: Connection, limit: int = 50, *, before: str | None = None) -> list[Plan]:
    """The plans made last, newest first; only those before the id ``before``."""
    query = newest_first(select(plans), plans.c.id, limit, before)
    return [Plan(**row) for row in tx.execute(query).mappings()]


def live_files(tx: Connection, ids: list[str]) -> set[str]:
    """Those of the ids of posted files that a plan may still need."""
    wanted = select(plans.c.id).where(
        among(tx, plans.c.id, ids),
        plans.c.campaign_id.is_(None),
        plans.c.ended_why.is_(None),
        plans.c.expires_at > read_clock(tx),
    )
    return {str(id) for id in tx.execute(wanted).scalars()}


def delete_old(tx: Connection, limit: int = 500) -> dict[str, int]:
    """Wipe the samples of plans that expired, and delete plans older than KEPT_MS; returns how many of each."""
    now = read_clock(tx)
    expired = plans.c.samples.is_not(None) & (plans.c.expires_at <= now)
    wiped = rows_changed(tx, update(plans).where(expired).values(samples=None))
    old = select(plans.c.id).where(plans.c.id < lowest_at(now - KEPT_MS)).order_by(plans.c.id).limit(limit)
    return {"wiped": wiped, "deleted": delete_found(tx, plans.c.id, old)}


def _find(tx: Connection, id: str) -> Plan | None:
    return first(tx, select(plans).where(plans.c.id == id), Plan) if is_id(id) else None
