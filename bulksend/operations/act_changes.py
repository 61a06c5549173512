"""What an act changed, in words for people."""

from __future__ import annotations

from collections.abc import Mapping


def change_text(before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> str:
    """``rate: 80 to 40``, one after another; empty where nothing is on record."""
    was = before or {}
    return ", ".join(
        f"{name}: {_worded(was[name])} to {_worded(value)}" if name in was else f"{name}: {_worded(value)}"
        for name, value in (after or {}).items()
    )


def _worded(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)
