"""Templates: as the vendor's notices and lists tell of them; read from the vendor, shown, previewed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from bulksend import bootstrap
from bulksend.errors import InvalidValue, NotFound
from bulksend.gateway import PhoneList
from bulksend.gateway.templates import TemplatePage
from bulksend.ledger import campaigns, notices, senders, templates
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.notices import SenderChange
from bulksend.ledger.templates import Template, TemplateChange
from bulksend.messaging.column_names import normal_name
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.states import MessageType
from bulksend.messaging.template_content import TemplateValue, values_of
from bulksend.messaging.template_fit import content_of, template_of
from bulksend.messaging.template_shape import TemplateText, fill, shape_from_json, variables_in
from bulksend.operations.acts import acts_on
from bulksend.operations.json_shape import Page, to_json
from bulksend.settings import Settings

#: How long a command that sends waits for the vendor to describe a template.
ASK_S = 5.0
#: What is known is not asked for again within this time.
KNOWN_MS = 60_000
WHY = "the vendor's list"

T = TypeVar("T")


class Vendor(Protocol):
    """The calls that read, see ``bulksend.gateway.vendor_calls``."""

    async def templates(self, sender: str, *, name: str = "") -> TemplatePage:
        """All templates that a sender may use, or those of a name."""
        ...

    async def phone_list(self) -> PhoneList:
        """The account's senders."""
        ...


