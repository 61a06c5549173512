"""The instant of a request is when its bytes arrived, not when a busy process came to read them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.request
from typing import Any

from simulator import SimulatorSettings
from simulator.arrivals import stamping
from simulator.server import Simulator


def test_a_request_that_waited_unread_keeps_the_instant_at_which_it_arrived() -> None:
    rows, sent_at, read_at = asyncio.run(_a_request_during_a_standstill(0.2))
    (row,) = rows
    if _this_system_stamps():
        assert sent_at - 0.001 <= row["monotonic"] < read_at - 0.1
    else:
        assert row["monotonic"] >= read_at
    assert abs(row["received_at_ms"] / 1000 - time.time() + (time.monotonic() - row["monotonic"])) < 0.05


async def _a_request_during_a_standstill(seconds: float) -> tuple[list[dict[str, Any]], float, float]:
    """The record of one request that came while the simulator's event loop stood still."""
    simulator = Simulator(SimulatorSettings())
    await simulator.start()
    host, port = simulator.origin.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        sent_at = time.monotonic()
        client.sendall(b"POST /api HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        _stand_still(seconds)
        read_at = time.monotonic()
        client.setblocking(False)
        await asyncio.get_running_loop().sock_recv(client, 1000)
    rows = await asyncio.to_thread(_rows, simulator.origin)
    await simulator.stop()
    return rows, sent_at, read_at


def _stand_still(seconds: float) -> None:
    """What a garbage collection or another process does to an event loop."""
    threading.Event().wait(seconds)


def _rows(origin: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{origin}/_/messages") as reply:  # noqa: S310
        return list(json.load(reply))


def _this_system_stamps() -> bool:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = stamping(server.detach())
    if made is None:
        return False
    made.close()
    return True
