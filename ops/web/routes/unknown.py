"""Messages that may have gone out: what their attempts left behind, and settling many of them at once."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.messaging import Kind
from bulksend.messaging.units import counted
from bulksend.operations import campaigns, messages, unknowns
from bulksend.operations.json_shape import checked_after
from bulksend.operations.messages import Filter
from bulksend.operations.unknowns import MOST_RESOLVED, TRACES, Resolution
from ops.web.forms import OperatorForm, check_count
from ops.web.pages import Page, ViewerPage, query
from ops.web.problems import problem_of

router = APIRouter()
SHOWN = 50
RESOLUTIONS = ("accepted", "failed", "resend")
#: Refusals that a dry run shows with their reason.
REFUSED_SHOWN = 20
_FILTERS = ("campaign", "kind", "sender", "trace", "since", "until")


@router.get("/unknown")
def unknown_list(
    page: ViewerPage,
    campaign: Annotated[str, Query(max_length=200)] = "",
    kind: str = "",
    sender: str = "",
    trace: str = "",
    since: str = "",
    until: str = "",
    after: str | None = None,
) -> Response:
    """A page of them, newest first. The address holds the filter and the place in the list."""
    given = {
        "campaign": campaign,
        "kind": kind,
        "sender": sender,
        "trace": trace,
        "since": since,
        "until": until,
    }
    return _list(page, given, after)


@router.post("/unknown/resolve")
def resolve(form: OperatorForm) -> Response:
    """First count what it would do, to exactly which messages; then, once the count is typed, do it."""
    page, as_, why = form.page, form.text("as"), form.text("why")
    given = {name: form.text(name) for name in _FILTERS}
    typed = {"as": as_, "why": why, "which": form.text("which")}
    ids = [id for id in form.text("ids").split(",") if id][:MOST_RESOLVED]
    more = form.is_on("more")
    try:
        if not ids:
            ids, more = _chosen(form, given)
        dry = _resolve(page, ids, as_, why, dry_run=True)
        if form.is_on("count"):
            try:
                check_count(form.text("count"), len(dry.resolved))
            except InvalidValue as wrong:
                return _dry_run(page, given, typed, dry, ids, more, wrong)
            done = _resolve(page, dry.resolved, as_, why, dry_run=False)
            said = {"count": len(done.resolved), "left": len(done.refused)}
            return page.redirect("/unknown" + query(given), "unknown.done." + as_, **said)
        return _dry_run(page, given, typed, dry, ids, more)
    except InvalidInput as error:
        return _list(page, given, None, error=error, typed=typed)


def _resolve(page: Page, ids: list[str], as_: str, why: str, *, dry_run: bool) -> Resolution:
    user = page.user
    return unknowns.resolve(
        page.database, ids, as_=as_, actor=user.actor, why=why, dry_run=dry_run, allow=user.check_send
    )


def _chosen(form: OperatorForm, given: dict[str, str]) -> tuple[list[str], bool]:
    """The ids that were ticked, or those of all that match; and whether there are more."""
    if form.text("which") != "all":
        ticked = list(dict.fromkeys(form.every("id")))
        if not ticked:
            raise InvalidValue("which", "", "no message is ticked; tick some, or choose all that match")
        return ticked[:MOST_RESOLVED], len(ticked) > MOST_RESOLVED
    with form.page.database.read() as tx:
        return unknowns.newest_ids(tx, _filter(form.page, given), _traces(given))


def _filter(page: Page, given: dict[str, str]) -> Filter:
    return Filter(
        **{name: value or None for name, value in given.items() if name != "trace"},
        default_region=page.services.settings.default_region,
        timezone=page.locale.zone,
    )


def _traces(given: dict[str, str]) -> list[str]:
    return [given["trace"]] if given["trace"] else []


def _list(
    page: Page,
    given: dict[str, str],
    after: str | None,
    *,
    error: InvalidInput | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    values: dict[str, Any] = {
        "filter": given,
        "after": after,
        "traces": TRACES,
        "kinds": list(Kind),
        "resolutions": RESOLUTIONS,
        "typed": typed or {"as": "", "why": "", "which": ""},
        "most": MOST_RESOLVED,
    }
    found, names = None, dict[str, str]()
    try:
        wanted = _filter(page, given)
        with page.database.read() as tx:
            found = unknowns.look_at_unknown(
                tx, wanted, traces=_traces(given), limit=SHOWN, before=checked_after(after)
            )
            names = campaigns.names(tx, {item["campaign_id"] for item in found.items})
            at = unknowns.now(tx)
    except InvalidInput as wrong:
        error, at = error or wrong, 0
    items = [] if found is None else found.items
    if items:
        page.note_reading("list unknown messages", why=counted(len(items), "message"))
    return page.render(
        "unknown.html",
        found=found,
        items=items if page.user.sees_numbers else [messages.masked(item) for item in items],
        names=names,
        now=at,
        problem=None if error is None else problem_of(error),
        **values,
    )


def _dry_run(
    page: Page,
    given: dict[str, str],
    typed: dict[str, str],
    dry: Resolution,
    ids: list[str],
    more: bool,
    error: InvalidValue | None = None,
) -> Response:
    return page.render(
        "unknown_resolve.html",
        filter=given,
        typed=typed,
        dry=dry,
        ids=",".join(ids),
        more=more,
        most=MOST_RESOLVED,
        refused_shown=REFUSED_SHOWN,
        problem=None if error is None else problem_of(error),
    )
