"""Before much is sent, or sent again: what the person at a terminal sees of it, and the answer.

A command without a terminal does what it was asked to, as a script expects.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ops.cli.context import BAD_INPUT, leave

#: A campaign for more people than this is asked about.
ASKED_ABOVE = 1000


def can_ask() -> bool:
    """Whether a person sits at a terminal who can answer. A closed stream raises, or is None."""
    try:
        return sys.stdin.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def ask_for_number(count: int) -> None:
    """Have a person type the number of people, if there are many. Ends the command if another one is typed."""
    if count <= ASKED_ABOVE or not can_ask():
        return
    sys.stderr.write(f"Type the number of people, {count:,}, to send: ")
    sys.stderr.flush()
    typed = sys.stdin.readline().strip()
    if typed.replace(",", "").replace(" ", "") != str(count):
        leave(BAD_INPUT, "another number was typed: nothing was sent. --yes sends without a question")


def agreed(question: str) -> bool:
    """Ask on stderr; only y or yes agrees."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def show_samples(samples: Sequence[Mapping[str, Any]], zone: str | None) -> None:
    """Messages as they will look, one after another; where the recipient's clock gives its time, that in ``zone``."""
    from ops.cli.output import line, shown_at

    for each in samples:
        # A plan of an earlier version has no time in its samples.
        due_at = each.get("due_at")
        due = "" if due_at is None else f", due {shown_at(due_at, zone)}"
        line(f"row {each['row']}, to {each['to']}{due}", "bold")
        parts = [each["header"], each["body"], each["footer"], *(f"[ {text} ]" for text in each["buttons"])]
        for part in filter(None, parts):
            for text in str(part).split("\n"):
                line(f"  {text}")
        line("")
