"""Remote control for ``celery status``, ``celery inspect`` and Flower, on a thread and a connection of its own.

Celery's own shares the consumer's connection and first writes its mailbox to Redis: a Redis that is full, read-only or
restricted by an ACL would keep the worker from taking jobs. Here such a Redis costs only the replies. Commands can only
ask: a worker is stopped by SIGTERM, and the ledger decides what may be sent.
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
from worker.kombu_transport import Transport

log = structlog.get_logger(__name__)

#: Flower takes a worker for lost after two heartbeats.
HEARTBEAT_S = 5.0
#: How long to wait before the next try when Redis gives no mailbox.
RETRY_S = 5.0
#: How long one wait for commands lasts, which a stop has to wait for.
_LISTEN_S = 0.5
_STOP_S = 3.0
#: Celery's own commands that are answered. `conf` and `report` would show the settings.
_ALLOWED = ("active", "active_queues", "query_task", "registered", "reserved", "scheduled", "stats")


class CommandHandlers(dict[str, Callable[..., Any]]):
    """The handlers by command; for a command that is not allowed, one that replies with an error."""

    def __init__(self, why_not_sending: Callable[[], str | None]) -> None:
        super().__init__({name: Panel.data[name] for name in _ALLOWED})
        self["ping"] = lambda state: {"error": why} if (why := why_not_sending()) else {"ok": "pong"}

    def __missing__(self, name: str) -> Callable[..., Any]:
        return lambda state, **_: {
            "error": f"a bulksend worker does not accept the command {name[:40]!r}; see docs/operations.md"
        }


class RemoteControl:
    """``worker`` is Celery's WorkController; ``why_not_sending`` tells why this worker cannot send, None when it can.

    ``post_counts`` gives the POSTs under way and the POSTs made, for heartbeats.
    """

    def __init__(
        self,
        worker: Any,
        redis_url: str,
        *,
        why_not_sending: Callable[[], str | None],
        post_counts: Callable[[], tuple[int, int]],
    ) -> None:
        self._worker = worker
        self._app: Any = worker.app
        self._redis_url = redis_url
        self._handlers = CommandHandlers(why_not_sending)
        self._post_counts = post_counts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="remote-control", daemon=True)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Send worker-offline and stop; waits for at most 3 s when Redis does not answer."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        is_logged = False
        while not self._stop.is_set():
            try:
                with self._mailbox() as connection:
                    is_logged = False
                    self._serve(connection)
            except Exception as error:  # noqa: BLE001 - Redis may refuse in any way; that costs replies, not messages
                if not is_logged and not self._stop.is_set():
                    log.info("remote_control_away", error=type(error).__name__)
                is_logged = True
                self._stop.wait(RETRY_S)

    @contextmanager
    def _mailbox(self) -> Iterator[Connection]:
        with Connection(
            self._redis_url, transport=Transport, transport_options=transport_options()
        ) as connection:
            channel = connection.channel()
            node = self._app.control.mailbox.Node(
                self._worker.hostname,
                channel=channel,
                handlers=self._handlers,
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

    def _serve(self, connection: Connection) -> None:
        events = self._app.events.Dispatcher(
            connection, hostname=self._worker.hostname, groups=["worker"], buffer_while_offline=False
        )
        self._send_event(events, "worker-online")
        waits = 0.0
        while not self._stop.is_set():
            try:
                connection.drain_events(timeout=_LISTEN_S)
            except TimeoutError:
                waits += _LISTEN_S
            if waits >= HEARTBEAT_S:
                waits = 0.0
                self._send_event(events, "worker-heartbeat")
        self._send_event(events, "worker-offline")

    def _send_event(self, events: Any, type: str) -> None:
        active, processed = self._post_counts()
        events.send(
            type,
            freq=HEARTBEAT_S,
            active=active,
            processed=processed,
            loadavg=load_average(),
            **SOFTWARE_INFO,
        )
