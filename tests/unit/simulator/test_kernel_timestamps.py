"""The time of a request is when its bytes arrived, not when a busy process read them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from simulator import SimulatorSettings
from simulator.kernel_timestamps import TimestampedSocket, arrival_time, timestamping_socket
from simulator.server import Simulator


def test_a_request_that_waited_to_be_read_keeps_its_time_of_arrival() -> None:
    with _a_kernel_that_stamps() as stamps:
        rows, sent_at, read_at = asyncio.run(_a_request_during_a_standstill(0.2))
    (row,) = rows
    if stamps:
        assert sent_at - 0.001 <= row["monotonic"] < read_at - 0.1
    else:
        assert row["monotonic"] >= read_at
    assert row["received_at_ms"] / 1000 - row["monotonic"] == pytest.approx(_wall_ahead_of_steady(), abs=0.1)


def test_a_process_held_up_between_its_two_clocks_reads_them_again() -> None:
    seconds = 0.0
    held_up = iter([0.025])

    def steady() -> float:
        return 50.0 + seconds

    def wall() -> float:
        nonlocal seconds
        now = 1_000.0 + seconds
        seconds += next(held_up, 0.0)
        return now

    with TimestampedSocket.adopt(socket.socket().detach()) as received:
        received.arrived_at = 999.9
        asyncio_socket = SimpleNamespace(_sock=received)
        assert arrival_time(asyncio_socket, wall, steady) == pytest.approx((999.9, 49.9))


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


@contextmanager
def _a_kernel_that_stamps() -> Iterator[bool]:
    """Whether this system has timestamps; if so, they are on within the block.

    Linux switches timestamps on some time after the first socket asks for them; until then bytes have the time of
    their reading.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        listener = timestamping_socket(server.detach())
    if listener is None:
        yield False
        return
    with listener:  # open until the end: the last one to close turns it off
        while _waited(listener, address) < 0.01:
            pass
        yield True


def _waited(listener: TimestampedSocket, address: tuple[str, int]) -> float:
    """The waited seconds of a byte that waited for 20 ms."""
    with socket.create_connection(address) as client:
        client.sendall(b"x")
        _stand_still(0.02)
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(1)
            assert isinstance(accepted, TimestampedSocket)
            return 0.0 if accepted.arrived_at is None else time.time() - accepted.arrived_at


def _wall_ahead_of_steady() -> float:
    """The distance of the two clocks, by the closest pair of readings: this process may be held up between two."""
    pairs = [(time.monotonic(), time.time(), time.monotonic()) for _ in range(20)]
    before, wall, _ = min(pairs, key=lambda pair: pair[2] - pair[0])
    return wall - before
