"""Blockers as data: what keeps messages from going out, each with its remedy, and only what concerns a campaign."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from bulksend import bootstrap
from bulksend.broker import LEADER_KEY
from bulksend.ledger import leases
from bulksend.ledger.database import Database
from bulksend.messaging.outcome import Scope
from bulksend.operations.blockers import find_blockers
from bulksend.operations.senders import change_sender, set_paused
from bulksend.settings import Settings

PHONE = "15550100100"


@pytest.fixture
def settings(ledger: Database) -> Callable[..., Settings]:
    def of(**more: str) -> Settings:
        return Settings.from_env({"DATABASE_URL": ledger.url.render_as_string(hide_password=False)} | more)

    return of


@pytest.fixture
def worker(ledger: Database) -> None:
    with ledger.write() as tx:
        leases.take(tx, "host:1", 60_000)


def about(of: Settings, ledger: Database) -> dict[str, str]:
    """The sentence of each blocker; the disks are this machine's own matter."""
    found = [blocker for blocker in find_blockers(of, ledger) if not blocker.about.endswith(" disk")]
    assert not any(blocker.well for blocker in found)
    assert all(blocker.remedy for blocker in found)
    return {blocker.about: str(blocker) for blocker in found}


def test_without_a_worker_nothing_is_sent(settings: Callable[..., Settings], ledger: Database) -> None:
    assert (
        "no worker is running: nothing is sent; start bulksend worker" in about(settings(), ledger)["workers"]
    )


@pytest.mark.usefixtures("worker")
def test_a_paused_sender_and_account_are_told_with_reason_and_remedy(
    settings: Callable[..., Settings], ledger: Database
) -> None:
    of = settings()
    change_sender(ledger, PHONE, actor="ann", register_at=80.0)
    set_paused(ledger, lambda: None, Scope.SENDER, PHONE, True, actor="ann", why="spam")
    set_paused(ledger, lambda: None, Scope.ACCOUNT, of.account(), True, actor="ann", why="no money")
    found = about(of, ledger)
    assert set(found) == {"sender", "account"}
    assert found["sender"].endswith(f'(UTC): spam; bulksend senders resume {PHONE} --why "…"')
    assert "(UTC): no money; remove the cause" in found["account"]


@pytest.mark.usefixtures("worker")
def test_a_redis_without_a_relay_is_a_blocker_and_one_with_it_is_not(
    settings: Callable[..., Settings], ledger: Database, valkey: redis.Redis, valkey_url: str
) -> None:
    of = settings(REDIS_URL=valkey_url)
    assert set(about(of, ledger)) == {"relay"}
    valkey.set(LEADER_KEY, "one", px=60_000)
    assert about(of, ledger) == {}


@pytest.mark.usefixtures("worker")
def test_an_open_circuit_breaker_is_told_with_the_last_replies(
    settings: Callable[..., Settings], ledger: Database, valkey: redis.Redis, valkey_url: str
) -> None:
    of = settings(REDIS_URL=valkey_url)
    valkey.set(LEADER_KEY, "one", px=60_000)
    permits = bootstrap.limiter(of, ledger)
    permits.report(outages=1)
    permits.report(outages=1)
    assert "the last replies: none on record" in about(of, ledger)["vendor"]


@pytest.mark.usefixtures("worker")
def test_a_redis_that_is_away_is_a_blocker_and_no_error(
    settings: Callable[..., Settings], ledger: Database
) -> None:
    found = about(settings(REDIS_URL="redis://127.0.0.1:1/0"), ledger)
    assert set(found) == {"Redis"}
    assert "127.0.0.1:1" in found["Redis"]
