"""Campaigns: list, show, pause, resume, unschedule, cancel, retry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict

from sqlalchemy import Connection

from bulksend.ledger import (
    campaign_control,
    campaign_retry,
    campaign_settings,
    campaigns,
    code_readings,
    counters,
    inbound,
    pauses,
    progress,
    uploads,
)
from bulksend.ledger.campaign_control import Cancelled
from bulksend.ledger.campaign_retry import Retried
from bulksend.ledger.campaigns import ACTIVE, Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.content_checks import check_resume
from bulksend.ledger.counters import Counts
from bulksend.ledger.database import Database
from bulksend.ledger.ids import is_id
from bulksend.messaging import Kind, Status, parse_recipient
from bulksend.messaging.exclusions import Exclusions
from bulksend.messaging.failure_share import format_max_failed
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import LEFT, SENT, CampaignStatus
from bulksend.messaging.units import format_due, format_instant, parse_choice
from bulksend.operations.access import Principal
from bulksend.operations.acts import acts_on
from bulksend.operations.blockers import find_blockers
from bulksend.operations.json_shape import Page, checked_after, to_json
from bulksend.operations.limiter import OpenLimiter, set_flag
from bulksend.operations.paces import changes_of, pace_now
from bulksend.operations.uploads import shown_upload, without_campaign
from bulksend.settings import Settings

#: The rate shown is measured over this time.
RATE_WINDOW_MS = 10_000
#: POSTs a second that foretell nothing, unless the campaign may send no more: fewer than 5 in the window, as while the
#: vendor is tried one POST at a time, or right after the start.
_TOO_FEW = 0.5
#: As many refused rows are part of ``show``; an export has all of them.
REFUSED_SHOWN = 1_000
NO_REASON = "no reason given"


class Summary(TypedDict):
    """One entry of ``campaigns list``. ``eta_seconds`` is None where it is not known or nothing is sent."""

    campaign_id: str
    name: str
    kind: str
    status: str
    sender: str
    total: int
    statuses: dict[str, int]
    attempts: int
    rate: float
    eta_seconds: int | None
    created_at: str
    due_at: str | None
    paused_at: str | None
    ended_at: str | None


class Details(Summary):
    """What the ledger knows of one campaign. ``reasons`` are those of the ``reasons_of`` newest in each status.

    ``latency`` is only of one-time codes: from intake until ``posted`` and ``delivered``. ``retrying``: a retry still
    queues failed messages.
    """

    type: str
    source: str
    rows: int
    duplicates: int
    suppressed: int
    refused_count: int
    replies: int
    rate_limit: float | None
    on_unknown: str
    exclusions: dict[str, object]
    pause_why: str | None
    created_by: str
    timezone: str | None
    local_time: str | None
    canary: str | None
    canary_state: str | None
    max_failed: str | None
    weight: int
    retrying: bool
    reasons: list[dict[str, Any]]
    reasons_of: dict[str, int]
    latency: dict[str, dict[str, Any]] | None
    refused: list[dict[str, Any]]
    acts: list[dict[str, Any]]


class Act(StrEnum):
    """What an operator may do to a campaign."""

    PAUSE = "pause"
    """Nothing of it that has not been POSTed goes out until it is resumed."""
    RESUME = "resume"
    """It goes on from where it stopped; no recipient is left out or repeated."""
    UNSCHEDULE = "unschedule"
    """It has no due time until it gets another, and is paused until then."""
    CANCEL = "cancel"
    """Its messages that are not being sent are cancelled. Cannot be undone."""
    RETRY = "retry"
    """Its failed messages are queued again, except those that the vendor accepted once, and one-time codes."""


@dataclass(frozen=True, slots=True)
class ActResult:
    """A campaign after an act. ``changed``: whether it changed, or how many messages; None: it had ended before."""

    campaign: Campaign
    act: Act
    changed: bool | int | None
    left: int
    """Its messages that have not ended."""
    in_flight: int
    """Its messages whose POST is under way: they get their answer."""
    at: int
    """When the act took effect, by the ledger's clock."""
    cancelled: Cancelled | None = None
    retried: Retried | None = None

    def as_json(self) -> dict[str, Any]:
        """The answer of ``campaigns pause|resume|cancel|retry``."""
        shown: dict[str, Any] = {
            "campaign_id": self.campaign.id,
            "status": self.campaign.status.value,
            "changed": self.changed,
            "effective_at": format_instant(self.at),
            "in_flight": self.in_flight,
            "why_not": self._why_not(),
        }
        if self.retried is not None:
            shown["goes_on"] = self.retried.goes_on
        return shown if self.cancelled is None else shown | to_json(self.cancelled)

    def _why_not(self) -> str | None:
        """Why nothing changed; None where something did."""
        if self.changed or (self.retried is not None and self.retried.goes_on):
            return None
        if self.act is Act.RETRY:
            return "no failed message can be sent again; a dry run of the retry has the numbers"
        if self.act is Act.UNSCHEDULE and self.campaign.is_unscheduled:
            return "the campaign is not scheduled"
        return f"the campaign is {self.campaign.status.value}"


