"""Fan-out: events after an endpoint's cursor become deliveries, in one transaction with the new cursor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from bulksend.failpoints import reach
from bulksend.ledger import campaigns, events, webhook_deliveries, webhook_endpoints
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.event_numbers import count_between, number_committed
from bulksend.ledger.events import Event
from bulksend.ledger.webhook_deliveries import Claimed
from bulksend.ledger.webhook_endpoints import Endpoint
from bulksend.messaging.webhook_bodies import WebhookBody, compose

log = structlog.get_logger(__name__)

#: Events of one round for each endpoint.
PAGE = 1_000
#: An endpoint for which more deliveries wait gets no further ones: its cursor waits, and the events are kept anyway.
MOST_WAITING = 10_000
#: How often the deliveries that wait are counted.
COUNT_S = 1.0
#: Reads events, see ``bulksend.ledger.events.after``.
ReadEvents = Callable[..., Sequence[Event]]


class Room(NamedTuple):
    """How many deliveries a process may take at once for an endpoint whose URL and secrets are ``sealed``."""

    sealed: bytes
    most: int


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did. ``claimed``: deliveries that this process may send at once.

    ``made`` more are due; ``more``: further events wait.
    """

    claimed: list[Claimed] = field(default_factory=list)
    made: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Page:
    """Events of an endpoint, as the bodies that it gets, and its cursor after them."""

    endpoint: Endpoint
    bodies: list[WebhookBody]
    cursor: int


class FanOut:
    """One notifier at a time works on an endpoint: its row is locked, and a second notifier skips it."""

    def __init__(
        self,
        database: Database,
        *,
        read: ReadEvents = events.after,
        page: int = PAGE,
        lease_ms: int = 0,
        most_waiting: int = MOST_WAITING,
        count_s: float = COUNT_S,
    ) -> None:
        self._database = database
        self._most_waiting, self._count_s = most_waiting, count_s
        self._counted_at = float("-inf")
        self._full: set[str] = set()
        """Endpoints for which too many deliveries wait."""
        self._read = read
        self._page = page
        self._lease_ms = lease_ms
        self._of_files: dict[str, bool] = {}
        """Campaigns met so far: whether they have a file, or hold single sends."""
        self._is_needed = True
        """Whether there was an active endpoint in the last round."""

    def round(self, rooms: Mapping[str, Room] | None = None) -> Round:
        """Fan out the next events of each active endpoint. Raises DBAPIError, LedgerUnreachable.

        ``rooms``: what this process may take at once, by the endpoint's id.
        """
        if self._is_needed and not self._database.is_sqlite:
            self._database.retrying(number_committed)
        with self._database.read() as tx:
            found = webhook_endpoints.active(tx)
            self._count_waiting(tx, found)
            endpoints = [endpoint for endpoint in found if endpoint.id not in self._full]
            pages = {
                cursor: self._read(tx, cursor, self._page, numbers=True)
                for cursor in {endpoint.cursor for endpoint in endpoints}
            }
            self._learn_campaigns(tx, pages)
            now = read_clock(tx)
        self._is_needed = bool(found)
        for cursor, page in pages.items():
            # Numbers have no gaps: what is missing was deleted by its age.
            if page and (missed := count_between(cursor, page[0].seq - 1)):
                log.error("webhook_events_missed", after=cursor, count=missed)
        masked = {cursor: [event.masked() for event in page] for cursor, page in pages.items()}
        wanted = []
        for endpoint in endpoints:
            page = (pages if endpoint.numbers else masked)[endpoint.cursor]
            bodies, upto = self._compose(endpoint, page, now)
            if upto is not None:
                wanted.append(_Page(endpoint, bodies, upto))
        more = any(len(page) >= self._page for page in pages.values())
        if not wanted:
            return Round(more=more)
        return replace(self._database.retrying(lambda tx: self._store(tx, wanted, rooms or {})), more=more)

    def _count_waiting(self, tx: Connection, endpoints: Sequence[Endpoint]) -> None:
        now = time.monotonic()
        if now - self._counted_at < self._count_s:
            return
        most, self._counted_at = self._most_waiting, now
        full = {each.id for each in endpoints if webhook_deliveries.waiting(tx, each.id, most) >= most}
        for id in sorted(full - self._full):
            log.warning("webhook_is_behind", webhook=id, waiting=most)
        self._full = full

    def _store(self, tx: Connection, wanted: Sequence[_Page], rooms: Mapping[str, Room]) -> Round:
        """An endpoint that has changed meanwhile, or whose cursor has moved, is left to the next round."""
        locked = webhook_endpoints.lock(tx, [page.endpoint.id for page in wanted])
        claimed: list[Claimed] = []
        made = 0
        for page in wanted:
            id, now = page.endpoint.id, locked.get(page.endpoint.id)
            if now is None or now.terms != page.endpoint.terms:
                continue
            known = rooms.get(id)
            # What happens after a change of the URL or the secret goes out by the new one.
            room = known.most if known is not None and known.sealed == now.sealed else 0
            claimed += webhook_deliveries.store(tx, id, page.bodies[:room], lease_ms=self._lease_ms)
            made += len(webhook_deliveries.store(tx, id, page.bodies[room:]))
            webhook_endpoints.move_cursor(tx, id, page.cursor)
        reach("fanning_out")
        return Round(claimed, made)

    def _compose(
        self, endpoint: Endpoint, page: Sequence[Event], now: int
    ) -> tuple[list[WebhookBody], int | None]:
        return compose(
            page,
            filter=endpoint.filter,
            now_ms=now,
            is_of_a_file=self._is_of_a_file,
            is_full_page=len(page) >= self._page,
        )

    def _is_of_a_file(self, event: Event) -> bool:
        return event.type.startswith("message.") and self._of_files.get(
            str(event.data.get("campaign_id")), False
        )

    def _learn_campaigns(self, tx: Connection, pages: Mapping[int, Sequence[Event]]) -> None:
        named = {
            str(id) for page in pages.values() for event in page if (id := event.data.get("campaign_id"))
        }
        new = named - self._of_files.keys()
        if len(self._of_files) > 10_000:
            self._of_files.clear()
            new = named
        if new:
            found = campaigns.by_ids(tx, new)
            self._of_files.update({id: id in found and not found[id].is_direct for id in new})
