"""Suppressions and consents: look up by POST, add, remove, export."""

from __future__ import annotations

import csv
import io
from typing import Any

from bulksend.ledger import jobs, operator_log
from bulksend.ledger.ids import new_id
from bulksend.operations.access import Role
from ops.web import csrf
from tests.html_pages import Html
from tests.integration.ledger.conftest import Desk
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import NUMBER
from tests.waiting import until

NEW = "447700900861"


def readings(web: Web, what: str) -> list[str]:
    """The acts of reading of this kind: how what was read was chosen."""
    with web.api.ledger.read() as tx:
        return [act.why for act in operator_log.newest(tx, "read", what, what)]


def test_a_number_is_looked_up_without_standing_in_an_address(seeded: Web) -> None:
    answer = seeded.post("/suppressions", {"phone": f"+{NUMBER}", "country": ""}, Role.SENDER)
    assert answer.status_code == 200
    assert "1 found" in answer.text
    assert f'value="+{NUMBER}"' in answer.text
    assert f"?phone={NUMBER}" not in answer.text
    assert readings(seeded, "list suppressions") == ["1 of them"]
    other = seeded.post("/suppressions", {"phone": NEW, "country": ""})
    assert "Not suppressed" in other.text
    wrong = seeded.post("/suppressions", {"phone": "12", "country": ""})
    assert wrong.status_code == 422


def test_a_viewer_sees_masked_numbers_and_no_act(seeded: Web) -> None:
    for path in ("/suppressions", "/consents"):
        html = seeded.get(path, Role.VIEWER)
        assert html.rows()
        assert NUMBER not in html.text()
        found = seeded.post(path, {"phone": f"+{NUMBER}"}, Role.VIEWER)
        assert "1 found" in found.text or "2 found" in found.text
        assert f"{NUMBER} complained" not in found.text
        assert not html.all(".//form[@action='/suppressions/export']")
        assert NUMBER in seeded.get(path, Role.SENDER).text()


def test_a_number_and_a_country_are_added_and_removed_with_a_reason(web: Web) -> None:
    fields = {"phone": f"+{NEW}", "country": "", "scope": "all", "until": "2099-01-31T12:00"}
    missing = web.post("/suppressions/add", fields, Role.OPERATOR)
    assert missing.status_code == 422
    assert f'value="+{NEW}"' in missing.text
    done = web.post("/suppressions/add", fields | {"reason": "wrote <STOP>"}, Role.OPERATOR)
    row = web.said(done, Role.OPERATOR).rows()[0]
    assert row[:4] == [f"+{NEW}", "‖ all messages", "wrote <STOP>", "operator"]
    assert row[5].startswith("31 Jan 2099, 12:00")
    country = {"phone": "", "country": "fr", "scope": "marketing", "reason": "law", "until": ""}
    html = web.said(web.post("/suppressions/add", country, Role.OPERATOR), Role.OPERATOR)
    assert "All of FR" in [row[0] for row in html.rows()]
    assert web.post("/suppressions/remove", {"phone": NEW, "scope": "all", "why": ""}).status_code == 422
    gone = web.post("/suppressions/remove", {"phone": NEW, "scope": "all", "why": "asked"}, Role.OPERATOR)
    html = web.said(gone, Role.OPERATOR)
    assert html.text(".//*[@class='said']") == "1 suppression is removed."
    assert [row[0] for row in html.rows()] == ["All of FR"]


def test_pages_of_the_list_follow_each_other(web: Web) -> None:
    for n in range(60):
        web.api.post("/v1/suppressions", {"phone": f"4477009{n:05}", "reason": "x"})
    html = web.get("/suppressions")
    assert len(html.rows()) == 50
    after = html.one(".//a[@rel='next']").get("href", "")
    assert "4477009" not in after
    rest = web.get(after)
    assert [row[0] for row in rest.rows()] == [f"+4477009{n:05}" for n in range(50, 60)]
    assert web.get("/suppressions?after=nonsense", status=422)


def test_all_are_exported_as_a_file_that_an_import_takes(seeded: Web) -> None:
    answer = seeded.post("/suppressions/export", role=Role.SENDER)
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert NUMBER in [row["to"] for row in rows]
    assert readings(seeded, "export suppressions") == [""]


@ON_ONE_DATABASE
def test_only_an_operator_may_suppress(web: Web) -> None:
    assert web.post("/suppressions/add", {"phone": NEW}, Role.SENDER).status_code == 403
    assert web.post("/suppressions/export", role=Role.VIEWER).status_code == 403


def test_a_file_is_tried_and_then_imported(web: Web) -> None:
    fields = {
        csrf.FIELD: csrf.token_of(web.token(Role.OPERATOR)),
        "scope": "all",
        "reason": "old list",
        "column": "Mobile",
    }
    file = {"file": ("old.csv", f"Mobile\n+{NEW}\nnonsense\n{NEW}\n".encode())}
    answer = web.ask("POST", "/suppressions/import", Role.OPERATOR, data=fields, files=file)
    tried = ended(web, answer)
    assert tried.text(".//*[@class='bigs']").startswith(
        "1 Would be suppressed 0 Suppressed before 1 Repeat another row 1 Rows refused"
    )
    assert tried.text(".//h1") == "Check of old.csv"
    assert tried.text(".//main/dl").startswith("Gets no all messages Reason old list Chosen")
    assert tried.rows()[0][0] == "3"
    assert not web.get("/suppressions").rows()
    done = ended(web, web.post(tried.one(".//main//form").get("action", ""), role=Role.OPERATOR))
    assert done.text(".//h1") == "Import of old.csv"
    assert "1 Newly suppressed" in done.text(".//*[@class='bigs']")
    assert web.get("/suppressions").rows()[0][0] == f"+{NEW}"
    again = web.post(tried.one(".//main//form").get("action", ""), role=Role.OPERATOR)
    assert (again.status_code, "choose it again" in again.text) == (409, True)


@ON_ONE_DATABASE
def test_an_import_that_waits_or_runs_says_of_what_and_offers_nothing_yet(web: Web) -> None:
    arguments = {"file": "old.csv", "scope": "marketing", "reason": "old list", "dry_run": True}
    desk = Desk(web.api.ledger)
    id = new_id()
    desk.write(jobs.add, "other", arguments, requested_by="key", actor="test", id=id)
    # Under a lease, so that nothing begins it.
    desk.sql(
        "UPDATE jobs SET kind = 'import', lease_until = :until WHERE id = :id",
        id=id,
        until=desk.now() + 60_000,
    )
    html = web.get(f"/suppressions/imports/{id}", Role.OPERATOR)
    assert html.text(".//section") == (
        "… Waiting The file waits to be read. This page updates by itself; you may leave it."
    )
    desk.sql("UPDATE jobs SET status = 'running', rows_done = 1200 WHERE id = :id", id=id)
    html = web.get(f"/suppressions/imports/{id}", Role.OPERATOR)
    assert "1,200 rows read The file is being read." in html.text(".//section")
    assert html.text(".//h1") == "Check of old.csv"
    assert not html.all(".//main//form")


def ended(web: Web, answer: Any) -> Html:
    """The page of an import that is done."""
    assert answer.status_code == 303, answer.text[:300]

    def look() -> Html | None:
        html = web.get(answer.headers["location"], Role.OPERATOR)
        return html if "Done" in html.text() else None

    return until(look)
