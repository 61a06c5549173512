"""One campaign for the person who looks after it: what it is, how far and how fast, what stops it, what may be done.

All of it is rows found by their indexes, roll-ups and samples, whatever the size of the campaign.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import NotFound
from bulksend.gateway.error_codes import explain_receipt
from bulksend.ledger import (
    campaign_timeline,
    campaigns,
    content_checks,
    media,
    senders,
    templates,
)
from bulksend.ledger import uploads as ledger_uploads
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.exclusions import RULES
from bulksend.ledger.ids import is_id
from bulksend.messaging.media_references import file_places, our_id
from bulksend.messaging.preview import preview
from bulksend.messaging.states import CampaignStatus, Kind, MessageType, Status
from bulksend.messaging.template_fit import content_of, template_of
from bulksend.messaging.template_shape import shape_from_json
from bulksend.messaging.units import format_instant
from bulksend.operations.blockers import recorded_blockers
from bulksend.operations.campaign_pages import explained
from bulksend.operations.campaigns import details, sent
from bulksend.operations.json_shape import to_json
from bulksend.operations.legal_holds import hold_on
from bulksend.operations.paces import changes_of
from bulksend.operations.uploads import shown_upload, without_campaign
from bulksend.settings import Settings

#: Points of the chart; refused rows that are shown at once.
POINTS, REFUSED = 180, 5
_ENDED = (CampaignStatus.FINISHED, CampaignStatus.CANCELLED)


def view(of: Settings, database: Database, id_or_name: str) -> dict[str, Any]:
    """``details``, ``failures`` in sentences, ``left_out`` by rule, ``content``, ``throughput``, ``hold`` and more.

    ``why_not`` has each act: None where it is possible, else why it is not, in one word. ``blockers`` are those in
    the ledger. A file whose campaign does not exist (yet) has what ``without_campaign`` has. Raises CampaignNotFound.
    """
    with database.translated_errors(), database.read() as tx:
        upload = ledger_uploads.get(tx, id_or_name) if is_id(id_or_name) else None
        if upload is not None and upload.campaign_id is None:
            return without_campaign(upload)
        campaign = campaigns.find(tx, id_or_name if upload is None else upload.campaign_id or id_or_name)
        shown = details(tx, campaign.id, refused_shown=REFUSED)
        sender = senders.by_phones(tx, [campaign.sender]).get(campaign.sender)
        sender_rate = None if sender is None else sender.rate
        reasons = [(each["status"], each["error"], each["count"]) for each in shown["reasons"]]
        is_open, now_ms = campaign.ended_at is None, read_clock(tx)
        return {
            **shown,
            "ends_at": format_instant(now_ms + shown["eta_seconds"] * 1000) if shown["eta_seconds"] else None,
            "is_direct": campaign.is_direct,
            "is_unscheduled": campaign.is_unscheduled,
            "has_begun": campaign.due_at <= now_ms,
            "ttl_seconds": None if campaign.ttl_ms is None else campaign.ttl_ms / 1000,
            "sender_rate": sender_rate,
            "upload": shown_upload(ledger_uploads.of_campaign(tx, campaign.id)),
            "slowed": changes_of(tx, [campaign.sender], of.account(), since=campaign.created_at),
            "failures": [
                explained(*each) | {"receipt": explain_receipt(each[1])}
                for each in reasons
                if each[0] != Status.SUPPRESSED.value
            ],
            "left_out": left_out(reasons),
            "content": content_shown(tx, campaign),
            "throughput": throughput(tx, campaign, shown["acts"], sender_rate),
            "hold": hold_on(tx, campaign.id),
            "blockers": recorded_blockers(tx, of, database, campaign) if is_open else [],
            "why_not": why_not(campaign, shown["statuses"], now_ms),
            "content_problem": content_checks.why_not(tx, campaign, lock=False)
            if campaign.status is CampaignStatus.PAUSED
            else None,
        }


def left_out(reasons: Sequence[tuple[str, str, int]]) -> dict[str, int]:
    """How many of the sampled messages each rule left out, such as ``cap``."""
    counts: dict[str, int] = {}
    for status, error, count in reasons:
        if status == Status.SUPPRESSED.value:
            rule = error.partition(":")[0]
            name = rule if rule in RULES else "other"
            counts[name] = counts.get(name, 0) + count
    return counts


def why_not(campaign: Campaign, statuses: Mapping[str, int], now_ms: int) -> dict[str, str | None]:
    """Of each act why it cannot be done now, in one word; None where it can.

    It is told before the act; the act itself decides.
    """
    direct = "direct" if campaign.is_direct else None
    ended = campaign.status.value if campaign.status in _ENDED else None
    is_paused = campaign.status is CampaignStatus.PAUSED
    is_otp = campaign.kind is Kind.OTP
    move = direct or ended or _why_not_moved(campaign, now_ms)
    return {
        "pause": direct or ended or ("paused" if is_paused else None),
        "resume": ended
        or ("not_paused" if not is_paused else "unscheduled" if campaign.is_unscheduled else None),
        "unschedule": move or ("unscheduled" if campaign.is_unscheduled else None),
        "schedule": move,
        "change": direct or ended,
        "rename": direct,
        "cancel": direct or ended,
        "retry": direct
        or ("cancelled" if campaign.status is CampaignStatus.CANCELLED else None)
        or ("codes" if is_otp else None)
        or ("retrying" if campaign.retry_until is not None else None)
        or (None if statuses.get(Status.FAILED) else "none_failed"),
        "clone": direct,
        "rest": direct
        or ("not_cancelled" if campaign.status is not CampaignStatus.CANCELLED else None)
        or ("codes" if is_otp else None),
        "audience": direct or ("codes" if is_otp else None),
        "breakdown": direct,
    }


def _why_not_moved(campaign: Campaign, now_ms: int) -> str | None:
    if campaign.intake_done_at is None:
        return "intake"
    if campaign.local_time is not None:
        return "local_time"
    if campaign.moved_from is not None:
        return "moving"
    return "begun" if campaign.due_at <= now_ms else None


def content_shown(tx: Connection, campaign: Campaign) -> dict[str, Any] | None:
    """What its messages look like with ``{{column}}`` where the file's columns go, its template, and its files.

    None for single sends, each of which has a content of its own.
    """
    if not campaign.content:
        return None
    content, type = content_of(campaign.content), MessageType(campaign.type)
    used = template_of(type, content)
    template = None if used is None else templates.get(tx, *used)
    shape = None if template is None else shape_from_json(template.shape)
    return {
        "looks": preview(type, content, shape).as_json(),
        "json": json.dumps(content, ensure_ascii=False, indent=2),
        "template": None
        if used is None
        else {
            "name": used[0],
            "language": used[1],
            **{
                name: None if template is None else getattr(template, name)
                for name in ("status", "category", "quality")
            },
        },
        "files": [_file(tx, place.type, place.object) for place in file_places(type, content)],
    }


def _file(tx: Connection, type: MessageType, named: Mapping[str, Any]) -> dict[str, Any]:
    """A file of a content, with our name of it where we have it."""
    shown = {"type": type.value, "id": None, "name": named.get("filename"), "link": named.get("link")}
    if named.get("id") is None:
        return shown
    try:
        found = media.get(tx, our_id(named["id"]) or str(named["id"]))
    except NotFound:
        return shown | {"id": str(named["id"])}
    known = {name: getattr(found, name) for name in ("id", "name", "mime", "bytes")}
    return shown | to_json(known) | {"expires_at": format_instant(found.expires_at)}


def throughput(
    tx: Connection, campaign: Campaign, acts: Sequence[Mapping[str, Any]], sender_rate: float | None
) -> dict[str, Any]:
    """POSTs, deliveries and failures a second while it sent, beside the limit of that time, at most POINTS of them."""
    step, minutes = campaign_timeline.condensed(tx, campaign.id, POINTS)
    now = read_clock(tx)
    by_part = {(each.minute - minutes[0].minute) // step: each for each in minutes}
    items: list[dict[str, Any]] = []
    before = (0, 0, 0)
    for part in range(max(by_part, default=-1) + 1):
        start = minutes[0].minute + part * step
        found = by_part.get(part)
        counts = before if found is None else _counted(found)
        seconds = max(1.0, (min(start + step, now) - start) / 1000)
        sent_rate, delivered, failed = (
            max(0, new - old) / seconds for new, old in zip(counts, before, strict=True)
        )
        limit = _limit_at(start + step, campaign.rate, acts, sender_rate)
        items.append(
            {
                "at": format_instant(start),
                "posts": round(sent_rate, 3),
                "delivered": round(delivered, 3),
                "failed": round(failed, 3),
                "limit": limit,
            }
        )
        before = counts
    return {"step_seconds": step // 1000, "items": items}


def _counted(minute: campaign_timeline.Minute) -> tuple[int, int, int]:
    of = minute.statuses.get
    return minute.attempts, of("delivered", 0) + of("read", 0), of("failed", 0)


def _limit_at(
    ms: int, rate: float | None, acts: Sequence[Mapping[str, Any]], sender_rate: float | None
) -> float | None:
    """The limit at an instant: what the first change of it after that instant found; the sender's rate is today's."""
    at = format_instant(ms)
    changes = (each for each in acts if each["at"] > at and "rate" in (each.get("before") or {}))
    first = next(changes, None)
    own = rate if first is None else first["before"]["rate"]
    rates = [float(each) for each in (own, sender_rate) if each]
    return min(rates, default=None)


def reached(statuses: Mapping[str, int]) -> dict[str, int]:
    """How far messages came: each step includes the later ones."""
    read = statuses.get(Status.READ, 0)
    delivered = read + statuses.get(Status.DELIVERED, 0)
    return {"accepted": sent(statuses), "delivered": delivered, "read": read}
