"""What the connection is told to do with one request: the bytes of the reply and how they go out."""

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
    """Write what there is of the reply, then nothing more, and close after so long; None waits for the
    client.
    """

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Cut:
    """Write what there is of the reply, then end the connection."""

    how: Literal["close", "reset"]


Delivery = Whole | Pieces | Silence | Cut


@dataclass(frozen=True, slots=True)
class Plan:
    """One answer and everything that goes with it."""

    reply: bytes
    delivery: Delivery = Whole()
    delay_seconds: float = 0.0
    lost: Callable[[], None] | None = None
    """To be called when the connection ends before the reply is out."""
    first: Callable[[], Awaitable[None]] | None = None
    """What must have happened before the answer may go out, such as a receipt that overtakes it."""
    close_after: bool = False
