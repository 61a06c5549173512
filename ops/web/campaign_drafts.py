"""What the pages of a new campaign do with its draft: plan it and send it, a large file beside the request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import structlog

from bulksend.errors import BulksendError, NotFound, PlanChanged
from ops.http import campaign_uploads
from ops.web.campaign_form import WrongFields, fields_from
from ops.web.pages import Page
from ops.web.problems import problem_of
from producer.uploads import SMALL_BYTES, CampaignOptions
from producer.uploads.drafts import Draft, Drafts

log = structlog.get_logger(__name__)


class WhyNot(NamedTuple):
    """Why there is no preview; ``about``: the field that it is about, by its label."""

    why: str
    about: str = ""


def drafts_of(page: Page) -> Drafts:
    """The drafts of this server."""
    return Drafts(page.services.uploads.store)


def kept_problem(error: BulksendError) -> dict[str, Any]:
    """An error as a draft keeps it, and a page shows it."""
    found = asdict(problem_of(error))
    if isinstance(error, WrongFields):
        found["whys"] = error.whys
    changes = [list(each) for each in error.changes] if isinstance(error, PlanChanged) else []
    return {**found, "changes": changes}


def work_on(page: Page, draft: Draft, work: Callable[[], object]) -> bool:
    """Do what may take long: for a small file now, for a large one beside the request; returns whether it is done.

    Then what is wrong is kept with the draft; now it is raised.
    """
    drafts = drafts_of(page)
    if draft.bytes <= SMALL_BYTES:
        work()
        return True
    began = threading.Event()

    def beside() -> None:
        with drafts.working(draft) as is_mine:
            began.set()
            if is_mine:
                _keep_problem(drafts, draft, work)

    threading.Thread(target=beside, name="campaign", daemon=True).start()
    # The page that comes next asks whether it is under way.
    began.wait()
    return False


def _keep_problem(drafts: Drafts, draft: Draft, work: Callable[[], object]) -> None:
    try:
        drafts.keep(replace(draft, problem=None))
        work()
    except BulksendError as error:
        _keep(drafts, replace(draft, problem=kept_problem(error)))
    except Exception as error:  # noqa: BLE001 - its text may be private; the page says that the log has it
        log.error("campaign_not_made", draft=draft.id, error=type(error).__name__)
        _keep(drafts, replace(draft, problem=kept_problem(BulksendError("it failed; the log has the cause"))))


def _keep(drafts: Drafts, draft: Draft) -> None:
    try:
        drafts.keep(draft)
    except NotFound:
        log.info("draft_gone", draft=draft.id)


def plan_draft(page: Page, draft: Draft, options: CampaignOptions) -> bool:
    """Make its plan; returns whether it is made."""
    file = drafts_of(page).file(draft)
    return work_on(page, draft, lambda: campaign_uploads.make_plan(page.services, page.user, options, file))


def draft_of_plan(page: Page, plan: campaign_uploads.FrozenPlan) -> Draft:
    """The draft that a plan was made of; of one that a program posted, one with its options. Raises NotFound."""
    drafts = drafts_of(page)
    found = drafts.find(plan.id)
    if found is None:
        fields = fields_from(campaign_uploads.options_of_plan(plan))
        found = drafts.begin(campaign_uploads.file_of_plan(page.services, plan), fields, by=page.user.name)
    return found