def find(tx: Connection, id_or_name: str) -> Campaign:
    """One campaign by its id, or by its name if it is unique. Raises CampaignNotFound."""
    return campaigns.find(tx, id_or_name)


def find_for(tx: Connection, principal: Principal, id_or_name: str) -> Campaign:
    """The same, if the principal may act on its kind and sender. Raises CampaignNotFound, AccessDenied."""
    campaign = campaigns.find(tx, id_or_name)
    principal.check_send(campaign.kind, campaign.sender)
    return campaign


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which campaigns, each field as a person or a program writes it; None does not filter.

    ``within`` is a part of the name, ``name`` all of it.
    """

    status: str | None = None
    kind: str | None = None
    sender: str | None = None
    name: str | None = None
    within: str | None = None


def get_named(tx: Connection, id_or_name: str) -> dict[str, str]:
    """A campaign's id and name. Raises CampaignNotFound."""
    found = campaigns.find(tx, id_or_name)
    return {"campaign_id": found.id, "name": found.name}


def find_page(tx: Connection, filter: Filter, *, limit: int, after: str | None = None) -> Page:
    """The newest matching campaigns; ``after`` is the ``next`` of the page before. Raises InvalidValue."""
    status, kind, sender = filter.status, filter.kind, filter.sender
    found = campaigns.newest(
        tx,
        limit,
        before=checked_after(after),
        status=None if status is None else parse_choice(CampaignStatus, status, field="status"),
        kind=None if kind is None else parse_choice(Kind, kind, field="kind"),
        sender=None if sender is None else parse_recipient(sender, field="sender"),
        name=filter.name,
        within=filter.within,
    )
    items: list[dict[str, Any]] = [{**summary} for summary in summaries(tx, found)]
    return Page(items, found[-1].id if len(found) == limit else None)


