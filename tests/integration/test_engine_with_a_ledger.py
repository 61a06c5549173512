"""The engine with a real ledger and the simulator over real sockets: the ending of each answer."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from bulksend import failpoints
from bulksend.gateway import Credentials, SendOrder, Timeouts, VendorClient
from bulksend.gateway.socket_transport import SocketTransport
from bulksend.ledger import (
    audit,
    campaign_control,
    campaign_creation,
    campaigns,
    due,
    intake,
    leases,
    messages,
    pauses,
    senders,
    suppressions,
)
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.claim import claim
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.message_rows import NewMessage
from bulksend.limits import Ask, Grant, Permit, Reported, Wait
from bulksend.messaging import Accepted, Answer, Evidence, Kind, OnUnknown, Policy, Scope
from bulksend.metrics import WorkerMetrics
from simulator import SimulatorSettings, read_rules, run_in_thread
from simulator.latency import Constant
from tests.limiter.local_permits import LocalPermits
from worker import event_loop
from worker.engine import Engine, EngineSettings
from worker.prefetch import PrefetchBuffer
from worker.recovery.flight_recorder import FlightRecorder
from worker.recovery.spool import Spool
from worker.session.campaign_cache import CampaignCache
from worker.session.store import Store

SENDER = "8615000579987"
KEY = bytes(32)
POLICY = Policy(max_tries=3, few_tries=3, base_ms=20, cap_ms=50, resend_wait_ms=100)


def _wall_ms() -> float:
    return time.time() * 1000


class PausesWhatItGrants(LocalPermits):
    """Pauses the ``victim`` campaign as soon as one of its messages has a permit."""

    victim = ""

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        grant = super().ask(asks, lead_ms=lead_ms, per_slice=per_slice)
        granted = [isinstance(answer, Permit) for answer in grant.answers]
        if any(given and ask.campaign_id == self.victim for ask, given in zip(asks, granted, strict=True)):
            self.pause(Scope.CAMPAIGN, self.victim)
        return grant


class NoBreaker(LocalPermits):
    """Never opens the circuit breaker: for tests of the ending of single messages."""

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> Reported:
        return super().report(successes=successes)


class FarSlices(LocalPermits):
    """Gives two recipients slices at once, and all others slices that are ``FAR_MS`` later."""

    FAR_MS = 5000.0

    def __init__(self, clock_ms: Callable[[], float], **more: Any) -> None:
        super().__init__(clock_ms, **more)
        self.near: set[str] = set()
        self.far = self.probes = 0
        """How many permits were for later, and how many for probes of the outage."""

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        grant = super().ask(asks, lead_ms=lead_ms, per_slice=per_slice)
        return replace(grant, answers=tuple(map(self._moved, asks, grant.answers)))

    def _moved(self, ask: Ask, answer: Permit | Wait) -> Permit | Wait:
        if not isinstance(answer, Permit) or answer.probe:
            self.probes += isinstance(answer, Permit)
            return answer
        if len(self.near) < 2:
            self.near.add(ask.recipient)
        if ask.recipient in self.near:
            return answer
        self.far += 1
        return replace(answer, begin_ms=answer.begin_ms + self.FAR_MS)


class BusyLedger(Store):
    """From ``begin`` on its maintenance does not end before ``end``: the two threads for it are busy."""

    def __init__(self, *args: Any, **names: Any) -> None:
        super().__init__(*args, **names)
        self._both_busy, self._ended = threading.Barrier(3), threading.Event()
        self._ended.set()
        self.renewed = threading.Event()
        """A lease was renewed since ``begin``."""

    def begin(self) -> None:
        self._ended.clear()
        self._both_busy.wait(30)
        self.renewed.clear()

    def end(self) -> None:
        self._ended.set()

    def renew(self, lease: str, lease_ms: int) -> int | None:
        renewed_at = super().renew(lease, lease_ms)
        self.renewed.set()
        return renewed_at

    def changed_rates(self) -> dict[str, float | None]:
        self._wait()
        return super().changed_rates()

    def rescue(self, resend_wait_ms: int) -> Any:
        self._wait()
        return super().rescue(resend_wait_ms)

    def _wait(self) -> None:
        if not self._ended.is_set():
            self._both_busy.wait(30)
            self._ended.wait(60)


class Rig:
    """An engine on a thread that gets the ids of due messages, as the relay publishes them."""

    def __init__(
        self,
        database: Database,
        url: str,
        folder: Path,
        vendor: Callable[[Any], Any] | None = None,
        permits: LocalPermits | None = None,
        store: type[Store] = Store,
        connections: int = 20,
        **settings: Any,
    ) -> None:
        self.database = database
        self.permits = permits or LocalPermits(_wall_ms, began_ms=0.0)
        self.prefetched = PrefetchBuffer(high_water=500)
        self.stop_event: asyncio.Event | None = None
        cipher = Cipher([KEY])
        cache = CampaignCache(cipher, default_rate=400.0)
        self.store = store(database, cache, name="test:1", account="default")
        self.engine = Engine(
            store=self.store,
            campaign_cache=cache,
            permits=self.permits,
            vendor=vendor
            or (
                lambda clock: VendorClient(
                    SocketTransport(url, timeouts=Timeouts(2, 2, 2, 2), connections=connections),
                    Credentials("rehearsal-access-key", "rehearsal-secret-opens-only-the-simulator", 1),
                )
            ),
            prefetched=self.prefetched,
            spool=Spool(folder),
            recorder=FlightRecorder(folder, most=100),
            metrics=WorkerMetrics(CollectorRegistry()),
            settings=EngineSettings(
                **{"in_flight": 50, "lease_seconds": 5, "stop_grace_seconds": 3, "policy": POLICY} | settings
            ),
        )
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: event_loop.run(self._main()), daemon=True)

    async def _main(self) -> None:
        self._loop, self.stop_event = asyncio.get_running_loop(), asyncio.Event()
        await self.engine.run(self.stop_event, self._ready.set)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)

    def stop(self) -> None:
        assert self._loop is not None
        assert self.stop_event is not None
        self._loop.call_soon_threadsafe(self.stop_event.set)
        self._thread.join(60)
        assert not self._thread.is_alive()

    def offer(self, lane: Kind, ids: Sequence[str]) -> None:
        self.prefetched.add(lane, ids)
        self.engine.wake()

    def run_until(
        self, campaign: Campaign, done: Callable[[dict[str, int]], bool], seconds: float = 60
    ) -> dict[str, int]:
        """Offer the due messages repeatedly until the statuses are as wanted."""
        deadline = time.monotonic() + seconds
        while True:
            with self.database.read() as tx:
                statuses = campaigns.status_counts(tx, campaign.id)
                waiting = [row.id for row in due.due_messages(tx, campaign.id, 500)]
            if done(statuses):
                return statuses
            assert time.monotonic() < deadline, statuses
            if waiting:
                self.offer(campaign.kind, waiting)
            time.sleep(0.05)


@contextmanager
def rig_of(
    database: Database, folder: Path, rules: list[dict[str, Any]], **settings: Any
) -> Iterator[tuple[Rig, Any]]:
    with run_in_thread(SimulatorSettings(rules=read_rules(rules))) as simulator:
        rig = Rig(database, simulator.url, folder, **settings)
        rig.start()
        try:
            yield rig, simulator
        finally:
            rig.stop()


def a_campaign(
    database: Database, to: Sequence[str], *, kind: Kind = Kind.MARKETING, **changes: Any
) -> Campaign:
    """A campaign of plain texts to these recipients, with its intake done."""
    with database.write() as tx:
        now = read_clock(tx)
        new = NewCampaign(
            key=f"k{now}",
            name="test",
            kind=kind,
            sender=SENDER,
            type="text",
            content='{"body":"hello {{name}}"}',
            source_hash="h",
            source_name="test.csv",
            due_at=now,
            ttl_ms=None,
            rate=None,
            on_unknown=OnUnknown.HOLD,
            created_by="test",
        )
        new = replace(new, **{k: v for k, v in changes.items() if k != "expires_at"})
        senders.register(tx, SENDER, rate=400.0)
        campaign, _ = campaign_creation.create_or_find(tx, new)
        planned = [
            NewMessage(
                n,
                number,
                False,
                number,
                SENDER,
                "text",
                {"v": {"name": f"N{n}"}},
                str(n),
                now,
                changes.get("expires_at"),
            )
            for n, number in enumerate(to, start=1)
        ]
        intake.store_chunk(
            tx,
            campaign,
            after_row=0,
            planned=planned,
            refused=[],
            cipher=Cipher([KEY]),
        )
        campaigns.finish_intake(tx, campaign.id)
        return campaigns.get(tx, campaign.id)


def number(n: int) -> str:
    return f"4477009{n:05d}"


def one_of(database: Database, campaign: Campaign, to: str) -> dict[str, Any]:
    from bulksend.ledger import search

    with database.read() as tx:
        (row,) = search.find(tx, search.Query(phone=to, campaign_id=campaign.id), limit=2)
        return dict(row) | {"tried": [a["outcome"] for a in messages.attempts_of(tx, str(row["id"]))]}


def ended(statuses: dict[str, int]) -> bool:
    return not {"queued", "retry", "claimed", "sending"} & statuses.keys()


def ret(code: int, message: str = "") -> dict[str, Any]:
    return {"do": "ret_code", "ret_code": code, "message": message}


# What the vendor does, and how the message ends after how many POSTs (three tries at most here).
TABLE: list[tuple[str, dict[str, Any] | None, str, int]] = [
    ("accepts", None, "accepted", 1),
    ("times out inside (110)", ret(110), "unknown", 1),
    ("has a fault (130)", ret(130), "unknown", 1),
    ("is unavailable (150)", ret(150), "unknown", 1),
    ("has a cache fault (151)", ret(151), "unknown", 1),
    ("has a common fault (200)", ret(200), "unknown", 1),
    ("failed to send, no reason", ret(17115, "send failed"), "failed", 3),
    ("cannot reach the recipient", ret(17115, "(#131026) undeliverable"), "failed", 1),
    (
        "caps marketing for them",
        ret(17115, "(#131049) not delivered to maintain healthy ecosystem"),
        "failed",
        1,
    ),
    ("experiments", ret(17115, "(#130472) experiment"), "failed", 1),
    ("was told to stop by them", ret(17115, "(#131050) opted out"), "failed", 1),
    ("wants a template", ret(17115, "(#131047) re-engagement"), "failed", 1),
    ("finds a parameter wrong", ret(17115, "(#132018) param"), "failed", 1),
    ("has bad weather", ret(17115, "(#131016) overloaded"), "failed", 3),
    ("uploads a bad file", ret(17110), "failed", 1),
    ("says something new", ret(17199, "?"), "unknown", 1),
    ("names a code in its words", ret(17115, "parameter 'Order 131031'"), "failed", 3),
    (
        "gives no MessageId",
        {"do": "http_status", "status": 200, "body": '{"RetCode":0,"Data":{}}'},
        "unknown",
        1,
    ),
    ("says HTTP 500", {"do": "http_status", "status": 500, "body": "oops"}, "unknown", 1),
    ("says HTTP 400", {"do": "http_status", "status": 400, "body": "bad"}, "unknown", 1),
    ("sends, says HTTP 503", {"do": "http_status", "status": 503, "stored": True}, "unknown", 1),
    ("sends, says HTTP 429", {"do": "http_status", "status": 429, "stored": True}, "unknown", 1),
    ("answers garbage", {"do": "garbage"}, "unknown", 1),
    ("takes it and resets", {"do": "accept_then_reset"}, "unknown", 1),
    ("takes it and hangs", {"do": "accept_then_hang", "seconds": 30}, "unknown", 1),
    ("truncates its answer", {"do": "truncate", "bytes": 20}, "unknown", 1),
]


def test_each_answer_of_the_vendor_has_its_ending_and_its_number_of_posts(
    ledger: Database, tmp_path: Path
) -> None:
    rules = [
        {"name": what[:40], "match": {"to_regex": f"^{number(n)}$"}, "fault": fault}
        for n, (what, fault, _, _) in enumerate(TABLE)
        if fault is not None
    ]
    campaign = a_campaign(ledger, [number(n) for n in range(len(TABLE))])
    with rig_of(ledger, tmp_path, rules, permits=NoBreaker(_wall_ms, began_ms=0.0)) as (rig, simulator):
        rig.run_until(campaign, ended)
        posted = Counter(row["to"] for row in requests_of(simulator))
    for n, (what, _, status, posts) in enumerate(TABLE):
        row = one_of(ledger, campaign, number(n))
        # On a busy machine an attempt may end before its POST; it may cost a try.
        unsent = row["tried"].count("not_sent")
        assert row["status"] == status, what
        assert posted[number(n)] == row["attempts"] - unsent, what
        assert posts - unsent <= posted[number(n)] <= posts, what
    with ledger.read() as tx:
        assert audit.audit(tx).holds


@pytest.mark.parametrize(
    ("fault", "scope"),
    [
        (ret(17125, "no money"), "account"),
        (ret(171, "bad signature"), "account"),
        (ret(17115, "(#131031) account restricted"), "account"),
        (ret(17115, "(#131048) spam"), "sender"),
        (ret(17115, "(#131030) Recipient phone number not in allowed list"), "sender"),  # case 24
        (ret(17115, "(#133016) Account register deregister rate limit exceeded"), "sender"),  # case 24
        (ret(17100, "no channel"), "sender"),
        (ret(17115, "(#132001) no such template"), "campaign"),
        (ret(17115, "(#132015) template paused"), "campaign"),
    ],
)
def test_an_answer_that_an_operator_must_fix_pauses_without_counting_a_try_and_goes_on_after_a_resume(
    ledger: Database, tmp_path: Path, fault: dict[str, Any], scope: str
) -> None:
    campaign = a_campaign(ledger, [number(1)])
    with rig_of(ledger, tmp_path, [{"name": "broken", "match": {}, "fault": fault}]) as (rig, simulator):

        def paused(statuses: dict[str, int]) -> bool:
            with ledger.read() as tx:
                held = pauses.current(tx)
            return bool(held.campaigns or held.senders or held.accounts) and ended_or_waits(statuses)

        rig.run_until(campaign, paused)
        row = one_of(ledger, campaign, number(1))
        assert row["status"] in ("queued", "retry")
        with ledger.read() as tx:
            assert messages.get(tx, row["id"])["tries"] == 0
        simulator.set_rules(())
        with ledger.write() as tx:
            assert pauses.resume_campaign(tx, campaign.id, actor="a", why="w") or scope != "campaign"
            assert pauses.resume_sender(tx, SENDER, actor="a", why="w") or scope != "sender"
            assert pauses.resume_account(tx, "default", actor="a", why="w") or scope != "account"
        from bulksend.messaging import Scope

        for one, id in ((Scope.CAMPAIGN, campaign.id), (Scope.SENDER, SENDER), (Scope.ACCOUNT, "default")):
            rig.permits.resume(one, id)
        assert rig.run_until(campaign, ended) == {"accepted": 1}


def test_case_24_an_unlisted_code_pauses_the_campaign_after_ten_and_is_named_in_the_reason(
    ledger: Database, tmp_path: Path
) -> None:
    """Case 24: all messages failed, without the code in their error, and an outage was blamed."""
    campaign = a_campaign(ledger, [number(n) for n in range(600)], rate=50.0)
    rules = [{"fault": ret(17115, "(#139999) Something new")}]
    with rig_of(ledger, tmp_path, rules) as (rig, _):

        def paused(statuses: dict[str, int]) -> bool:
            with ledger.read() as tx:
                return campaigns.get(tx, campaign.id).paused_at is not None and ended_or_waits(statuses)

        statuses = rig.run_until(campaign, paused)
    assert 10 <= statuses.pop("failed") <= 60
    assert statuses.keys() <= {"queued", "retry"}
    with ledger.read() as tx:
        assert "139999" in (campaigns.get(tx, campaign.id).pause_why or "")
        errors = tx.execute(text("SELECT error FROM messages WHERE status = 'failed'")).scalars()
        assert all("139999" in error for error in errors)


def ended_or_waits(statuses: dict[str, int]) -> bool:
    return not {"claimed", "sending"} & statuses.keys()


def test_a_throttled_message_waits_without_counting_a_try(ledger: Database, tmp_path: Path) -> None:
    rules = [{"name": "busy", "match": {"attempt_up_to": 4}, "fault": ret(153, "throttled")}]
    campaign = a_campaign(ledger, [number(1)])
    with rig_of(ledger, tmp_path, rules) as (rig, _):
        assert rig.run_until(campaign, ended) == {"accepted": 1}
    row = one_of(ledger, campaign, number(1))
    assert row["tried"] == ["throttled"] * 4 + ["accepted"]
    with ledger.read() as tx:
        assert messages.get(tx, row["id"])["tries"] == 0


BUSY = {"do": "http_status", "status": 503, "stored": True, "body": "<html>busy</html>"}


def requests_of(simulator: Any) -> list[dict[str, Any]]:
    """Each POST that the vendor read."""
    answer = httpx.get(simulator.origin + "/_/messages", params={"limit": 10_000}, trust_env=False)
    return list(answer.json())


def arrivals(simulator: Any) -> list[float]:
    """When each POST arrived, in seconds, in order."""
    return sorted(row["monotonic"] for row in requests_of(simulator))


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_an_outage_leaves_unknown_what_was_in_flight_and_then_allows_one_probe_at_a_time(
    ledger: Database, tmp_path: Path
) -> None:
    """Issue 14, A4: everything is answered with 503; 500 messages wait, 100 are in flight."""
    vendor = SimulatorSettings(rules=read_rules([{"fault": BUSY}]), latency=Constant(ms=800))
    with run_in_thread(vendor) as simulator:
        campaign = a_campaign(ledger, [number(n) for n in range(500)])
        rig = Rig(ledger, simulator.url, tmp_path, in_flight=100, connections=150)
        rig.start()
        try:
            rig.run_until(campaign, lambda s: s.get("unknown", 0) >= 2)
            # What was in flight when the second answer came has been answered as well.
            rig.run_until(campaign, lambda s: not s.get("sending"))
            flood = len(arrivals(simulator))
            assert flood <= 100 + 10
            rig.run_until(campaign, lambda _: len(arrivals(simulator)) >= flood + 2)
            # The breaker was open for 2 s, then for 4: each probe comes by itself.
            probes = arrivals(simulator)[flood:]
            assert all(later - sooner >= 2 for sooner, later in itertools.pairwise(probes))
            simulator.set_rules(())
            statuses = rig.run_until(campaign, ended, 90)
            stats = httpx.get(simulator.origin + "/_/stats", trust_env=False).json()
            busy = stats["by_http_status"]["503"]
            assert statuses == {"accepted": 500 - busy, "unknown": busy}
        finally:
            rig.stop()
    with ledger.read() as tx:
        assert audit.audit(tx).holds


def test_permits_from_before_an_outage_are_not_used(ledger: Database, tmp_path: Path) -> None:
    """A vendor answers 503 at once: two POSTs open the breaker, while others have their permits."""
    permits = FarSlices(_wall_ms, began_ms=0.0)
    with rig_of(ledger, tmp_path, [{"fault": BUSY}], permits=permits, in_flight=100) as (rig, simulator):
        campaign = a_campaign(ledger, [number(n) for n in range(500)])
        rig.run_until(campaign, lambda s: s.get("unknown", 0) >= 2)
        given, since = permits.far, time.monotonic()
        assert given > 10
        rig.run_until(campaign, lambda _: time.monotonic() > since + permits.FAR_MS / 1000 + 0.5)
        assert len(arrivals(simulator)) <= 2 + permits.probes < 2 + given
    with ledger.read() as tx:
        assert audit.audit(tx).holds


@contextmanager
def busy_rig(database: Database, folder: Path, fault: dict[str, Any]) -> Iterator[Rig]:
    """An engine that can POST, with maintenance that does not end."""
    settings: dict[str, Any] = {"store": BusyLedger, "rescue_seconds": 0.1}
    with rig_of(database, folder, [{"fault": fault}], **settings) as (rig, _):
        rig.run_until(a_campaign(database, []), lambda _: not rig.permits.ask([], lead_ms=0.0).needs_restore)
        assert isinstance(rig.store, BusyLedger)
        rig.store.begin()
        try:
            yield rig
        finally:
            rig.store.end()


def test_a_busy_ledger_delays_no_report_of_an_outage(ledger: Database, tmp_path: Path) -> None:
    with busy_rig(ledger, tmp_path, BUSY) as rig:
        campaign = a_campaign(ledger, [number(n) for n in range(500)])
        rig.run_until(campaign, lambda _: rig.permits.ask([], lead_ms=0.0).opened_ms is not None, seconds=20)


def test_a_busy_ledger_delays_no_pause(ledger: Database, tmp_path: Path) -> None:
    with busy_rig(ledger, tmp_path, ret(17125, "no money")) as rig:
        campaign = a_campaign(ledger, [number(n) for n in range(500)])

        def account_is_paused(_: dict[str, int]) -> bool:
            with ledger.read() as tx:
                return "default" in pauses.current(tx).accounts

        rig.run_until(campaign, account_is_paused, seconds=20)


def test_a_busy_ledger_delays_no_renewal_of_the_lease(ledger: Database, tmp_path: Path) -> None:
    with busy_rig(ledger, tmp_path, BUSY) as rig:
        assert isinstance(rig.store, BusyLedger)
        assert rig.store.renewed.wait(20)


def test_an_unknown_otp_is_not_sent_again_even_with_on_unknown_resend(
    ledger: Database, tmp_path: Path
) -> None:
    rules = [{"name": "lost", "match": {}, "fault": {"do": "accept_then_reset"}}]
    campaign = a_campaign(ledger, [number(1)], kind=Kind.OTP, on_unknown=OnUnknown.RESEND)
    with rig_of(ledger, tmp_path, rules) as (rig, _):
        assert rig.run_until(campaign, ended) == {"unknown": 1}
    row = one_of(ledger, campaign, number(1))
    assert row["tried"] == ["unknown"]
    with ledger.read() as tx:
        from sqlalchemy import select

        from bulksend.ledger.schema import messages as table

        assert tx.execute(select(table.c.payload).where(table.c.id == row["id"])).scalar() is None


def test_on_unknown_resend_sends_an_unknown_message_once_more(ledger: Database, tmp_path: Path) -> None:
    rules = [{"name": "lost", "match": {}, "fault": {"do": "accept_then_reset"}}]
    campaign = a_campaign(ledger, [number(1)], on_unknown=OnUnknown.RESEND)
    with rig_of(ledger, tmp_path, rules) as (rig, _):
        assert rig.run_until(campaign, ended) == {"unknown": 1}
    assert one_of(ledger, campaign, number(1))["tried"] == ["unknown", "unknown"]


def test_a_suppressed_recipient_gets_no_message(ledger: Database, tmp_path: Path) -> None:
    campaign = a_campaign(ledger, [number(1), number(2)])
    with ledger.write() as tx:
        suppressions.add(tx, {number(1): None}, scope="marketing", reason="STOP", source="test", actor="t")
    with rig_of(ledger, tmp_path, []) as (rig, _):
        assert rig.run_until(campaign, ended) == {"accepted": 1, "suppressed": 1}


def test_an_answer_that_a_recipient_opted_out_suppresses_the_recipient(
    ledger: Database, tmp_path: Path
) -> None:
    campaign = a_campaign(ledger, [number(1)])
    with rig_of(ledger, tmp_path, [{"name": "stop", "match": {}, "fault": ret(17115, "(#131050) stop")}]) as (
        rig,
        _,
    ):
        rig.run_until(campaign, ended)
    with ledger.read() as tx:
        assert number(1) in suppressions.reasons_for(tx, [number(1)], Kind.MARKETING)
        assert suppressions.reasons_for(tx, [number(1)], Kind.OTP) == {}


def test_an_expired_message_is_not_posted(ledger: Database, tmp_path: Path) -> None:
    with ledger.read() as tx:
        now = read_clock(tx)
    campaign = a_campaign(ledger, [number(1)], kind=Kind.OTP, expires_at=now + 1)
    with rig_of(ledger, tmp_path, []) as (rig, _):
        assert rig.run_until(campaign, ended) == {"expired": 1}
    assert one_of(ledger, campaign, number(1))["tried"] == []


def test_a_cancelled_campaign_is_not_sent(ledger: Database, tmp_path: Path) -> None:
    campaign = a_campaign(ledger, [number(n) for n in range(20)])
    done = campaign_control.cancel(ledger, campaign.id, actor="a", why="w")
    assert done == campaign_control.Cancelled(waiting=20, held=0, sending=0)
    with rig_of(ledger, tmp_path, []) as (rig, _):
        assert rig.run_until(campaign, ended) == {"cancelled": 20}


def test_a_worker_removes_the_messages_of_a_cancelled_campaign_before_their_turn(
    ledger: Database, tmp_path: Path
) -> None:
    """It held them for as long as their turns took, here 200 s, and the cancel said "0 messages".

    How soon it is where nothing else is at work, `./run faults quiet` measures.
    """
    campaign = a_campaign(ledger, [number(n) for n in range(400)])
    with ledger.write() as tx:
        senders.change(tx, SENDER, actor="a", rate=2.0)
    with rig_of(ledger, tmp_path, []) as (rig, _):
        rig.run_until(campaign, lambda s: s.get("claimed", 0) > 300)
        done = campaign_control.cancel(ledger, campaign.id, actor="a", why="w")
        rig.permits.pause(Scope.CAMPAIGN, campaign.id)
        began = time.monotonic()
        assert done is not None
        assert done.held > 300
        with ledger.read() as tx:
            statuses = campaigns.status_counts(tx, campaign.id)
        # The few that were `sending` are cancelled by their worker where it missed their slices.
        stopped = done.waiting + done.held
        assert stopped <= statuses["cancelled"] <= stopped + 5
        while rig.engine.in_flight.ids():
            assert time.monotonic() - began < 60, rig.engine.totals
            time.sleep(0.01)
        # The round that lifts stale flags leaves this one, as the ledger has the pause.
        with ledger.read() as tx:
            assert campaign.id in pauses.current(tx).campaigns
    with ledger.read() as tx:
        assert audit.audit(tx).holds


def test_campaigns_of_a_sender_are_sent_by_their_weights(ledger: Database, tmp_path: Path) -> None:
    heavy = a_campaign(ledger, [number(n) for n in range(300)], key="heavy", weight=3)
    light = a_campaign(ledger, [number(n) for n in range(300, 600)], key="light")
    with ledger.write() as tx:
        senders.change(tx, SENDER, actor="a", rate=100.0)
        waiting = [[row.id for row in due.due_messages(tx, each.id, 300)] for each in (heavy, light)]
    with rig_of(ledger, tmp_path, [], in_flight=600, lease_seconds=30) as (rig, _):
        rig.offer(Kind.MARKETING, [id for two in zip(*waiting, strict=True) for id in two])
        rig.run_until(heavy, lambda statuses: statuses.get("accepted", 0) >= 120)
    with ledger.read() as tx:
        sent, other = (campaigns.status_counts(tx, each.id)["accepted"] for each in (heavy, light))
    assert sent == pytest.approx(3 * other, rel=0.2)


def test_a_stop_finishes_the_posts_under_way_and_gives_the_rest_back_to_the_ledger(
    ledger: Database, tmp_path: Path
) -> None:
    campaign = a_campaign(ledger, [number(n) for n in range(200)])
    with ledger.write() as tx:
        senders.change(tx, SENDER, actor="a", rate=20.0)
    with run_in_thread(SimulatorSettings()) as simulator:
        rig = Rig(ledger, simulator.url, tmp_path)
        rig.start()
        rig.run_until(campaign, lambda s: s.get("accepted", 0) >= 5)
        rig.stop()
        with ledger.read() as tx:
            statuses = campaigns.status_counts(tx, campaign.id)
            assert audit.audit(tx).holds
    assert statuses.keys() <= {"accepted", "queued", "retry"}
    assert sum(statuses.values()) == 200


def test_an_otp_that_is_refused_without_a_reason_is_not_tried_again(ledger: Database, tmp_path: Path) -> None:
    campaign = a_campaign(ledger, [number(1)], kind=Kind.OTP)
    rules = [{"name": "no reason", "match": {}, "fault": ret(17115, "send failed")}]
    with rig_of(ledger, tmp_path, rules) as (rig, _):
        assert rig.run_until(campaign, ended) == {"failed": 1}
    assert one_of(ledger, campaign, number(1))["tried"] == ["refused"]


def test_a_pause_flag_that_the_ledger_does_not_have_is_lifted_in_the_limiter(
    ledger: Database, tmp_path: Path
) -> None:
    from bulksend.messaging import Scope

    campaign = a_campaign(ledger, [number(1)])
    with rig_of(ledger, tmp_path, [], rescue_seconds=0.1) as (rig, _):
        for scope, id in ((Scope.CAMPAIGN, campaign.id), (Scope.SENDER, SENDER), (Scope.ACCOUNT, "default")):
            rig.permits.pause(scope, id)
        assert rig.run_until(campaign, ended) == {"accepted": 1}


class Connected:
    """A vendor over connections that open after ``connect_s``, the first ``slow`` of them; it answers at once."""

    def __init__(self, slow: int = 0, connect_s: float = 0.0) -> None:
        self._slow = slow
        self._connect_s = connect_s
        self._idle = 0
        self.left: list[float] = []

    async def connect(self) -> Answer | None:
        self._slow -= 1
        if self._slow >= 0:
            await asyncio.sleep(self._connect_s)
        self._idle += 1
        return None

    def post(
        self, order: SendOrder, begin: Callable[[], bool], done: Callable[[Answer], None]
    ) -> asyncio.Future[None] | Answer | None:
        if not self._idle or not begin():
            return None
        self.left.append(time.monotonic())
        answer = Answer(Accepted(f"id-{order.to}", "r"), Evidence(bytes_sent=True, reply_began=True))
        loop = asyncio.get_running_loop()
        loop.call_soon(done, answer)
        return loop.create_future()

    def idle_connections(self) -> int:
        return self._idle

    def connections_left(self) -> int:
        return 200 - self._idle

    async def aclose(self) -> None:
        """Nothing is open."""


class BrokenVendor(Connected):
    """A client with a bug: it raises for one recipient."""

    def __init__(self, to: str) -> None:
        super().__init__()
        self._to = to

    def post(
        self, order: SendOrder, begin: Callable[[], bool], done: Callable[[Answer], None]
    ) -> asyncio.Future[None] | Answer | None:
        if order.to == self._to and begin():
            raise RuntimeError("a bug")
        return super().post(order, begin, done)


def test_slow_connections_do_not_put_more_posts_into_a_second_than_the_rate(
    ledger: Database, tmp_path: Path
) -> None:
    rate = 20
    campaign = a_campaign(ledger, [number(n) for n in range(3 * rate)], rate=float(rate))
    vendor = Connected(slow=rate // 2, connect_s=0.5)
    rig = Rig(ledger, "", tmp_path, vendor=lambda _: vendor)
    rig.start()
    try:
        assert rig.run_until(campaign, ended) == {"accepted": 3 * rate}
    finally:
        rig.stop()
    left = sorted(vendor.left)
    fullest = max(sum(begin <= at < begin + 1 for at in left) for begin in left)
    assert fullest <= rate


def test_a_bug_during_a_post_makes_its_message_unknown_and_does_not_block_the_others(
    ledger: Database, tmp_path: Path
) -> None:
    campaign = a_campaign(ledger, [number(n) for n in range(5)])
    rig = Rig(ledger, "", tmp_path, vendor=lambda _: BrokenVendor(number(2)))
    rig.start()
    try:
        assert rig.run_until(campaign, ended) == {"accepted": 4, "unknown": 1}
    finally:
        rig.stop()
    found = one_of(ledger, campaign, number(2))
    assert (found["status"], found["tried"]) == ("unknown", ["unknown"])
    with ledger.read() as tx:
        assert audit.audit(tx).holds


def test_an_orphan_is_given_back_and_sent(ledger: Database, tmp_path: Path) -> None:
    campaign = a_campaign(ledger, [number(n) for n in range(3)])
    with rig_of(ledger, tmp_path, [], rescue_seconds=0.2) as (rig, _):
        # As a COMMIT leaves it that happens after the worker has given up the claim.
        with ledger.write() as tx:
            lease = str(tx.execute(text("SELECT CAST(id AS text) FROM workers")).scalar_one())
            id = str(tx.execute(text("SELECT CAST(id AS text) FROM messages WHERE row = 2")).scalar_one())
            assert claim(tx, [id], lease=lease, account="default")
        assert rig.run_until(campaign, ended) == {"accepted": 3}
    with ledger.read() as tx:
        assert audit.audit(tx).holds


class HeldUp(Connected):
    """A vendor whose connections open only when the test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    async def connect(self) -> Answer | None:
        await asyncio.get_running_loop().run_in_executor(None, self.let.wait, 30)
        return await super().connect()


