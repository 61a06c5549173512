"""A new campaign: choose a file, say what is sent to whom and when, and have it planned. Nothing is sent here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from bulksend.errors import AccessDenied, BulksendError, InvalidInput, InvalidValue
from bulksend.messaging.states import MessageType, OnUnknown
from bulksend.messaging.template_content import TemplateValue
from bulksend.operations import campaigns, clones, media, senders, templates
from ops.http import campaign_uploads
from ops.web.campaign_drafts import WhyNot, drafts_of, kept_problem, plan_draft
from ops.web.campaign_form import (
    KINDS,
    TYPES,
    USES,
    fields_from,
    fields_of,
    guessed_texts,
    options_of,
    usable_columns,
    use_of,
)
from ops.web.forms import Fields, SenderFileForm, SenderForm, check_count
from ops.web.pages import Page, SenderPage
from producer.intake_report import SamePeople
from producer.reading.file_columns import FileHead, head_of
from producer.row_sends import LookedAt
from producer.uploads import SMALL_BYTES, StoredFile
from producer.uploads.drafts import Draft

router = APIRouter()
#: Earlier campaigns, uploaded files and templates that the form offers.
_CAMPAIGNS, _FILES, _TEMPLATES = 20, 100, 500
_OPTIONS = (*("local_time", "ttl", "rate", "weight", "canary", "max_failed", "cap", "into"),)
#: To read all of a larger file takes longer than a page may.
_HUGE_BYTES = 8 << 20
_NEW = "new_campaign.html"
#: Each column has a field in the form, which has an end.
_COLUMNS = 500


@router.get("/campaigns/new")
def choose_file(
    page: SenderPage, from_: Annotated[str, Query(alias="from", max_length=220)] = "", rest: bool = False
) -> Response:
    """Choose the file. ``from`` names a campaign whose content and options the new one begins with.

    The ``rest`` of a cancelled one needs no file.
    """
    if rest:
        return _rest(page, from_)
    return page.render(_NEW, problem=None, encoding="", **_source(page, from_))


def _source(page: Page, name: str) -> dict[str, Any]:
    """The campaign that is cloned. Raises CampaignNotFound, WrongState."""
    if not name:
        return {"source": None, "limit_mb": page.services.settings.upload_max_mb}
    with page.database.read() as tx:
        clones.clone_options(tx, name)
        found = campaigns.get_named(tx, name)
    return {"source": found, "limit_mb": page.services.settings.upload_max_mb}


def _rest(page: Page, id: str, problem: Any = None, typed: dict[str, str] | None = None) -> Response:
    """Whom a cancelled campaign surely did not reach, to be sent to as it was."""
    plan = campaign_uploads.rest_of(page.services, page.user, id)
    return page.render(
        "rest_of_campaign.html",
        status=200 if problem is None else problem["status"],
        source={"campaign_id": plan.campaign.id, "name": plan.campaign.name},
        people=plan.people,
        sender=plan.sender,
        kind=plan.campaign.kind.value,
        zone=plan.campaign.timezone or page.services.settings.timezone,
        notes=plan.notes,
        problem=problem,
        whys={} if problem is None else problem["whys"],
        f=typed or {},
    )


@router.post("/campaigns/new/rest")
def send_rest(form: SenderForm) -> Response:
    """Send the rest of a cancelled campaign, once its count is typed. A form that comes twice sends once."""
    page = form.page
    id = form.text("from")
    try:
        at = form.text("send_at").replace("T", " ") or None
        plan = campaign_uploads.rest_of(page.services, page.user, id, name=form.optional("name"), at=at)
        check_count(form.text("count"), plan.people)
        campaign_id = campaign_uploads.send_rest(page.services, plan)
    except (InvalidValue, SamePeople) as error:
        return _rest(
            page, id, kept_problem(error), {name: form.text(name) for name in ("name", "send_at", "count")}
        )
    return page.redirect(f"/campaigns/{campaign_id}", "plan.sent")


@router.post("/campaigns/new")
async def take_file(form: SenderFileForm) -> Response:
    """Store the file as it comes, and go on with it."""
    page, store = form.page, form.page.services.uploads.store
    try:
        fields, file = await form.receive(store, ("from", "encoding"))
    except AccessDenied:
        raise
    except InvalidInput as error:
        return await run_in_threadpool(_not_taken, page, Fields({}), error)
    try:
        with store.deleted_on_error(file.id, Exception):
            draft = await run_in_threadpool(_begin, page, file, fields)
    except InvalidInput as error:
        return await run_in_threadpool(_not_taken, page, fields, error)
    return page.redirect(f"/campaigns/new/{draft.id}")


def _not_taken(page: Page, sent: Fields, error: BulksendError) -> Response:
    problem, source = kept_problem(error), _source(page, sent.text("from"))
    return page.render(
        _NEW, status=problem["status"], problem=problem, encoding=sent.text("encoding"), **source
    )


def _begin(page: Page, file: StoredFile, sent: Fields) -> Draft:
    """Raises InvalidInput where the file as a whole cannot be read, or the campaign to clone is none."""
    source, encoding = sent.text("from"), sent.optional("encoding")
    found = len(head_of(file.path, encoding=encoding).columns)
    if found > _COLUMNS:
        why = f"has {found:,} columns, and at most {_COLUMNS} fit into the form; leave out those that no message uses"
        raise InvalidValue("file", "", why)
    fields: dict[str, Any] = {"kind": KINDS[0], "type": str(MessageType.TEMPLATE)}
    if source:
        with page.database.read() as tx:
            fields = fields_from(clones.clone_options(tx, source))
    else:
        known = senders.list_senders(page.database)
        fields |= {"sender": known[0].phone} if len(known) == 1 else {}
        fields["timezone"] = page.locale.zone
    fields |= {"encoding": encoding} if encoding else {}
    return drafts_of(page).begin(file, fields, by=page.user.name)


@router.get("/campaigns/new/{id}")
def compose(page: SenderPage, id: str, row: Annotated[int | None, Query(ge=1)] = None) -> Response:
    """The form of its message, columns and options, with one row as it will look."""
    drafts = drafts_of(page)
    draft = drafts.get(id)
    if drafts.is_working(id):
        return page.redirect(f"/plans/{id}")
    return _form(page, draft, draft.fields, problem=draft.problem, row=row)


@router.post("/campaigns/new/{id}")
def keep(form: SenderForm, id: str) -> Response:
    """Keep what was typed; then show it, or plan it."""
    page, drafts = form.page, drafts_of(form.page)
    draft = drafts.get(id)
    fields = fields_of(form.names(), form)
    if fields.get("template") != draft.fields.get("template"):
        # Its values are another template's.
        fields = {name: value for name, value in fields.items() if not name.startswith("p.")}
    if form.text("act") != "plan":
        drafts.keep(replace(draft, fields=fields, problem=None))
        row = form.text("row")
        return page.redirect(
            f"/campaigns/new/{id}" + (f"?row={row}" if row.isascii() and row.isdigit() else "")
        )
    try:
        if campaign_uploads.has_plan(page.services, id):
            draft = drafts.again(draft)
        draft = drafts.keep(replace(draft, fields=fields, problem=None))
        head, values = _head(page, draft), _values(page, fields)
        plan_draft(page, draft, options_of(fields, head, values or []).options())
    except InvalidInput as error:
        problem = kept_problem(error)
        return _form(page, draft, fields, problem=problem, row=None, status=problem["status"])
    return page.redirect(f"/plans/{draft.id}")


def _head(page: Page, draft: Draft) -> FileHead:
    """The columns of its file; of a huge one without what only a look at all of it tells, which its plan shows."""
    return head_of(
        drafts_of(page).file(draft).path,
        encoding=draft.fields.get("encoding") or None,
        sheet=draft.fields.get("sheet") or None,
        is_verified=draft.bytes > _HUGE_BYTES,
    )


def _head_without_options(path: Path) -> FileHead:
    """The columns as they are read by themselves; none where they cannot be."""
    try:
        return head_of(path)
    except InvalidInput:
        return FileHead((), path.suffix.lstrip("."), ())


def _values(page: Page, fields: Any) -> list[TemplateValue] | None:
    """The values of the chosen template; None where they are not known."""
    language, _, name = str(fields.get("template", "")).partition(" ")
    return templates.values_wanted(page.database, name, language) if name else []


def _form(
    page: Page, draft: Draft, fields: Any, *, problem: Any, row: int | None, status: int = 200
) -> Response:
    try:
        head = _head(page, draft)
    except InvalidInput as error:
        # The encoding or the sheet that was typed.
        problem = kept_problem(error)
        head = _head_without_options(drafts_of(page).file(draft).path)
    head = replace(head, columns=head.columns[:_COLUMNS])
    values = _values(page, fields)
    fields = {f"p.{place}": text for place, text in guessed_texts(values or [], head, fields).items()} | dict(
        fields
    )
    looked, why_not = _looked_at(page, draft, fields, head, values, row)
    uses = [use_of(fields, n, column) for n, column in enumerate(head.columns)]
    whys = {} if problem is None else problem["whys"]
    if whys:
        field, why = next(iter(whys.items()))
        problem = {**problem, "about": _label(page, field, values), "detail": why}
    page.note_reading("show rows", subject=draft.id, why="" if looked is None else f"row {looked.row}")
    with page.database.read() as tx:
        earlier = campaigns.find_page(tx, campaigns.Filter(), limit=_CAMPAIGNS)
    return page.render(
        "build_campaign.html",
        status=status,
        draft=draft,
        f=fields,
        head=head,
        values=values,
        problem=problem,
        whys=whys,
        chosen_uses=uses,
        usable=usable_columns(head, fields),
        recipients=next((each.name for each, use in zip(head.columns, uses, strict=True) if use == "to"), ""),
        looked=looked,
        why_not=why_not,
        is_large=draft.bytes > SMALL_BYTES,
        senders=senders.list_senders(page.database),
        known_templates=_known(page, fields.get("template", "")),
        files=media.media_page(page.database, limit=_FILES).items,
        campaigns=earlier.items,
        kinds=KINDS,
        types=TYPES,
        uses=USES,
        on_unknown=[str(each) for each in OnUnknown],
        settings=page.services.settings,
        **_open_options(page, fields, whys),
    )


def _label(page: Page, field: str, values: list[TemplateValue] | None) -> str:
    """What the form calls a field; the field itself where it has no label."""
    value = next((each for each in values or [] if field == f"p.{each.place}"), None)
    if value is not None:
        part = value.place.partition(".")[0] if value.kind in ("text", "code") else value.kind
        return page.locale.t(f"build.value.{part}", name=value.name)
    return page.locale.t(f"build.{field}") if page.locale.has(f"build.{field}") else field


def _known(page: Page, chosen: str) -> list[tuple[str, str]]:
    """The templates to choose from. One that a clone names may be none of them."""
    found = templates.list_templates(page.database, limit=_TEMPLATES).items
    known = {
        f"{each['language']} {each['name']}": " · ".join(
            filter(None, (f"{each['name']} ({each['language']})", each["category"], each["status"]))
        )
        for each in found
    }
    if chosen and chosen not in known:
        known[chosen] = chosen
    return list(known.items())


def _open_options(page: Page, fields: Any, whys: Any) -> dict[str, Any]:
    """Whether the options are shown at once, and what holds where none is given."""
    names = (*_OPTIONS, "exclude", "only", "exclude_other", "only_other", "require_consent", "again")
    of = page.services.settings
    return {
        "open_options": any(fields.get(name) for name in names) or any(name in whys for name in names),
        "default_max_failed": page.locale.percent(of.max_failed) if of.max_failed else None,
        "default_cap": of.cap,
    }


def _looked_at(
    page: Page,
    draft: Draft,
    fields: Any,
    head: FileHead,
    values: list[TemplateValue] | None,
    row: int | None,
) -> tuple[LookedAt | None, WhyNot | None]:
    """A row as it will look; None with the reason, if any. A large file is only looked into when that is asked."""
    if draft.bytes > SMALL_BYTES and row is None:
        return None, None
    try:
        options = options_of(fields, head, values or []).options()
        file = drafts_of(page).file(draft)
        return campaign_uploads.look(page.services, page.user, options, file, row), None
    except InvalidValue as error:
        return None, WhyNot(error.why, _label(page, error.field, values))
    except InvalidInput as error:
        return None, WhyNot(str(error))
