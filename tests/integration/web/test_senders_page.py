"""Senders and the account: what the pages show, and what an operator may do there."""

from __future__ import annotations

from bulksend.ledger import paces
from bulksend.ledger.paces import PaceChange
from bulksend.messaging.outcome import Scope
from bulksend.operations import access
from bulksend.operations.senders import change_sender
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import NUMBER, SENDER

OPERATOR, VIEWER = access.Role.OPERATOR, access.Role.VIEWER
PAGE = f"/senders/{SENDER}"


def test_the_list_has_each_sender_with_its_state_and_the_accounts_quota(seeded: Web) -> None:
    change_sender(seeded.api.ledger, SENDER, actor="test", quota=2000, name="<b>shop</b>")
    html = seeded.get("/senders")
    row = html.rows(".//*[@id='senders']//tbody/tr")[0]
    assert row[0] == f"+{SENDER} <b>shop</b>"
    assert "Paused" in row[1]
    assert "of 80/s" in row[2]
    assert row[6] == "2"
    account = html.text(".//*[@id='account']")
    assert "The account is paused" in account
    assert "of 2,000 used" in account
    assert f"set at sender {SENDER}" in account


def test_one_sender_has_its_campaigns_slow_downs_and_acts(seeded: Web) -> None:
    change = PaceChange.of_rate(Scope.SENDER, SENDER, 1.0, 0.5, "code #130429")
    with seeded.api.ledger.write() as tx:
        paces.record(tx, [change], actor="worker")
    html = seeded.get(PAGE)
    slowed = html.rows(".//*[@id='slowed']//tbody/tr")[0]
    assert slowed[1:] == ["Sender", "100 % → 50 %", "code #130429"]
    assert {row[0].split()[0] for row in html.rows(".//*[@id='open']//tbody/tr")} == {"spring", "summer"}
    assert html.rows(".//*[@id='acts']//tbody/tr")[0][2:] == ["pause", f"{NUMBER} complained"]
    assert seeded.get("/senders/447700900000", status=404).text(".//h1") == "Not found"


def test_a_viewer_sees_no_number_of_a_person_and_no_act(seeded: Web) -> None:
    for path in ("/senders", PAGE):
        html = seeded.get(path, VIEWER)
        assert NUMBER not in html.text()
        assert not html.all(".//main//form")
        assert NUMBER in seeded.get(path, access.Role.SENDER).text()


def test_pause_and_resume_take_a_reason_and_go_on_record(seeded: Web) -> None:
    refused = seeded.post(f"{PAGE}/resume", {"why": " "}, OPERATOR)
    assert (refused.status_code, "why: is missing" in refused.text) == (422, True)
    html = seeded.said(seeded.post(f"{PAGE}/resume", {"why": "looked at <it>"}, OPERATOR), OPERATOR)
    assert html.text(".//*[@class='said']") == f"+{SENDER} sends again."
    assert html.rows(".//*[@id='acts']//tbody/tr")[0][1:] == [
        "operator-user",
        "resume",
        "looked at <it>",
    ]
    html = seeded.said(seeded.post(f"{PAGE}/pause", {"why": "complaints"}, OPERATOR), OPERATOR)
    assert "complaints" in html.text(".//*[@id='now']")
    html = seeded.said(seeded.post("/account/resume", {"why": "paid"}, OPERATOR), OPERATOR)
    assert "The account is paused" not in html.text()
    html = seeded.said(seeded.post("/account/pause", {"why": "no money"}, OPERATOR), OPERATOR)
    assert "no money" in html.text(".//*[@id='account']")


def test_rate_name_and_quota_are_changed_where_they_differ(seeded: Web) -> None:
    fields = seeded.get(PAGE).fields(f".//form[@action='{PAGE}/settings']")
    assert {name: fields[name] for name in ("rate", "name", "quota")} == {
        "rate": "80/s",
        "name": "",
        "quota": "",
    }
    wrong = seeded.post(f"{PAGE}/settings", {"rate": "fast", "name": "x", "quota": ""}, OPERATOR)
    assert wrong.status_code == 422
    assert "is not a rate" in wrong.text
    assert 'value="fast"' in wrong.text
    changed = seeded.post(f"{PAGE}/settings", {"rate": "12.5", "name": "shop", "quota": "1000"}, OPERATOR)
    html = seeded.said(changed, OPERATOR)
    row = html.rows(".//*[@id='acts']//tbody/tr")[0]
    assert "rate: 80.0 → 12.5" in row[2]
    assert "quota: – → 1000" in row[2]
    again = seeded.post(f"{PAGE}/settings", {"rate": "12.5/s", "name": "shop", "quota": ""}, OPERATOR)
    row = seeded.said(again, OPERATOR).rows(".//*[@id='acts']//tbody/tr")[0]
    assert row[2] == "set quota: 1000 → –"


@ON_ONE_DATABASE
def test_a_sender_is_added_and_a_wrong_number_stays_in_its_field(web: Web) -> None:
    assert "No sender is on record" in web.get("/senders").text()
    wrong = web.post("/senders", {"phone": "12", "name": "shop", "rate": ""}, OPERATOR)
    assert wrong.status_code == 422
    assert 'value="12"' in wrong.text
    answer = web.post("/senders", {"phone": f"+{SENDER}", "name": "shop", "rate": "20"}, OPERATOR)
    html = web.said(answer, OPERATOR)
    assert html.text(".//*[@class='said']") == f"+{SENDER} is on record."
    assert "of 20/s" in html.text(".//*[@id='now']")
