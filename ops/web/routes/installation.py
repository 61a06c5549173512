"""The installation: what holds messages back, what `doctor` and the audit found, what runs, versions, settings."""

from __future__ import annotations

from fastapi import APIRouter, Response

from bulksend.operations import audit
from ops.web.forms import OperatorForm
from ops.web.pages import ViewerPage

router = APIRouter(prefix="/system")


@router.get("")
def system(page: ViewerPage) -> Response:
    """What is remembered for a few seconds; the audit and `doctor` as they were found last."""
    console = page.console
    alerts, blockers = console.alerts.now(), console.blockers.now()
    state, examined = console.system.now(), console.examined.last
    with page.database.read() as tx:
        audits = audit.audits(tx)
    findings = [] if examined is None else examined.examination.checks
    if not page.user.sees_numbers:
        alerts = [each.masked() for each in alerts]
        blockers, findings = [each.masked() for each in blockers], [each.masked() for each in findings]
    return page.render(
        "system.html",
        alerts=alerts,
        blockers=blockers,
        state=state,
        examined=examined,
        findings=findings,
        audits=audits,
        settings=page.services.settings.table() if page.may("admin") else [],
    )


@router.post("/doctor")
def examine(form: OperatorForm) -> Response:
    """Examine the installation now: a few seconds, in which the vendor is asked too."""
    found = form.page.console.examined.again()
    said = "system.examined_well" if found.examination.well else "system.examined_not_well"
    return form.page.redirect("/system#doctor", said)


@router.post("/audit")
def begin_audit(form: OperatorForm) -> Response:
    """Have a `serve` audit the ledger in the background."""
    page = form.page
    begun = audit.request_audit(page.database, page.user)
    page.services.jobs.wake(audit.KIND)
    return page.redirect("/system#audit", "system.audit_begun" if begun else "system.audit_runs")
