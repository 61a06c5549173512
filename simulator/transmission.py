"""How one reply is sent: its bytes, in which way, when, and what happens before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Whole:
    """Write the reply at once."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Write it in small pieces, with a pause after each."""

    bytes: int
    interval_seconds: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Write the reply, if any, then nothing; close after ``seconds``, or never when that is None."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Cut:
    """Write the reply, if any, then end the connection."""

    how: Literal["close", "reset"]


Mode = Whole | Pieces | Silence | Cut


@dataclass(frozen=True, slots=True)
class Transmission:
    """One reply and how to send it."""

    reply: bytes
    mode: Mode = Whole()
    delay_seconds: float = 0.0
    lost: Callable[[], None] | None = None
    """Called when the connection ends before the reply was written."""
    before: Callable[[], Awaitable[None]] | None = None
    """Awaited before the reply is sent, such as a receipt that arrives earlier."""
