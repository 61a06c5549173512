"""Tells Redis what is due. Failing to is no error: the ledger has it, and the relay tells Redis again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from bulksend.broker import Outage, batches, make_app, publish
from bulksend.messaging.states import Kind
from bulksend.settings import Settings


class Publisher(Protocol):
    """Puts ids into lanes."""

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        """How many of the ids Redis surely took; the rest is left to the relay. Never raises, never waits long."""
        ...


class RedisPublisher:
    """Publishes over one kept connection, a new one after each failure. One thread at a time."""

    def __init__(
        self,
        redis_url: str,
        *,
        batch_size: int = 500,
        timeout_s: float = 0.5,
        wall_ms: Callable[[], float] = lambda: time.time() * 1000,
    ) -> None:
        self._batch_size = batch_size
        self._wall_ms = wall_ms
        self._app: Celery = make_app(
            redis_url,
            name="bulksend.producer",
            broker_connection_timeout=timeout_s,
            broker_transport_options={
                "socket_timeout": timeout_s,
                "socket_connect_timeout": timeout_s,
                "socket_keepalive": True,
                "priority_steps": [0],
                # Else kombu sleeps for two seconds and tries once more: the relay asks again soon enough.
                "max_retries": 0,
            },
        )
        self._connection: object | None = None
        self._outage = Outage("publisher")

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        """See Publisher."""
        done = 0
        for batch in batches(ids, self._batch_size):
            try:
                if self._connection is None:
                    self._connection = self._app.connection_for_write()
                publish(
                    self._app, lane, batch, published_ms=int(self._wall_ms()), connection=self._connection
                )
            except (OperationalError, OSError, redis.RedisError) as error:
                self._outage.goes_on(error.__cause__ or error)
                self.close()
                return done
            done += len(batch)
        self._outage.over()
        return done

    def close(self) -> None:
        """Drop the connection; the next publish opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()  # type: ignore[attr-defined]


class ImpatientPublisher:
    """Publishes on a thread of its own, so that a caller never waits longer than ``patience_s`` for Redis.

    While the thread is still busy with an earlier call, ids are only handed to it; after Redis refused, they
    are left to the relay for ``rest_s``. So many single sends never add up to one patience each.
    """

    _MOST_WAITING = 1000

    def __init__(self, publisher: Publisher, *, patience_s: float = 0.5, rest_s: float = 2.0) -> None:
        self._publisher = publisher
        self._patience_s = patience_s
        self._rest_s = rest_s
        self._resting_until = float("-inf")
        self._work: queue.Queue[_Publication] = queue.Queue(self._MOST_WAITING)
        self._late = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        """See Publisher."""
        if not ids or time.monotonic() < self._resting_until:
            return 0
        self._start()
        publication = _Publication(lane, ids)
        try:
            self._work.put_nowait(publication)
        except queue.Full:
            return 0
        if self._late:
            return 0
        self._late = not publication.done.wait(self._patience_s)
        return publication.taken

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                # A daemon: a Redis that never answers must not keep the producer's process alive.
                self._thread = threading.Thread(target=self._serve, name="publisher", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while True:
            # What many threads hand over meanwhile goes out together, a call a lane.
            waiting = [self._work.get()]
            while len(waiting) < self._MOST_WAITING and not self._work.empty():
                waiting.append(self._work.get())
            for lane in dict.fromkeys(publication.lane for publication in waiting):
                self._publish([publication for publication in waiting if publication.lane is lane])
            self._late = not self._work.empty()

    def _publish(self, of_lane: Sequence[_Publication]) -> None:
        ids = [id for publication in of_lane for id in publication.ids]
        taken = 0
        if time.monotonic() >= self._resting_until:
            taken = self._publisher.publish(of_lane[0].lane, ids)
            if taken < len(ids):
                self._resting_until = time.monotonic() + self._rest_s
        for publication in of_lane:
            publication.taken = min(taken, len(publication.ids))
            taken -= publication.taken
            publication.done.set()


class _Publication:
    """Ids on their way, and how many Redis took."""

    __slots__ = ("done", "ids", "lane", "taken")

    def __init__(self, lane: Kind, ids: Sequence[str]) -> None:
        self.lane = lane
        self.ids = ids
        self.taken = 0
        self.done = threading.Event()


class NoPublisher:
    """For where there is no Redis: everything is left to the relay."""

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        """Nothing is published."""
        return 0


def publisher_of(of: Settings) -> Publisher:
    """Publishes to Redis where REDIS_URL is set; otherwise the relay publishes from the ledger."""
    if of.redis_url is None:
        return NoPublisher()
    return ImpatientPublisher(RedisPublisher(of.redis_url_text(), batch_size=of.batch_size))
