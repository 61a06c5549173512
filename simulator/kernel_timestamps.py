"""When bytes arrived, by the kernel's word: a busy machine may let this process read them tens of ms later.

The record of a rate must not call a second too full because the recorder was late. Linux stamps what a TCP socket
receives (SO_TIMESTAMPNS, socket(7)); elsewhere the instant of reading has to do.
"""

from __future__ import annotations

import platform
import socket
import struct
import sys
import time

#: asm-generic/socket.h; Python has no name for it. Some rarer processors number it otherwise.
_SO_TIMESTAMPNS = 35
_STAMPS = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
_TIMESPEC = struct.Struct("qq")
_ROOM = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
#: More than this is a clock that was set meanwhile.
_MOST_SECONDS = 5.0


class StampedSocket(socket.socket):
    """A listening socket, and the connections it accepts, that know when they last received something."""

    __slots__ = ("_arrived_at",)

    _arrived_at: float | None

    @classmethod
    def taking(cls, fileno: int) -> StampedSocket:
        """The socket behind a descriptor, which belongs to it from now on."""
        made = cls(fileno=fileno)
        made._arrived_at = None
        return made

    def accept(self) -> tuple[socket.socket, object]:
        """As every socket's; connections inherit the stamping."""
        fileno, address = self._accept()  # type: ignore[attr-defined]
        return StampedSocket.taking(fileno), address

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As every socket's; remembers the stamp of the newest bytes."""
        data, notes, _, _ = self.recvmsg(size, _ROOM, flags)
        for level, kind, value in notes:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
                self._arrived_at = seconds + nanoseconds / 1e9
        return data

    @property
    def waited_seconds(self) -> float:
        """How long ago the newest bytes that were read had arrived."""
        if self._arrived_at is None:
            return 0.0
        waited = time.time() - self._arrived_at
        return waited if 0.0 < waited < _MOST_SECONDS else 0.0


def stamping(fileno: int) -> StampedSocket | None:
    """The bound socket behind a descriptor, stamping; None, and the descriptor closed, where nothing stamps."""
    made = StampedSocket.taking(fileno)
    if not _STAMPS:
        made.close()
        return None
    made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return made


def waited_seconds(of: object) -> float:
    """How long what was read last from asyncio's wrapper of a socket had waited; 0 where nobody knows."""
    # The wrapper has no public way to what it wraps.
    inner = getattr(of, "_sock", None)
    return inner.waited_seconds if isinstance(inner, StampedSocket) else 0.0
