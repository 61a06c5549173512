"""One campaign: what becomes of it, and what a person may do to it.

Its addresses have an id where others have fixed words (``/campaigns/new``): this module is taken after theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from bulksend.errors import AccessDenied, BulksendError, CampaignNotFound, InvalidValue, TooManyRequests
from bulksend.messaging.states import WAITING, Kind, Status
from bulksend.operations import campaign_overview, campaign_pages, campaign_settings, campaigns, legal_holds
from bulksend.operations.access import Role
from bulksend.operations.blockers import without_recorded
from bulksend.operations.breakdown import break_down
from bulksend.operations.campaigns import NO_REASON, Act, ActResult
from bulksend.operations.json_shape import masked_words
from bulksend.operations.paces import pace_now
from bulksend.operations.report import report as write_report
from ops.web.forms import AdminForm, Form, OperatorForm, typed_count
from ops.web.pages import OperatorPage, Page, ViewerPage
from ops.web.problems import Problem, problem_of

router = APIRouter(prefix="/campaigns/{id}")
#: Rows of a page of refusals, minutes of one of the timeline.
ROWS, MINUTES = 50, 60
#: What a person may change, by the fields of the form; each beside what it was when the form was made.
CHART = ("at", "posts", "delivered", "failed", "limit")
SETTINGS = ("name", "rate", "weight", "max_failed", "send_at")


@router.get("")
def show(id: str, page: ViewerPage) -> Response:
    """The campaign, or how far its file is."""
    return _shown(page, id)


def _shown(page: Page, id: str, *, problem: Problem | None = None, tried: str = "") -> Response:
    """The page; with a ``problem`` the one after an act (``tried``) that was not possible."""
    found = _found(page, id)
    status = 200 if problem is None else problem.status
    if "reasons" not in found:
        return page.render("campaign_upload.html", found=found, status=status)
    blockers = found["blockers"] + (
        without_recorded(page.console.blockers.now()) if found["ended_at"] is None else []
    )
    if not page.user.sees_numbers:
        blockers = [each.masked() for each in blockers]
    chart = found["throughput"]
    chart["rows"] = [[each[name] for name in CHART] for each in chart["items"]]
    slowed = bool(found["slowed"]) and found["ended_at"] is None
    max_failed = page.services.settings.max_failed
    return page.render(
        "campaign.html",
        status=status,
        found=found,
        # These two are said in the page itself, with what to do.
        blockers=[each for each in blockers if each.about not in ("campaign", "canary")],
        pace=pace_now(page.services.settings, page.database, found["sender"]) if slowed else None,
        default_max_failed=page.locale.percent(max_failed) if max_failed else None,
        can_act=_can_act(page, found),
        problem=problem,
        tried=tried,
    )


def _found(page: Page, id: str) -> dict[str, Any]:
    found = campaign_overview.view(page.services.settings, page.database, id)
    blockers = found.pop("blockers", [])
    if not page.user.sees_numbers:
        found = masked_words(found)
    return found | {"blockers": blockers, "reached": campaign_overview.reached(found["statuses"])}


def _can_act(page: Page, found: dict[str, Any]) -> bool:
    """Whether its user may act on campaigns of this kind and sender."""
    try:
        page.user.check_send(Kind(found["kind"]), found["sender"])
    except AccessDenied:
        return False
    return page.may(Role.OPERATOR)


# -- acts ------------------------------------------------------------------------------------------------------


@router.post("/pause")
def pause(id: str, form: OperatorForm) -> Response:
    """Hold what has not been sent."""
    return _act(form, id, Act.PAUSE)


@router.post("/resume")
def resume(id: str, form: OperatorForm) -> Response:
    """Go on."""
    return _act(form, id, Act.RESUME, force=form.is_on("force"))


@router.post("/unschedule")
def unschedule(id: str, form: OperatorForm) -> Response:
    """Take it off its schedule."""
    return _act(form, id, Act.UNSCHEDULE)


def _act(form: Form, id: str, what: Act, *, force: bool = False) -> Response:
    page = form.page
    try:
        done = _done(form, id, what, force=force)
    except AccessDenied:
        raise
    except BulksendError as error:
        return _shown(page, id, problem=problem_of(error), tried=what.value)
    said = "campaign.said." + what.value if done.changed else "campaign.said.unchanged"
    return page.redirect(
        f"/campaigns/{done.campaign.id}", said, name=done.campaign.name, count=done.in_flight
    )


def _done(form: Form, id: str, what: Act, *, force: bool = False) -> ActResult:
    page = form.page
    with page.database.read() as tx:
        campaign = campaigns.find_for(tx, page.user, id)
    return campaigns.act(
        page.database,
        page.services.limiter,
        campaign.id,
        what,
        actor=page.user.actor,
        why=form.optional("why"),
        force=force,
    )


@router.get("/cancel")
def ask_cancel(id: str, page: OperatorPage) -> Response:
    """What a cancel ends, and a field to type that."""
    return _cancel_page(page, id)


@router.post("/cancel")
def cancel(id: str, form: OperatorForm) -> Response:
    """Cancel it, where the count or the name was typed."""
    page, typed = form.page, form.text("typed")
    with page.database.read() as tx:
        campaign = campaigns.find_for(tx, page.user, id)
    number = typed_count(typed)
    if typed != campaign.name.strip() and (number is None or str(number) != form.text("count")):
        error = InvalidValue("typed", "", "type the count that this page shows, or the name of the campaign")
        return _cancel_page(page, id, form=form, problem=problem_of(error))
    try:
        done = _done(form, id, Act.CANCEL)
    except BulksendError as error:
        return _cancel_page(page, id, form=form, problem=problem_of(error))
    said = "campaign.said.cancel" if done.cancelled is not None else "campaign.said.unchanged"
    return page.redirect(f"/campaigns/{campaign.id}", said, name=campaign.name, count=int(done.changed or 0))


def _cancel_page(
    page: Page, id: str, *, form: Form | None = None, problem: Problem | None = None
) -> Response:
    found = _found(page, id)
    of = found["statuses"].get
    counts = {
        "unsent": sum(of(status, 0) for status in (*WAITING, Status.CLAIMED)),
        "in_flight": of(Status.SENDING, 0),
        "sent": found["reached"]["accepted"],
    }
    return page.render(
        "campaign_cancel.html",
        found=found,
        counts=counts,
        typed=form,
        problem=problem,
    )


@router.get("/retry")
def ask_retry(id: str, page: OperatorPage) -> Response:
    """What a retry would do to each of its messages."""
    return _retry_page(page, id)


@router.post("/retry")
def retry(id: str, form: OperatorForm) -> Response:
    """Queue its failed messages again."""
    page = form.page
    try:
        done = _done(form, id, Act.RETRY)
    except AccessDenied:
        raise
    except BulksendError as error:
        return _retry_page(page, id, problem_of(error))
    queued = int(done.changed or 0)
    said = "campaign.said.retry" if queued else "campaign.said.unchanged"
    if done.retried is not None and done.retried.goes_on:
        said = "campaign.said.retry_goes_on"
    return page.redirect(f"/campaigns/{done.campaign.id}", said, name=done.campaign.name, count=queued)


def _retry_page(page: Page, id: str, problem: Problem | None = None) -> Response:
    preview = None
    try:
        with page.database.read() as tx:
            campaign = campaigns.find_for(tx, page.user, id)
            preview = campaign_settings.preview_retry(tx, campaign.id, is_quick=True)
    except AccessDenied:
        raise
    except BulksendError as error:
        problem = problem or problem_of(error)
    return page.render(
        "campaign_retry.html",
        found=_found(page, id),
        preview=preview,
        problem=problem,
    )


@router.get("/settings")
def ask_settings(id: str, page: OperatorPage) -> Response:
    """A form with what may be changed of it."""
    return _settings_page(page, id)


@router.post("/settings")
def set_settings(id: str, form: OperatorForm) -> Response:
    """Change what differs from what the form had."""
    page = form.page
    with page.database.read() as tx:
        campaign = campaigns.find_for(tx, page.user, id)
    new = {name: form.text(name) for name in SETTINGS if form.text(name) != form.text(f"was_{name}")}
    try:
        if "rate" in new:
            new["rate"] = new["rate"] or "none"
        if "max_failed" in new and not new["max_failed"]:
            raise InvalidValue(
                "max_failed", "", "cannot be taken back; write a share like 5%, or none for never"
            )
        done = campaign_settings.change(
            page.database,
            campaign.id,
            actor=page.user.actor,
            why=form.optional("why") or NO_REASON,
            timezone=page.locale.zone,
            name=new.get("name"),
            rate=new.get("rate"),
            send_at=new.get("send_at"),
            max_failed=new.get("max_failed"),
            weight=_weight(new.get("weight")),
        )
    except BulksendError as error:
        return _settings_page(page, id, form, problem_of(error))
    said = "campaign.said.set" if done["changed"] else "campaign.said.unchanged"
    return page.redirect(f"/campaigns/{campaign.id}", said, name=done["name"], count=0)


def _weight(text: str | None) -> int | None:
    """0, which is none, for what is no number."""
    return None if text is None else int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _settings_page(page: Page, id: str, form: Form | None = None, problem: Problem | None = None) -> Response:
    found = _found(page, id)
    is_due = found["due_at"] is not None
    now = {
        "name": found["name"],
        "rate": "" if found["rate_limit"] is None else f"{found['rate_limit']:g}",
        "weight": str(found["weight"]),
        "max_failed": found["max_failed"] or "",
        "send_at": page.locale.moment(found["due_at"]).strftime("%Y-%m-%dT%H:%M:%S") if is_due else "",
    }
    typed = now if form is None else {name: form.text(name) for name in SETTINGS}
    was = now if form is None else {name: form.text(f"was_{name}") for name in SETTINGS}
    return page.render(
        "campaign_settings.html",
        found=found,
        typed=typed | {"why": "" if form is None else form.text("why")},
        was=was,
        problem=problem,
    )


@router.post("/hold")
def hold(id: str, form: AdminForm) -> Response:
    """Place it under legal hold."""
    page = form.page
    why = form.optional("why")
    if why is None:
        error = InvalidValue("why", "", "a legal hold needs its reason")
        return _shown(page, id, problem=problem_of(error), tried="hold")
    try:
        legal_holds.place_hold(page.database, campaign=id, person=None, actor=page.user.actor, why=why)
    except BulksendError as error:
        return _shown(page, id, problem=problem_of(error), tried="hold")
    return page.redirect(f"/campaigns/{id}", "campaign.said.hold")


@router.post("/release")
def release(id: str, form: AdminForm) -> Response:
    """End its legal hold."""
    page = form.page
    try:
        legal_holds.remove_hold(
            page.database, form.text("hold"), actor=page.user.actor, why=form.optional("why") or NO_REASON
        )
    except BulksendError as error:
        return _shown(page, id, problem=problem_of(error), tried="release")
    return page.redirect(f"/campaigns/{id}", "campaign.said.release")


# -- lists -----------------------------------------------------------------------------------------------------


@router.get("/refusals")
def refusals(id: str, page: ViewerPage, after: str | None = None) -> Response:
    """The rows that were refused, masked, in the order of the file."""
    with page.database.read() as tx:
        campaign = campaigns.find(tx, id)
        rows = campaign_pages.refusals(tx, campaign.id, limit=ROWS, after=after)
    return page.render("campaign_refusals.html", campaign=campaign, rows=rows, after=after)


#: A larger campaign is counted when a person asks for it, at about this rate a second.
COUNTED_AT_ONCE, COUNTED_A_SECOND = 100_000, 150_000
COUNTRIES, HOURS = 30, 168
HOUR = ("hour", "accepted", "delivered", "read", "failed")
#: One at a time reads all messages of a campaign: the ledger has other work.
_counting = Lock()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    if not _counting.acquire(blocking=False):
        raise TooManyRequests("another campaign is being counted; try again in a moment")
    try:
        yield
    finally:
        _counting.release()


@router.get("/breakdown")
def breakdown(id: str, page: ViewerPage, count: str = "") -> Response:
    """It by country, hour and reason; of a large one, when it is asked for."""
    found = _found(page, id)
    if "reasons" not in found:
        raise CampaignNotFound(f"the file {found['campaign_id']} has no campaign yet")
    counted: dict[str, Any] | None = None
    if not found["why_not"]["breakdown"] and (count or found["total"] <= COUNTED_AT_ONCE):
        with _one_at_a_time(), page.database.read() as tx:
            counted = {**break_down(tx, found["campaign_id"])}
    return page.render(
        "campaign_breakdown.html",
        found=found,
        counted=counted,
        seconds=max(1, found["total"] // COUNTED_A_SECOND),
        country_of=page.locale.country,
        hours=[[each[name] for name in HOUR] for each in counted["hours"][-HOURS:]] if counted else [],
        most=(COUNTRIES, HOURS),
    )


@router.get("/report")
def report(id: str, page: ViewerPage) -> Response:
    """The report as a file: one HTML page without numbers."""
    with page.database.read() as tx:
        campaign = campaigns.find(tx, id)
    with _one_at_a_time():
        text = write_report(page.database, campaign.id, timezone=page.locale.zone)
    name = f"campaign-{campaign.id}.html"
    return HTMLResponse(text, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@router.get("/timeline")
def timeline(id: str, page: ViewerPage, after: str | None = None) -> Response:
    """Its minutes, as the relay kept them."""
    with page.database.read() as tx:
        campaign = campaigns.find(tx, id)
        rows = campaign_pages.timeline(tx, campaign.id, limit=MINUTES, after=after)
    return page.render("campaign_timeline.html", campaign=campaign, rows=rows, after=after)
