"""The vendor's templates: what notices and lists tell of them, kept by one rule, and the campaigns that use them.

A value is replaced by one that is newer by the vendor's clock. A change for the worse pauses the campaigns that use the
template, in the same transaction; so no process can claim their messages afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from bulksend.errors import InvalidValue
from bulksend.ledger import events, operator_log, pauses
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.campaigns import IS_ACTIVE, IS_LIVE, Campaign, read_all
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import first, insert_if_new, rows_changed
from bulksend.ledger.schema import campaigns, template_uses, templates
from bulksend.messaging.states import Kind, MessageType
from bulksend.messaging.template_fit import (
    APPROVED,
    KnownTemplate,
    content_of,
    misfit,
    template_of,
    worsened,
)
from bulksend.messaging.template_shape import TemplateShape, shape_from_json

#: The fields of a template that have an instant of their own, each with the most characters that are kept.
_TIMED = {"status": 40, "category": 40, "quality": 20, "shape": 1 << 20}
_DAY_MS = 86_400_000
#: A list of the vendor that is older may lack a language that was added since.
FRESH_MS = 600_000


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
    shape: str | None
    shape_at: int | None
    synced_at: int | None

    @property
    def known(self) -> KnownTemplate:
        """For the rules."""
        return _known(self._asdict())


class TemplateChange(NamedTuple):
    """What a notice or a list says about a template. Empty fields are not told."""

    name: str
    language: str
    status: str = ""
    category: str = ""
    quality: str = ""
    reason: str = ""
    at: int | None = None
    shape: TemplateShape | None = None
    synced: bool = False
    """Whether a list said it, not a notice."""


def change_template(tx: Connection, change: TemplateChange, *, actor: str) -> bool:
    """Keep what is told about a template, and pause the campaigns that must not go on. Returns whether it changed."""
    if not change.name:
        return False
    now = read_clock(tx)
    name, language = storable(change.name, 512), storable(change.language, 20)
    wanted = select(templates).where(templates.c.name == name).with_for_update()
    if language:
        wanted = wanted.where(templates.c.language == language)
    # A notice without a language is about all of them.
    found = [dict(row) for row in tx.execute(wanted).mappings().all()]
    done = [_change(tx, change, row, (name, language), now, actor) for row in found or (None,)]
    return any(done)


def _change(
    tx: Connection,
    change: TemplateChange,
    found: dict[str, Any] | None,
    key: tuple[str, str],
    now: int,
    actor: str,
) -> bool:
    before = found or {**dict.fromkeys(Template._fields), "name": key[0], "language": key[1]}
    values = _newer(change, before, now)
    names = [name for name in (*_TIMED, "rejected_reason") if name in values]
    old, new = operator_log.changes(before, {name: values[name] for name in names})
    if change.synced:
        values["synced_at"] = now
    if not values or (found is not None and not new and not change.synced):
        return False
    if new or found is None:
        values["changed_at"] = now
    after = before | values
    if found is None:
        tx.execute(insert(templates).values(name=key[0], language=key[1], **values))
    else:
        is_it = (templates.c.name == before["name"]) & (templates.c.language == before["language"])
        tx.execute(update(templates).where(is_it).values(**values))
    if new:
        _tell(tx, before, after, old, new, change, actor)
        _pause_users(tx, _known(before), _known(after), actor=actor)
    return bool(new) or found is None


def _newer(change: TemplateChange, before: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The columns that a change sets: what is told, and not older than what is there."""
    at = now if change.at is None else change.at
    told = {
        "status": change.status,
        "category": change.category,
        "quality": change.quality,
        "shape": change.shape.to_json() if change.shape is not None else "",
    }
    values: dict[str, Any] = {}
    for field, most in _TIMED.items():
        seen_at = before[f"{field}_at"]
        if told[field] and (seen_at is None or at >= seen_at):
            values |= {field: storable(told[field], most), f"{field}_at": at}
    if change.status and "status" in values:
        values["rejected_reason"] = storable(change.reason, 500) or None
    return values


def _tell(
    tx: Connection,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    old: dict[str, object],
    new: dict[str, object],
    change: TemplateChange,
    actor: str,
) -> None:
    """The change as an act and as an event. Of a shape only its variables: its texts are long."""
    for values, of in ((old, before), (new, after)):
        if "shape" in values:
            shape = shape_from_json(of["shape"])
            values["shape"] = None if shape is None else shape.summary
    why = "the vendor's list" if change.synced else "the vendor's notice"
    operator_log.record(
        tx,
        actor=actor,
        act="change",
        scope="template",
        subject=subject_of(after["name"], after["language"]),
        why=why,
        before=old,
        after=new,
    )
    about = {"name": after["name"], "language": after["language"]}
    events.add(tx, "template.changed", {**about, "before": old, "after": new})


def _pause_users(tx: Connection, before: KnownTemplate, after: KnownTemplate, *, actor: str) -> None:
    """Pause the active campaigns of a template that changed for the worse, or that they do not fit any more."""
    worse = worsened(before, after)
    for campaign in _users(tx, IS_ACTIVE):
        content = content_of(campaign.content)
        used = template_of(campaign.type, content)
        if used is None or used[0] != after.name or after.language not in ("", used[1]):
            continue
        why = worse or misfit(content, after, campaign.kind)
        if why is not None:
            pauses.pause_campaign(tx, campaign.id, actor=actor, why=why)


def _users(tx: Connection, which: ColumnElement[bool]) -> Sequence[Campaign]:
    return read_all(tx, select(campaigns).where(campaigns.c.type == MessageType.TEMPLATE.value, which))


