"""What alerts are judged by: read from a real ledger, a real Redis and this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from bulksend.broker import LEADER_KEY
from bulksend.ledger import audit_records, pauses, senders
from bulksend.ledger.audit import Finding, Report
from bulksend.ledger.raw_receipts import Unreadable, set_aside
from bulksend.limits import RedisPermits
from bulksend.messaging.states import Kind
from bulksend.operations import receipt_tokens
from bulksend.operations.alert_rules import Alert, State, firing
from bulksend.operations.alerts import find_alerts
from bulksend.operations.blockers import check_redis
from bulksend.settings import Settings
from ops.local.ports import free_port
from tests.integration.ledger.conftest import ACCOUNT, ACTOR, SENDER, Desk


@dataclass
class Watched:
    """An installation whose alerts are looked at."""

    desk: Desk
    settings: Settings
    limiter: RedisPermits | None

    def alerts(self) -> dict[str, Alert]:
        """By the name of the rule; of several subjects the last."""
        checked = None if self.settings.redis_url is None else check_redis(self.settings)
        found = find_alerts(self.settings, self.desk.database, lambda: self.limiter, checked)
        return {each.rule.name: each for each in found}

    def values(self, *names: str) -> list[float | None]:
        found = self.alerts()
        return [found[name].value for name in names]

    def fires(self) -> set[str]:
        return {each.rule.name for each in firing(self.alerts().values())}


@pytest.fixture
def watched(desk: Desk, valkey: redis.Redis, valkey_url: str, tmp_path: Path) -> Watched:
    """A relay leads and a worker runs."""
    valkey.set(LEADER_KEY, "one", px=600_000)
    desk.lease()
    of = Settings.from_env(
        {
            "DATABASE_URL": desk.database.url.render_as_string(hide_password=False),
            "REDIS_URL": valkey_url,
            "BULKSEND_SPOOL_DIR": str(tmp_path / "spool"),
        }
    )
    return Watched(desk, of, RedisPermits(valkey, hash_key=b"k" * 32, account=ACCOUNT))


def test_nothing_fires_in_an_installation_that_does_its_work(watched: Watched) -> None:
    desk = watched.desk
    desk.write(audit_records.keep, _report(0), campaign_id=None, actor="ann", took_ms=1)
    desk.accepted(desk.queued(Kind.OTP, n=3))
    desk.sql("UPDATE messages SET queued_at = :now, due_at = :now", now=desk.now())
    assert watched.fires() == set()
    not_judged = {name for name, each in watched.alerts().items() if each.state is State.NOT_JUDGED}
    assert not_judged == {"receipts_stopped"}, "no address for receipts was given out"


def _report(broken: int) -> Report:
    return Report([Finding("nothing lost", "", 9, broken, [])], {})


def test_the_last_audit_is_judged_by_its_verdict_and_its_age(watched: Watched) -> None:
    watched.desk.write(audit_records.keep, _report(2), campaign_id=None, actor="ann", took_ms=1)
    assert watched.fires() == {"audit_broken"}
    watched.desk.write(audit_records.keep, _report(0), campaign_id=None, actor="ann", took_ms=1)
    watched.desk.sql("UPDATE audits SET ended_at = ended_at - 86500000")
    assert "audit_old" in watched.fires()


def test_a_ledger_without_an_audit_is_not_judged_by_one(watched: Watched) -> None:
    assert watched.alerts()["audit_old"].state is State.NOT_JUDGED
    assert watched.fires() == set()


def test_the_newest_codes_are_judged_by_their_waits_and_endings(watched: Watched) -> None:
    desk = watched.desk
    late, expired, unknown = desk.queued(Kind.OTP, n=3)
    desk.accepted([late])
    now = desk.now()
    desk.sql("UPDATE messages SET queued_at = :now - 20000, sent_at = :now WHERE id = :id", now=now, id=late)
    for id, status in ((expired, "expired"), (unknown, "unknown")):
        desk.sql(
            "UPDATE messages SET status = :status, ended_at = :now WHERE id = :id",
            now=now,
            id=id,
            status=status,
        )
    assert watched.values("codes_late", "codes_expired", "codes_unknown") == [20.0, 1, 1]
    assert watched.fires() == {"codes_late", "codes_expired", "codes_unknown"}
    desk.sql("UPDATE messages SET ended_at = ended_at - 700000 WHERE status = 'expired'")
    desk.sql("UPDATE messages SET sent_at = sent_at - 400000, queued_at = queued_at - 400000")
    assert watched.values("codes_late", "codes_expired") == [0.0, 0]


def test_what_is_due_and_not_paused_is_judged_by_its_age(watched: Watched) -> None:
    desk = watched.desk
    desk.write(senders.register, SENDER)
    desk.queued(Kind.UTILITY)
    desk.sql("UPDATE messages SET due_at = :at", at=desk.now() - 90_000)
    stalled = watched.alerts()["stalled"]
    assert (stalled.state, stalled.subject) == (State.FIRES, "utility")
    assert 89 < (stalled.value or 0) < 600
    desk.write(pauses.pause_sender, SENDER, actor=ACTOR, why="their call")
    assert watched.fires() == {"sender_paused"}
    paused = watched.alerts()["sender_paused"]
    assert (paused.subject, paused.detail) == (SENDER, "their call")


def test_a_blast_that_is_being_sent_does_not_stall(watched: Watched) -> None:
    desk = watched.desk
    desk.write(senders.register, SENDER)
    first, _ = desk.queued(Kind.MARKETING, n=2)
    assert watched.fires() == {"stalled"}
    desk.accepted([first])
    desk.sql("UPDATE attempts SET started_at = :now", now=desk.now() + 60_000)
    assert watched.fires() == set()


def test_a_sender_is_judged_by_what_the_vendor_refused_of_its_newest_posts(watched: Watched) -> None:
    desk = watched.desk
    desk.write(senders.register, SENDER)
    desk.accepted(desk.queued(n=110))
    desk.sql("UPDATE attempts SET outcome = 'refused' WHERE id IN (SELECT id FROM attempts LIMIT 11)")
    fails = watched.alerts()["sender_fails"]
    assert (fails.state, fails.subject, fails.value) == (State.FIRES, SENDER, 0.1)
    desk.sql("UPDATE attempts SET started_at = started_at - 700000")
    assert watched.values("sender_fails") == [None]


def test_receipts_that_do_not_come_are_told_where_an_address_was_given_out(watched: Watched) -> None:
    desk = watched.desk
    desk.write(senders.register, SENDER)
    desk.accepted(desk.queued(n=2))
    desk.sql("UPDATE attempts SET started_at = started_at - 1000000")
    assert watched.alerts()["receipts_stopped"].state is State.NOT_JUDGED
    desk.write(receipt_tokens.add, name="theirs", actor="ann")
    stopped = watched.alerts()["receipts_stopped"]
    assert stopped.state is State.FIRES
    assert 1000 <= (stopped.value or 0) < 1600


def test_only_callbacks_that_were_set_aside_of_late_are_told(watched: Watched) -> None:
    desk = watched.desk
    desk.sql(
        "INSERT INTO raw_receipts (id, received_at, bodies, data) VALUES (:id, 1, 1, :data)",
        id=RAW,
        data=b"x",
    )
    desk.write(set_aside, [Unreadable(RAW, 0, desk.now(), "no JSON")])
    assert watched.values("receipts_unreadable") == [1]
    desk.sql("UPDATE unreadable_receipts SET id = :old", old="00000000-0000-7000-8000-000000000001")
    assert watched.values("receipts_unreadable") == [0]


RAW = "01978c5e-0000-7000-8000-000000000001"


def test_the_quota_is_judged_by_what_the_limiter_counts(watched: Watched) -> None:
    desk = watched.desk
    desk.write(senders.register, SENDER, quota=4)
    assert watched.limiter is not None
    now = desk.now()
    watched.limiter.restore(pauses=[], recent=[(f"4477009000{n:02}", now - 1000) for n in range(4)])
    assert watched.values("quota_used") == [1.0]
    assert watched.fires() == {"quota_used"}


def test_files_that_wait_on_this_machine_are_told(watched: Watched) -> None:
    spool = Path(watched.settings.spool_dir)
    spool.mkdir()
    (spool / "results-1.jsonl").write_text("")
    assert watched.fires() == {"files_wait"}


def test_a_redis_that_does_not_answer_is_told_with_its_cause_and_no_relay_beside_it(
    watched: Watched,
) -> None:
    watched.settings = watched.settings.model_copy(update={"redis_url": None})
    assert watched.alerts()["redis_away"].state is State.NOT_JUDGED
    env = {
        "DATABASE_URL": watched.desk.database.url.render_as_string(hide_password=False),
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "BULKSEND_SPOOL_DIR": watched.settings.spool_dir,
    }
    watched.settings = Settings.from_env(env)
    found = watched.alerts()
    assert (found["redis_away"].state, found["no_relay"].state) == (State.FIRES, State.NOT_JUDGED)
    assert "127.0.0.1" in found["redis_away"].detail


def test_without_worker_and_relay_both_are_told(watched: Watched, valkey: redis.Redis) -> None:
    valkey.delete(LEADER_KEY)
    watched.desk.sql("UPDATE workers SET ended_at = 1")
    assert watched.fires() == {"no_worker", "no_relay"}
