"""The judge's rules for the programs' faces: HTTP API, receipts in, events, webhooks out.

Pure, and alone as ``judge`` is: what the vendor and the bench's own programs saw, against the ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from tests.faults.judge import ENDED, Finding, Kept, Told

#: An event of this type says nothing of the message's status.
_BESIDE_THE_STATUS = frozenset({"message.undelivered"})


@dataclass(frozen=True, slots=True)
class Answered:
    """A message that a program sent over HTTP, and the id that it was answered; once for each answer."""

    key: str
    to: str
    id: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that was answered with 202: what the bench wrote into it, and what the API says of it at the end."""

    id: str
    rows: int
    people: frozenset[str]
    duplicates: int
    refused: int
    state: str = ""
    counts: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that was answered with 202: rows that it must have, and rows of its file; None: there is none."""

    id: str
    rows: int
    found: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A receipt as the ledger has it. ``message``: the id of the message that it was applied to."""

    message_id: str
    status: str
    message: str | None


@dataclass(frozen=True, slots=True)
class Happened:
    """An event as ``/v1/events`` lists it at the end."""

    seq: int
    type: str
    message: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """A receiver of webhooks: what it wants, what it took, and what its deliveries say that it has not got."""

    name: str
    types: tuple[str, ...]
    """Groups such as ``message``; empty: all."""
    taken: frozenset[int]
    """Events of the requests that it answered with 200."""
    shown: frozenset[int] = frozenset()
    """Events of its deliveries that are pending or dead."""
    forged: int = 0
    """Requests whose signature was wrong."""
    changed: int = 0
    """Requests with the id of an earlier one, and other events."""

    def wants(self, event: Happened) -> bool:
        """Whether it asked for events of this type."""
        return not self.types or event.type.partition(".")[0] in self.types


@dataclass(frozen=True, slots=True)
class FaceRecords:
    """What there is to judge, beside ``judge.Records``."""

    kept: Sequence[Kept]
    answered: Sequence[Answered] = ()
    refused: Sequence[str] = ()
    """What was refused although it was right."""
    uploads: Sequence[Uploaded] = ()
    exports: Sequence[Exported] = ()
    told: Sequence[Told] = ()
    """Receipts that were answered with 200."""
    stored: Sequence[Stored] = ()
    unreadable: tuple[int, int, int] = (0, 0, 0)
    """Callbacks that cannot be read: how many were answered with 200, may have been taken, and are set aside."""
    events: Sequence[Happened] = ()
    followed: Sequence[int] = ()
    """The numbers that a reader of the stream saw, in order."""
    reader_errors: Sequence[str] = ()
    hooks: Sequence[Hook] = ()


def judge_faces(records: FaceRecords) -> list[Finding]:
    """Every rule, over a run that has come to rest."""
    return [
        _receipts_arrive(records),
        _set_aside(records),
        _answered_once(records),
        _taken_in_wholly(records),
        _exported_wholly(records),
        _numbered_without_gap(records),
        _followed(records),
        _events_say_the_status(records),
        _webhooks_arrive(records),
        _webhooks_are_true(records),
    ]


def figures(records: FaceRecords) -> dict[str, float]:
    """How much there was of each."""
    return {
        "http_messages": len({answer.key for answer in records.answered}),
        "http_answers": len(records.answered),
        "uploads": len(records.uploads),
        "exports": len(records.exports),
        "receipts_told": len(records.told),
        "receipts_stored": len(records.stored),
        "receipts_of_no_message": sum(one.message is None for one in records.stored),
        "events": len(records.events),
        "webhook_events": sum(len(hook.taken) for hook in records.hooks),
        "webhook_events_shown": sum(len(hook.shown - hook.taken) for hook in records.hooks),
    }


def _receipts_arrive(records: FaceRecords) -> Finding:
    found = Finding(
        "P17", "every receipt that was answered with 200 is in the ledger, with its message if there is one"
    )
    by_receipt: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for one in records.stored:
        by_receipt[one.message_id, one.status].add(one.message)
    owners = {m.message_id: m.id for m in records.kept if m.message_id}
    for receipt in set(records.told):
        messages = by_receipt.get((receipt.message_id, receipt.status))
        owner = owners.get(receipt.message_id)
        if messages is None:
            found.look(f"{receipt.message_id} {receipt.status} is not there")
        elif owner is not None and messages != {owner}:
            found.look(f"{receipt.message_id} {receipt.status} is not with {owner}")
        else:
            found.look(None)
    return found


