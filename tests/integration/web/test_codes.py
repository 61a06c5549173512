"""The page of one-time codes: waits, codes at risk, forecasts, the last day. No number, no content, no code."""

from __future__ import annotations

import pytest

from bulksend.ledger.code_backlog import CodeBacklog
from bulksend.ledger.code_readings import Latency, WaitingCode
from bulksend.ledger.receipts import Receipt
from bulksend.messaging.code_delay import NOTHING_KNOWN, CodeLane, Workers
from bulksend.operations.access import Role
from bulksend.operations.codes import at_risk
from tests.integration.ledger.conftest import Desk
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import CODE, NUMBER, SENDER


def code(web: Web, n: int, **more: object) -> str:
    body = {"sender": SENDER, "kind": "otp", "type": "text", "to": f"4477009001{n:02}"}
    answer = web.api.post("/v1/messages", body | {"content": {"body": f"{CODE}-{n}"}} | more)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_it_shows_the_waits_what_a_new_code_can_expect_and_the_undelivered(web: Web) -> None:
    ids = [code(web, n) for n in range(4)]
    desk = Desk(web.api.ledger)
    lease = desk.lease()
    for id, mid in zip(ids[:2], desk.accepted(ids[:2], lease), strict=True):
        desk.receive(Receipt(mid, "delivered", 1_790_000_000_000))
        del id
    html = web.get("/codes")
    assert html.text(".//*[@id='numbers']").startswith("2 Waiting")
    assert "/messages?kind=otp&amp;status=queued" in web.ask("GET", "/codes").text
    (row,) = html.rows(".//section[@id='now']//tbody/tr")
    assert row[0] == f"+{SENDER}"
    assert row[1].startswith("2")
    latency = html.rows(".//section[@id='latency']/div//tbody/tr")
    assert latency[0][:2] == ["All senders", "2"]
    for role in (Role.VIEWER, Role.ADMIN):
        text = web.ask("GET", "/codes", role).text
        assert "4477009001" not in text
        assert CODE not in text


def test_a_ledger_with_one_of_everything_shows_no_number(seeded: Web) -> None:
    html = seeded.get("/codes")
    # Account and sender are paused: the code waits until a person acts.
    assert "until the pause ends" in html.text(".//section[@id='now']")
    assert len(html.rows(".//section[@id='risk']//tbody/tr")) == 1
    assert NUMBER not in seeded.ask("GET", "/codes").text


def test_it_says_what_holds_codes_with_a_remedy(seeded: Web) -> None:
    held = seeded.get("/codes").text(".//*[@id='held']")
    assert "the account has been paused since" in held
    assert 'bulksend account resume --why "…"' in held


@ON_ONE_DATABASE
def test_without_a_code_it_says_how_one_is_made(web: Web) -> None:
    assert "No one-time code has been sent yet" in web.get("/codes").text()


def test_codes_that_a_worker_has_wait_too(web: Web) -> None:
    ids = [code(web, n, ttl_seconds=60) for n in range(3)]
    desk = Desk(web.api.ledger)
    lease = desk.lease()
    desk.claim(lease, ids[:2])
    # The POST of another one begins.
    desk.sent(lease, [code(web, 9)])
    now = desk.now()
    # The first goes out at once, and the others a minute and two after it.
    desk.sql("UPDATE senders SET rate = :rate", rate=1 / 60)
    desk.sql("UPDATE messages SET due_at = :due, expires_at = :ends", due=now - 60_000, ends=now + 30_000)
    html = web.get("/codes")
    assert html.text(".//*[@id='numbers']").startswith("3 Waiting 2 Codes at risk")
    assert "/messages?kind=otp&amp;status=claimed" in web.ask("GET", "/codes").text
    (row,) = html.rows(".//section[@id='now']//tbody/tr")
    assert (row[1], row[2].startswith("1 min")) == ("3", True)
    assert html.rows(".//section[@id='risk']//tbody/tr")[0][-1] == "Its turn at the rate"
    lanes = web.get("/").rows(".//section[@id='lanes']//tbody/tr")
    (codes,) = [each for each in lanes if each[0] == "One-time code"]
    # Of the overview what is under way has not ended.
    assert (codes[1], codes[2].startswith("1 min")) == ("4", True)


def test_the_overview_knows_how_long_codes_with_a_worker_are_due(web: Web) -> None:
    ids = [code(web, 1)]
    desk = Desk(web.api.ledger)
    desk.claim(desk.lease(), ids)
    desk.sql("UPDATE messages SET due_at = :due", due=desk.now() - 60_000)
    lanes = web.get("/").rows(".//section[@id='lanes']//tbody/tr")
    assert [each[2].startswith("1 min") for each in lanes] == [True, False, False]


def waiting(
    n: int, *, expires_at: int | None, due_at: int = 0, sender: str = SENDER, campaign: str = "campaign"
) -> WaitingCode:
    return WaitingCode(str(n), sender, campaign, due_at, expires_at, None)


@pytest.mark.parametrize(
    ("expires_at", "paused", "is_at_risk"),
    [(30_000, False, True), (60_000, False, False), (None, False, False), (10**9, True, True)],
)
def test_a_code_is_at_risk_when_it_expires_before_its_turn(
    expires_at: int | None, paused: bool, is_at_risk: bool
) -> None:
    lane = CodeLane({"campaign": 50}, 1 / 0.985, paused=paused)
    backlog = CodeBacklog({SENDER: lane}, Workers(1), paused=False)
    # 40 others are before it, at one a second.
    codes = [waiting(n, expires_at=None) for n in range(40)] + [waiting(99, expires_at=expires_at, due_at=1)]
    found = at_risk(codes, backlog, NOTHING_KNOWN, None, now=0)
    assert [each.id for each, _ in found] == (["99"] if is_at_risk else [])
    assert not found or (found[0][1] is None) == paused


def test_campaigns_take_turns_and_a_paused_one_waits_until_a_person_acts() -> None:
    backlog = CodeBacklog({SENDER: CodeLane({"file": 100, "single": 1}, 1 / 0.985)}, Workers(1), paused=False)
    codes = [waiting(n, expires_at=50_500, campaign="file") for n in range(100)]
    codes.append(waiting(200, expires_at=10_000, due_at=9, campaign="single"))
    codes.append(waiting(300, expires_at=10**9, due_at=9, campaign="paused"))
    found = dict(at_risk(codes, backlog, NOTHING_KNOWN, None, 0, held={"paused"}))
    # The single code goes second, whatever its due time; those of the file behind it go a second later.
    assert [int(each.id) for each in found] == [*range(50, 100), 300]
    assert found[codes[-1]] is None


def test_percentiles_are_waits_that_there_were() -> None:
    assert Latency.of([]) == Latency(0)
    assert Latency.of([None, 7]) == Latency(1, 7, 7, 7)
    assert Latency.of(range(1, 101)) == Latency(100, 50, 95, 99)
