"""Messages that may have been sent: list them with what their attempts left behind, resolve them, on record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import AccessDenied, InvalidInput, MessageNotFound
from bulksend.ledger import messages, unknowns
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.messages import RESOLUTIONS
from bulksend.ledger.unknowns import MEANING, Trace
from bulksend.messaging.states import Kind
from bulksend.messaging.units import parse_choice
from bulksend.operations.json_shape import Page, to_json
from bulksend.operations.messages import Filter

#: One transaction resolves this many.
_CHUNK = 200
#: One call of a face resolves at most this many.
MOST_RESOLVED = 1000
#: What an attempt may leave behind.
TRACES = tuple(trace.value for trace in Trace)


def list_unknown(
    tx: Connection, filter: Filter, *, traces: Sequence[str] = (), limit: int, before: str | None = None
) -> Page:
    """The newest unknown messages, each with its newest attempt, the attempt's trace and what that means.

    ``before`` is the ``next`` of the page before. Raises InvalidValue, CampaignNotFound.
    """
    found = unknowns.unknown(tx, filter.query(tx), traces=_parsed(traces), limit=limit, before=before)
    return Page.of(_with_meaning(found), limit)


def look_at_unknown(
    tx: Connection, filter: Filter, *, traces: Sequence[str] = (), limit: int, before: str | None = None
) -> Page:
    """As ``list_unknown``, but a page looks at a few thousand messages at most, whatever there are.

    It may be short, or empty, and have a ``next``.
    """
    found, next = unknowns.page(tx, filter.query(tx), traces=_parsed(traces), limit=limit, before=before)
    return Page([to_json(row) for row in _with_meaning(found)], next)


def _parsed(traces: Sequence[str]) -> list[Trace]:
    return [parse_choice(Trace, text, field="trace") for text in traces]


def _with_meaning(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"meaning": MEANING[Trace(row["trace"])]} for row in found]


def now(tx: Connection) -> int:
    """The ledger's time, for ages: ms since the epoch."""
    return read_clock(tx)


@dataclass(slots=True)
class Resolution:
    """What a resolve changed, by ids of messages."""

    as_: str
    dry_run: bool
    resolved: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    """An operator had resolved them the same way before."""
    refused: list[dict[str, str]] = field(default_factory=list)
    """Each with ``id`` and ``why``."""

    @property
    def status(self) -> str:
        """The status that a resolved message has."""
        return RESOLUTIONS[self.as_].value

    def as_json(self) -> dict[str, Any]:
        """The answer of ``messages resolve`` for several messages."""
        return {
            "resolved": self.resolved,
            "resolved_before": self.before,
            "refused": self.refused,
            "as": self.as_,
            "dry_run": self.dry_run,
        }


def resolve(
    database: Database,
    ids: Iterable[str],
    *,
    as_: str,
    actor: str,
    why: str,
    dry_run: bool = False,
    allow: Callable[[Kind, str], None] = lambda _kind, _sender: None,
) -> Resolution:
    """Resolve unknown messages as ``accepted``, ``failed`` or ``resend``. A dry run changes nothing.

    A message that cannot be resolved so is in ``refused``, and so is one for whose kind and sender ``allow`` raises
    InvalidInput. Raises InvalidValue for another word or an empty reason.
    """
    messages.check_resolution(as_, why)
    done = Resolution(as_, dry_run)
    wanted = iter(ids)

    def resolve_chunk(tx: Connection, chunk: Sequence[str]) -> Resolution:
        part = Resolution(as_, dry_run)
        for id in sorted(chunk, key=str.lower):  # in one order, or two operators could deadlock
            _resolve_one(tx, id, part, actor=actor, why=why, allow=allow)
        return part

    while chunk := list(itertools.islice(wanted, _CHUNK)):
        part = database.retrying(lambda tx, chunk=chunk: resolve_chunk(tx, chunk))  # type: ignore[misc]
        done.resolved += part.resolved
        done.before += part.before
        done.refused += part.refused
    return done


def check_allowed(tx: Connection, id: str, allow: Callable[[Kind, str], None]) -> None:
    """Raises what ``allow`` raises for the message's kind and sender, and MessageNotFound."""
    row = messages.get(tx, id)
    allow(Kind(row["kind"]), str(row["sender"]))


def _resolve_one(
    tx: Connection, id: str, done: Resolution, *, actor: str, why: str, allow: Callable[[Kind, str], None]
) -> None:
    known = id.lower()
    try:
        check_allowed(tx, id, allow)
        if done.dry_run:
            messages.check_resolve(tx, known, as_=done.as_)
        else:
            messages.resolve(tx, known, as_=done.as_, actor=actor, why=why)
        done.resolved.append(id)
    except (MessageNotFound, AccessDenied) as error:
        done.refused.append({"id": id, "why": str(error)})
    except InvalidInput as error:
        # Asked for twice, or done by a COMMIT whose answer was lost.
        if messages.was_resolved_as(tx, known, done.as_):
            done.before.append(id)
        else:
            done.refused.append({"id": id, "why": str(error)})


def newest_ids(tx: Connection, filter: Filter, traces: Sequence[str] = ()) -> tuple[list[str], bool]:
    """The newest MOST_RESOLVED unknown messages that match, and whether there are more.

    Raises InvalidValue, CampaignNotFound.
    """
    items = list_unknown(tx, filter, traces=traces, limit=MOST_RESOLVED + 1).items
    return [str(item["id"]) for item in items[:MOST_RESOLVED]], len(items) > MOST_RESOLVED


def matching_ids(database: Database, filter: Filter, traces: Sequence[str] = ()) -> Iterator[str]:
    """The ids of all unknown messages that match, page by page, so that they may be resolved meanwhile.

    Raises InvalidValue, CampaignNotFound.
    """
    before: str | None = None
    while True:
        with database.read() as tx:
            page = list_unknown(tx, filter, traces=traces, limit=_CHUNK, before=before)
        yield from (str(item["id"]) for item in page.items)
        if page.next is None:
            return
        before = page.next