def _set_aside(records: FaceRecords) -> Finding:
    found = Finding("P17", "every callback that cannot be read is set aside, and no other")
    answered, most, aside = records.unreadable
    found.checked = answered
    if not answered <= aside <= most:
        found.look(f"{aside} are set aside, {answered} were answered and {most} posted")
    return found


def _answered_once(records: FaceRecords) -> Finding:
    found = Finding(
        "P18", "what was answered 202 is in the ledger once, under the id of every answer to its key"
    )
    rows: dict[str, set[str]] = defaultdict(set)
    for m in records.kept:
        rows[m.to].add(m.id)
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for answer in records.answered:
        ids[answer.key, answer.to].add(answer.id)
    for (key, to), told in ids.items():
        found.look(
            None if told == rows[to] and len(told) == 1 else f"{key}: {len(told)} ids, {len(rows[to])} rows"
        )
    for why in records.refused:
        found.look(f"refused: {why}")
    return found


def _taken_in_wholly(records: FaceRecords) -> Finding:
    found = Finding("P18", "every row of a posted file is a message, a duplicate or refused")
    rows = Counter(m.to for m in records.kept)
    for file in records.uploads:
        counts = dict(file.counts or {})
        want = {
            "rows": file.rows,
            "total": len(file.people),
            "duplicates": file.duplicates,
            "refused_count": file.refused,
        }
        wrong = {name: counts.get(name) for name in want if counts.get(name) != want[name]}
        astray = sum(rows[to] != 1 for to in file.people)
        if file.state != "done":
            found.look(f"{file.id} is {file.state or 'not shown'}")
        elif wrong or astray:
            found.look(f"{file.id}: {wrong} instead of {want}, {astray} people not in one row")
        else:
            found.look(None)
    return found


def _exported_wholly(records: FaceRecords) -> Finding:
    found = Finding("P18", "an export that was answered 202 ends with a file of every row")
    for export in records.exports:
        whole = export.found == export.rows
        found.look(None if whole else f"{export.id} has {export.found} rows instead of {export.rows}")
    return found


def _numbered_without_gap(records: FaceRecords) -> Finding:
    found = Finding("P19", "numbers of events have no gap")
    before = 0
    for event in records.events:
        found.look(None if event.seq == before + 1 else f"{event.seq} after {before}")
        before = event.seq
    return found


def _followed(records: FaceRecords) -> Finding:
    found = Finding("P19", "a reader of the stream saw each event once, in order")
    upto = records.events[-1].seq if records.events else 0
    before = 0
    for seq in records.followed:
        found.look(None if seq == before + 1 else f"saw {seq} after {before}")
        before = seq
    if before < upto:
        found.look(f"saw none after {before} of {upto}")
    for error in records.reader_errors:
        found.look(error)
    return found


def _events_say_the_status(records: FaceRecords) -> Finding:
    found = Finding("P19", "the last event of a message says the status that it has")
    last = {
        event.message: event.status
        for event in records.events
        if event.message is not None and event.type not in _BESIDE_THE_STATUS
    }
    for m in records.kept if records.events else ():
        if m.status in ENDED:
            said = last.get(m.id)
            found.look(
                None if said == m.status else f"{m.id} is {m.status}, its last event says {said or 'nothing'}"
            )
    return found


def _webhooks_arrive(records: FaceRecords) -> Finding:
    found = Finding(
        "P20", "every event was taken by each endpoint that wants it, or its delivery is pending or dead"
    )
    for hook in records.hooks:
        has: Set[int] = hook.taken | hook.shown
        for event in records.events:
            if hook.wants(event):
                found.look(
                    None if event.seq in has else f"{hook.name}: {event.seq} ({event.type}) never came"
                )
    return found


def _webhooks_are_true(records: FaceRecords) -> Finding:
    found = Finding(
        "P20", "every webhook is signed, wanted, of an event that happened, and the same at each try"
    )
    types = {event.seq: event for event in records.events}
    upto = max(types, default=0)
    for hook in records.hooks:
        # What happened after the list was read is not known here.
        for seq in hook.taken:
            if seq > upto:
                continue
            event = types.get(seq)
            if event is None:
                found.look(f"{hook.name}: there is no event {seq}")
            else:
                found.look(None if hook.wants(event) else f"{hook.name}: {event.type} is not wanted")
        if hook.forged:
            found.look(f"{hook.name}: {hook.forged} signatures were wrong")
        if hook.changed:
            found.look(f"{hook.name}: {hook.changed} came again with other events")
    return found
