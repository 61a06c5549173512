"""What a bench tells people."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
