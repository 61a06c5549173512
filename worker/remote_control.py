"""Answers to ``celery status``, ``celery inspect`` and Flower, beside the work.

Celery's own remote control shares the consumer's connection and first writes its mailbox into Redis: a Redis that is
full, read-only or guarded by an ACL would keep the worker from taking jobs. This one has a thread and a connection of
its own, so such a Redis costs the answers and nothing else. It only answers questions: a worker is stopped by SIGTERM,
and what may be sent is decided in the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from celery.utils.collections import AttributeDict
from celery.utils.sysinfo import load_average
from celery.worker.control import Panel
from celery.worker.state import SOFTWARE_INFO
from kombu import Connection

from bulksend.broker.app import transport_options

log = structlog.get_logger(__name__)

#: How often a worker says that it is there (Flower takes one for lost after twice that), and how often a Redis is tried
#: that gives no mailbox.
HEARTBEAT_S, RETRY_S = 5.0, 5.0
#: For how long one wait for questions lasts: a stop waits for no longer.
_LISTEN_S = 0.5
_STOP_S = 3.0
#: Questions of Celery's own that are passed on. `conf` and `report` would tell the settings.
_QUESTIONS = ("active", "active_queues", "query_task", "registered", "reserved", "scheduled", "stats")


class Answers(dict[str, Callable[..., Any]]):
    """What may be asked, by its name; every other command is answered by a refusal."""

    def __init__(self, trouble: Callable[[], str | None]) -> None:
        super().__init__({name: Panel.data[name] for name in _QUESTIONS})
        self["ping"] = lambda state: {"error": why} if (why := trouble()) else {"ok": "pong"}

    def __missing__(self, name: str) -> Callable[..., Any]:
        return lambda state, **_: {
            "error": f"a bulksend worker does not take the command {name[:40]!r}; see docs/operations.md"
        }


class RemoteControl:
    """``worker`` is Celery's WorkController; ``trouble`` says why this worker cannot send, None where it can.

    ``counts`` gives the POSTs under way and the POSTs made, for heartbeats.
    """

    def __init__(
        self,
        worker: Any,
        redis_url: str,
        *,
        trouble: Callable[[], str | None],
        counts: Callable[[], tuple[int, int]],
    ) -> None:
        self._worker = worker
        self._app: Any = worker.app
        self._redis_url = redis_url
        self._answers = Answers(trouble)
        self._counts = counts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="remote-control", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Say good-bye, and end; waits for 3 s at most, where Redis does not answer."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        said = False
        while not self._stop.is_set():
            try:
                with self._mailbox() as connection:
                    said = False
                    self._answer(connection)
            except Exception as error:  # noqa: BLE001 - Redis may refuse in any way: it costs answers, not messages
                if not said and not self._stop.is_set():
                    log.info("remote_control_away", error=type(error).__name__)
                said = True
                self._stop.wait(RETRY_S)

    @contextmanager
    def _mailbox(self) -> Iterator[Connection]:
        with Connection(self._redis_url, transport_options=transport_options()) as connection:
            channel = connection.channel()
            node = self._app.control.mailbox.Node(
                self._worker.hostname,
                channel=channel,
                handlers=self._answers,
                state=AttributeDict(
                    app=self._app,
                    hostname=self._worker.hostname,
                    consumer=self._worker.consumer,
                    tset=set,
                ),
            )
            consumer = node.listen()
            try:
                yield connection
            finally:
                if self._stop.is_set():
                    consumer.cancel()

    def _answer(self, connection: Connection) -> None:
        events = self._app.events.Dispatcher(
            connection, hostname=self._worker.hostname, groups=["worker"], buffer_while_offline=False
        )
        self._tell(events, "worker-online")
        waits = 0.0
        while not self._stop.is_set():
            try:
                connection.drain_events(timeout=_LISTEN_S)
            except TimeoutError:
                waits += _LISTEN_S
            if waits >= HEARTBEAT_S:
                waits = 0.0
                self._tell(events, "worker-heartbeat")
        self._tell(events, "worker-offline")

    def _tell(self, events: Any, what: str) -> None:
        active, processed = self._counts()
        events.send(
            what,
            freq=HEARTBEAT_S,
            active=active,
            processed=processed,
            loadavg=load_average(),
            **SOFTWARE_INFO,
        )
