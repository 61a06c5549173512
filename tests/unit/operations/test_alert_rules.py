"""Alerts: what fires for which readings, and that Prometheus has the same conditions with the same thresholds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulksend.operations.alert_rules import (
    CODES_MS,
    EXPIRED_MS,
    FEW_POSTS,
    POSTS_MS,
    RULES,
    UNREADABLE_MS,
    Alert,
    Readings,
    RecentPosts,
    State,
    firing,
    judge,
)
from bulksend.operations.doctor_rules import RECEIPT_DUE_MS, ReceiptState

ROOT = Path(__file__).resolve().parents[3]
GROUPS = yaml.safe_load((ROOT / "deploy" / "prometheus-rules.yml").read_text())["groups"]
PROMETHEUS: dict[str, dict[str, Any]] = {alert["alert"]: alert for alert in GROUPS[0]["rules"]}
BY_NAME = {rule.name: rule for rule in RULES}
SENDER = "15550100100"
MINUTE, HOUR = 60_000, 3_600_000
#: Nothing needs a person.
WELL: dict[str, Any] = {
    "audit_broken": 0,
    "audit_age_s": 3600.0,
    "workers": 1,
    "relay_leads": True,
    "redis_answers": True,
    "oldest_due_s": {"otp": 0.0, "utility": 0.0, "marketing": 0.0},
    "posts": {SENDER: RecentPosts(1000, 50)},
    "receipts": ReceiptState(accepted=5, has_token=True, last_callback_ms=MINUTE, unanswered_ms=HOUR),
    "disk_free": 5e9,
}


def judged(**changes: Any) -> list[Alert]:
    return judge(Readings(**WELL | changes))


def fires(**changes: Any) -> list[tuple[str, str]]:
    return [(each.rule.name, each.subject) for each in firing(judged(**changes))]


def test_nothing_fires_where_all_is_well_and_each_rule_says_so() -> None:
    assert [(each.rule.name, each.state) for each in judged()] == [(rule.name, State.WELL) for rule in RULES]


@pytest.mark.parametrize(
    ("changes", "name", "subject"),
    [
        ({"audit_broken": 1}, "audit_broken", ""),
        ({"audit_age_s": 86_401.0}, "audit_old", ""),
        ({"codes_unknown": 1}, "codes_unknown", ""),
        ({"code_wait_s": 10.1}, "codes_late", ""),
        ({"code_wait_s": None, "oldest_due_s": {"otp": 10.1}}, "codes_late", ""),
        ({"codes_expired": 1}, "codes_expired", ""),
        ({"oldest_due_s": {"utility": 61.0}, "sends": True}, "stalled", "utility"),
        ({"oldest_due_s": {"marketing": 61.0}}, "stalled", "marketing"),
        ({"posts": {SENDER: RecentPosts(1000, 51)}}, "sender_fails", SENDER),
        ({"account_pause": "no money"}, "account_paused", ""),
        ({"sender_pauses": {SENDER: "quality"}}, "sender_paused", SENDER),
        ({"workers": 0}, "no_worker", ""),
        ({"relay_leads": False}, "no_relay", ""),
        ({"redis_answers": False}, "redis_away", ""),
        (
            {
                "receipts": ReceiptState(
                    accepted=5, has_token=True, last_callback_ms=HOUR, unanswered_ms=HOUR - 1
                )
            },
            "receipts_stopped",
            "",
        ),
        ({"unreadable": 1}, "receipts_unreadable", ""),
        ({"quota_used": 0.91}, "quota_used", ""),
        ({"red_senders": [SENDER]}, "sender_red", SENDER),
        ({"templates_not_approved": 1}, "template_not_approved", ""),
        ({"disk_free": 0.99e9}, "disk_full", ""),
        ({"spooled": 1}, "files_wait", ""),
        ({"clock_skew_s": -31.0}, "clock_off", ""),
        ({"endpoints_disabled": 1}, "webhook_disabled", ""),
    ],
)
def test_a_rule_fires_beyond_its_threshold_and_no_other_with_it(
    changes: dict[str, Any], name: str, subject: str
) -> None:
    assert fires(**changes) == [(name, subject)]


@pytest.mark.parametrize(
    "changes",
    [
        {"audit_age_s": 86_400.0},
        {"code_wait_s": 10.0},
        {"code_wait_s": None},
        {"oldest_due_s": {"otp": 10.0, "utility": 60.0}},
        # A blast is due at once, and waits for its rate.
        {"oldest_due_s": {"marketing": 3600.0}, "sends": True},
        # Too few to tell.
        {"posts": {SENDER: RecentPosts(FEW_POSTS, FEW_POSTS)}},
        {"posts": {SENDER: RecentPosts()}},
        {"quota_used": 0.9},
        {"clock_skew_s": 30.0},
        {"disk_free": 1e9},
        # No POST is old enough to have a receipt.
        {"receipts": ReceiptState(accepted=5, has_token=True, last_callback_ms=HOUR, unanswered_ms=None)},
    ],
)
def test_a_rule_does_not_fire_up_to_its_threshold_nor_without_a_cause(changes: dict[str, Any]) -> None:
    assert fires(**changes) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"audit_broken": None, "audit_age_s": None}, {"audit_broken", "audit_old"}),
        ({"redis_answers": None, "relay_leads": None}, {"redis_away", "no_relay"}),
        ({"receipts": ReceiptState(accepted=5)}, {"receipts_stopped"}),
    ],
)
def test_what_is_not_known_is_said_to_be_not_judged(changes: dict[str, Any], names: set[str]) -> None:
    found = judged(**changes)
    assert {each.rule.name for each in found if each.state is State.NOT_JUDGED} == names
    assert firing(found) == []


def test_every_subject_for_which_a_rule_fires_is_told_with_its_detail() -> None:
    found = firing(judged(sender_pauses={SENDER: "their call from 447700900851", "15550100101": ""}))
    assert [(each.subject, each.detail) for each in found] == [
        (SENDER, "their call from 447700900851"),
        ("15550100101", ""),
    ]
    assert "447700900851" not in found[0].masked().detail


def test_the_critical_ones_stand_first() -> None:
    found = firing(judged(codes_unknown=1, workers=0, endpoints_disabled=1))
    assert [each.rule.name for each in found] == ["no_worker", "codes_unknown", "webhook_disabled"]


def test_a_rule_that_is_well_tells_the_value_that_is_nearest_to_firing() -> None:
    by_name = {each.rule.name: each.value for each in judged(oldest_due_s={"otp": 3.0, "utility": 50.0})}
    assert (by_name["stalled"], by_name["sender_fails"], by_name["disk_full"]) == (50.0, 0.05, 5e9)


def test_a_value_that_does_not_decide_is_not_shown_beside_a_threshold() -> None:
    few = {each.rule.name: each for each in judged(posts={SENDER: RecentPosts(5, 5)})}["sender_fails"]
    assert (few.state, few.value) == (State.WELL, None)


def above(metric: str, name: str) -> str:
    rule = BY_NAME[name]
    return f"{metric} {'<' if rule.below else '>'} {rule.threshold:g}"


def minutes(ms: int) -> str:
    return f"{ms // HOUR}h" if ms % HOUR == 0 else f"{ms // MINUTE}m"


#: The conditions of Prometheus that say the same as a rule, with the threshold and the windows of the rule.
CONDITIONS: dict[str, list[str]] = {
    "audit_broken": ["bulksend_audit_holds == 0"],
    "audit_old": [above("time() - bulksend_audit_finished_timestamp_seconds", "audit_old")],
    "codes_unknown": [above('sum(bulksend_ledger_messages{kind="otp", status="unknown"})', "codes_unknown")],
    "codes_late": [
        above(
            "histogram_quantile(0.99, sum by (le) "
            f'(rate(bulksend_queue_wait_seconds_bucket{{kind="otp"}}[{minutes(CODES_MS)}])))',
            "codes_late",
        ),
        above('max(bulksend_queue_oldest_age_seconds{kind="otp"})', "codes_late"),
    ],
    "codes_expired": [
        above(
            f'sum(delta(bulksend_ledger_messages{{kind="otp", status="expired"}}[{minutes(EXPIRED_MS)}]))',
            "codes_expired",
        )
    ],
    "stalled": [
        above('max by (kind) (bulksend_queue_oldest_age_seconds{kind=~"otp|utility"})', "stalled"),
        above('max by (kind) (bulksend_queue_oldest_age_seconds{kind="marketing"})', "stalled"),
        "sum(bulksend_sender_rate_used) == 0",
    ],
    "sender_fails": [
        above(
            f'sum by (sender) (rate(bulksend_attempts_total{{outcome="refused"}}[{minutes(POSTS_MS)}])) '
            f"/ sum by (sender) (rate(bulksend_attempts_total[{minutes(POSTS_MS)}]))",
            "sender_fails",
        ),
        f"sum by (sender) (increase(bulksend_attempts_total[{minutes(POSTS_MS)}])) > {FEW_POSTS}",
    ],
    "account_paused": ["bulksend_account_paused == 1"],
    "sender_paused": ["bulksend_sender_paused == 1"],
    "no_worker": ["max(bulksend_workers_alive) == 0"],
    "no_relay": ["sum(bulksend_relay_leader) == 0"],
    "redis_away": ["min(bulksend_redis_up) == 0"],
    "receipts_stopped": [f"sum(increase(bulksend_receipts_total[{minutes(RECEIPT_DUE_MS)}])) == 0"],
    "receipts_unreadable": [
        above(
            f"sum(increase(bulksend_receipts_unreadable_total[{minutes(UNREADABLE_MS)}]))",
            "receipts_unreadable",
        )
    ],
    "quota_used": [above("bulksend_account_quota_used", "quota_used")],
    "sender_red": ["bulksend_sender_quality_red == 1"],
    "template_not_approved": [above("bulksend_templates_not_approved", "template_not_approved")],
    "disk_full": [above("bulksend_disk_free_bytes", "disk_full")],
    "files_wait": [above("bulksend_spooled_files", "files_wait")],
    "clock_off": [above("abs(bulksend_clock_skew_seconds)", "clock_off")],
    "webhook_disabled": [above("bulksend_webhook_endpoints_disabled", "webhook_disabled")],
}
#: What Prometheus asks for beside: it knows nothing of single messages that wait for a receipt.
ONLY_PROMETHEUS = [
    "sum(increase(bulksend_receipts_total[1d])) > 0",
    'sum(increase(bulksend_messages_total{status="accepted"}[15m])) > 50',
]


def plain(expression: str) -> str:
    """With each number that is compared written in one way."""
    return re.sub(r"(?<=[<>=] )[\d.e+]+", lambda found: repr(float(found[0])), expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_prometheus_has_the_condition_with_the_same_threshold_and_severity(rule: Any) -> None:
    alert = PROMETHEUS[rule.alert]
    assert alert["labels"]["severity"] == rule.severity
    for condition in CONDITIONS[rule.name]:
        assert plain(condition) in plain(alert["expr"])


@pytest.mark.parametrize("alert", PROMETHEUS.values(), ids=lambda alert: alert["alert"])
def test_prometheus_has_no_condition_beside_those_of_the_rules(alert: dict[str, Any]) -> None:
    left = plain(alert["expr"])
    of_this = [each for rule in RULES if rule.alert == alert["alert"] for each in CONDITIONS[rule.name]]
    assert of_this
    for condition in [*of_this, *ONLY_PROMETHEUS]:
        left = left.replace(plain(condition), "")
    assert not re.search(r"[<>]|==", left), left
