"""The ledger of one worker: a call is one transaction, tried again while the ledger is away."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import OperationalError

from bulksend.errors import LedgerUnreachable
from bulksend.ledger import messages, schema, senders, suppressions
from bulksend.ledger.claim import Claimed
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.release import Release
from bulksend.ledger.settle import Settlement
from bulksend.ledger.write_ahead import Opened, Opening
from bulksend.messaging.exclusions import Cap, Exclusions
from bulksend.messaging.outcome import Accepted, Evidence, Scope, Suppress
from bulksend.messaging.states import Kind, Status
from worker.session.campaign_cache import CampaignCache
from worker.session.store import PauseOrder, Store

LEASE_MS = 60_000
RECIPIENT = "447700900123"


def store_of(database: Any) -> Store:
    cache = CampaignCache(Cipher([b"k" * 32]), default_rate=80.0)
    return Store(database, cache, name="host:1", account="default")


@pytest.fixture
def store(ledger: Database) -> Store:
    return store_of(ledger)


class Work:
    """A worker with a lease, three claimed messages and an open attempt."""

    def __init__(self, store: Store, ids: list[str]) -> None:
        self.lease, _ = store.take_lease(LEASE_MS)
        self.waiting, self.claimed = ids[0], store.claim(ids[1:], self.lease)
        self.opening = Opening(self.claimed[2], new_id())
        assert store.open([self.opening], self.lease) == {self.opening.attempt_id}

    def settlement(self) -> Settlement:
        accepted = Accepted("wamid", "request")
        return Settlement(
            self.opening.message.id, self.opening.attempt_id, accepted, Evidence(), 1.0, Status.ACCEPTED, None, 1, 0, ""
        )  # fmt: skip


@pytest.fixture
def work(store: Store, new_messages: Any) -> Work:
    _, ids = new_messages(4)
    return Work(store, ids)


CALLS: dict[str, Callable[[Store, Work], object]] = {
    "take_lease": lambda store, work: store.take_lease(LEASE_MS),
    "renew": lambda store, work: store.renew(work.lease, LEASE_MS),
    "end_lease": lambda store, work: store.end_lease(work.lease, 0),
    "reap": lambda store, work: store.reap(work.lease, rendering=None, begun=[], resend_wait_ms=0),
    "claim": lambda store, work: store.claim([work.waiting], work.lease),
    "claimed_under": lambda store, work: store.claimed_under(work.lease),
    "open": lambda store, work: store.open([Opening(work.claimed[0], new_id())], work.lease),
    "settle": lambda store, work: store.settle([work.settlement()]),
    "give_back": lambda store, work: store.give_back(
        [Release(work.claimed[1].id, 0, None, None)], work.lease
    ),
    "fail": lambda store, work: store.fail([(work.claimed[1].id, "why")], work.lease),
    "pause": lambda store, work: store.pause(PauseOrder(Scope.SENDER, work.claimed[0].sender, "why")),
    "suppress": lambda store, work: suppress(store),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_one_transaction(store: Store, work: Work, watched: Any, call: str) -> None:
    watched.commits = 0
    CALLS[call](store, work)
    assert watched.commits == 1


def test_a_rescue_writes_nothing_when_no_lease_has_lapsed(store: Store, work: Work, watched: Any) -> None:
    watched.statements.clear()
    assert store.rescue(0).given_back == []
    assert all(sql.startswith(("BEGIN", "SELECT")) for sql in watched.statements)


def test_the_end_of_a_lease_gives_back_what_it_holds(store: Store, work: Work) -> None:
    done = store.end_lease(work.lease, 0)
    assert set(done.given_back) == {work.claimed[0].id, work.claimed[1].id}
    assert done.unknown == [work.opening.message.id]


def test_a_claim_loads_the_campaigns_and_senders_of_what_it_claims(store: Store, work: Work) -> None:
    (claimed,) = store.claim([work.waiting], work.lease)
    assert store.campaign_cache.campaign(claimed.campaign_id).id == claimed.campaign_id


# -- a ledger that is away -------------------------------------------------------------------------------


class Flaky(Database):
    """A ledger whose next ``failures`` transactions fail; patience is short."""

    failures = 0

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        if self.failures:
            self.failures -= 1
            raise OperationalError("", {}, sqlite3.OperationalError("database is locked"))
        with super().write(durable=durable) as tx:
            yield tx

    def retrying(
        self, work: Any, *, patience_s: float = 10.0, autocommit: bool = False, durable: bool = True
    ) -> Any:
        return super().retrying(work, patience_s=0.25, autocommit=autocommit, durable=durable)


@pytest.fixture
def flaky(ledger_url: str) -> Iterator[Flaky]:
    database = Flaky(ledger_url)
    yield database
    database.close()


WRITES = sorted(CALLS.keys() - {"claimed_under"})


@pytest.mark.parametrize("call", WRITES)
def test_a_call_is_tried_again_while_the_ledger_is_away(flaky: Flaky, new_messages: Any, call: str) -> None:
    store = store_of(flaky)
    work = Work(store, new_messages(4)[1])
    flaky.failures = 2
    CALLS[call](store, work)
    assert flaky.failures == 0


@pytest.mark.parametrize("call", WRITES)
def test_a_call_raises_when_the_ledger_stays_away(flaky: Flaky, new_messages: Any, call: str) -> None:
    store = store_of(flaky)
    work = Work(store, new_messages(4)[1])
    flaky.failures = 1_000
    with pytest.raises(LedgerUnreachable, match="locked"):
        CALLS[call](store, work)


# -- opening in one statement ----------------------------------------------------------------------------


class OneStatement:
    """A ledger that opens in one statement, as PostgreSQL does; ``replies`` are its replies to that, in order."""

    is_sqlite = False

    def __init__(self, *replies: frozenset[str] | None) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []

    def retrying(self, work: Any, *, patience_s: float = 10.0, autocommit: bool = False) -> Any:
        self.asked.append("one statement" if autocommit else "full check")
        return self.replies.pop(0) if autocommit else Opened(frozenset({"checked"}), *([[]] * 4))


def openings(*attempts: str) -> list[Opening]:
    message = Claimed("m", "c", Kind.OTP, "1555", RECIPIENT, "text", b"", 0, None, 0, 0, 0, 0, None)
    return [Opening(message, attempt) for attempt in attempts]


def test_a_batch_that_one_statement_opens_needs_no_full_check() -> None:
    database = OneStatement(frozenset({"a", "b"}))
    assert store_of(database).open(openings("a", "b"), "lease") == {"a", "b"}
    assert database.asked == ["one statement"]


def test_what_one_statement_leaves_gets_the_full_check() -> None:
    database = OneStatement(frozenset({"a"}))
    assert store_of(database).open(openings("a", "b"), "lease") == {"a", "checked"}
    assert database.asked == ["one statement", "full check"]


def test_a_batch_that_one_statement_cannot_open_gets_the_full_check() -> None:
    database = OneStatement(None)
    assert store_of(database).open(openings("a"), "lease") == {"checked"}
    assert database.asked == ["one statement", "full check"]


def test_the_cap_of_a_campaign_is_part_of_the_last_look(
    store: Store, ledger: Database, new_messages: Any
) -> None:
    lease, _ = store.take_lease(LEASE_MS)
    (sent,) = store.claim(new_messages()[1], lease)
    store.open([Opening(sent, new_id())], lease)
    campaign, ids = new_messages()
    # As if intake had found it planned for another week.
    exclusions = Exclusions(cap=Cap(1, 3_600_000)).to_json()
    with ledger.write() as tx:
        tx.execute(
            update(schema.campaigns).values(exclusions=exclusions).where(schema.campaigns.c.id == campaign.id)
        )
    (late,) = store.claim(ids, lease)
    assert store.open([Opening(late, new_id())], lease) == frozenset()
    with ledger.read() as tx:
        ended = messages.get(tx, late.id)
    assert (ended["status"], str(ended["error"]).partition(":")[0]) == ("suppressed", "cap")


def test_newer_codes_are_told_to_the_one_that_can_send_them_next() -> None:
    class Held(OneStatement):
        def retrying(self, work: Any, *, patience_s: float = 10.0, autocommit: bool = False) -> Any:
            return None if autocommit else Opened(frozenset(), [], [], [], ["m"], next=["newer"])

    told: list[str] = []
    assert store_of(Held()).open(openings("a"), "lease", told.extend) == frozenset()
    assert told == ["newer"]


# -- orders ----------------------------------------------------------------------------------------------


def suppress(store: Store, *, code: int | None = None, why: str = "asked to stop", **wanted: Any) -> None:
    store.suppress(RECIPIENT, Suppress("marketing", **wanted), code, why)


def suppressed(ledger: Database) -> list[str]:
    with ledger.read() as tx:
        return [found.subject for found in suppressions.page(tx)]


def test_a_suppression_suppresses_the_recipient(store: Store, ledger: Database) -> None:
    suppress(store)
    assert suppressed(ledger) == [RECIPIENT]


def test_a_suppression_for_the_country_suppresses_the_country(store: Store, ledger: Database) -> None:
    suppress(store, country=True)
    assert suppressed(ledger) == [suppressions.COUNTRY + "GB"]


def test_a_suppression_for_several_days_waits_for_them(store: Store, ledger: Database) -> None:
    suppress(store, code=131026, after_days=2)
    assert suppressed(ledger) == []


def test_a_suppression_for_a_time_ends(store: Store, ledger: Database) -> None:
    suppress(store, for_ms=60_000)
    with ledger.read() as tx:
        (found,) = suppressions.page(tx)
    assert found.until is not None


def test_pause_orders_are_recorded_and_what_was_paused_before_is_left_out(
    store: Store, ledger: Database, new_messages: Any
) -> None:
    campaign, _ = new_messages()
    orders = [
        PauseOrder(Scope.CAMPAIGN, campaign.id, "code 4007"),
        PauseOrder(Scope.SENDER, "15550100199", "a sender that is not on record"),
        PauseOrder(Scope.ACCOUNT, "default", "no balance"),
    ]
    assert [store.pause(order) for order in orders] == [True] * 3
    assert [store.pause(order) for order in orders] == [False] * 3
    pauses = store.pauses()
    assert pauses.campaigns == {campaign.id}
    assert pauses.senders == {"15550100199"}
    assert pauses.accounts == {"default"}
    with ledger.read() as tx:
        acts = tx.execute(select(schema.acts.c.actor, schema.acts.c.why)).all()
    assert [why for actor, why in acts if actor == "host:1"] == [order.why for order in orders]


def test_running_senders_are_those_that_are_not_paused(store: Store, sender: str) -> None:
    store.pause(PauseOrder(Scope.SENDER, "15550100199", "why"))
    assert store.running_senders() == [sender]


def test_recent_recipients_are_those_of_every_sender_of_an_account_with_a_quota(
    store: Store, ledger: Database, sender: str, new_messages: Any
) -> None:
    other = "15550100199"
    with ledger.write() as tx:
        senders.register(tx, other)
    works = [Work(store, new_messages(4)[1]), Work(store, new_messages(4, sender=other)[1])]
    recent = store.recent_recipients()
    assert recent is not None
    assert sorted(recipient for recipient, _ in recent) == sorted(
        work.opening.message.recipient for work in works
    )
    assert all(at > 0 for _, at in recent)
    with ledger.write() as tx:
        senders.change(tx, sender, actor="ada", no_quota=True)
    assert store.recent_recipients() is None