def holds_a_lease(ledger: Database) -> bool:
    with ledger.read() as tx:
        lives = text("SELECT count(*) FROM workers WHERE ended_at IS NULL AND lease_until > 1")
        return bool(tx.execute(lives).scalar_one())


def test_an_otp_of_a_lapsed_lease_that_was_surely_not_posted_is_sent(
    ledger: Database, tmp_path: Path
) -> None:
    campaign = a_campaign(ledger, [number(1)], kind=Kind.OTP)
    vendor = HeldUp()
    rig = Rig(ledger, "", tmp_path, vendor=lambda _: vendor)
    rig.start()
    try:
        rig.run_until(campaign, lambda statuses: statuses == {"sending": 1})
        with ledger.write() as tx:
            tx.execute(text("UPDATE workers SET lease_until = 1"))
            leases.rescue(tx, resend_wait_ms=100)
        rig.run_until(campaign, lambda statuses: statuses == {"unknown": 1})
        rig.run_until(campaign, lambda _: holds_a_lease(ledger))
        vendor.let.set()
        assert rig.run_until(campaign, lambda statuses: statuses == {"accepted": 1})
    finally:
        vendor.let.set()
        rig.stop()
    assert len(vendor.left) == 1
    assert one_of(ledger, campaign, number(1))["tried"] == ["not_sent", "accepted"]
    with ledger.read() as tx:
        assert audit.audit(tx).holds


