"""What a local server's start may come to besides success."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from bulksend.errors import Unavailable


class CannotStart(Unavailable):
    """A local server did not start; the text says why and what to do."""


def last_words(log: Path, lines: int = 3) -> str:
    """The end of a server's log, for an error's text; empty where there is none."""
    try:
        with log.open(errors="replace") as opened:
            return " / ".join(line.strip() for line in deque(opened, lines))
    except OSError:
        return ""
