"""What is done with a posted file, for the API and for the console: take it in, plan it, apply its plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from bulksend.bootstrap import time_rules
from bulksend.errors import InvalidInput, NotFound, WrongState
from bulksend.ledger import plans, uploads
from bulksend.ledger.ids import new_id
from bulksend.ledger.plans import Plan
from bulksend.messaging.argument_naming import as_json_field
from bulksend.messaging.states import Kind
from bulksend.operations import uploads as posted_uploads
from bulksend.operations.access import Principal
from ops.http.services import Services
from producer.campaign_plans import CampaignPlans, frozen_options
from producer.clones import RestPlan, plan_rest
from producer.files import FilePlan
from producer.row_sends import LookedAt, look_at_row
from producer.uploads import SMALL_BYTES, CampaignOptions, Poster, StoredFile
from producer.uploads.forecast import Asked, find_out
from producer.uploads.refused_cells import RefusedTable, kept_cells

#: The rest of a campaign is taken in by a request, at some thousand rows a second.
MOST_REST = 20_000
#: A plan of the ledger, for those who only hand it on.
FrozenPlan = Plan


def poster(principal: Principal) -> Poster:
    """The caller as one that posts a file."""
    return Poster(principal.id, principal.actor, principal.check_send)


def find_out_about(
    services: Services,
    asked: Asked,
    options: CampaignOptions,
    file: StoredFile,
    by: Poster,
    request_key: str | None = None,
) -> dict[str, Any]:
    """What is asked about a posted file; of a large one another process finds it out."""
    elsewhere = services.large_uploads.find_out if file.bytes > SMALL_BYTES else None
    return find_out(services.uploads, asked, options, file, by, request_key=request_key, elsewhere=elsewhere)


def look(
    services: Services, principal: Principal, options: CampaignOptions, file: StoredFile, row: int | None
) -> LookedAt:
    """A row of a posted file as its message would look. Raises as ``Uploads.check`` and ``look_at_row``."""
    _, plan = services.uploads.check(options, file, poster(principal))
    return look_at_row(plan, services.database, row, rules=time_rules(services.settings))


def make_plan(
    services: Services, principal: Principal, options: CampaignOptions, file: StoredFile
) -> dict[str, Any]:
    """The plan of a posted file, with the file's id. Raises as ``find_out_about``."""
    return find_out_about(services, Asked.PLAN, options, file, poster(principal))


def rest_of(
    services: Services,
    principal: Principal,
    id_or_name: str,
    *,
    name: str | None = None,
    at: str | None = None,
) -> RestPlan:
    """The rest of a cancelled campaign. A large one is sent by the command line: here it would hold a thread.

    Raises CampaignNotFound, InvalidInput, AccessDenied, and WrongState where it has none or a large one.
    """
    plan = plan_rest(
        services.database,
        id_or_name,
        of=services.settings,
        created_by=principal.actor,
        name=name,
        at=at,
        naming=as_json_field,
    )
    principal.check_send(plan.campaign.kind, plan.sender)
    if plan.people > MOST_REST:
        raise WrongState(
            f"its rest has {plan.people:,} people, and more than {MOST_REST:,} are sent by "
            f"`bulksend campaigns clone {plan.campaign.id} --rest`"
        )
    return plan


def send_rest(services: Services, plan: RestPlan) -> str:
    """Send it; the id of its campaign. A repeated call sends nothing twice. Raises InvalidInput."""
    services.uploads.intake.check_can_store(plan.campaign.kind)
    return plan.run(services.uploads.intake).campaign_id


def take_in(services: Services, file: StoredFile, accept: Callable[[], bool]) -> dict[str, Any]:
    """Have ``accept`` put a posted file on record, and wait a moment for the counts of a small one.

    A file that is not on record is deleted.
    """
    with services.upload_intake.awaiting(file.id):
        with services.uploads.store.deleted_on_error(file.id, InvalidInput):
            has_rows = accept()
        refused = None
        if has_rows and file.bytes > SMALL_BYTES:
            services.large_uploads.wake()
        elif has_rows:
            refused = services.upload_intake.result(file.id, services.answer_s)
    if refused is not None:
        raise refused
    with services.database.read() as tx:
        return posted_uploads.posted(tx, file.id)


