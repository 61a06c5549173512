"""What people write back: texts, button taps, stop words."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from bulksend.errors import InvalidInput
from bulksend.messaging.stop_words import Keyword
from bulksend.operations import campaigns
from bulksend.operations.inbound import list_inbound
from bulksend.operations.json_shape import checked_after
from bulksend.operations.messages import Filter
from ops.web.pages import ViewerPage
from ops.web.problems import problem_of

router = APIRouter()
SHOWN = 50


@router.get("/replies")
def reply_list(
    page: ViewerPage,
    campaign: Annotated[str, Query(max_length=200)] = "",
    keyword: str = "",
    since: str = "",
    until: str = "",
    after: str | None = None,
) -> Response:
    """A page of them, newest first. The address holds the filter and the place in the list."""
    values: dict[str, Any] = {
        "filter": {"campaign": campaign, "keyword": keyword, "since": since, "until": until},
        "after": after,
        "keywords": list(Keyword),
    }
    wanted = Filter(
        campaign=campaign or None, since=since or None, until=until or None, timezone=page.locale.zone
    )
    try:
        found = list_inbound(
            page.database,
            page.services.cipher,
            wanted,
            keyword=keyword or None,
            limit=SHOWN,
            before=checked_after(after),
            full=page.user.sees_numbers,
        )
    except InvalidInput as error:
        problem = problem_of(error)
        return page.render("replies.html", found=None, items=[], names={}, problem=problem, **values)
    with page.database.read() as tx:
        names = campaigns.names(tx, {item["campaign_id"] for item in found.items if item["campaign_id"]})
    if found.items:
        page.note_reading("find inbound")
    return page.render("replies.html", found=found, items=found.items, names=names, problem=None, **values)
