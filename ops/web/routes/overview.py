"""The first page: what is going on, and what needs a person."""

from __future__ import annotations

from fastapi import APIRouter, Response

from bulksend.operations import overview
from bulksend.operations.alert_rules import firing
from bulksend.operations.alerts import beside_alerts
from ops.web.pages import ViewerPage

router = APIRouter()


@router.get("/")
def overview_page(page: ViewerPage) -> Response:
    """Running campaigns, unknown messages, senders, lanes, what is wrong, the newest acts."""
    found = overview.overview(page.services.settings, page.database)
    alerts = firing(page.console.alerts.now())
    blockers = beside_alerts(page.console.blockers.now())
    if not page.user.sees_numbers:
        found = overview.masked(found)
        alerts, blockers = [each.masked() for each in alerts], [each.masked() for each in blockers]
    return page.render("overview.html", found=found, alerts=alerts, blockers=blockers)
