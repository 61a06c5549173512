"""Any order of claims, crashes, answers, receipts and operators: the promises hold after every step.

The machine keeps its own book of what really happened at the vendor, which the ledger never sees, and judges the
ledger by it. It runs on SQLite, whose transactions are quick enough for thousands of steps.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bulksend.ledger import acts, campaigns, due, leases, messages, receipts, sending
from bulksend.ledger.database import Database
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
from bulksend.messaging.states import MOVES, Kind, OnUnknown, Status

S = Status
#: What evidence, or the end of a campaign, does to a message that waits for a second attempt on request.
IN_DOUBT_AND_WAITING = {
    before: frozenset({S.ACCEPTED, S.DELIVERED, S.READ, S.UNKNOWN})
    for before in (S.QUEUED, S.RETRY, S.CLAIMED)
}
#: The answer to an earlier attempt comes to light after the second one failed, or after a person's word.
LATE_ACCEPTANCE = {S.FAILED: frozenset({S.ACCEPTED})}
ALLOWED = {
    before: after | IN_DOUBT_AND_WAITING.get(before, frozenset()) | LATE_ACCEPTANCE.get(before, frozenset())
    for before, after in MOVES.items()
}


#: Every single move is written down by the database itself, also those within one transaction.
LOG = (
    "CREATE TABLE moves (id INTEGER PRIMARY KEY, message TEXT, before TEXT, after TEXT)",
    """CREATE TRIGGER moved AFTER UPDATE OF status ON messages WHEN OLD.status <> NEW.status
       BEGIN INSERT INTO moves (message, before, after) VALUES (NEW.id, OLD.status, NEW.status); END""",
)


@dataclass
class Post:
    """A POST as the vendor saw it."""

    message: str
    opening: sending.Opening
    taken: bool | None = None
    """Whether the vendor has it; None while nobody but the vendor knows."""


@dataclass
class Worker:
    """A process: what it holds in memory is lost when it dies."""

    lease: str
    claimed: list[sending.Claimed] = field(default_factory=list)
    posting: list[Post] = field(default_factory=list)
    spool: list[Callable[[], None]] = field(default_factory=list)


class Lifelines(RuleBasedStateMachine):
    """Messages of four campaigns, up to three workers, a vendor that answers, loses, lingers and reports."""

    template: Path
    desk_of: Callable[[Database], Any]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copyfile(self.template, self.folder / "ledger.db")
        self.database = Database(f"sqlite:///{self.folder / 'ledger.db'}")
        self.desk = type(self).desk_of(self.database)
        for statement in LOG:
            self.desk.sql(statement)
        self.workers: list[Worker] = []
        self.lost: list[Post] = []
        self.spooled: list[tuple[Post, Outcome]] = []
        self.posts: dict[str, list[Post]] = defaultdict(list)
        self.now: dict[str, Status] = {}

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.ids = [
            *self.desk.queued(Kind.OTP, n=2, life_ms=60_000),
            *self.desk.queued(Kind.OTP, n=1, on_unknown=OnUnknown.RESEND),
            *self.desk.queued(Kind.UTILITY, n=2),
            *self.desk.queued(Kind.MARKETING, n=3, on_unknown=OnUnknown.RESEND),
        ]
        self.now = dict.fromkeys(self.ids, S.QUEUED)
        self.workers = [Worker(self.desk.lease(f"host:{n}")) for n in range(2)]

    # -- workers -----------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.workers) < 3)
    @rule()
    def a_worker_starts(self) -> None:
        self.workers.append(Worker(self.desk.lease()))

    def _worker(self, data: st.DataObject) -> Worker:
        return data.draw(st.sampled_from(self.workers))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_job_comes(self, data: st.DataObject) -> None:
        """With ids of anything at all: duplicates, ids long done, ids in another's hands."""
        worker = self._worker(data)
        mine = {m.id for m in worker.claimed} | {post.message for post in worker.posting}
        asked = data.draw(st.lists(st.sampled_from(self.ids), min_size=1, max_size=8, unique=True))
        worker.claimed += self.desk.claim(worker.lease, [id for id in asked if id not in mine])

    @precondition(lambda self: any(w.claimed for w in self.workers))
    @rule(data=st.data(), lost_commit=st.booleans())
    def it_opens_and_posts(self, data: st.DataObject, lost_commit: bool) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.claimed]))
        batch = self._some(data, worker.claimed)
        openings = self.desk.openings(batch)
        opened = self.desk.open(worker.lease, openings)
        if lost_commit:
            opened = self.desk.open(worker.lease, openings)
        worker.claimed = [m for m in worker.claimed if m not in batch]
        for opening in openings:
            if opening.attempt_id in opened.attempts:
                self._post(worker, opening)

    def _post(self, worker: Worker, opening: sending.Opening) -> None:
        """Only here does anything leave: the ledger must have the open attempt already."""
        found = self.desk.scalar(
            "SELECT m.status FROM attempts a JOIN messages m ON m.attempt_id = a.id "
            "WHERE a.id = :id AND a.outcome IS NULL",
            id=opening.attempt_id,
        )
        assert found == "sending"
        post = Post(opening.message.id, opening)
        self._judge_another_post(post)
        self.posts[post.message].append(post)
        worker.posting.append(post)

    def _judge_another_post(self, post: Post) -> None:
        """Nothing goes out again unless all before surely did not, or somebody asked for it."""
        doubtful = [p for p in self.posts[post.message] if p.taken is not False]
        if not doubtful:
            return
        by_hand = any(
            act.act in ("resolve as resend", "resolve as failed")
            for act in self.desk.read(acts.of, "message", post.message)
        )
        wished = len(doubtful) == 1 and self._campaign(post.message).on_unknown is OnUnknown.RESEND
        assert by_hand or (wished and post.opening.message.kind is not Kind.OTP), "POSTed twice"

    def _campaign(self, id: str) -> campaigns.Campaign:
        campaign: campaigns.Campaign = self.desk.read(campaigns.get, self.desk.row(id)["campaign_id"])
        return campaign

    @staticmethod
    def _some(data: st.DataObject, things: list[Any]) -> list[Any]:
        return [thing for thing in things if data.draw(st.booleans())] or things[:1]

    @precondition(lambda self: any(w.claimed for w in self.workers))
    @rule(data=st.data())
    def it_gives_back(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.claimed]))
        batch = self._some(data, worker.claimed)
        releases = [sending.Release(m.id, 0, "sender_rate", None) for m in batch]
        self.desk.write(sending.give_back, releases, lease=worker.lease)
        worker.claimed = [m for m in worker.claimed if m not in batch]

    @precondition(lambda self: any(w.claimed for w in self.workers))
    @rule(data=st.data())
    def it_cannot_render_one(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.claimed]))
        message = worker.claimed.pop()
        self.desk.write(sending.fail_claimed, [(message.id, "cannot be rendered")], lease=worker.lease)

    # -- the vendor --------------------------------------------------------------------------------------

    @precondition(lambda self: any(w.posting for w in self.workers))
    @rule(
        data=st.data(),
        answer=st.sampled_from(["accepted", "refused", "not_sent", "throttled", "unknown"]),
        taken=st.booleans(),
        twice=st.booleans(),
        spooled=st.booleans(),
    )
    def the_vendor_answers(
        self, data: st.DataObject, answer: str, taken: bool, twice: bool, spooled: bool
    ) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.posting]))
        post = worker.posting.pop(data.draw(st.integers(0, len(worker.posting) - 1)))
        outcome = self._outcome(post, answer, taken)
        if spooled:
            self.spooled.append((post, outcome))
            return
        for _ in range(1 + twice):
            self._settle(post, outcome)

    def _outcome(self, post: Post, answer: str, taken: bool) -> Outcome:
        post.taken = {"accepted": True, "unknown": None}.get(answer, False)
        if answer == "unknown":
            post.taken = True if taken else None
            return Unknown("ReadTimeout")
        return {
            "accepted": Accepted(f"mid-{post.opening.attempt_id}", "rid"),
            "refused": Refused("17009", "no such template"),
            "not_sent": NotSent("ConnectError"),
            "throttled": Throttled("429", "too fast", Scope.SENDER),
        }[answer]

    def _settle(self, post: Post, outcome: Outcome) -> None:
        """As ``decide`` would: doubt is sent again once where the campaign asked for it."""
        changes: dict[str, Any] = {}
        message = post.opening.message
        wished = self._campaign(post.message).on_unknown is OnUnknown.RESEND and message.kind is not Kind.OTP
        if isinstance(outcome, Unknown) and wished and message.tries == 0:
            changes = {"status": S.RETRY, "due_at": 0}
        if isinstance(outcome, Unknown) and post.taken:
            # An answer that was no clear success, but named the message.
            changes["evidence"] = Evidence(
                500, 0, message_id=f"mid-{post.opening.attempt_id}", bytes_sent=True
            )
        self.desk.settle(post.opening, outcome, **changes)

    @precondition(lambda self: self.spooled)
    @rule(data=st.data())
    def a_spool_is_replayed(self, data: st.DataObject) -> None:
        post, outcome = self.spooled.pop(data.draw(st.integers(0, len(self.spooled) - 1)))
        self._settle(post, outcome)

    @precondition(lambda self: any(self.posts.values()))
    @rule(data=st.data(), word=st.sampled_from(["sent", "delivered", "read", "failed"]))
    def a_receipt_comes(self, data: st.DataObject, word: str) -> None:
        """Only for what the vendor took; it may overtake the answer."""
        taken = [post for posts in self.posts.values() for post in posts if post.taken]
        if taken:
            post = data.draw(st.sampled_from(taken))
            self.desk.receive(receipts.Receipt(f"mid-{post.opening.attempt_id}", word, 1))

    @rule()
    def a_receipt_of_nobody_comes(self) -> None:
        self.desk.receive(receipts.Receipt("mid-of-nobody", "failed", 1))

    # -- crashes and the relay ---------------------------------------------------------------------------

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), reached=st.booleans())
    def a_worker_is_killed(self, data: st.DataObject, reached: bool) -> None:
        """What it was POSTing has reached the vendor, or not; nobody will ever tell the ledger."""
        worker = self._worker(data)
        self.workers.remove(worker)
        for post in worker.posting:
            post.taken = True if reached else None
        self.desk.lapse(worker.lease)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_is_away_for_longer_than_its_lease(self, data: st.DataObject) -> None:
        """It comes back under a new lease; its answers still come, what it had claimed is no longer its own."""
        worker = self._worker(data)
        self.desk.lapse(worker.lease)
        opened = self.desk.open(worker.lease, self.desk.openings(worker.claimed))
        assert opened.attempts == frozenset()
        worker.lease, worker.claimed = self.desk.lease(), []

    @rule()
    def the_relay_makes_its_round(self) -> None:
        def round_(tx: Any) -> None:
            leases.rescue(tx, resend_wait_ms=0)
            leases.close_ended(tx)
            due.expire(tx)
            due.cancel_stragglers(tx)
            receipts.match_orphans(tx)
            campaigns.finish_ended(tx)

        self.desk.write(round_)

    @rule(data=st.data())
    def time_passes_the_life_of_one(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(self.ids))
        self.desk.sql(
            "UPDATE messages SET expires_at = :now WHERE id = :id",
            now=self.desk.now(),
            id=id,
        )

    # -- people ------------------------------------------------------------------------------------------

    @rule(data=st.data(), act=st.sampled_from(["pause", "resume", "resume", "resume", "cancel", "retry"]))
    def an_operator_acts_on_a_campaign(self, data: st.DataObject, act: str) -> None:
        campaign = self._campaign(data.draw(st.sampled_from(self.ids)))
        if act == "retry" and campaign.status.value == "cancelled":
            return
        work = {
            "pause": campaigns.pause,
            "resume": campaigns.resume,
            "cancel": campaigns.cancel,
            "retry": campaigns.retry_failed,
        }[act]
        self.desk.write(work, campaign.id, actor="ada", why="because")

    @precondition(lambda self: S.UNKNOWN in self.now.values())
    @rule(data=st.data(), as_=st.sampled_from(["accepted", "failed", "resend"]))
    def an_operator_resolves(self, data: st.DataObject, as_: str) -> None:
        id = data.draw(st.sampled_from([id for id, status in self.now.items() if status is S.UNKNOWN]))
        message, campaign = self.desk.row(id), self._campaign(id)
        if as_ == "resend" and (message["kind"] == "otp" or campaign.status.value == "cancelled"):
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
            assert S(after) in ALLOWED[S(before)], f"{before} -> {after}"

    @invariant()
    def no_message_has_two_open_attempts(self) -> None:
        assert (
            self.desk.scalar(
                "SELECT count(*) FROM (SELECT 1 FROM attempts WHERE outcome IS NULL "
                "GROUP BY message_pk HAVING count(*) > 1) AS twice"
            )
            == 0
        )

    @invariant()
    def every_post_has_its_attempt_on_record(self) -> None:
        made = sum(len(posts) for posts in self.posts.values())
        assert self.desk.scalar("SELECT count(*) FROM attempts") == made

    @invariant()
    def what_the_vendor_took_is_never_said_not_to_have_been_sent(self) -> None:
        for id, posts in self.posts.items():
            if any(post.taken for post in posts):
                assert self.now[id] not in (S.EXPIRED, S.SUPPRESSED, S.CANCELLED)

    @invariant()
    def a_code_is_posted_again_only_after_it_surely_did_not_go_out(self) -> None:
        for posts in self.posts.values():
            if posts and posts[0].opening.message.kind is Kind.OTP:
                assert sum(post.taken is not False for post in posts) <= 1


def test_the_promises_hold_after_every_step_of_any_life(
    sqlite_template: Path, desk_of: Callable[[Database], Any]
) -> None:
    class Here(Lifelines):
        template = sqlite_template

    Here.desk_of = staticmethod(desk_of)
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
