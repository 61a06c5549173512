"""What the engine asks of the ledger, each in one transaction, made to run on a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from bulksend.errors import LedgerUnreachable
from bulksend.failpoints import reach
from bulksend.ledger import leases, pauses, senders, sending, suppressions
from bulksend.ledger.database import Database
from bulksend.ledger.installation import limiter_key
from bulksend.ledger.schema import attempts, messages
from bulksend.messaging.outcome import Scope, Suppress
from worker.recovery.flight_recorder import Flight
from worker.session.campaign_cache import CampaignCache

log = structlog.get_logger(__name__)

#: Where something stood in the way of one batch it does in the way of the next: a pause, a suppressed country.
_CLOSELY = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PauseOrder:
    """Pause ``id`` (of a campaign, sender or account) because of what the vendor answered."""

    scope: Scope
    id: str
    why: str


@dataclass(frozen=True, slots=True)
class SuppressOrder:
    """Suppress a recipient (or its country) because of what the vendor answered."""

    recipient: str
    suppress: Suppress
    whatsapp_code: int | None
    why: str


class Store:
    """The ledger as one worker sees it: under its lease, for its account."""

    def __init__(self, database: Database, book: CampaignCache, *, name: str, account: str) -> None:
        self.database = database
        self.book = book
        self.name = name
        self.account = account
        self._closely = 0
        """So many batches are looked at closely without asking first whether that is needed."""
        self.lease: str | None = None
        """The lease taken last."""

    def say_away(self, away: bool) -> tuple[int, int]:
        """See bulksend.limits.Peers."""
        lease = self.lease
        if lease is None:
            raise ConnectionError("no lease yet")
        try:
            return self.database.retrying(lambda tx: leases.say_away(tx, lease, away), patience_s=1.0)
        except LedgerUnreachable as error:
            raise ConnectionError(str(error)) from None

    def take_lease(self, lease_ms: int) -> tuple[str, int]:
        """A new lease for this worker, and the database's clock (ms)."""
        self.lease, now_ms = self.database.retrying(lambda tx: leases.take(tx, self.name, lease_ms))
        return self.lease, now_ms

    def renew(self, lease: str, lease_ms: int) -> int | None:
        """Prolong the lease, the database's clock (ms); None when it has lapsed."""
        return self.database.retrying(lambda tx: leases.renew(tx, lease, lease_ms), patience_s=2.0)

    def end_lease(self, lease: str) -> None:
        """This worker stops; whatever it holds still is given back or becomes unknown at once."""

        def work(tx: Connection) -> None:
            leases.end(tx, lease)

        self.database.retrying(work, patience_s=5.0)

    def rescue(self, resend_wait_ms: int) -> leases.Rescued:
        """Take from the dead what they hold."""

        def work(tx: Connection) -> leases.Rescued:
            done = leases.rescue(tx, resend_wait_ms=resend_wait_ms)
            leases.close_ended(tx)
            reach("rescuing")
            return done

        with self.database.read() as tx:
            if not leases.any_lapsed(tx):
                return leases.Rescued([], [], [])
        return self.database.retrying(work, patience_s=2.0)

    def reap(self, flight: Flight, resend_wait_ms: int) -> leases.Rescued:
        """Take from a dead neighbour what it held, by its own record."""

        def work(tx: Connection) -> leases.Rescued:
            return leases.reap(
                tx,
                flight.lease,
                rendering=flight.rendering,
                begun=flight.begun,
                resend_wait_ms=resend_wait_ms,
            )

        return self.database.retrying(work, patience_s=5.0) if flight.lease else leases.Rescued([], [], [])

    def claim(self, ids: Sequence[str], lease: str) -> list[sending.Claimed]:
        """Claim what still waits of these ids, and know its campaigns and senders."""

        def work(tx: Connection) -> list[sending.Claimed]:
            claimed = sending.claim(tx, ids, lease=lease, account=self.account)
            self.book.look_up(tx, claimed)
            return claimed

        reach("before_claim")
        claimed = self.database.retrying(work, alone=True)
        reach("after_claim")
        return claimed

    def _at_once(self, work: Callable[[Connection], T], *, patience_s: float) -> T | None:
        """What is a single statement needs no transaction. None on SQLite, where that saves nothing."""
        if self.database.is_sqlite:
            return None
        return self.database.retrying(work, patience_s=patience_s, alone=True)

    def claimed_under(self, lease: str) -> set[str]:
        """What the ledger says this lease has in hand."""
        with self.database.read() as tx:
            return sending.claimed_under(tx, lease)

    def open(self, openings: Sequence[sending.Opening], lease: str) -> frozenset[str]:
        """The last-moment check and write-ahead of a micro-batch: the ids of the attempts that are open now."""

        def at_once(tx: Connection) -> frozenset[str] | None:
            return sending.open_at_once(tx, openings, lease=lease, worker=self.name, account=self.account)

        def closely(tx: Connection) -> sending.Opened:
            return sending.open_attempts(tx, left, lease=lease, worker=self.name, account=self.account)

        reach("before_open")
        opened = frozenset[str]()
        if self._closely:
            self._closely -= 1
        else:
            found = self._at_once(at_once, patience_s=3.0)
            opened = found or opened
            self._closely = _CLOSELY if found is None else 0
        left = [opening for opening in openings if opening.attempt_id not in opened]
        if left:
            opened |= self.database.retrying(closely, patience_s=3.0).attempts
        reach("after_open")
        return opened

    def settle(self, settlements: Sequence[sending.Settlement]) -> None:
        """Close attempts and move their messages on."""

        def at_once(tx: Connection) -> bool:
            return sending.settle_at_once(tx, settlements)

        def closely(tx: Connection) -> None:
            sending.settle(tx, settlements)

        reach("before_settle")
        if not self._at_once(at_once, patience_s=5.0):
            self.database.retrying(closely, patience_s=5.0)
        reach("after_settle")

    def give_back(self, releases: Sequence[sending.Release], lease: str) -> None:
        """Back to the queue, unsent."""

        def work(tx: Connection) -> None:
            sending.give_back(tx, releases, lease=lease)

        reach("giving_back")
        self.database.retrying(work, patience_s=5.0)

    def fail(self, failures: Sequence[tuple[str, str]], lease: str) -> None:
        """Messages that can never be rendered."""

        def work(tx: Connection) -> None:
            sending.fail_claimed(tx, failures, lease=lease)

        self.database.retrying(work, patience_s=5.0)

    def expire(self, ids: Sequence[str], lease: str) -> list[str]:
        """End those whose time to live has passed by the database's clock."""
        return self.database.retrying(lambda tx: sending.expire_claimed(tx, ids, lease=lease), patience_s=5.0)

    def pause(self, orders: Sequence[PauseOrder]) -> list[PauseOrder]:
        """Pause what the vendor's answers ask for, on record; those that ran until now."""

        def work(tx: Connection) -> list[PauseOrder]:
            acting: dict[Scope, Callable[[PauseOrder], bool]] = {
                Scope.CAMPAIGN: lambda o: pauses.pause_campaign(tx, o.id, actor=self.name, why=o.why),
                Scope.SENDER: lambda o: _pause_sender(tx, o, self.name),
                Scope.ACCOUNT: lambda o: pauses.pause_account(tx, o.id, actor=self.name, why=o.why),
            }
            return [order for order in orders if acting[order.scope](order)]

        return self.database.retrying(work)

    def suppress(self, orders: Sequence[SuppressOrder]) -> None:
        """Suppress recipients that the vendor's answers ask to leave alone."""

        def work(tx: Connection) -> None:
            for order in orders:
                _suppress(tx, order, self.name)

        self.database.retrying(work)

    def pauses(self) -> pauses.Pauses:
        """Everything paused now: the truth behind the limiter's flags."""
        with self.database.read() as tx:
            return pauses.current(tx)

    def running_senders(self) -> list[str]:
        """Senders that are not paused."""
        with self.database.read() as tx:
            return [s.phone for s in senders.all_senders(tx) if s.paused_at is None]

    def recent_recipients(self, day_ms: int = 86_400_000) -> Mapping[str, list[tuple[str, int]]]:
        """Whom each sender with a quota has written to in the last 24 h: (recipient, when)."""
        from sqlalchemy import func, select

        from bulksend.ledger.database import db_now

        found: dict[str, list[tuple[str, int]]] = {}
        with self.database.read() as tx:
            limited = [s.phone for s in senders.all_senders(tx) if s.quota is not None]
            for phone in limited:
                rows = tx.execute(
                    select(messages.c.recipient, func.max(attempts.c.started_at))
                    .select_from(attempts.join(messages, attempts.c.message_pk == messages.c.id))
                    .where(attempts.c.sender == phone, attempts.c.started_at > db_now() - day_ms)
                    .group_by(messages.c.recipient)
                )
                found[phone] = [(recipient, at) for recipient, at in rows]
        return found

    def limiter_key(self) -> bytes:
        """The key of the limiter's hashes."""
        return limiter_key(self.database)

    def close(self) -> None:
        """Close the database's connections."""
        self.database.close()


def _pause_sender(tx: Connection, order: PauseOrder, actor: str) -> bool:
    senders.register(tx, order.id)
    return pauses.pause_sender(tx, order.id, actor=actor, why=order.why)


def _suppress(tx: Connection, order: SuppressOrder, actor: str) -> None:
    from bulksend.ledger.database import instant
    from bulksend.messaging import region_of

    wanted = order.suppress
    if wanted.after_days > 1 and order.whatsapp_code is not None:
        days = suppressions.days_with_code(tx, order.recipient, order.whatsapp_code)
        if days < wanted.after_days:
            return
    subject = order.recipient
    if wanted.country:
        region = region_of(order.recipient)
        if region is None:
            return
        subject = suppressions.COUNTRY + region
    until = None if wanted.for_ms is None else instant(tx) + wanted.for_ms
    suppressions.add(
        tx, subject, scope=wanted.scope, reason=order.why, source="vendor", actor=actor, until=until
    )
