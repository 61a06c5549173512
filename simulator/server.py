"""The simulator as a server: in an event loop, in a thread of its own, or as a process."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TextIO

from simulator.checks import Request
from simulator.connection import Connection, ServerState
from simulator.faults import Rule
from simulator.inspection import PREFIX, Inspection
from simulator.kernel_timestamps import timestamping_socket
from simulator.receipt_sender import ReceiptSender
from simulator.replies import Ids
from simulator.settings import SimulatorSettings
from simulator.transmission import Transmission
from simulator.vendor import Vendor

log = logging.getLogger("simulator")

#: Connections that may wait to be accepted, when many workers start together.
_BACKLOG = 2048


class Simulator:
    """A simulated vendor that listens.

    ``url`` is the endpoint for USPEEDO_BASE_URL, ``origin`` the address without a path; inspection is at
    ``origin + "/_/stats"`` and so on.
    """

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        self.settings = settings or SimulatorSettings()
        self.origin = ""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._receipt_sender: ReceiptSender | None = None

    async def start(self) -> str:
        """Listen; returns the url. Raises OSError when it cannot listen on the address."""
        settings = self.settings
        if settings.receipts is not None:
            self._receipt_sender = ReceiptSender(settings.receipts, settings.seed)
        self._vendor = Vendor(settings, time.monotonic(), Ids(), self._receipt_sender)
        self._server_state = ServerState(
            answer=self._respond,
            on_connection=self._vendor.on_connection,
            max_body_bytes=settings.max_body_bytes,
            max_requests=settings.max_requests_per_connection,
            idle_seconds=settings.idle_close_seconds,
        )
        on_loopback = _is_loopback(settings.host)
        self._inspection = Inspection(
            self._vendor, settings.inspection_token, on_loopback, self._extra_stats, self._receipt_sender
        )
        try:
            self._server = await self._listen(settings.host, settings.port)
        except OSError:
            await self._stop_receipt_sender()
            raise
        port = self._server.sockets[0].getsockname()[1]
        self.origin = f"http://{_in_url(settings.host)}:{port}"
        self.url = self.origin + "/api"
        return self.url

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        loop, connection = asyncio.get_running_loop(), partial(Connection, self._server_state)
        server = await loop.create_server(connection, host, port, backlog=_BACKLOG, start_serving=False)
        if len(server.sockets) == 1:
            listener = timestamping_socket(os.dup(server.sockets[0].fileno()))
            if listener is not None:
                server.close()
                return await loop.create_server(connection, sock=listener, backlog=_BACKLOG)
        await server.start_serving()
        return server

    async def stop(self) -> None:
        """Stop listening, wait ``stop_grace_seconds`` for replies under way, then close all connections."""
        if self._server is None:
            return
        self._server.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_replied(), self.settings.stop_grace_seconds)
        for connection in tuple(self._server_state.connections):
            connection.abort()
        await self._stop_receipt_sender()
        await self._server.wait_closed()
        self._server = None

    async def _all_replied(self) -> None:
        while any(connection.is_answering for connection in self._server_state.connections):
            self._server_state.changed.clear()
            await self._server_state.changed.wait()

    async def _stop_receipt_sender(self) -> None:
        if self._receipt_sender is not None:
            await self._receipt_sender.stop()
            self._receipt_sender = None

    async def receipts_idle(self) -> None:
        """Wait until every receipt was posted or given up."""
        if self._receipt_sender is not None:
            await self._receipt_sender.idle()

    def set_rules(self, rules: tuple[Rule, ...]) -> None:
        """Replace the fault rules. Call it on the simulator's event loop; from elsewhere, POST to ``/_/faults``."""
        self._vendor.set_rules(rules, time.monotonic())

    def _respond(self, request: Request) -> Transmission:
        if request.path.startswith(PREFIX):
            return self._inspection.answer(request)
        return self._vendor.receive(request)

    def _extra_stats(self) -> dict[str, Any]:
        return {
            "malformed": self._server_state.malformed,
            "connections": len(self._server_state.connections),
            "receipts": None if self._receipt_sender is None else self._receipt_sender.counts,
        }


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    """The host for a client on this machine: loopback for an address that means all interfaces."""
    if host in ("", "0.0.0.0"):  # noqa: S104
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


@contextmanager
def run_in_thread(settings: SimulatorSettings | None = None) -> Iterator[Simulator]:
    """A simulator on a thread with its own event loop, stopped at the end of the block."""
    simulator = Simulator(settings)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.start(), loop).result()
        try:
            yield simulator
        finally:
            asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def serve(settings: SimulatorSettings, out: TextIO | None = None) -> int:
    """Run in the foreground until SIGTERM or SIGINT.

    Once it listens, prints one line of JSON to ``out`` (default: stdout): ``{"url": …, "origin": …}``.
    Returns the exit code: 0, or 3 when it cannot listen on the address, with the reason on stderr.
    """
    return asyncio.run(_serve(settings, sys.stdout if out is None else out))


async def _serve(settings: SimulatorSettings, out: TextIO) -> int:
    # httpx logs every URL; that of the receipts may contain a token.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    simulator = Simulator(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Before the line is printed: its reader may send the signal at once.
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    try:
        url = await simulator.start()
    except OSError as error:
        log.error(
            "cannot listen on %s port %d: %s",
            settings.host,
            settings.port,
            error.strerror or "no such address",
        )
        return 3
    if not _is_loopback(settings.host) and settings.inspection_token is None:
        log.warning("%s is not on loopback and there is no inspection token: /_/ is closed", settings.host)
    out.write(json.dumps({"url": url, "origin": simulator.origin}) + "\n")
    out.flush()
    log.info("listening on %s", url)
    await stop.wait()
    log.info("stopping")
    await simulator.stop()
    return 0