def test_a_bug_before_the_post_gives_its_message_back_with_a_later_due_time(
    ledger: Database, tmp_path: Path
) -> None:
    campaign = a_campaign(ledger, [number(n) for n in range(5)])
    victim = str(one_of(ledger, campaign, number(2))["id"])
    failpoints.arm(f"permitted@{victim}:raise:1")
    try:
        with rig_of(ledger, tmp_path, []) as (rig, _):
            rig.run_until(campaign, lambda s: s == {"accepted": 4, "queued": 1})
            assert rig.engine.totals.posted == 4
    finally:
        failpoints.arm(None)
    with ledger.read() as tx:
        assert due.next_due_at(tx, campaign.id) > read_clock(tx) + 20_000
        assert audit.audit(tx).holds


def test_all_messages_that_miss_their_slices_at_once_get_others(ledger: Database, tmp_path: Path) -> None:
    campaign = a_campaign(ledger, [number(n) for n in range(60)])
    # The ledger does not answer while every message that may be POSTed waits for its write-ahead.
    failpoints.arm("before_open:sleep=1.0:2")
    try:
        with rig_of(ledger, tmp_path, [], in_flight=4) as (rig, _):
            assert rig.run_until(campaign, ended) == {"accepted": 60}
            assert rig.engine.totals.missed_slices >= 1
    finally:
        failpoints.arm(None)