def names(tx: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The names of campaigns by their ids."""
    return {id: each.name for id, each in campaigns.by_ids(tx, ids).items()}


def newest(tx: Connection, limit: int) -> list[Summary]:
    """The newest campaigns first."""
    return summaries(tx, campaigns.newest(tx, limit))


def summaries(tx: Connection, found: Sequence[Campaign]) -> list[Summary]:
    """What lists show of these campaigns."""
    counts = counters.of(tx, [campaign.id for campaign in found])
    rates = progress.send_rates(tx, found, RATE_WINDOW_MS)
    return [_summary(c, counts[c.id], rates[c.id]) for c in found]


def show(of: Settings, database: Database, id_or_name: str) -> dict[str, Any]:
    """One campaign: its ``details``, as ``stopped_by`` what holds its messages now, as ``upload`` its posted file.

    ``pace`` is the part of its rate that its sender may use now, None where Redis does not say; ``slowed`` are the
    changes of it since the campaign was created.

    A file whose campaign does not exist yet, or was refused, is shown under the id that was answered. Raises
    CampaignNotFound.
    """
    with database.read() as tx:
        upload = uploads.get(tx, id_or_name) if is_id(id_or_name) else None
        if upload is not None and upload.campaign_id is None:
            return without_campaign(upload)
        campaign = campaigns.find(tx, id_or_name if upload is None else upload.campaign_id or id_or_name)
        shown = {
            **details(tx, campaign.id),
            "upload": shown_upload(uploads.of_campaign(tx, campaign.id)),
            "slowed": changes_of(tx, [campaign.sender], of.account(), since=campaign.created_at),
        }
    shown["pace"] = pace_now(of, database, campaign.sender)
    blockers = [] if campaign.ended_at is not None else find_blockers(of, database, campaign)
    return {**shown, "stopped_by": [str(blocker) for blocker in blockers]}


def details(tx: Connection, id_or_name: str, *, refused_shown: int = REFUSED_SHOWN) -> Details:
    """One campaign by the ledger: messages by status, rate, reasons of failures, refused rows, acts.

    Raises CampaignNotFound.
    """
    campaign = campaigns.find(tx, id_or_name)
    id = campaign.id
    counts = counters.of(tx, [id])[id]
    rate = progress.send_rates(tx, [campaign], RATE_WINDOW_MS)[id]
    return {
        **_summary(campaign, counts, rate),
        "type": campaign.type,
        "source": campaign.source_name,
        "rows": campaign.rows_read,
        "duplicates": campaign.duplicates,
        "suppressed": campaign.suppressed,
        "refused_count": campaign.refused,
        "replies": inbound.replies(tx, id),
        "rate_limit": campaign.rate,
        "on_unknown": campaign.on_unknown.value,
        "exclusions": Exclusions.from_json(campaign.exclusions).shown(),
        "pause_why": campaign.pause_why,
        "created_by": campaign.created_by,
        "timezone": campaign.timezone,
        "local_time": campaign.local_time,
        "canary": campaign.canary,
        "canary_state": campaign.canary_state,
        "max_failed": None if campaign.max_failed is None else format_max_failed(campaign.max_failed),
        "weight": campaign.weight or 1,
        "retrying": campaign.retry_until is not None,
        "reasons": [{"status": s, "error": e, "count": n} for s, e, n in progress.failure_reasons(tx, id)],
        "reasons_of": reasons_sampled(counts.statuses),
        "latency": _latency(tx, campaign),
        "refused": [dict(row) for row in campaigns.refused_rows(tx, id, refused_shown)],
        "acts": acts_on(tx, "campaign", id),
    }


def _latency(tx: Connection, campaign: Campaign) -> dict[str, dict[str, Any]] | None:
    """How long codes took; None for other kinds."""
    if campaign.kind is not Kind.OTP:
        return None
    return {name: to_json(each) for name, each in code_readings.latency(tx, campaign).items()}


def reasons_sampled(statuses: Mapping[str, int]) -> dict[str, int]:
    """How many messages of each status the reasons are of: the newest ones."""
    return {
        status: min(statuses[status], progress.REASONS_SAMPLED)
        for status in progress.WITH_REASON
        if status in statuses
    }


def act(
    database: Database,
    limiter: OpenLimiter,
    id_or_name: str,
    what: Act,
    *,
    actor: str,
    why: str | None,
    force: bool = False,
) -> ActResult:
    """Pause, resume, unschedule, cancel or retry a campaign, on record.

    Raises CampaignNotFound; WrongState where it cannot be done: to the standing campaign of single sends anything
    but a resume, to a cancelled campaign a retry, and without ``force`` a resume while its template or files
    cannot be sent.
    """
    with database.read() as tx:
        campaign = campaigns.find(tx, id_or_name)
    campaign_control.check_allowed(campaign, what)
    if what is Act.RESUME:
        campaign_settings.check_scheduled(campaign)
    if what is Act.RESUME and not force:
        with database.write() as tx:
            check_resume(tx, campaign)
    done = _apply(database, campaign.id, what, actor=actor, why=why or NO_REASON)
    tell_workers(limiter, campaign.id, what)
    with database.read() as tx:
        campaign, at = campaigns.get(tx, campaign.id), read_clock(tx)
        counts = counters.of(tx, [campaign.id])[campaign.id]
    in_flight = counts.statuses.get(Status.SENDING, 0)
    left = left_in(counts.statuses)
    match done:
        case Retried():
            return ActResult(campaign, what, done.queued, left, in_flight, at, retried=done)
        case Cancelled():
            stopped = done.waiting + done.held
            return ActResult(campaign, what, stopped, left, in_flight, at, cancelled=done)
        case _:
            return ActResult(campaign, what, done, left, in_flight, at)


def tell_workers(limiter: OpenLimiter, id: str, what: Act) -> None:
    """Have an act that is committed take hold sooner.

    A cancel sets the flag of a pause: workers give back at once what they hold, and one of them lifts it later.
    """
    set_flag(limiter, Scope.CAMPAIGN, id, paused=what in (Act.PAUSE, Act.CANCEL, Act.UNSCHEDULE))


def _apply(
    database: Database, id: str, what: Act, *, actor: str, why: str
) -> bool | Cancelled | Retried | None:
    """What it changed; None for a cancel of a campaign that had ended."""
    if what is Act.CANCEL:
        return campaign_control.cancel(database, id, actor=actor, why=why)
    if what is Act.RETRY:
        return campaign_retry.retry(database, id, actor=actor, why=why)
    if what is Act.UNSCHEDULE:
        return campaign_settings.unschedule(database, id, actor=actor, why=why)
    apply = pauses.pause_campaign if what is Act.PAUSE else pauses.resume_campaign
    with database.write() as tx:
        return apply(tx, id, actor=actor, why=why)


def _summary(campaign: Campaign, counts: Counts, rate: float) -> Summary:
    return {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "kind": campaign.kind.value,
        "status": campaign.status.value,
        "sender": campaign.sender,
        "total": campaign.messages,
        "statuses": counts.statuses,
        "attempts": counts.attempts,
        "rate": rate,
        "eta_seconds": _eta(campaign, left_in(counts.statuses), rate),
        "created_at": format_instant(campaign.created_at),
        "due_at": None if campaign.is_direct or campaign.is_test else format_due(campaign.due_at),
        "paused_at": None if campaign.paused_at is None else format_instant(campaign.paused_at),
        "ended_at": None if campaign.ended_at is None else format_instant(campaign.ended_at),
    }


def sent(statuses: Mapping[str, int]) -> int:
    """Messages that the vendor has."""
    return sum(statuses.get(status, 0) for status in SENT)


def left_in(statuses: Mapping[str, int]) -> int:
    """Messages that have not ended: they wait, in the ledger or with a worker."""
    return sum(statuses.get(status, 0) for status in LEFT)


def _eta(campaign: Campaign, left: int, rate: float) -> int | None:
    if campaign.status is CampaignStatus.CANCELLED:
        return None
    if not left:
        return 0
    foretells = rate >= _TOO_FEW or (rate > 0 and campaign.rate is not None and campaign.rate <= 2 * _TOO_FEW)
    return round(left / rate) if foretells and campaign.status in ACTIVE else None
