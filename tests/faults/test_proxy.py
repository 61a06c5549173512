"""The proxy does to a connection exactly what it was told, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.faults.proxy import Link, Proxies, Way


class Echo:
    """A server that says back what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                self.heard += data
                connection.sendall(data)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def link(proxies: Proxies, echo: Echo) -> Link:
    return proxies.link("echo", "127.0.0.1", echo.port)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never holds"
        time.sleep(0.001)


@contextmanager
def connected(link: Link) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as connection:
        yield connection


def said_back(connection: socket.socket, words: bytes) -> bytes:
    connection.sendall(words)
    got = b""
    while len(got) < len(words):
        part = connection.recv(65536)
        if not part:
            break
        got += part
    return got


def read_until_reset(connection: socket.socket) -> bytes:
    got = b""
    try:
        while part := connection.recv(65536):
            got += part
    except ConnectionResetError:
        return got
    raise AssertionError(f"closed after {got!r}, not reset")


def hung_up(link: Link) -> bool:
    """Whether a connection is reset, or ended, before anything is said."""
    try:
        with connected(link) as connection:
            return not said_back(connection, b"x")
    except ConnectionError:
        return True


def test_all_bytes_pass_both_ways_in_order(link: Link) -> None:
    words = bytes(range(256)) * 2000
    with connected(link) as connection:
        threading.Thread(target=connection.sendall, args=(words,), daemon=True).start()
        got = b""
        while len(got) < len(words):
            got += connection.recv(65536)
    assert got == words


def test_a_cut_resets_what_is_open_and_lets_in_what_comes(link: Link) -> None:
    with connected(link) as connection:
        assert said_back(connection, b"one") == b"one"
        link.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(10)
    with connected(link) as connection:
        assert said_back(connection, b"two") == b"two"


def test_refusing_resets_everyone_until_it_is_healed(link: Link) -> None:
    link.refuse()
    assert hung_up(link)
    link.heal()
    with connected(link) as connection:
        assert said_back(connection, b"back") == b"back"


@pytest.mark.parametrize(("way", "heard"), [(Way.UP, b"before"), (Way.DOWN, b"beforelost")])
def test_a_black_hole_swallows_one_way_and_leaves_the_connection_up(
    link: Link, echo: Echo, way: Way, heard: bytes
) -> None:
    with connected(link) as connection:
        assert said_back(connection, b"before") == b"before"
        link.swallow(way)
        connection.sendall(b"lost")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        assert bytes(echo.heard) == heard
        link.heal()
        connection.settimeout(5)
        with pytest.raises(ConnectionResetError):
            connection.recv(10)  # what was swallowed is gone, so the connection must be


@pytest.mark.parametrize("way", list(Way))
def test_after_so_many_bytes_everything_is_reset_once_and_nothing_follows_them(
    link: Link, echo: Echo, way: Way
) -> None:
    with connected(link) as connection:
        assert said_back(connection, b"up") == b"up"
        link.reset_after(10, way)
        connection.sendall(b"0123456789abcdef")
        wait_until(lambda: link.state.reset_after is None)
        # The reset comes a moment after it is due, and may be there already.
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(b"more")
        got = read_until_reset(connection)
    if way is Way.UP:
        got = bytes(echo.heard).removeprefix(b"up")
    assert got == b"0123456789"
    with connected(link) as connection:
        assert said_back(connection, b"again") == b"again"


def test_a_black_hole_that_another_fault_replaces_resets_what_stood_in_it(link: Link, echo: Echo) -> None:
    with connected(link) as connection:
        assert said_back(connection, b"before") == b"before"
        link.swallow(Way.DOWN)
        connection.sendall(b"lost")
        wait_until(lambda: echo.heard.endswith(b"lost"))
        link.delay(0.01)
        assert read_until_reset(connection) == b""


def test_a_delay_holds_bytes_up_and_keeps_their_order(link: Link) -> None:
    with connected(link) as connection:
        assert said_back(connection, b"a") == b"a"
        link.delay(0.2, Way.DOWN)
        began = time.monotonic()
        connection.sendall(b"slow")
        time.sleep(0.05)
        link.heal()
        connection.sendall(b"quick")
        got = b""
        while len(got) < 9:
            got += connection.recv(100)
        assert got == b"slowquick"
        assert time.monotonic() - began >= 0.19


def test_what_comes_when_a_delay_has_just_ended_overtakes_nothing(link: Link) -> None:
    words = [f"{number:03d}".encode() for number in range(100)]
    with connected(link) as connection:
        assert said_back(connection, b"a") == b"a"
        link.delay(0.2, Way.DOWN)
        for number, word in enumerate(words):
            connection.sendall(word)
            # In all for twice the delay, so that some come while others are still late.
            time.sleep(0.004)
            if number == 10:
                link.heal()
        got = b""
        while len(got) < 300:
            got += connection.recv(1000)
    assert got == b"".join(words)


def test_a_server_that_is_not_there_looks_like_one_that_is_not_there(proxies: Proxies) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = probe.getsockname()[1]
    link = proxies.link("nobody", "127.0.0.1", nobody)
    assert hung_up(link)


def test_a_post_is_known_by_its_recipient_and_by_when_it_left_however_late_it_is_read(
    proxies: Proxies, echo: Echo, link: Link
) -> None:
    held, release = threading.Event(), threading.Event()

    async def hold() -> None:
        held.set()
        release.wait(10)

    with connected(link) as connection:
        said_back(connection, b"hello")
        holder = threading.Thread(target=lambda: proxies.ask(hold()))
        holder.start()
        assert held.wait(10)
        begun_ms, begun = time.time() * 1000, time.monotonic()
        connection.sendall(b'POST /api HTTP/1.1\r\n\r\n{"To":"12015550001"}')
        sent_ms, sent = time.time() * 1000, time.monotonic()
        time.sleep(0.1)
        release.set()
        holder.join(10)
        wait_until(lambda: len(link.requests) == 1)
    (left,) = link.requests
    assert left.to == "12015550001"
    assert begun - 0.002 <= left.steady_s <= sent + 0.05
    assert begun_ms - 2 <= left.at_ms <= sent_ms + 50
