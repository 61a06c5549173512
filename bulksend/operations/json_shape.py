"""The JSON shape of ledger rows: ISO 8601 times, ``to`` for the recipient; and pages of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bulksend.errors import InvalidValue
from bulksend.ledger.ids import is_id
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.units import format_due

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: Fields that hold milliseconds since the epoch in the ledger.
INSTANTS = frozenset(
    {
        *(
            "due_at",
            "first_due_at",
            "expires_at",
            "queued_at",
            "sent_at",
            "accepted_at",
            "delivered_at",
            "read_at",
        ),
        *("started_at", "finished_at", "received_at", "at", "created_at", "ended_at", "intake_done_at"),
        *("paused_at", "added_at", "until", "earliest", "revoked_at", "last_used_at"),
        *("old_secret_until", "failing_since", "succeeded_at", "next_at", "tried_at"),
        *("changed_at", "status_at", "category_at", "quality_at", "synced_at", "uploaded_at"),
        *("signed_in_at", "disabled_at", "locked_until", "setup_expires_at", "placed_at", "seen_at"),
        *("applied_at", "begins_at", "done_by", "undelivered_at", "gate_until"),
    }
)
_NAMES = {"recipient": "to"}
#: Fields with words of a person, which may name a phone number.
_WORDS = frozenset({"why", "pause_why", "error", "sentence", "stopped_by"})


def checked_after(after: str | None) -> str | None:
    """The ``after`` of a list whose pages end with an id. Raises InvalidValue."""
    if after is not None and not is_id(after):
        raise InvalidValue("after", "", "is not the `next` of a page of this list; begin without it")
    return after


def to_json(row: Mapping[Any, Any] | DataclassInstance) -> dict[str, Any]:
    """A ledger row, or a record made of one, as the interface shows it."""
    fields = row if isinstance(row, Mapping) else asdict(row)
    return {_NAMES.get(name, name): _shown(name, value) for name, value in fields.items()}


def masked_texts(shown: Any) -> Any:
    """The same with every phone number in a text masked, however deep."""
    if isinstance(shown, Mapping):
        return {name: masked_texts(value) for name, value in shown.items()}
    if isinstance(shown, list):
        return [masked_texts(value) for value in shown]
    return mask_digits(shown) if isinstance(shown, str) and not is_id(shown) else shown


def masked_words(shown: Any) -> Any:
    """The same with every phone number in words of a person masked, however deep. Numbers of senders stay."""
    if isinstance(shown, Mapping):
        return {
            name: (masked_texts if name in _WORDS else masked_words)(value) for name, value in shown.items()
        }
    return [masked_words(each) for each in shown] if isinstance(shown, list) else shown


def _shown(name: str, value: object) -> object:
    return format_due(value) if name in INSTANTS and isinstance(value, int) else value


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what was found. ``next``: what the next page starts after; None at the end."""

    items: list[dict[str, Any]]
    next: str | None

    @classmethod
    def of(cls, rows: Sequence[Mapping[Any, Any]], limit: int) -> Page:
        """The page of these ledger rows, each with an id; there may be a next one where it is full."""
        items = [to_json(row) for row in rows]
        return cls(items, str(items[-1]["id"]) if len(items) == limit else None)

    @classmethod
    def part(cls, items: Sequence[dict[str, Any]], *, limit: int, after: str | None, by: str = "id") -> Page:
        """The page after ``after`` of a short list that is at hand; ``by`` names what identifies an item.

        Raises InvalidValue when ``after`` is none of them.
        """
        start = 0
        if after is not None:
            ids = [item[by] for item in items]
            if after not in ids:
                raise InvalidValue("after", "", "is not the `next` of a page of this list; begin without it")
            start = ids.index(after) + 1
        part = list(items[start : start + limit])
        return cls(part, str(part[-1][by]) if start + limit < len(items) else None)
