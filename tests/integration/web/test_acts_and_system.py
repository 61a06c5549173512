"""The operator log by filters and pages; the system page: findings, audit in the background, settings."""

from __future__ import annotations

from bulksend.ledger import audit_records, operator_log
from bulksend.ledger.audit import Finding, Report
from bulksend.ledger.operator_log import Actor, Sought
from bulksend.operations import acts, audit, installation
from bulksend.operations.access import Role
from bulksend.operations.blockers import RedisCheck
from tests.html_pages import Html
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.waiting import until

NASTY = "<img src=x onerror=alert(1)>"


def record(web: Web, *subjects: str, scope: str = "campaign", act: str = "pause", actor: str = "ann") -> None:
    with web.api.ledger.write() as tx:
        operator_log.record_many(
            tx,
            subjects,
            actor=Actor(actor, ip="203.0.113.9", request_id="r-1"),
            act=act,
            scope=scope,
            why=NASTY,
            before={"paused": False, "rate": 10},
            after={"paused": True, "rate": None},
        )


def test_an_act_says_who_what_when_whence_why_and_what_changed(web: Web) -> None:
    record(web, "c-1")
    (row,) = web.get("/acts?scope=campaign").rows(".//tbody/tr")
    assert row[1:4] == ["ann", "pause", "Campaign c-1"]
    assert row[4] == "paused: no → yes rate: 10 → nothing"
    assert row[5:] == [NASTY, "203.0.113.9 r-1"]


def test_acts_are_filtered_by_each_field_and_paged(web: Web) -> None:
    record(web, *(f"c-{n}" for n in range(60)))
    record(web, "k-1", scope="key", act="revoke", actor="Bob (x1)")
    record(web, "447700900851", scope="suppression", act="suppress marketing")
    record(web, "m-1", scope="read", act="show message")
    for filter, count in (
        ("scope=key", 1),
        ("act=revoke", 1),
        ("act=suppress", 1),
        ("actor=bob", 1),
        ("scope=campaign&subject=c-7", 1),
        ("subject=c-7", 1),
        ("scope=read&readings=1", 1),
        ("scope=read", 0),
        ("since=2090-01-01T00:00", 0),
        ("until=2020-01-01T00:00", 0),
        ("since=2020-01-01T00:00&until=2090-01-01T00:00&scope=key", 1),
    ):
        html = web.get(f"/acts?{filter}")
        assert len(html.rows(".//tbody/tr")) == count, filter
    first = web.get("/acts?scope=campaign")
    assert len(first.rows(".//tbody/tr")) == 50
    last = web.get(str(first.one(".//a[@rel='next']").get("href")))
    assert len(last.rows(".//tbody/tr")) == 10
    assert "447700900851" not in web.ask("GET", "/acts?act=suppress").text
    assert "No act matches" in web.get("/acts?actor=nobody").text()


@ON_ONE_DATABASE
def test_a_filter_goes_into_the_address_and_a_recipients_number_does_not(web: Web) -> None:
    answer = web.post("/acts", {"scope": "sender", "subject": "+1 555 010 0100", "actor": ""})
    assert (answer.status_code, answer.headers["location"]) == (303, "/acts?scope=sender&subject=15550100100")
    refused = web.post("/acts", {"scope": "message", "subject": "+44 7700 900851"})
    assert refused.status_code == 422
    assert "stands in no address" in Html(refused.text).text(".//*[@id='f-subject-error']")
    html = web.get("/acts?since=nonsense", status=422)
    assert "is not a time" in html.text(".//*[@id='f-since-error']")


def test_a_page_of_acts_looks_at_a_bounded_number_and_says_where_it_goes_on(web: Web) -> None:
    record(web, *(f"c-{n}" for n in range(7)))
    record(web, "k-1", scope="key")
    with web.api.ledger.read() as tx:
        found, next = operator_log.page(tx, Sought(scope="campaign"), before=None, limit=50, looked_at=3)
        assert [act.subject for _, act in found] == ["c-6", "c-5"]
        seen = [act.subject for _, act in found]
        while next is not None:
            found, next = operator_log.page(tx, Sought(scope="campaign"), before=next, limit=50, looked_at=3)
            seen += [act.subject for _, act in found]
        assert seen == [f"c-{n}" for n in reversed(range(7))]
        assert acts.find_acts(tx, Sought(subject="c-3"), limit=5).items[0]["changes"][0] == (
            "paused",
            False,
            True,
        )