def apply_plan(services: Services, principal: Principal, plan: Plan) -> dict[str, Any]:
    """Send exactly what the plan says; the answer of its campaign. A repeated call sends nothing twice.

    Raises PlanChanged, WrongState where it expired or its file is gone, and what a forecast raises.
    """
    return _applied(services, plan) if plan.campaign_id else _apply(services, principal, plan)


def _apply(services: Services, principal: Principal, plan: Plan) -> dict[str, Any]:
    store, by, options = services.uploads.store, poster(principal), frozen_options(plan)
    file_plan(services, principal, plan)
    find_out_about(services, Asked.CHECK, options, file_of_plan(services, plan), by)
    # The upload has an id of its own: campaigns are listed in the order of their ids.
    file = store.link(plan.id, plan.file, new_id())

    def accept() -> bool:
        has_rows = services.uploads.accept(
            options, file, by, idempotency_key=None, campaign_key=plan.campaign_key
        )
        with services.database.write() as tx:
            upload = uploads.get(tx, file.id)
            campaign_id = file.id if upload is None or upload.campaign_id is None else upload.campaign_id
            plans.applied(tx, plan, campaign_id, actor=principal.actor)
        services.uploads.delete(plan.id)
        return has_rows

    return take_in(services, file, accept)


def _applied(services: Services, plan: Plan) -> dict[str, Any]:
    """The answer to a plan that was applied before."""
    assert plan.campaign_id is not None
    with services.database.read() as tx:
        upload = uploads.of_campaign(tx, plan.campaign_id)
        if upload is None:
            raise WrongState(f"plan {plan.id} was applied: it became campaign {plan.campaign_id}")
        return {**posted_uploads.posted(tx, upload.id), "repeated": True}


def found_plan(services: Services, principal: Principal, id: str) -> Plan:
    """The plan, if the principal may send its kind from its sender. Raises NotFound, AccessDenied."""
    with services.database.read() as tx:
        plan = plans.get(tx, id)
    options = frozen_options(plan)
    principal.check_send(Kind(options.kind), json.loads(plan.facts)["options"]["sender"])
    return plan


def file_plan(services: Services, principal: Principal, plan: Plan) -> FilePlan:
    """The send that it froze. Raises WrongState where its file is not here, or not here any more."""
    path = services.uploads.store.path(plan.id, plan.file)
    if not plan.posted:
        raise WrongState(f"plan {plan.id} is of a file on another machine: `bulksend apply {plan.id}` there")
    if plan.campaign_id is not None:
        raise WrongState(f"plan {plan.id} was applied: it became campaign {plan.campaign_id}")
    with services.database.read() as tx:
        plans.check_live(tx, plan)
    if not path.exists():
        raise WrongState(f"the file of plan {plan.id} is not on this machine any more; post it again")
    return plans_of(services).file_plan(plan, path, actor=principal.actor, naming=as_json_field)


def plan_of(tx: Connection, id: str) -> Plan:
    """The plan of an id. Raises NotFound."""
    return plans.get(tx, id)


def has_plan(services: Services, id: str) -> bool:
    """Whether a file of this id was planned."""
    try:
        with services.database.read() as tx:
            plans.get(tx, id)
    except NotFound:
        return False
    return True


def refused_cells(services: Services, plan: Plan) -> RefusedTable:
    """The first refused rows of a plan, while its file is here; empty where it is not."""
    return kept_cells(services.uploads.store.path(plan.id, plan.file)) if plan.posted else RefusedTable()


def file_of_plan(services: Services, plan: Plan) -> StoredFile:
    """The file that it froze. Raises WrongState where it is not here, or not here any more."""
    path = services.uploads.store.path(plan.id, plan.file)
    if not plan.posted or not path.exists():
        raise WrongState(f"the file of plan {plan.id} is not on this machine any more; post it again")
    return StoredFile(plan.id, path, json.loads(plan.outlook)["file"]["sha256"] or "", path.stat().st_size)


def options_of_plan(plan: Plan) -> dict[str, Any]:
    """The options that it froze, by their JSON names."""
    return asdict(frozen_options(plan))


def plans_of(services: Services) -> CampaignPlans:
    """The plans of this server. Raises InvalidInput when its prices cannot be read."""
    return CampaignPlans.from_settings(services.settings, services.database)
