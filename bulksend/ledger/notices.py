"""What the vendor says about templates, senders and the account: kept, on record, and told as events.

Notices come twice and in any order: each value has the instant of its notice, and an older one does not replace it.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from bulksend.ledger import events, operator_log
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import read_clock
from bulksend.ledger.schema import acts, senders, templates

_DAY_MS = 86_400_000
#: The fields of a template that have an instant of their own.
_TIMED = {"status": 40, "category": 40, "quality": 20}
"""Each with the most characters that are kept."""


class Template(NamedTuple):
    """What the vendor has told of a template; None: nothing yet. Instants by the vendor's clock, ms."""

    name: str
    language: str
    status: str | None
    status_at: int | None
    category: str | None
    category_at: int | None
    quality: str | None
    quality_at: int | None
    rejected_reason: str | None
    changed_at: int


class TemplateChange(NamedTuple):
    """A notice about a template. Empty fields are not told."""

    name: str
    language: str
    status: str = ""
    category: str = ""
    quality: str = ""
    reason: str = ""
    at: int | None = None


class SenderChange(NamedTuple):
    """A notice about a business number; without ``phone`` about all of them. Empty fields are not told."""

    phone: str
    status: str = ""
    quality: str = ""
    tier: str = ""
    event: str = ""
    at: int | None = None


def change_template(tx: Connection, change: TemplateChange, *, actor: str) -> bool:
    """Keep what a notice says about a template. Returns whether anything changed."""
    if not change.name:
        return False
    now = read_clock(tx)
    at = now if change.at is None else change.at
    key = storable(change.name, 512), storable(change.language, 20)
    is_it = (templates.c.name == key[0]) & (templates.c.language == key[1])
    found = tx.execute(select(templates).where(is_it).with_for_update()).mappings().one_or_none()
    before = dict(found) if found is not None else dict.fromkeys(Template._fields)
    values: dict[str, object] = {}
    for field, most in _TIMED.items():
        told, seen_at = getattr(change, field), before[f"{field}_at"]
        if told and (seen_at is None or at >= seen_at):
            values |= {field: storable(told, most), f"{field}_at": at}
    if change.status and "status" in values:
        values["rejected_reason"] = storable(change.reason, 500) or None
    told_fields = [field for field in (*_TIMED, "rejected_reason") if field in values]
    old, new = operator_log.changes(before, {field: values[field] for field in told_fields})
    if not values or (found is not None and not new):
        return False
    values["changed_at"] = now
    if found is None:
        tx.execute(insert(templates).values(name=key[0], language=key[1], **values))
    else:
        tx.execute(update(templates).where(is_it).values(**values))
    subject = f"{key[0]} {key[1]}".strip()
    _record(tx, "template", subject, "the vendor's notice", old, new, actor)
    events.add(tx, "template.changed", {"name": key[0], "language": key[1], "before": old, "after": new})
    return True


def change_sender(tx: Connection, change: SenderChange, *, actor: str) -> bool:
    """Keep what a notice says about a sender on record, or about all of them. Returns whether anything changed."""
    wanted = select(senders).with_for_update()
    if change.phone:
        wanted = wanted.where(senders.c.phone == change.phone)
    told = {
        name: storable(value, most)
        for name, value, most in (
            ("status", change.status, 40),
            ("quality", change.quality, 20),
            ("tier", change.tier, 40),
        )
        if value
    }
    at = read_clock(tx) if change.at is None else change.at
    changed = False
    for row in tx.execute(wanted).mappings().all():
        if row["changed_at"] is not None and at < row["changed_at"]:
            continue
        old, new = operator_log.changes(dict(row), told)
        if not new:
            continue
        tx.execute(update(senders).where(senders.c.phone == row["phone"]).values(**new, changed_at=at))
        why = f"the vendor's notice {change.event}".strip()
        _record(tx, "sender", row["phone"], why, old, new, actor)
        events.add(tx, "sender.changed", {"sender": row["phone"], "before": old, "after": new})
        changed = True
    return changed


def tell_account(tx: Connection, account: str, event: str, detail: str, *, actor: str) -> None:
    """Put a notice about the account on record, unless the same came within a day."""
    why = storable(f"{event}: {detail}" if detail else event, 500)
    same = (acts.c.act == "notice") & (acts.c.why == why) & (acts.c.at > read_clock(tx) - _DAY_MS)
    is_known = select(acts.c.id).where(acts.c.scope == "account", acts.c.subject == account, same)
    if tx.execute(is_known.limit(1)).first() is not None:
        return
    operator_log.record(tx, actor=actor, act="notice", scope="account", subject=account, why=why)


def all_templates(tx: Connection, *, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Template]:
    """The templates in the order of name and language, those after ``after``."""
    name, language = templates.c.name, templates.c.language
    last = storable(after[0], 512), storable(after[1], 20)
    wanted = (
        select(templates)
        .where((name > last[0]) | ((name == last[0]) & (language > last[1])))
        .order_by(name, language)
        .limit(limit)
    )
    return [Template(**row) for row in tx.execute(wanted).mappings()]


def templates_not_approved(tx: Connection) -> set[tuple[str, str]]:
    """Name and language of the templates that the vendor says are not approved."""
    status = templates.c.status
    return {
        (name, language)
        for name, language in tx.execute(
            select(templates.c.name, templates.c.language).where(status.is_not(None), status != "APPROVED")
        )
    }


def _record(
    tx: Connection,
    scope: str,
    subject: str,
    why: str,
    old: dict[str, object],
    new: dict[str, object],
    actor: str,
) -> None:
    operator_log.record(
        tx, actor=actor, act="change", scope=scope, subject=subject, why=why, before=old, after=new
    )