def test_the_system_page_says_what_runs_and_what_holds_messages(web: Web) -> None:
    html = web.get("/system", Role.VIEWER)
    assert "no worker is running" in html.text(".//*[@id='blockers']")
    assert "relay" in html.text(".//*[@id='blockers']")
    parts = html.text(".//*[@id='parts']")
    assert "SQLite" in parts or "PostgreSQL" in parts
    assert "POSTs go out" in parts
    assert "Nothing was examined" in html.text(".//*[@id='doctor']")
    assert not html.all(".//form[@action='/system/doctor']")
    assert not html.all(".//*[@id='settings']")
    own = web.get("/system")
    rows = {row[0]: row for row in own.rows(".//*[@id='settings']//tbody/tr")}
    assert rows["DATABASE_URL"][2] != ""
    assert "USPEEDO_ACCESSKEY_SECRET" in rows


def test_whether_a_relay_leads_is_not_known_while_redis_is_away(web: Web) -> None:
    settings, database = web.api.services.settings, web.api.ledger
    away, leads = (
        installation.state(settings, database, RedisCheck([], info, relay_leads))["processes"][-1]
        for info, relay_leads in ((None, False), ({}, True))
    )
    assert (away["process"], away["alive"], leads["alive"]) == ("relay", None, True)


def test_doctor_runs_when_an_operator_asks_and_its_findings_stay(web: Web) -> None:
    html = web.said(web.post("/system/doctor", role=Role.OPERATOR), Role.OPERATOR)
    assert "something is not well" in html.text(".//*[@class='said']")
    rows = {row[0]: row for row in html.rows(".//*[@id='doctor']//tbody/tr")}
    assert rows["credentials"][1] == "✕ Not well"
    assert rows["credentials"][3]
    assert "Examined" in web.get("/system", Role.VIEWER).text(".//*[@id='doctor']")


def test_an_audit_runs_in_the_background_and_its_result_stays(web: Web) -> None:
    assert "No audit" in web.get("/system").text(".//*[@id='audit']")
    html = web.said(web.post("/system/audit"))
    assert "runs in the background" in html.text(".//*[@class='said']")

    def ended() -> str:
        text = web.get("/system").text(".//*[@id='audit']")
        return text if "1 min" in text or "took" in text else ""

    text = until(ended)
    assert text.startswith("Audit ✓ Holds")
    assert "admin-user" in text
    rows = web.get("/system").rows(".//*[@id='audit-rules']//tbody/tr")
    assert {row[1] for row in rows} == {"✓ Holds"}


def test_an_audit_of_the_command_line_is_shown_with_who_ran_it(web: Web) -> None:
    assert "No audit yet" in web.get("/").text(".//*[@id='numbers']")
    audit.audit_and_keep(web.api.ledger, actor="cron@host")
    assert "cron@host" in web.get("/system").text(".//*[@id='audit']")
    assert "since the last audit every promise held" in web.get("/").text(".//*[@id='numbers']")
    with web.api.ledger.write() as tx:
        report = Report([Finding("nothing lost", "", 5, 1234, ["c-1: 5 counted, 4 there, 0 deleted"])], {})
        audit_records.keep(tx, report, campaign_id=None, actor="ann", took_ms=60_000)
    assert "it found 1,234 violations" in web.get("/").text(".//*[@id='numbers']")
    html = web.get("/system", Role.VIEWER)
    (row,) = html.rows(".//*[@id='audit-rules']//tbody/tr")
    assert row[:4] == ["nothing lost", "✕ Broken", "5", "1,234"]
    assert row[4].endswith("c-1: 5 counted, 4 there, 0 deleted")
    assert "every message that intake counted" in row[4]


def test_one_audit_at_a_time(web: Web) -> None:
    web.api.services.jobs.stop()
    web.said(web.post("/system/audit"))
    html = web.said(web.post("/system/audit"))
    assert "An audit runs already." in html.text(".//*[@class='said']")
    assert "Runs asked for" in html.text(".//*[@id='audit']")
