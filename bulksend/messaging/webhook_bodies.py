"""Which events an endpoint gets, and the bodies that carry them.

Events of single sends and rare events go one by one. Those of the messages of a file go together as
``messages.batch``, so that a campaign of a million rows is not a million requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from bulksend.errors import InvalidValue
from bulksend.messaging.json_encoding import make_json_encoder
from bulksend.messaging.units import format_instant

BATCH = "messages.batch"
TEST = "webhook.test"
#: Every type of event that an endpoint can ask for. The parts before the dot are groups: ``message.*``.
TYPES = (
    *("message.accepted", "message.delivered", "message.read", "message.failed", "message.expired"),
    *(
        "message.suppressed",
        "message.cancelled",
        "message.superseded",
        "message.unknown",
        "message.resolved",
        "message.undelivered",
    ),
    *("campaign.started", "campaign.paused", "campaign.resumed", "campaign.finished"),
    *("campaign.reopened", "campaign.cancelled"),
    *("template.changed", "sender.changed", "webhook.disabled"),
)
#: What an endpoint can ask for: types and groups.
CHOICES = (*TYPES, *sorted({f"{type.partition('.')[0]}.*" for type in TYPES}))
#: A batch is sent when it has this many items, or when its oldest is this old.
BATCH_ITEMS, BATCH_MS = 100, 1_000
#: No body is longer, bytes.
MAX_BODY = 20_000
#: One event is no longer: what a batch's body has beside its items is less than the rest.
_MAX_ITEM = MAX_BODY - 200
_LONGEST_TEXT = 100

#: Type and time are within these bytes.
_HEAD = 120

_encode = make_json_encoder(separators=(",", ":"))


class HasHappened(Protocol):
    """An event of the ledger. ``at`` is in ms."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def at(self) -> int: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


E = TypeVar("E", bound=HasHappened)


@dataclass(frozen=True, slots=True)
class WebhookBody:
    """What is sent in one request: the events from ``first_seq`` to ``last_seq`` that the endpoint gets."""

    type: str
    first_seq: int
    last_seq: int
    body: bytes


def parse_filter(texts: Iterable[str], *, field: str = "events") -> tuple[str, ...]:
    """Types, and groups such as ``message.*``; empty: all. Raises InvalidValue."""
    wanted = sorted({text.strip() for text in texts if text.strip()})
    for text in wanted:
        if text not in CHOICES:
            raise InvalidValue(field, text[:40], f"is not a type of event; there are {', '.join(CHOICES)}")
    return tuple(wanted)


def is_wanted(type: str, filter: Sequence[str]) -> bool:
    """Whether an endpoint with this filter gets the type."""
    return not filter or type in filter or f"{type.partition('.')[0]}.*" in filter


def compose(
    events: Sequence[E],
    *,
    filter: Sequence[str],
    now_ms: int,
    is_of_a_file: Callable[[E], bool],
    is_full_page: bool,
) -> tuple[list[WebhookBody], int | None]:
    """The bodies of these events, in order, and the seq up to which they are done; None: nothing is done yet.

    Events that would make a small batch wait until the oldest of them is BATCH_MS old, unless another event is due or
    more of them follow (``is_full_page``).
    """
    wanted = [event for event in events if is_wanted(event.type, filter)]
    grouped = [event for event in wanted if is_of_a_file(event)]
    alone = len(wanted) > len(grouped)
    is_small = bool(grouped) and len(grouped) < BATCH_ITEMS and not alone and not is_full_page
    if is_small and now_ms - min(event.at for event in grouped) < BATCH_MS:
        return [], None
    bodies = [_single(event) for event in wanted if not is_of_a_file(event)]
    bodies += _batches(grouped)
    bodies.sort(key=lambda body: body.last_seq)
    return bodies, events[-1].seq if events else None


def _single(event: HasHappened) -> WebhookBody:
    body = _dump(event.type, event.at, _data(event))
    if len(body) > _MAX_ITEM:
        short = {
            name: value
            for name, value in _data(event).items()
            if not isinstance(value, dict | list) and len(str(value)) <= _LONGEST_TEXT
        }
        body = _dump(event.type, event.at, {**short, "truncated": True})
    return WebhookBody(event.type, event.seq, event.seq, body)


def _batches(events: Sequence[HasHappened]) -> Iterator[WebhookBody]:
    """At most BATCH_ITEMS items and MAX_BODY bytes each."""
    items: list[str] = []
    first = last = size = 0
    newest = 0
    for event in events:
        one = _single(event)
        text = one.body.decode()
        length = len(one.body) + 1
        if items and (len(items) == BATCH_ITEMS or size + length > _MAX_ITEM):
            yield _batch(items, first, last, newest)
            items, size = [], 0
        if not items:
            first = event.seq
        items.append(text)
        size += length
        last, newest = event.seq, event.at
    if items:
        yield _batch(items, first, last, newest)


def _batch(items: Sequence[str], first: int, last: int, at: int) -> WebhookBody:
    body = f'{{"type":"{BATCH}","timestamp":"{format_instant(at)}","data":{{"items":[{",".join(items)}]}}}}'
    return WebhookBody(BATCH, first, last, body.encode())


def happened_at(body: bytes) -> float:
    """The time in a body that ``compose`` made: of its event, or of the newest of a batch; seconds since the epoch."""
    text = body[:_HEAD].decode("ascii", "replace").partition('"timestamp":"')[2].partition('"')[0]
    return datetime.fromisoformat(text).timestamp()


def trial_body(at: int) -> WebhookBody:
    """The body of the request by which a person tries an endpoint."""
    return WebhookBody(TEST, 0, 0, _dump(TEST, at, {}))


def _data(event: HasHappened) -> dict[str, Any]:
    return {"seq": event.seq, **event.data}


def _dump(type: str, at: int, data: Mapping[str, Any]) -> bytes:
    document = {"type": type, "timestamp": format_instant(at), "data": data}
    return _encode(document).encode("utf-8", "replace")
