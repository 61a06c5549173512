"""Any order of claims, crashes, answers, receipts and operators: the promises hold after every step.

The machine keeps its own book of what really happened at the vendor, which the ledger never sees, and judges the
ledger by it. It runs on SQLite, whose transactions are quick enough for thousands of steps.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event

from bulksend.ledger import (
    campaign_control,
    campaign_retry,
    campaigns,
    due,
    leases,
    messages,
    operator_log,
    pauses,
    receipts,
    unknowns,
)
from bulksend.ledger.claim import Claimed
from bulksend.ledger.database import Database
from bulksend.ledger.release import Release, end_claimed, release
from bulksend.ledger.search import Query
from bulksend.ledger.write_ahead import Opening
from bulksend.messaging.outcome import (
    Accepted,
    Evidence,
    NotSent,
    Outcome,
    Refused,
    Scope,
    Throttled,
    Unknown,
)
from bulksend.messaging.states import ENDED, CampaignStatus, Kind, OnUnknown, Status, may_move

S = Status

#: Every single move is written down by the database itself, also those within one transaction.
LOG = (
    "CREATE TABLE moves (id INTEGER PRIMARY KEY, message TEXT, before TEXT, after TEXT)",
    """CREATE TRIGGER moved AFTER UPDATE OF status ON messages WHEN OLD.status <> NEW.status
       BEGIN INSERT INTO moves (message, before, after) VALUES (NEW.id, OLD.status, NEW.status); END""",
)


#: Lives of one run; in full: LIFELINES=3000.
EXAMPLES = int(os.environ.get("LIFELINES", "50"))
ANSWERS = ("accepted", "refused", "not sent", "throttled", "timeout", "unclear")


def _without_waiting_for_the_disk(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@dataclass
class Post:
    """A POST as the vendor saw it."""

    opening: Opening
    taken: bool | None = None
    """Whether the vendor has it; None while nobody but the vendor knows."""

    @property
    def message_id(self) -> str:
        return f"mid-{self.opening.attempt_id}"


@dataclass
class Worker:
    """A process: what it holds in memory is lost when it dies."""

    lease: str
    claimed: list[Claimed] = field(default_factory=list)
    posting: list[Post] = field(default_factory=list)


def some(data: st.DataObject, things: list[Any]) -> list[Any]:
    """A part of them; all of them more often than not."""
    if data.draw(st.integers(0, 3)):
        return list(things)
    return [thing for thing in things if data.draw(st.booleans())]


class Lifelines(RuleBasedStateMachine):
    """Five messages of three campaigns, two workers, a vendor that answers, loses, lingers and reports."""

    begun: Path
    ids: Sequence[str]
    desk_of: Callable[[Database], Any]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copyfile(self.begun, self.folder / "ledger.db")
        self.database = Database(f"sqlite:///{self.folder / 'ledger.db'}")
        event.listen(self.database.engine, "connect", _without_waiting_for_the_disk)
        self.desk = type(self).desk_of(self.database)
        self.spooled: list[tuple[Post, Outcome]] = []
        self.posts: dict[str, list[Post]] = defaultdict(list)
        self.now = dict.fromkeys(self.ids, S.QUEUED)
        self.workers = [Worker(self.desk.lease(f"host:{n}")) for n in range(2)]

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    # -- workers -----------------------------------------------------------------------------------------

    @rule(data=st.data(), n=st.integers(0, 1), wait=st.integers(0, 3))
    def a_job_comes(self, data: st.DataObject, n: int, wait: int) -> None:
        """With ids of anything at all: duplicates, ids long done, ids in another's hands."""
        worker = self.workers[n]
        mine = {m.id for m in worker.claimed} | {post.opening.message.id for post in worker.posting}
        asked = [id for id in some(data, self.ids) if id not in mine]
        worker.claimed += self.desk.claim(worker.lease, asked)
        if wait:
            self._open(worker, worker.claimed, lost_commit=wait == 3)

    @rule(data=st.data(), n=st.integers(0, 1), lost_commit=st.booleans())
    def it_opens_what_it_held(self, data: st.DataObject, n: int, lost_commit: bool) -> None:
        self._open(self.workers[n], some(data, self.workers[n].claimed), lost_commit=lost_commit)

    def _open(self, worker: Worker, batch: list[Claimed], *, lost_commit: bool) -> None:
        openings = self.desk.openings(batch)
        for _ in range(1 + lost_commit):
            opened = self.desk.open(worker.lease, openings)
        worker.claimed = [m for m in worker.claimed if m not in batch]
        for opening in openings:
            if opening.attempt_id in opened.attempts:
                self._post(worker, opening)

    def _post(self, worker: Worker, opening: Opening) -> None:
        """Only here does anything leave: the ledger must have the open attempt already."""
        found = self.desk.scalar(
            "SELECT f.message_pk FROM in_flight f JOIN messages m ON m.id = f.message_pk "
            "WHERE f.attempt_id = :id AND m.status IN ('queued', 'retry')",
            id=opening.attempt_id,
        )
        assert found == opening.message.id
        assert self.desk.status(found) == "sending"
        id = opening.message.id
        assert sum(post.taken is not False for post in self.posts[id]) <= self._asked_for_again(id), "doubled"
        post = Post(opening)
        self.posts[id].append(post)
        worker.posting.append(post)

    def _asked_for_again(self, id: str) -> int:
        """How often somebody asked to send what may have gone out: its campaign once, a person each time."""
        by_hand = ("resolve as resend", "resolve as failed")
        return self._is_wished(id) + sum(
            act.act in by_hand for act in self.desk.read(operator_log.of, "message", id)
        )

    def _is_wished(self, id: str) -> bool:
        return self._campaign(id).on_unknown is OnUnknown.RESEND and self.desk.row(id)["kind"] != "otp"

    def _campaign(self, id: str) -> campaigns.Campaign:
        campaign: campaigns.Campaign = self.desk.read(campaigns.get, self.desk.row(id)["campaign_id"])
        return campaign

    @precondition(lambda self: any(w.claimed for w in self.workers))
    @rule(n=st.integers(0, 1), rendered=st.booleans())
    def it_lets_one_go(self, n: int, rendered: bool) -> None:
        worker = self.workers[n]
        for message in worker.claimed[:1]:
            worker.claimed.remove(message)
            if rendered:
                given_back = Release(message.id, 0, "sender_rate", None)
                self.desk.write(release, [given_back], lease=worker.lease)
            else:
                failure = (message.id, "cannot be rendered")
                self.desk.write(end_claimed, [failure], Status.FAILED, worker.lease)

    # -- the vendor --------------------------------------------------------------------------------------

    @precondition(lambda self: any(w.posting for w in self.workers))
    @rule(data=st.data(), twice=st.booleans(), spooled=st.booleans())
    def the_vendor_answers(self, data: st.DataObject, twice: bool, spooled: bool) -> None:
        """Its answers are settled, now and perhaps again, or spooled for a later start of the worker."""
        for worker in self.workers:
            for post in some(data, worker.posting):
                worker.posting.remove(post)
                outcome = self._outcome(post, data.draw(st.sampled_from(ANSWERS)))
                if spooled:
                    self.spooled.append((post, outcome))
                else:
                    for _ in range(1 + twice):
                        self._settle(post, outcome, in_hand=True)

    def _outcome(self, post: Post, answer: str) -> Outcome:
        post.taken = {"accepted": True, "unclear": True, "timeout": None}.get(answer, False)
        outcomes: dict[str, Outcome] = {
            "accepted": Accepted(post.message_id, "rid"),
            "refused": Refused("17009", "no such template"),
            "not sent": NotSent("ConnectError"),
            "throttled": Throttled("429", "too fast", Scope.SENDER),
            "timeout": Unknown("ReadTimeout"),
            "unclear": Unknown("HTTP 500"),
        }
        return outcomes[answer]

    def _settle(self, post: Post, outcome: Outcome, *, in_hand: bool) -> None:
        """As ``decide`` would: doubt is sent again once where the campaign asked for it, nothing after its time."""
        message = post.opening.message
        changes: dict[str, Any] = {}
        if in_hand and message.kind is Kind.OTP:
            changes["payload"] = message.payload
        if isinstance(outcome, NotSent | Throttled) and self.desk.row(message.id)["expires_at"] is not None:
            changes |= {"status": S.EXPIRED, "due_at": None}
        if isinstance(outcome, Unknown):
            if self._is_wished(message.id) and message.tries == 0:
                changes |= {"status": S.RETRY, "due_at": 0}
            if post.taken:
                # An answer that was no clear success, but named the message.
                changes["evidence"] = Evidence(500, 0, message_id=post.message_id, bytes_sent=True)
        self.desk.settle(post.opening, outcome, **changes)

    @precondition(lambda self: self.spooled)
    @rule(data=st.data())
    def spools_are_replayed(self, data: st.DataObject) -> None:
        for entry in some(data, self.spooled):
            self.spooled.remove(entry)
            self._settle(*entry, in_hand=False)

    @precondition(lambda self: any(post.taken for posts in self.posts.values() for post in posts))
    @rule(data=st.data(), word=st.sampled_from(["sent", "delivered", "read", "failed"]))
    def a_receipt_comes(self, data: st.DataObject, word: str) -> None:
        """Only of what the vendor took; it may overtake the answer."""
        taken = [post for posts in self.posts.values() for post in posts if post.taken]
        post = data.draw(st.sampled_from(taken))
        self.desk.receive(
            receipts.Receipt(post.message_id, word, 1), receipts.Receipt("mid-of-nobody", word, 1)
        )

    # -- crashes and the relay ---------------------------------------------------------------------------

    @rule(n=st.integers(0, 1), reached=st.booleans(), relay=st.booleans())
    def a_worker_is_killed(self, n: int, reached: bool, relay: bool) -> None:
        """What it was POSTing has reached the vendor, or nobody knows; nobody will ever tell the ledger."""
        for post in self.workers[n].posting:
            post.taken = True if reached else None
        self.desk.lapse(self.workers[n].lease)
        self.workers[n] = Worker(self.desk.lease())
        if relay:
            self.the_relay_makes_its_round()

    @rule(n=st.integers(0, 1), relay=st.booleans())
    def a_worker_is_away_for_longer_than_its_lease(self, n: int, relay: bool) -> None:
        """It comes back under a new lease; its answers still come, what it had claimed is no longer its own."""
        worker = self.workers[n]
        self.desk.lapse(worker.lease)
        if relay:
            self.the_relay_makes_its_round()
        opened = self.desk.open(worker.lease, self.desk.openings(worker.claimed))
        assert opened.attempts == frozenset()
        worker.lease, worker.claimed = self.desk.lease(), []

    @rule()
    def the_relay_makes_its_round(self) -> None:
        def round_(tx: Any) -> None:
            leases.rescue(tx, resend_wait_ms=0)
            leases.close_ended(tx)
            due.expire(tx)
            campaign_control.end_cancelled(tx)
            receipts.Orphans().match(tx)
            campaigns.finish_ended(tx)

        self.desk.write(round_)

    @rule(id=st.integers(0, 4))
    def time_passes_the_life_of_one(self, id: int) -> None:
        self.desk.sql(
            "UPDATE messages SET expires_at = :now WHERE id = :id", now=self.desk.now(), id=self.ids[id]
        )

    # -- people ------------------------------------------------------------------------------------------

    @rule(id=st.integers(0, 4), act=st.sampled_from(["pause", "resume", "cancel", "begin cancel", "retry"]))
    def an_operator_acts_on_a_campaign(self, id: int, act: str) -> None:
        campaign = self._campaign(self.ids[id])
        if act == "retry" and campaign.status is CampaignStatus.CANCELLED:
            return
        work = {
            "pause": pauses.pause_campaign,
            "resume": pauses.resume_campaign,
            "begin cancel": campaign_control.mark_cancelled,
        }
        if act == "cancel":
            campaign_control.cancel(self.database, campaign.id, actor="ada", why="because")
        elif act == "retry":
            campaign_retry.retry(self.database, campaign.id, actor="ada", why="because", step=2)
        else:
            self.desk.write(work[act], campaign.id, actor="ada", why="because")
        if act == "pause":
            self.the_relay_makes_its_round()
            self.desk.write(pauses.resume_campaign, campaign.id, actor="ada", why="because")

    @precondition(lambda self: S.UNKNOWN in self.now.values())
    @rule(data=st.data(), as_=st.sampled_from(["accepted", "failed", "resend"]))
    def an_operator_resolves(self, data: st.DataObject, as_: str) -> None:
        id = data.draw(st.sampled_from([id for id, status in self.now.items() if status is S.UNKNOWN]))
        cancelled = self._campaign(id).status is CampaignStatus.CANCELLED
        row = self.desk.row(id)
        if as_ == "resend" and (row["kind"] == "otp" or cancelled or row["expires_at"] is not None):
            return
        self.desk.write(messages.resolve, id, as_=as_, actor="ada", why="because")

    # -- what must hold after every step -------------------------------------------------------------------

    @invariant()
    def the_audit_holds(self) -> None:
        assert self.desk.broken() == {}

    @invariant()
    def no_message_leaves_the_table_of_moves(self) -> None:
        with self.database.read() as tx:
            moves = tx.exec_driver_sql("SELECT before, after FROM moves").all()
            self.now = {
                row.id: S(row.status) for row in tx.exec_driver_sql("SELECT id, status FROM messages")
            }
        for before, after in moves:
            assert may_move(S(before), S(after)), f"{before} -> {after}"

    @invariant()
    def every_ending_has_its_event(self) -> None:
        with self.database.read() as tx:
            moves = tx.exec_driver_sql("SELECT message, before, after FROM moves ORDER BY id").all()
            told = tx.exec_driver_sql(
                "SELECT items, type FROM events WHERE items IS NOT NULL ORDER BY id"
            ).all()
        assert [tuple(row) for row in told] == [
            (id, "message.resolved" if leaves_doubt(before, after) else f"message.{after}")
            for id, before, after in moves
            if S(after) in ENDED or S(before) is S.UNKNOWN
        ]

    @invariant()
    def every_unknown_is_listed_with_the_attempt_that_left_it(self) -> None:
        with self.database.read() as tx:
            listed = unknowns.unknown(tx, Query(), limit=10)
            there = tx.exec_driver_sql("SELECT id FROM messages WHERE status = 'unknown'").scalars().all()
        assert {row["id"] for row in listed} == set(there)
        assert all(row["attempt_n"] for row in listed)

    @invariant()
    def every_post_has_its_attempt_on_record(self) -> None:
        made = sum(len(posts) for posts in self.posts.values())
        under_way = self.desk.scalar("SELECT count(attempt_id) FROM in_flight")
        assert self.desk.scalar("SELECT count(*) FROM attempts") + under_way == made

    @invariant()
    def what_the_vendor_took_is_never_said_not_to_have_been_sent(self) -> None:
        for id, posts in self.posts.items():
            if any(post.taken for post in posts):
                assert self.now[id] not in (S.EXPIRED, S.SUPPRESSED, S.CANCELLED)


def leaves_doubt(before: str, after: str) -> bool:
    """Whether it was unknown and the event says that it no longer is, and not that it was delivered."""
    return S(before) is S.UNKNOWN and S(after) not in (S.DELIVERED, S.READ)


def begin(desk: Any) -> list[str]:
    """What every life begins with: codes, an unknown message that is held, two that are sent again."""
    for statement in LOG:
        desk.sql(statement)
    return [
        *desk.queued(Kind.OTP, n=2, on_unknown=OnUnknown.RESEND),
        *desk.queued(Kind.UTILITY, n=1),
        *desk.queued(Kind.MARKETING, n=2, on_unknown=OnUnknown.RESEND),
    ]


def test_the_promises_hold_after_every_step_of_any_life(
    sqlite_template: Path, tmp_path: Path, desk_of: Callable[[Database], Any]
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")

    class Here(Lifelines):
        begun = tmp_path / "ledger.db"
        ids = begin(desk_of(database))

    database.close()
    Here.desk_of = staticmethod(desk_of)
    thorough = settings(
        max_examples=EXAMPLES,
        stateful_step_count=30,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    run_state_machine_as_test(Here, settings=thorough)
