"""Alerts on the overview and on the page System, judged from a real ledger and a real Redis."""

from __future__ import annotations

import pytest
import redis

from bulksend.broker import LEADER_KEY
from bulksend.messaging.states import Kind
from bulksend.operations.access import Role
from bulksend.operations.alert_rules import COUNTED, RULES
from ops.web import catalogues
from tests.integration.ledger.conftest import Desk
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import NUMBER, SENDER, seed

WHY = f"their call from {NUMBER}"


def states(web: Web) -> dict[str, list[str]]:
    """Status, value and threshold of each alert on the page System, by its text."""
    return {row[0]: row[1:4] for row in web.get("/system").rows(".//*[@id='alerts']//tbody/tr")}


def text(name: str, language: str = "en") -> str:
    return catalogues.texts(language)[f"alerts.{name}"]


@pytest.mark.parametrize("language", sorted(catalogues.LANGUAGES))
def test_each_rule_has_its_texts(language: str) -> None:
    texts = catalogues.texts(language)
    missing = [
        key
        for rule in RULES
        for key in (f"alerts.{rule.name}", f"alerts.fires.{rule.name}", f"alerts.remedy.{rule.name}")
        if key not in texts
    ]
    assert missing == []


def test_the_page_system_shows_every_alert_with_its_state_value_and_threshold(web: Web) -> None:
    found = states(web)
    assert list(found) == [text(rule.name) for rule in RULES]
    assert found[text("no_worker")] == ["✕ Fires Start bulksend worker .", "0", "< 1"]
    assert found[text("audit_old")] == ["– Not judged", "–", "> 1 d"]
    assert found[text("redis_away")] == ["✓ Well", "no", "–"]
    assert found[text("quota_used")][2] == "> 90 %"
    assert found[text("clock_off")][0] == "✓ Well"
    assert found[text("disk_full")][2] == "< 1 GB"


def test_the_overview_shows_only_what_fires_each_with_a_link_and_a_remedy(web: Web) -> None:
    alerts = web.get("/").one(".//*[@id='alerts']")
    links = [each.get("href") for each in alerts.iter("a")]
    assert links == ["/system#processes", "/system#processes"]
    said = web.get("/").text(".//*[@id='alerts']")
    assert said.startswith("Needs attention No worker runs: nothing is sent. Start bulksend worker .")
    # The blockers of the same are not told twice.
    assert "no worker is running" not in said


def test_the_overview_says_in_one_line_that_nothing_needs_attention(web: Web, valkey: redis.Redis) -> None:
    Desk(web.api.ledger).lease()
    valkey.set(LEADER_KEY, "one", px=600_000)
    assert web.get("/").text(".//*[@id='alerts']") == "Nothing needs attention. All alerts"


def test_a_pause_is_told_with_its_reason_which_a_viewer_reads_masked(web: Web) -> None:
    seed(web.api.request, web.api.services)
    web.api.post(f"/v1/senders/{SENDER}/resume", {"why": "test"})
    web.api.post(f"/v1/senders/{SENDER}/pause", {"why": WHY})
    said = web.get("/").text(".//*[@id='alerts']")
    assert f"The sender +{SENDER} is paused. {WHY}" in said
    masked = web.get("/", Role.VIEWER).text(".//*[@id='alerts']")
    assert f"The sender +{SENDER} is paused. their call from" in masked
    assert NUMBER not in masked
    assert NUMBER not in web.ask("GET", "/system", Role.VIEWER).text
    assert states(web)[f"{text('sender_paused')} +{SENDER}"][:2] == [
        "‖ Fires Remove the cause, then resume it. " + WHY,
        "yes",
    ]


@ON_ONE_DATABASE
def test_a_count_that_ends_somewhere_says_so(web: Web) -> None:
    desk = Desk(web.api.ledger)
    desk.queued(Kind.OTP, n=COUNTED + 5)
    desk.sql("UPDATE messages SET status = 'expired', ended_at = :now", now=desk.now())
    assert "1,000+ one-time codes expired" in web.get("/").text(".//*[@id='alerts']")
    assert states(web)[text("codes_expired")][1] == "1,000+"


@ON_ONE_DATABASE
def test_alerts_are_told_in_chinese_too(web: Web) -> None:
    headers = {"Cookie": "bulksend_language=zh-CN"}
    said = web.get("/", headers=headers).text(".//*[@id='alerts']")
    assert "没有工作进程在运行：不会发送任何消息。" in said