def users_of(tx: Connection, name: str, *, limit: int) -> list[tuple[Campaign, str]]:
    """The newest campaigns that use a template, each with its language."""
    c = campaigns.c
    wanted = select(campaigns).where(
        c.type == MessageType.TEMPLATE.value, c.content.contains(name, autoescape=True)
    )
    return [
        (each, used[1])
        for each in read_all(tx, wanted.order_by(c.id.desc()).limit(limit))
        if (used := template_of(each.type, content_of(each.content))) is not None and used[0] == name
    ]


def used(tx: Connection) -> set[tuple[str, str]]:
    """Name and language of the templates of campaigns in intake, running or paused."""
    found = _users(tx, IS_LIVE)
    return set(filter(None, (template_of(each.type, content_of(each.content)) for each in found)))


def in_use(tx: Connection) -> set[tuple[str, str]]:
    """Sender and name of each template of a campaign in intake or running, or paused within a day; and of single sends.

    Of the latter those of the last day.
    """
    since = read_clock(tx) - _DAY_MS
    single = select(template_uses.c.sender, template_uses.c.name).where(template_uses.c.used_at > since)
    found = _users(tx, IS_LIVE)
    return {(sender, name) for sender, name in tx.execute(single)} | {
        (each.sender, template[0])
        for each in found
        if (each.paused_at is None or each.paused_at > since)
        and (template := template_of(each.type, content_of(each.content))) is not None
    }


def note_use(tx: Connection, sender: str, name: str) -> None:
    """A single send uses a template. To be called once a minute for each, not for each send."""
    now = read_clock(tx)
    is_it = (template_uses.c.sender == sender) & (template_uses.c.name == name)
    tx.execute(delete(template_uses).where(template_uses.c.used_at < now - _DAY_MS))
    if not rows_changed(tx, update(template_uses).where(is_it).values(used_at=now)):
        tx.execute(insert_if_new(tx, template_uses).values(sender=sender, name=name, used_at=now))


def get(tx: Connection, name: str, language: str, *, lock: bool = False) -> Template | None:
    """One template; None where it is not known. ``lock``: no other transaction changes it until this one ends."""
    wanted = select(templates).where(templates.c.name == name, templates.c.language == language)
    return first(tx, wanted.with_for_update(read=True) if lock else wanted, Template)


def named(tx: Connection, name: str) -> list[Template]:
    """The languages of a template, in their order."""
    wanted = select(templates).where(templates.c.name == name).order_by(templates.c.language)
    return [Template(**row) for row in tx.execute(wanted).mappings()]


def why_not(tx: Connection, kind: Kind, type: str, content: str, *, lock: bool = False) -> str | None:
    """Why a content cannot be sent with its template, by what is known of it; None where it can, or is no template."""
    parsed = content_of(content) if type == MessageType.TEMPLATE else {}
    used = template_of(type, parsed)
    if used is None:
        return None
    template = get(tx, *used, lock=lock)
    if template is not None:
        return misfit(parsed, template.known, kind)
    others = named(tx, used[0])
    fresh = read_clock(tx) - FRESH_MS
    if not others or any(each.synced_at is None or each.synced_at < fresh for each in others):
        return None
    listed = ", ".join(each.language for each in others)
    return f"template {used[0]} has no language {used[1]} at the vendor: use one of {listed}"


def check_new(tx: Connection, kind: Kind, type: str, content: str, *, field: str, lock: bool = True) -> None:
    """Raises InvalidValue when a content does not fit its template, by what is known of it.

    With ``lock`` a change that commits after this transaction finds the campaign and pauses it.
    """
    why = why_not(tx, kind, type, content, lock=lock)
    if why is not None:
        raise InvalidValue(field, "", why)


def is_unknown(tx: Connection, type: str, content: str) -> str | None:
    """The title of the template that a content names and of which nothing is known; None otherwise."""
    used = template_of(type, content_of(content)) if type == MessageType.TEMPLATE else None
    if used is None or get(tx, *used) is not None:
        return None
    return KnownTemplate(*used).title


def page(
    tx: Connection,
    *,
    after: tuple[str, str] = ("", ""),
    limit: int = 100,
    named: str | None = None,
    status: str | None = None,
) -> list[Template]:
    """The templates in the order of name and language, those after ``after``; ``named``: with this in the name."""
    name, language = templates.c.name, templates.c.language
    last = storable(after[0], 512), storable(after[1], 20)
    wanted = (
        select(templates)
        .where((name > last[0]) | ((name == last[0]) & (language > last[1])))
        .order_by(name, language)
        .limit(limit)
    )
    if named is not None:
        wanted = wanted.where(name.icontains(storable(named, 512), autoescape=True))
    if status is not None:
        wanted = wanted.where(templates.c.status == storable(status, 40))
    return [Template(**row) for row in tx.execute(wanted).mappings()]


def not_approved(tx: Connection) -> set[tuple[str, str]]:
    """Name and language of the templates that the vendor says are not approved."""
    status = templates.c.status
    wanted = select(templates.c.name, templates.c.language).where(status.is_not(None), status != APPROVED)
    return {(name, language) for name, language in tx.execute(wanted)}


def subject_of(name: str, language: str) -> str:
    """The subject of acts on a template."""
    return storable(f"{name} {language}".strip(), 100)


def _known(row: Mapping[str, Any]) -> KnownTemplate:
    names = ("name", "language", "status", "category", "quality", "rejected_reason")
    return KnownTemplate(**{name: row[name] for name in names}, shape=shape_from_json(row["shape"]))
