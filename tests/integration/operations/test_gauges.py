"""The gauges of the relay say what the ledger says."""

from __future__ import annotations

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from bulksend.ledger import pauses, senders, templates
from bulksend.ledger.clock import read_clock
from bulksend.ledger.templates import TemplateChange
from bulksend.limits import RedisPermits
from bulksend.messaging.states import Kind
from bulksend.metrics import LedgerGauges
from bulksend.operations.gauges import read_state
from tests.integration.ledger.conftest import ACCOUNT, ACTOR, SENDER, Desk


@pytest.fixture
def limiter(valkey: redis.Redis) -> RedisPermits:
    return RedisPermits(valkey, hash_key=b"k" * 32, account=ACCOUNT)


def test_messages_are_counted_by_kind_and_status(desk: Desk, limiter: RedisPermits) -> None:
    desk.queued(Kind.OTP, n=2)
    desk.accepted(desk.queued(n=3)[:1])
    found = read_state(desk.database, limiter, ACCOUNT).messages
    assert {key: n for key, n in found.items() if n} == {
        ("otp", "queued"): 2,
        ("marketing", "queued"): 2,
        ("marketing", "accepted"): 1,
    }


def test_what_is_paused_is_not_late(desk: Desk, limiter: RedisPermits) -> None:
    desk.write(senders.register, SENDER)
    desk.queued(Kind.OTP)
    desk.sql("UPDATE messages SET due_at = :at", at=desk.now() - 90_000)
    assert 89 < read_state(desk.database, limiter, ACCOUNT).oldest_age_s["otp"] < 120
    desk.write(pauses.pause_sender, SENDER, actor=ACTOR, why="quality")
    state = read_state(desk.database, limiter, ACCOUNT)
    assert state.oldest_age_s == {"otp": 0.0, "utility": 0.0, "marketing": 0.0}
    assert [sender.paused for sender in state.senders] == [True]


def test_the_used_part_of_a_quota_is_what_the_limiter_counts(desk: Desk, limiter: RedisPermits) -> None:
    desk.write(senders.register, SENDER, quota=4)
    desk.write(senders.register, "15550100198")
    now = desk.read(read_clock)
    limiter.restore(pauses=[], recent=[("447700900001", now - 1000), ("447700900002", now - 9e7)])
    assert read_state(desk.database, limiter, ACCOUNT).quota_used == 0.25
    desk.write(senders.change, SENDER, actor=ACTOR, no_quota=True)
    assert read_state(desk.database, limiter, ACCOUNT).quota_used is None


def test_a_relay_that_waits_shows_nothing_of_the_ledger(desk: Desk) -> None:
    registry = CollectorRegistry()
    LedgerGauges(lambda: None).register(registry)
    assert generate_latest(registry).decode().splitlines()[2:] == ["bulksend_relay_leader 0.0"]
    leading = CollectorRegistry()
    LedgerGauges(lambda: read_state(desk.database, None, ACCOUNT)).register(leading)
    text = generate_latest(leading).decode()
    assert "bulksend_relay_leader 1.0" in text
    assert "bulksend_workers_alive 0.0" in text


def test_a_running_campaign_with_a_template_that_is_not_approved_is_counted(
    desk: Desk, limiter: RedisPermits
) -> None:
    content = '{"name": "sale", "language": {"policy": "deterministic", "code": "en"}, "components": []}'
    desk.queued(type="template", content=content)
    for name, status in (("sale", "PAUSED"), ("unused", "REJECTED"), ("other", "APPROVED")):
        change = TemplateChange(name, "en", status=status, at=desk.now())
        desk.write(templates.change_template, change, actor=ACTOR)
    assert read_state(desk.database, limiter, ACCOUNT).templates_not_approved == 1


def test_the_quality_that_the_vendor_tells_is_shown(desk: Desk, limiter: RedisPermits) -> None:
    desk.write(senders.register, SENDER)
    assert [sender.is_red for sender in read_state(desk.database, limiter, ACCOUNT).senders] == [None]
    desk.sql("UPDATE senders SET quality = 'RED'")
    assert [sender.is_red for sender in read_state(desk.database, limiter, ACCOUNT).senders] == [True]
