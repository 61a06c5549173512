"""Plans of campaigns: what one would do, checked and shown; a test, and then exactly that is sent."""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from bulksend.bootstrap import time_rules
from bulksend.errors import BulksendError, InvalidInput, InvalidValue, NotFound, WrongState
from bulksend.messaging.masking import mask_digits
from bulksend.operations.access import record_reading
from bulksend.operations.json_shape import masked_words
from ops.export_files import safe_cell
from ops.http import campaign_uploads
from ops.http.campaign_uploads import found_plan, plans_of
from ops.web.campaign_drafts import WhyNot, draft_of_plan, drafts_of, kept_problem, plan_draft, work_on
from ops.web.forms import SenderForm, check_count
from ops.web.pages import Page, SenderPage, ViewerPage
from producer.row_sends import LookedAt, look_at_row, send_test
from producer.uploads import SMALL_BYTES, CampaignOptions
from producer.uploads.refused_cells import RefusedTable

router = APIRouter()
_SHOWN, _REFUSED_SHOWN = 25, 100
#: A large file is asked about again after this many seconds.
_AGAIN_S = 2
_HIDDEN = "•••"


@router.get("/plans")
def plan_list(page: ViewerPage, after: str | None = None) -> Response:
    """The plans, newest first."""
    found = plans_of(page.services).page(limit=_SHOWN, after=after)
    return page.render("plans.html", found=found, after=after)


@router.get("/plans/{id}")
def plan(
    page: ViewerPage,
    id: str,
    row: Annotated[int | None, Query(ge=1)] = None,
    sent: bool = False,
) -> Response:
    """One plan; of a large file first that it is being made. After a form was ``sent``, its campaign."""
    drafts = drafts_of(page)
    draft = drafts.find(id)
    if draft is not None and drafts.is_working(id):
        waits = page.render("plan_working.html", draft=draft, sent=sent)
        waits.headers["Refresh"] = str(_AGAIN_S)
        return waits
    if sent:
        with page.database.read() as tx:
            campaign_id = campaign_uploads.plan_of(tx, id).campaign_id
        if campaign_id is not None:
            return page.redirect(f"/campaigns/{campaign_id}", "plan.sent")
    try:
        return _shown(page, id, problem=None if draft is None else draft.problem, row=row)
    except NotFound:
        if draft is None:
            raise
        # It could not be made; its form says why.
        return page.redirect(f"/campaigns/new/{id}")


def _shown(
    page: Page,
    id: str,
    *,
    problem: Any = None,
    row: int | None = None,
    status: int = 200,
    typed: dict[str, str] | None = None,
) -> Response:
    services = page.services
    shown = plans_of(services).show(id)
    with page.database.read() as tx:
        frozen = campaign_uploads.plan_of(tx, id)
    table = campaign_uploads.refused_cells(services, frozen)
    blockers = page.console.blockers.now()
    if not page.user.sees_numbers:
        shown = {**masked_words(shown), "samples": []}
        table = _masked(table)
        blockers = [each.masked() for each in blockers]
    looked, why_not = _looked_at(page, shown, row) if page.may("sender") else (None, None)
    if looked is not None or table.rows:
        why = "refused rows" if looked is None else f"row {looked.row}"
        page.note_reading("show rows", subject=id, why=why)
    return page.render(
        "plan.html",
        status=status,
        plan=shown,
        options=campaign_uploads.options_of_plan(frozen),
        table=replace(table, rows=table.rows[:_REFUSED_SHOWN]),
        recipients="" if table.recipient is None else table.header[table.recipient],
        blockers=blockers,
        looked=looked,
        why_not=why_not,
        problem=problem,
        whys={} if problem is None else problem["whys"],
        typed=typed or {},
        once=secrets.token_urlsafe(16),
        is_posted=bool(frozen.posted),
    )


def _masked(table: RefusedTable) -> RefusedTable:
    """Without the cells of persons; the recipients' numbers are masked."""
    rows = [
        replace(
            each,
            cells=[
                _masked_cell(cell) if n == table.recipient else _HIDDEN for n, cell in enumerate(each.cells)
            ],
        )
        for each in table.rows
    ]
    return replace(table, header=[mask_digits(name) for name in table.header], rows=rows)


def _masked_cell(cell: str) -> str:
    """Letters and all digits but the last three hidden; what stands between them shows what is wrong with it."""
    return re.sub(r"[^\W\d]|\d(?=(?:\D*\d){3})", "*", cell)


def _looked_at(page: Page, plan: dict[str, Any], row: int | None) -> tuple[LookedAt | None, WhyNot | None]:
    """A row as it will look. Of a large file the first is one that the plan has: its page reads no file."""
    samples = plan["samples"]
    if row is None and samples and plan["file"]["bytes"] > SMALL_BYTES:
        first = samples[0]["row"]
        return LookedAt(first, samples[0], None, None, first + 1), None
    try:
        services = page.services
        run = campaign_uploads.file_plan(
            services, page.user, found_plan(services, page.user, plan["plan_id"])
        )
        return look_at_row(run, page.database, row, rules=time_rules(services.settings)), None
    except InvalidValue as error:
        about = (
            page.locale.t("plan.row", row=page.locale.number(row)) if error.field == "row" else error.field
        )
        return None, WhyNot(error.why, about)
    except BulksendError as error:
        return None, WhyNot(str(error))