@dataclass(slots=True)
class Synced:
    """What a sync read and changed. ``problems``: what could not be read, in sentences."""

    templates: int = 0
    senders: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The answer of ``templates sync``."""
        return {
            "templates": self.templates,
            "senders": self.senders,
            "changed": self.changed,
            "problems": self.problems,
        }


def list_templates(
    database: Database,
    *,
    limit: int = 100,
    after: str | None = None,
    name: str | None = None,
    status: str | None = None,
) -> Page:
    """Templates in the order of name and language; ``after`` is the ``next`` of the page before.

    ``name``: those with this in their name.
    """
    language, _, last_name = (after or "").partition(" ")
    with database.read() as tx:
        found = templates.page(tx, after=(last_name, language), limit=limit, named=name, status=status)
    items = [_shown(template) for template in found]
    # A language has no spaces, a name may.
    last = f"{found[-1].language} {found[-1].name}" if len(found) == limit else None
    return Page(items, last)


def show_template(database: Database, name: str) -> dict[str, Any]:
    """The languages of a template, each with its history. Raises NotFound."""
    with database.read() as tx:
        found = templates.named(tx, name)
        items = [
            _shown(each)
            | {"history": acts_on(tx, "template", templates.subject_of(each.name, each.language))}
            for each in found
        ]
    if not items:
        raise NotFound(_unknown(name))
    return {"items": items, "next": None}


def values_wanted(database: Database, name: str, language: str) -> list[TemplateValue] | None:
    """The values that a message must give a template; None where the template, or its text, is not known."""
    with database.read() as tx:
        found = templates.get(tx, name, language)
    shape = None if found is None else shape_from_json(found.shape)
    return None if found is None or shape is None else values_of(shape, found.category)


def preview_template(
    database: Database, name: str, *, language: str | None = None, row: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """A template as a person would see it, with the values of a row, by its variables' numbers or names.

    A variable without a value stays as it is, and is listed. Raises NotFound, InvalidValue.
    """
    with database.read() as tx:
        found = templates.named(tx, name)
    if not found:
        raise NotFound(_unknown(name))
    languages = [each.language for each in found]
    if language is None and len(found) > 1:
        raise InvalidValue("language", "", f"is missing; template {name} has {', '.join(languages)}")
    template = next((each for each in found if language in (None, each.language)), None)
    if template is None:
        raise InvalidValue("language", str(language)[:20], f"is none of {', '.join(languages)}")
    shape = shape_from_json(template.shape)
    if shape is None:
        raise NotFound(f"the text of template {name} was not read yet; `bulksend templates sync` reads it")
    values = {normal_name(key): str(value) for key, value in (row or {}).items()}
    missing: dict[str, None] = {}

    def filled(text: TemplateText) -> str:
        written = variables_in(text.text)
        by_name = zip(written, text.variables, strict=True)
        given = {key: values.get(normal_name(named), values.get(normal_name(key))) for key, named in by_name}
        missing.update(
            {named: None for key, named in zip(written, text.variables, strict=True) if given[key] is None}
        )
        return fill(text, {key: value for key, value in given.items() if value is not None})

    return {
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "header": filled(shape.header)
        or (f"[{shape.header_format.lower()}]" if shape.header_format else None),
        "body": filled(shape.body),
        "footer": shape.footer or None,
        "buttons": [button.text or button.type for button in shape.buttons],
        "missing": list(missing),
    }


def sync(database: Database, vendor: Vendor, *, actor: str) -> Synced:
    """Read the senders, and all templates of those on record, or while none is, of those that the vendor lists.

    Blocks for as long as the vendor takes.
    """
    done = Synced()
    listed = sync_senders(database, vendor, done, actor=actor)
    with database.read() as tx:
        phones = [sender.phone for sender in senders.all_senders(tx)]
    read = sync_templates(database, vendor, [(phone, "") for phone in phones or listed], actor=actor)
    return Synced(read.templates, done.senders, done.changed + read.changed, done.problems + read.problems)


def sync_templates(
    database: Database, vendor: Vendor, wanted: Iterable[tuple[str, str]], *, actor: str
) -> Synced:
    """Read the templates of each sender and name; an empty name reads all. Changes for the worse pause campaigns."""
    done = Synced()
    for sender, name in wanted:
        page = _run(vendor.templates(sender, name=name))
        if page.problem:
            done.problems.append(f"templates of sender {sender}: {page.problem}")
        changes = [
            TemplateChange(
                each.name,
                each.language,
                each.status,
                each.category,
                each.quality,
                each.rejected_reason,
                page.at_ms,
                each.shape,
                synced=True,
            )
            for each in page.templates
        ]
        done.templates += len(changes)
        done.changed += _keep_templates(database, changes, actor) if changes else 0
    return done


def _keep_templates(database: Database, changes: Iterable[TemplateChange], actor: str) -> int:
    with database.write() as tx:
        return sum(templates.change_template(tx, change, actor=actor) for change in changes)


def sync_senders(database: Database, vendor: Vendor, done: Synced, *, actor: str) -> list[str]:
    """Read status, quality and tier of the senders on record. An empty field is not told, and changes nothing.

    Returns the numbers that the vendor lists.
    """
    answer = _run(vendor.phone_list())
    if answer.problem:
        done.problems.append(f"senders: {answer.problem}")
        return []
    with database.write() as tx:
        for phone in answer.phones:
            if not phone.number:
                continue
            change = SenderChange(
                phone.number, phone.status, phone.quality, phone.messaging_limit, at=answer.at_ms, why=WHY
            )
            done.senders += 1
            done.changed += notices.change_sender(tx, change, actor=actor)
    return [phone.number for phone in answer.phones if phone.number]


def ask_about(
    of: Settings,
    database: Database,
    sender: str,
    type: str,
    content: str,
    *,
    actor: str,
    known_ms: int = KNOWN_MS,
) -> str | None:
    """Read the template that a content names from the vendor, where it was not read within ``known_ms``; at most ASK_S.

    Returns why it could not be read; None where it is known, the content names none, or there are no credentials.
    """
    used = template_of(type, content_of(content)) if type == MessageType.TEMPLATE else None
    if used is None or of.missing_credentials():
        return None
    with database.read() as tx:
        known = templates.get(tx, *used)
        now = read_clock(tx)
    if known is not None and known.synced_at is not None and known.synced_at > now - known_ms:
        return None
    calls = bootstrap.vendor_calls(of, seconds=min(ASK_S, of.request_timeout))
    done = sync_templates(database, calls, [(sender, used[0])], actor=actor)
    return f"could not ask the vendor about template {used[0]}: {done.problems[0]}" if done.problems else None


def ask_about_campaign(of: Settings, database: Database, id_or_name: str, *, actor: str) -> None:
    """Read the template of a campaign, so that a resume knows its state of now. Raises CampaignNotFound."""
    with database.read() as tx:
        campaign = campaigns.find(tx, id_or_name)
    ask_about(of, database, campaign.sender, campaign.type, campaign.content, actor=actor, known_ms=0)


def unknown_note(database: Database, type: str, content: str, *, asked: bool) -> str | None:
    """A note about a content whose template is not known, ``asked``: although the vendor was asked; None otherwise."""
    with database.read() as tx:
        title = templates.is_unknown(tx, type, content)
    if title is None:
        return None
    if asked:
        return f"the vendor does not list {title}: check its name and language; the content was not compared with it"
    return f"{title} is not known here, so the content was not compared with it; `bulksend templates sync` reads it"


def _shown(template: Template) -> dict[str, Any]:
    shape = shape_from_json(template.shape)
    shown = to_json(
        {key: value for key, value in template._asdict().items() if key not in ("shape", "shape_at")}
    )
    return shown | {"components": None if shape is None else shape.as_json()}


def _unknown(name: str) -> str:
    return f"no template {mask_digits(name[:100])!r} is known; `bulksend templates sync` reads them from the vendor"


def _run(call: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(call)
