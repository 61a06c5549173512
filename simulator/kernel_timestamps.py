"""When bytes arrived, by the kernel: on a busy machine this process may read them tens of ms later.

A late reading must not make a measured second look fuller than it was. Linux timestamps the bytes that a TCP socket
receives (SO_TIMESTAMPNS, socket(7)); other systems use the time of reading.
"""

from __future__ import annotations

import platform
import socket
import struct
import sys
import time
from collections.abc import Callable

#: From asm-generic/socket.h; Python has no name for it, and some rare processors use another number.
_SO_TIMESTAMPNS = 35
_IS_SUPPORTED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
_TIMESPEC = struct.Struct("qq")
_ROOM = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
#: A longer wait means that the clock was set meanwhile.
_MOST_SECONDS = 5.0
#: Clocks that were read within this time were read at once.
_AT_ONCE_SECONDS = 0.0005


class TimestampedSocket(socket.socket):
    """A listening socket and its connections, which know when their last bytes arrived."""

    __slots__ = ("arrived_at",)

    arrived_at: float | None
    """When the newest bytes arrived, by the wall clock; None: the kernel did not say."""

    @classmethod
    def adopt(cls, fileno: int) -> TimestampedSocket:
        """The socket of a descriptor; it owns the descriptor."""
        made = cls(fileno=fileno)
        made.arrived_at = None
        return made

    def accept(self) -> tuple[socket.socket, object]:
        """As socket.accept; the connection has timestamps too."""
        fileno, address = self._accept()  # type: ignore[attr-defined]
        return TimestampedSocket.adopt(fileno), address

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As socket.recv; keeps the timestamp of the newest bytes."""
        data, notes, _, _ = self.recvmsg(size, _ROOM, flags)
        for level, kind, value in notes:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
                self.arrived_at = seconds + nanoseconds / 1e9
        return data


def timestamping_socket(fileno: int) -> TimestampedSocket | None:
    """The bound socket of a descriptor, with timestamps. Where those are not supported: None, and it is closed."""
    made = TimestampedSocket.adopt(fileno)
    if not _IS_SUPPORTED:
        made.close()
        return None
    made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return made


def arrival_time(
    of: object,
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> tuple[float, float]:
    """When the newest bytes of an asyncio socket arrived, by both clocks; where that is not known: now.

    The kernel says it by the wall clock only. If this process lost the processor between its readings of the two
    clocks, the bytes would seem to have come later by that time.
    """
    while True:
        begun = steady()
        now = wall()
        if steady() - begun < _AT_ONCE_SECONDS:
            break
    # asyncio wraps the socket and has no public access to it.
    inner = getattr(of, "_sock", None)
    stamp = inner.arrived_at if isinstance(inner, TimestampedSocket) else None
    waited = now - stamp if stamp is not None and 0.0 < now - stamp < _MOST_SECONDS else 0.0
    return now - waited, begun - waited