def test_a_message_that_misses_its_slice_and_is_paused_is_not_sent_and_goes_back(
    ledger: Database, tmp_path: Path
) -> None:
    permits = PausesWhatItGrants(_wall_ms, began_ms=0.0)
    first = a_campaign(ledger, [number(n) for n in range(8)])
    try:
        with rig_of(ledger, tmp_path, [], permits=permits) as (rig, _):
            # The connections are open now: the next messages wait for their slices.
            assert rig.run_until(first, ended) == {"accepted": 8}
            second = a_campaign(ledger, [number(n) for n in range(10, 13)])
            permits.victim = second.id
            failpoints.arm("before_open:sleep=0.3:1")
            tried = ["not_sent"]
            rig.run_until(
                second, lambda s: s == {"queued": 3} and tried_of(ledger, second, number(10)) == tried
            )
            assert rig.engine.totals.posted == 8
            permits.victim = ""
            permits.resume(Scope.CAMPAIGN, second.id)
            assert rig.run_until(second, ended) == {"accepted": 3}
    finally:
        failpoints.arm(None)
    with ledger.read() as tx:
        assert audit.audit(tx).holds


def tried_of(ledger: Database, campaign: Campaign, to: str) -> list[str]:
    tried: list[str] = one_of(ledger, campaign, to)["tried"]
    return tried
