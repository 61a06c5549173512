"""Pages of a campaign: its refused rows, its reasons of failures, its progress by the minute."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidValue
from bulksend.gateway.error_codes import explain
from bulksend.ledger import campaign_timeline, campaigns, counters, progress
from bulksend.messaging.sentences import say
from bulksend.messaging.states import Status
from bulksend.messaging.units import format_instant
from bulksend.operations.campaigns import reasons_sampled
from bulksend.operations.json_shape import Page

#: What follows from endings without a code of the vendor.
_REMEDIES = {
    "unknown": say("a receipt settles it, or a person with `messages resolve`"),
    "expired": say("not sent; a longer time to live or a higher rate lets more of them out"),
}


def refusals(tx: Connection, id_or_name: str, *, limit: int, after: str | None = None) -> Page:
    """The rows that intake refused, in the order of the file. Raises CampaignNotFound, InvalidValue."""
    campaign = campaigns.find(tx, id_or_name)
    found = campaigns.refused_rows(tx, campaign.id, limit, after=_number(after))
    items = [dict(row) for row in found]
    return Page(items, str(items[-1]["row"]) if len(items) == limit else None)


def failures(tx: Connection, id_or_name: str) -> dict[str, Any]:
    """Why messages were not, or perhaps not, sent: reasons with their code, sentence and what follows.

    Raises CampaignNotFound.
    """
    campaign = campaigns.find(tx, id_or_name)
    statuses = counters.of(tx, [campaign.id])[campaign.id].statuses
    found = progress.failure_reasons(tx, campaign.id, 100)
    items = [explained(status, error, count) for status, error, count in found]
    return {"items": items, "next": None, "sampled": reasons_sampled(statuses)}


def explained(status: str, error: str, count: int) -> dict[str, Any]:
    """A reason with its code, sentence and what follows."""
    # What left a person out is in our own words, which may name a campaign's id.
    found = None if status == Status.SUPPRESSED.value else explain(error)
    return {
        "status": status,
        "count": count,
        "error": error,
        "code": found and found.code,
        "sentence": found.meaning if found is not None else error,
        "remedy": found.consequence if found is not None else _REMEDIES.get(status),
    }


def timeline(tx: Connection, id_or_name: str, *, limit: int, after: str | None = None) -> Page:
    """The minutes in which something changed: messages by status at its end, and the change in it.

    Raises CampaignNotFound, InvalidValue.
    """
    campaign = campaigns.find(tx, id_or_name)
    start = _number(after)
    last = None if start is None else campaign_timeline.before(tx, campaign.id, start)
    earlier = {} if last is None else last.statuses
    items: list[dict[str, Any]] = []
    for each in campaign_timeline.of(tx, campaign.id, after=start, limit=limit):
        names = sorted(each.statuses.keys() | earlier.keys())
        differences = {name: each.statuses.get(name, 0) - earlier.get(name, 0) for name in names}
        items.append(
            {
                "at": format_instant(each.minute),
                "statuses": each.statuses,
                "changes": {name: n for name, n in differences.items() if n},
                "attempts": each.attempts,
            }
        )
        earlier, start = each.statuses, each.minute
    return Page(items, str(start) if len(items) == limit else None)


def _number(after: str | None) -> int | None:
    """What a page starts after. Raises InvalidValue when it is not the ``next`` of one."""
    if after is None:
        return None
    if not (after.isascii() and after.isdigit() and len(after) <= 15):
        raise InvalidValue("after", after[:40], "is not the `next` of a page")
    return int(after)
