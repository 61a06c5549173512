"""The ledger's operations that a worker needs, each one transaction. They block, so the engine runs them on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from bulksend.failpoints import reach
from bulksend.ledger import leases, paces, pauses, remedies, senders
from bulksend.ledger.claim import Claimed, claim
from bulksend.ledger.database import Database
from bulksend.ledger.in_flight import claimed_under
from bulksend.ledger.release import Release, end_claimed, release
from bulksend.ledger.settle import Settlement, settle, settle_in_one_statement
from bulksend.ledger.write_ahead import Opened, Opening, open_attempts, open_in_one_statement
from bulksend.messaging.outcome import Scope, Suppress
from bulksend.messaging.states import Status
from worker.session.campaign_cache import CampaignCache

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PauseOrder:
    """Pause ``id`` (a campaign, sender or account) because of a reply of the vendor."""

    scope: Scope
    id: str
    why: str


#: Takes ids of messages whose turn it is.
OnNext = Callable[[Sequence[str]], None]


class Store:
    """The ledger for one worker. Every method raises LedgerUnreachable when the database stays away."""

    def __init__(self, database: Database, campaign_cache: CampaignCache, *, name: str, account: str) -> None:
        self.database = database
        self.campaign_cache = campaign_cache
        self.name = name
        self.account = account

    def take_lease(self, lease_ms: int) -> tuple[str, int]:
        """The id of a new lease for this worker, and the database's clock (ms)."""
        return self.database.retrying(lambda tx: leases.take(tx, self.name, lease_ms))

    def renew(self, lease: str, lease_ms: int) -> int | None:
        """Prolong the lease: the database's clock (ms); None when it has lapsed."""
        return self.database.retrying(lambda tx: leases.renew(tx, lease, lease_ms), patience_s=2.0)

    def end_lease(self, lease: str, resend_wait_ms: int) -> leases.Rescued:
        """End the lease and take what it still holds."""
        return self.reap(lease, rendering=None, begun=None, resend_wait_ms=resend_wait_ms)

    def rescue(self, resend_wait_ms: int) -> leases.Rescued:
        """Take from lapsed leases what they hold."""

        def work(tx: Connection) -> leases.Rescued:
            done = leases.rescue(tx, resend_wait_ms=resend_wait_ms)
            leases.close_ended(tx)
            reach("rescuing")
            return done

        with self.database.read() as tx:
            if not leases.any_lapsed(tx):
                return leases.Rescued([], [], [])
        return self.database.retrying(work, patience_s=2.0)

    def reap(
        self, lease: str, *, rendering: str | None, begun: Iterable[str] | None, resend_wait_ms: int
    ) -> leases.Rescued:
        """End the lease of a dead worker and take what it held, by its flight record: see leases.reap."""

        def work(tx: Connection) -> leases.Rescued:
            return leases.reap(tx, lease, rendering=rendering, begun=begun, resend_wait_ms=resend_wait_ms)

        return self.database.retrying(work, patience_s=5.0)

    def claim(self, ids: Sequence[str], lease: str) -> list[Claimed]:
        """Claim those of the ids that still wait, and load their campaigns and senders."""

        def work(tx: Connection) -> list[Claimed]:
            claimed = claim(tx, ids, lease=lease, account=self.account)
            self.campaign_cache.load(tx, claimed)
            return claimed

        reach("before_claim")
        claimed = self.database.retrying(work, autocommit=True)
        reach("after_claim")
        return claimed

    def _in_one_statement(self, work: Callable[[Connection], T], *, patience_s: float) -> T | None:
        """Run a single statement without BEGIN and COMMIT. None on SQLite, where they cost no round trip."""
        if self.database.is_sqlite:
            return None
        return self.database.retrying(work, patience_s=patience_s, autocommit=True)

    def claimed_under(self, lease: str) -> set[str]:
        """The ids that the ledger has as claimed under this lease."""
        with self.database.read() as tx:
            return set(claimed_under(tx, lease))

    def open(
        self, openings: Sequence[Opening], lease: str, on_next: OnNext = lambda _: None
    ) -> frozenset[str]:
        """The last check and the write-ahead of a batch: the ids of the attempts that are now open.

        ``on_next`` gets the newer codes that go before codes of the batch.
        """

        caps = self.campaign_cache.caps(opening.message.campaign_id for opening in openings)

        def in_one_statement(tx: Connection) -> frozenset[str] | None:
            return open_in_one_statement(tx, openings, lease=lease, account=self.account, caps=caps)

        def with_full_check(tx: Connection) -> Opened:
            return open_attempts(tx, left, lease=lease, account=self.account, caps=caps)

        reach("before_open")
        opened = self._in_one_statement(in_one_statement, patience_s=3.0) or frozenset()
        left = [opening for opening in openings if opening.attempt_id not in opened]
        if left:
            checked = self.database.retrying(with_full_check, patience_s=3.0)
            opened |= checked.attempts
            if checked.next:
                on_next(checked.next)
        reach("after_open")
        return opened

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Close attempts and move their messages on."""
        reach("before_settle")
        settled = (
            self._in_one_statement(lambda tx: settle_in_one_statement(tx, settlements), patience_s=5.0)
            or frozenset()
        )
        left = [settlement for settlement in settlements if settlement.attempt_id not in settled]
        if left:
            self.database.retrying(lambda tx: settle(tx, left), patience_s=5.0)
        reach("after_settle")

    def give_back(self, releases: Sequence[Release], lease: str) -> None:
        """Return claimed messages to the queue, unsent."""
        reach("giving_back")
        self.database.retrying(lambda tx: release(tx, releases, lease=lease), patience_s=5.0)

    def fail(self, failures: Sequence[tuple[str, str]], lease: str) -> None:
        """End messages that can never be rendered: (id, why) of each."""
        self.database.retrying(lambda tx: end_claimed(tx, failures, Status.FAILED, lease), patience_s=5.0)

    def pause(self, order: PauseOrder) -> bool:
        """Pause, and record it. Returns whether it was running."""
        return self.database.retrying(
            lambda tx: remedies.pause(tx, order.scope, order.id, why=order.why, actor=self.name)
        )

    def suppress(self, recipient: str, suppress: Suppress, code: int | None, why: str) -> None:
        """Suppress a recipient (or its country) because of a reply of the vendor, and record it."""
        self.database.retrying(
            lambda tx: remedies.suppress(tx, {recipient: None}, suppress, code=code, why=why, actor=self.name)
        )

    def record_paces(self, changes: Sequence[paces.PaceChange]) -> None:
        """Record that the vendor had this worker slow down senders, the account, or pairs."""
        self.database.retrying(lambda tx: paces.record(tx, changes, actor=self.name), patience_s=2.0)

    def pauses(self) -> pauses.Pauses:
        """Everything paused now. The limiter's flags are copies of it."""
        with self.database.read() as tx:
            return pauses.current(tx)

    def changed_rates(self) -> dict[str, float | None]:
        """The rates of cached campaigns that an operator changed, by the campaign's id."""
        with self.database.read() as tx:
            return self.campaign_cache.refresh(tx)

    def running_senders(self) -> list[str]:
        """Senders that are not paused."""
        with self.database.read() as tx:
            return [s.phone for s in senders.all_senders(tx) if s.paused_at is None]

    def recent_recipients(self) -> list[tuple[str, int]] | None:
        """See senders.recent_recipients."""
        with self.database.read() as tx:
            return senders.recent_recipients(tx)

    def close(self) -> None:
        """Close the database's connections."""
        self.database.close()
