"""Publishing ids to Redis. A failure is no error: the messages are in the ledger, and the relay publishes them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from bulksend.broker import Outage, batches, publish
from bulksend.broker.app import make_app
from bulksend.messaging.states import Kind
from bulksend.settings import Settings


class Publisher(Protocol):
    """Puts ids into the queue of a lane."""

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        """Returns how many of the ids Redis took; the relay publishes the others. Never raises, never waits long."""
        ...

    def hand_over(self, lane: Kind, ids: Sequence[str]) -> None:
        """Publish them soon. A caller that must answer at once does not wait for Redis. Never raises."""
        ...


class RedisPublisher:
    """Publishes over one connection, a new one after each failure. For one thread at a time."""

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
                # With a retry kombu would sleep for two seconds; the relay tries again sooner.
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
                self._outage.failed(error.__cause__ or error)
                self.close()
                return done
            done += len(batch)
        self._outage.succeeded()
        return done

    def hand_over(self, lane: Kind, ids: Sequence[str]) -> None:
        """See Publisher."""
        self.publish(lane, ids)

    def close(self) -> None:
        """Drop the connection; the next publish opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()  # type: ignore[attr-defined]


class BackgroundPublisher:
    """Publishes on a thread of its own, so that a caller waits at most ``timeout_s`` for Redis.

    While the thread is busy with an earlier call, a caller hands its ids over and does not wait. After Redis refused
    some, ids are left to the relay for ``pause_s``, so that many direct sends do not each wait for a timeout.
    """

    _MAX_WAITING = 1000

    def __init__(self, publisher: Publisher, *, timeout_s: float = 0.5, pause_s: float = 2.0) -> None:
        self._publisher = publisher
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._paused_until = float("-inf")
        self._work: queue.Queue[_Publication] = queue.Queue(self._MAX_WAITING)
        self._is_behind = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        """See Publisher."""
        publication = self._handed_over(lane, ids)
        if publication is None or self._is_behind:
            return 0
        self._is_behind = not publication.done.wait(self._timeout_s)
        return publication.taken

    def hand_over(self, lane: Kind, ids: Sequence[str]) -> None:
        """See Publisher."""
        self._handed_over(lane, ids)

    def _handed_over(self, lane: Kind, ids: Sequence[str]) -> _Publication | None:
        """What the thread will publish; None where it is left to the relay."""
        if not ids or time.monotonic() < self._paused_until:
            return None
        self._start()
        publication = _Publication(lane, ids)
        try:
            self._work.put_nowait(publication)
        except queue.Full:
            return None
        return publication

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                # A daemon thread, so that a Redis that never answers does not keep the process alive.
                self._thread = threading.Thread(target=self._work_off, name="publisher", daemon=True)
                self._thread.start()

    def _work_off(self) -> None:
        while True:
            # All that was handed over meanwhile is published together, with one call for each lane.
            waiting = [self._work.get()]
            while len(waiting) < self._MAX_WAITING and not self._work.empty():
                waiting.append(self._work.get())
            for lane in dict.fromkeys(publication.lane for publication in waiting):
                self._publish([publication for publication in waiting if publication.lane is lane])
            self._is_behind = not self._work.empty()

    def _publish(self, of_lane: Sequence[_Publication]) -> None:
        ids = [id for publication in of_lane for id in publication.ids]
        taken = 0
        if time.monotonic() >= self._paused_until:
            taken = self._publisher.publish(of_lane[0].lane, ids)
            if taken < len(ids):
                self._paused_until = time.monotonic() + self._pause_s
        for publication in of_lane:
            publication.taken = min(taken, len(publication.ids))
            taken -= publication.taken
            publication.done.set()


@dataclass(slots=True, eq=False)
class _Publication:
    """Ids to publish, and how many Redis took."""

    lane: Kind
    ids: Sequence[str]
    taken: int = 0
    done: threading.Event = field(default_factory=threading.Event)


class NoPublisher:
    """Without Redis: the relay publishes everything."""

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        """Publish nothing."""
        return 0

    def hand_over(self, lane: Kind, ids: Sequence[str]) -> None:
        """Publish nothing."""


def publisher_of(of: Settings) -> Publisher:
    """The publisher of these settings: to Redis where REDIS_URL is set, otherwise none."""
    if of.redis_url is None:
        return NoPublisher()
    return BackgroundPublisher(RedisPublisher(of.redis_url_text(), batch_size=of.batch_size))
