"""Change a campaign while it runs, and see what a retry of it would do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from bulksend.ledger import campaign_retry, campaign_settings, campaigns, counters
from bulksend.ledger.campaign_settings import NewSettings
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.messaging import Status
from bulksend.messaging.argument_naming import ArgumentNaming, as_json_field
from bulksend.messaging.failure_share import format_max_failed, parse_max_failed
from bulksend.messaging.units import (
    check_weight,
    format_due,
    format_instant,
    is_long_past,
    long_past,
    parse_instant_ms,
    parse_rate,
)
from bulksend.messaging.value_checks import check_name
from bulksend.operations.campaigns import NO_REASON, sent


@dataclass(frozen=True, slots=True)
class RetryPreview:
    """What a retry would do to the messages of a campaign."""

    campaign: Campaign
    send: int
    """Failed, and never taken by the vendor: queued again."""
    suppressed: int
    """The same, of people who are suppressed by now: they are queued and end as suppressed."""
    skip: int
    """Accepted by the vendor."""
    leave: int
    """In doubt: they may have gone out."""
    not_possible: int
    """Failed, and not sent again: one-time codes, taken by the vendor, or out of time."""
    exact: bool
    """Whether every recipient was compared with the suppressions; of very many only the first ones are."""

    def as_json(self) -> dict[str, Any]:
        """The answer of ``retry`` with ``dry_run``."""
        return {
            "campaign_id": self.campaign.id,
            "status": self.campaign.status.value,
            "dry_run": True,
            "send": self.send,
            "suppressed": self.suppressed,
            "skip": self.skip,
            "leave": self.leave,
            "not_possible": self.not_possible,
            "exact": self.exact,
        }


def preview_retry(tx: Connection, id_or_name: str, *, is_quick: bool = False) -> RetryPreview:
    """What ``act`` with RETRY would do. Raises CampaignNotFound; WrongState where it cannot be done.

    A quick one looks at a few thousand messages; of more it is not exact.
    """
    campaign = campaigns.find(tx, id_or_name)
    campaign_retry.check_retry(tx, campaign)
    statuses = counters.of(tx, [campaign.id])[campaign.id].statuses
    failed = statuses.get(Status.FAILED, 0)
    if is_quick:
        retried = campaign_retry.look_at_retried(tx, campaign, failed)
    else:
        retried = campaign_retry.count_retried(tx, campaign)
    return RetryPreview(
        campaign=campaign,
        send=retried.send,
        suppressed=retried.suppressed,
        skip=sent(statuses),
        leave=statuses.get(Status.UNKNOWN, 0),
        not_possible=max(0, failed - retried.send - retried.suppressed),
        exact=retried.exact,
    )


def change(
    database: Database,
    id_or_name: str,
    *,
    actor: str,
    name: str | None = None,
    rate: str | None = None,
    send_at: str | None = None,
    max_failed: str | None = None,
    weight: int | None = None,
    why: str | None = None,
    timezone: str | None = None,
    naming: ArgumentNaming = as_json_field,
) -> dict[str, Any]:
    """Change the name, rate (``none``: the sender's), due time, limit of failures or weight of a campaign, on record.

    It may be running. A ``send_at`` without an offset is in the campaign's zone, else in ``timezone``.

    Raises CampaignNotFound, InvalidValue; WrongState where its state does not allow it.
    """
    new = NewSettings(
        name=None if name is None else check_name(name, naming("name"), 200),
        rate=None if rate is None else 0.0 if rate == "none" else parse_rate(rate, field=naming("rate")),
        max_failed=None if max_failed is None else parse_max_failed(max_failed, field=naming("max_failed")),
        weight=None if weight is None else check_weight(weight, field=naming("weight")),
    )
    with database.read() as tx:
        campaign, now_ms = campaigns.find(tx, id_or_name), read_clock(tx)
    if send_at is not None:
        at = naming("at")
        zone = campaign.timezone or timezone
        due_at = parse_instant_ms(send_at, timezone=zone, now_ms=now_ms, field=at)
        if is_long_past(due_at, now_ms):
            raise long_past(due_at, now_ms, format_instant(due_at), at, "give the present time")
        new = replace(new, due_at=due_at)
    changed = campaign_settings.change(database, campaign.id, new, actor=actor, why=why or NO_REASON)
    with database.read() as tx:
        campaign = campaigns.get(tx, campaign.id)
        return {
            "campaign_id": campaign.id,
            "status": campaign.status.value,
            "changed": changed,
            "effective_at": format_instant(read_clock(tx)),
            "name": campaign.name,
            "rate_limit": campaign.rate,
            "due_at": format_due(campaign.due_at),
            "timezone": campaign.timezone,
            "max_failed": None if campaign.max_failed is None else format_max_failed(campaign.max_failed),
            "weight": campaign.weight or 1,
        }
