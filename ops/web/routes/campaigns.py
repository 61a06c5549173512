"""The campaigns, newest first."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from bulksend.messaging.states import CampaignStatus, Kind
from bulksend.operations import campaigns
from ops.web.pages import ViewerPage

router = APIRouter()
SHOWN = 25


@router.get("/campaigns")
def campaign_list(
    page: ViewerPage,
    status: str = "",
    kind: str = "",
    sender: str = "",
    name: Annotated[str, Query(max_length=200)] = "",
    after: str | None = None,
) -> Response:
    """A page of them; ``name`` may be a part of it. The address holds the filter and the place in the list."""
    filter = campaigns.Filter(
        status=status or None, kind=kind or None, sender=sender or None, within=name or None
    )
    with page.database.read() as tx:
        found = campaigns.find_page(tx, filter, limit=SHOWN, after=after)
    return page.render(
        "campaigns.html",
        found=found,
        filter={"status": status, "kind": kind, "sender": sender, "name": name},
        after=after,
        statuses=list(CampaignStatus),
        kinds=list(Kind),
    )
