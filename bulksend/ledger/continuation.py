"""Continuations: more rows for an existing campaign.

A cancelled campaign takes no more rows. Its rest goes into a new campaign, created once and found again by its key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, update

from bulksend.errors import InvalidInput
from bulksend.ledger import counters, operator_log
from bulksend.ledger.campaign_creation import (
    NewCampaign,
    check_content,
    check_options,
    continued_hash,
    create_or_find,
)
from bulksend.ledger.campaigns import Campaign, by_key, find, get, status_counts
from bulksend.ledger.ids import is_id
from bulksend.ledger.schema import campaigns, refusals
from bulksend.messaging.local_time import parse_local_time
from bulksend.messaging.states import LEFT, CampaignStatus
from bulksend.messaging.units import counted

#: The key of a rest campaign is this and the id of the cancelled campaign.
_REST = "rest:"


@dataclass(frozen=True, slots=True)
class Continuation:
    """The rows go into the campaign ``into``, or into one to be created from ``new``."""

    new: NewCampaign
    into: Campaign | None
    cancelled: tuple[Campaign, ...]
    """The cancelled campaigns whose rest this is: rows that they may have sent are left out."""


def plan_continuation(tx: Connection, name_or_id: str, new: NewCampaign) -> Continuation:
    """Where more rows for the campaign of this name or id go.

    Raises CampaignNotFound, and InvalidInput when the campaign has another sender, kind, content or options than
    ``new``, is one of direct sends, or has lost rows by their age.
    """
    into: Campaign | None
    into = campaign = find(tx, name_or_id)
    if campaign.is_direct:
        raise InvalidInput(
            f"campaign {campaign.id} ({campaign.name}) belongs to single sends; a file cannot continue it"
        )
    gone = counters.deleted(tx, campaign.id)
    if gone:
        raise InvalidInput(
            f"{counted(gone, 'message')} of campaign {campaign.id} ({campaign.name}) deleted by their age, so that "
            "it is not known which rows of a file it has; send the file as a campaign of its own"
        )
    cancelled: list[Campaign] = []
    while campaign.key.startswith(_REST) and is_id(campaign.key.removeprefix(_REST)):
        campaign = get(tx, campaign.key.removeprefix(_REST))
        cancelled.append(campaign)
    campaign = into
    while into is not None and into.status is CampaignStatus.CANCELLED:
        cancelled.append(campaign := into)
        new = _rest_campaign(campaign, new)
        into = by_key(tx, new.key)
    campaign = into or campaign
    # The rest of a cancelled campaign may have another content: a wrong text is a usual reason to cancel.
    same = ("sender", "kind", "type", "content") if into is not None else ("sender", "kind")
    for field in same:
        if getattr(campaign, field) != getattr(new, field):
            has = "another content" if field == "content" else f"the {field} {getattr(campaign, field)}"
            raise InvalidInput(
                f"campaign {campaign.id} ({campaign.name}) has {has}: only rows of the same sender, kind, type and "
                f"content can continue it. Give the {new.naming(field)} that it has, or leave {new.naming('into')} out"
            )
    if into is not None:
        check_options(tx, into, new)
    return Continuation(new, into, tuple(cancelled))


def _rest_campaign(cancelled: Campaign, new: NewCampaign) -> NewCampaign:
    """The campaign of the rest: ``new`` with the cancelled campaign's options where none were given."""
    due_at = new.due_at if cancelled.is_unscheduled else max(cancelled.due_at, new.due_at)
    kept = {
        "name": f"{cancelled.name[:190]} (rest)",
        "due_at": due_at,
        "ttl_ms": cancelled.ttl_ms,
        "rate": cancelled.rate,
        "on_unknown": cancelled.on_unknown,
        "exclusions": cancelled.exclusions,
        "local_time": _local_time(cancelled, due_at),
        "canary": cancelled.canary,
        "max_failed": cancelled.max_failed,
        "weight": cancelled.weight,
    }
    return replace(
        new,
        key=_REST + cancelled.id,
        source_hash=continued_hash(new.source_hash),
        **{column: value for column, value in kept.items() if column not in new.given},  # type: ignore[arg-type]
    )


def _local_time(cancelled: Campaign, due_at: int) -> str | None:
    if cancelled.local_time is None:
        return None
    return str(parse_local_time(cancelled.local_time).from_day_on(due_at))


def begin_continuation(tx: Connection, plan: Continuation) -> Campaign:
    """Open the campaign for the rows of another file, and delete the refusals of the file before.

    An intake that still runs finds another source and stops. Raises InvalidInput when the campaign was cancelled, or
    its rest was created by another process, since ``plan`` was made, or as ``check_content`` when it has finished.
    """
    new = plan.new
    if plan.into is None:
        created, is_new = create_or_find(tx, new)
        if is_new:
            operator_log.record(
                tx,
                actor=new.created_by,
                act="continue",
                scope="campaign",
                subject=plan.cancelled[-1].id,
                why=f"the rest is campaign {created.id}",
            )
            return created
    campaign = plan.into or created
    if get(tx, campaign.id).status is CampaignStatus.FINISHED:
        check_content(tx, new)
    refused = tx.execute(delete(refusals).where(refusals.c.campaign_id == campaign.id)).rowcount
    changed = tx.execute(
        update(campaigns)
        .where(campaigns.c.id == campaign.id, campaigns.c.status != CampaignStatus.CANCELLED.value)
        .values(
            source_hash=continued_hash(new.source_hash),
            source_name=new.source_name[:255],
            intake_done_at=None,
            rows_read=campaigns.c.messages + campaigns.c.duplicates,
            refused=0,
        )
    ).rowcount
    if not changed:
        raise InvalidInput(
            f"campaign {campaign.id} was cancelled meanwhile; nothing was changed. Run the same command again to send "
            "its rest"
        )
    ended = [CampaignStatus.RUNNING.value, CampaignStatus.FINISHED.value]
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == campaign.id, campaigns.c.status.in_(ended))
        .values(status=CampaignStatus.INTAKE.value, ended_at=None)
    )
    operator_log.record(
        tx,
        actor=new.created_by,
        act="continue",
        scope="campaign",
        subject=campaign.id,
        why=f"{new.source_name}, after {campaign.source_name}, of which {counted(refused, 'row')} had been refused",
    )
    return get(tx, campaign.id)


def rest_notes(tx: Connection, plan: Continuation, begun: Campaign | None) -> list[str]:
    """Text for the person who sends the rest of a cancelled campaign; empty where this is none."""
    if not plan.cancelled:
        return []
    last = plan.cancelled[-1]
    into = plan.new.name if begun is None else f"{begun.id} ({begun.name})"
    notes = [f"campaign {last.id} ({last.name}) is cancelled: its rest goes into campaign {into}"]
    if (last.type, last.content) != (plan.new.type, plan.new.content):
        notes.append("the rest has another content than the messages sent before")
    unsettled = sum(status_counts(tx, each.id).get(status, 0) for each in plan.cancelled for status in LEFT)
    if unsettled:
        notes.append(
            f"left out, because the cancelled campaign still sends or ends them: {counted(unsettled, 'message')}. Run "
            "the same command again later to send those that end unsent"
        )
    return notes
