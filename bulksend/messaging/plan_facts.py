"""What a plan of a campaign freezes, as JSON values: its hash, and what differs when it is made once more.

Facts are what ``apply`` insists on. What changes by itself with time, such as the finish, is not one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

#: The facts by name; a value is text, a number, null, or an object of such.
Facts = Mapping[str, Any]
#: What people read instead of the name of a fact.
_TOLD = {
    "source_hash": "the file",
    "recipients_hash": "which people get it",
    "template.version": "the template's text or variables",
}
#: Hashes are shown by their beginning.
_SHOWN_DIGITS = 12


class Difference(NamedTuple):
    """One fact that changed. ``field`` is its name with dots; None: it is not there."""

    field: str
    before: object
    after: object

    def __str__(self) -> str:
        told = _TOLD.get(self.field)
        if told is not None:
            return f"{told} changed"
        return (
            f"{self.field.replace('_', ' ').replace('.', ' ')}: {_shown(self.before)} to {_shown(self.after)}"
        )


def plan_hash(facts: Facts) -> str:
    """The same for the same facts."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def differences(before: Facts, after: Facts) -> list[Difference]:
    """What changed, in the order of the names."""
    old, new = dict(_flat(before)), dict(_flat(after))
    return [
        Difference(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def told(changes: Sequence[Difference], most: int = 10) -> str:
    """The differences in one sentence."""
    listed = "; ".join(str(change) for change in changes[:most])
    return listed if len(changes) <= most else f"{listed}; and {len(changes) - most:,} more"


def _flat(value: Facts, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    is_hash = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return text[:_SHOWN_DIGITS] if is_hash else text
