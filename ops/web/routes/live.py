"""The stream that tells a page what has changed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from bulksend.operations import sessions
from ops.http.streams import StreamAnswer
from ops.web.live import MOST_TOPICS
from ops.web.pages import ViewerPage

router = APIRouter()


@router.get("/live")
async def live(
    page: ViewerPage,
    topic: Annotated[list[str], Query(max_length=MOST_TOPICS)],
    since: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
) -> Response:
    """Events ``changed`` (the ledger's time and the topics), ``alive`` (the time), ``over`` (load the page again).

    ``since``: when the page was made.
    """
    tabs = page.console.live
    tabs.check_room(page.user.id)
    session = sessions.hash_of(page.token)
    return StreamAnswer(
        tabs.chunks(topic, user=page.user.id, session=session, role=page.user.role, since=since)
    )