@router.get("/plans/{id}/refused.csv")
def refused(page: SenderPage, id: str) -> Response:
    """The refused rows as they stand in the file, with what is wrong, to be corrected in a spreadsheet."""
    plan = found_plan(page.services, page.user, id)
    table = campaign_uploads.refused_cells(page.services, plan)
    record_reading(page.database, page.user, "download refused rows", subject=plan.id)
    return StreamingResponse(
        _csv(table),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="refused-{plan.id}.csv"'},
    )


def _csv(table: RefusedTable) -> Iterator[str]:
    yield "\ufeff"
    yield _line([*table.header, "row", "wrong field", "why"])
    for each in table.rows:
        cells = [*each.cells, *[""] * (len(table.header) - len(each.cells))]
        field = each.field if each.bad is None else table.header[each.bad]
        yield _line([*cells, str(each.row), field, each.why])


def _line(cells: list[str]) -> str:
    made = io.StringIO()
    csv.writer(made).writerow([cell if _is_number(cell) else safe_cell(cell) for cell in cells])
    return made.getvalue()


def _is_number(cell: str) -> bool:
    """Such as +44 7700 900123, which is no formula."""
    return re.fullmatch(r"\+?[\d\s().-]+", cell) is not None


@router.post("/plans/{id}/test")
def test(form: SenderForm, id: str) -> Response:
    """Send one row to a number of one's own, really, and outside of the campaign."""
    page, services = form.page, form.page.services
    try:
        run = campaign_uploads.file_plan(services, page.user, found_plan(services, page.user, id))
        row = _row_number(form.text("row"))
        if not form.text("to"):
            raise InvalidValue("to", "", "is missing; write a number of yours with its country code")
        key = f"console:{form.text('once')[:64]}"
        done = send_test(services.settings, page.database, run, to=form.text("to"), row=row, key=key)
    except InvalidInput as error:
        problem = kept_problem(error)
        typed = {"to": form.text("to"), "test_row": form.text("row")}
        return _shown(page, id, problem=problem, status=problem["status"], typed=typed)
    record_reading(
        page.database, page.user, "test send", subject=done.receipt.id, why=f"row {done.row} of plan {id}"
    )
    return page.redirect(f"/plans/{id}", "plan.tested", row=done.row, id=done.receipt.id)


def _row_number(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise InvalidValue("row", "", "must be the number of a row of the file")
    return int(text)


@router.post("/plans/{id}/send")
def send(form: SenderForm, id: str) -> Response:
    """Send exactly what the plan says, once its count is typed."""
    page, services = form.page, form.page.services
    plan = found_plan(services, page.user, id)
    try:
        if plan.campaign_id is None:
            check_count(form.text("count"), json.loads(plan.facts)["counts"]["to_send"])
            # Where this request is the second of two, its file may be gone by now.
            draft = _draft(page, plan)
            if draft is not None and not work_on(
                page, draft, lambda: campaign_uploads.apply_plan(services, page.user, plan)
            ):
                return page.redirect(f"/plans/{id}?sent=1")
            plan = found_plan(services, page.user, id)
    except InvalidInput as error:
        plan = found_plan(services, page.user, id)
        if plan.campaign_id is None:
            problem = kept_problem(error)
            return _shown(
                page, id, problem=problem, status=problem["status"], typed={"count": form.text("count")}
            )
    if plan.campaign_id is None:
        raise WrongState(f"the file of plan {id} is not on this machine any more; make a new plan")
    return page.redirect(f"/campaigns/{plan.campaign_id}", "plan.sent")


def _draft(page: Page, plan: campaign_uploads.FrozenPlan) -> Any:
    try:
        return draft_of_plan(page, plan)
    except (NotFound, WrongState):
        return None


@router.post("/plans/{id}/again")
def again(form: SenderForm, id: str) -> Response:
    """Make a new plan of the same file with the same options."""
    page = form.page
    plan = found_plan(page.services, page.user, id)
    draft = drafts_of(page).again(draft_of_plan(page, plan))
    try:
        plan_draft(page, draft, CampaignOptions(**campaign_uploads.options_of_plan(plan)))
    except InvalidInput as error:
        drafts_of(page).keep(replace(draft, problem=kept_problem(error)))
        return page.redirect(f"/campaigns/new/{draft.id}")
    return page.redirect(f"/plans/{draft.id}")


@router.post("/plans/{id}/edit")
def edit(form: SenderForm, id: str) -> Response:
    """Back to the form of the plan."""
    page = form.page
    draft = draft_of_plan(page, found_plan(page.services, page.user, id))
    return page.redirect(f"/campaigns/new/{draft.id}")
