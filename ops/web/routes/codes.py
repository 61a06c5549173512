"""One-time codes: how fast they are, which are at risk, what a new one can expect."""

from __future__ import annotations

from fastapi import APIRouter, Response

from bulksend.bootstrap import working_limiter
from bulksend.operations import campaigns
from bulksend.operations.codes import show_codes
from ops.http.services import REDIS_S
from ops.web.pages import ViewerPage

router = APIRouter()


@router.get("/codes")
def codes(page: ViewerPage) -> Response:
    """No content, no code and no number stands here."""
    of, silent = page.services.settings, list[str]()
    limiter = working_limiter(of, page.database, silent.append, timeout_s=REDIS_S)
    found = show_codes(of, page.database, limiter)
    with page.database.read() as tx:
        listed = [*found["risks"], *found["undelivered"]]
        names = campaigns.names(tx, {each["campaign_id"] for each in listed})
    blockers = [each.masked() for each in page.console.blockers.now()]
    return page.render("codes.html", found=found, names=names, blockers=blockers, silent="".join(silent))
