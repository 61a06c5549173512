"""Planted bugs: a copy of the program with one safety taken out, to see that the judge would notice.

Each is an edit of the source, and an edit that no longer fits is an error: so this stays true when the code moves.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.faults.installation import ROOT

ROOMS = ("bulksend", "producer", "worker", "notifier", "ops", "simulator", "migrations")


@dataclass(frozen=True, slots=True)
class Edit:
    """``old`` stands in ``file`` exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """One safety less, the faults that bring it to light, and the promises that must be seen to break."""

    name: str
    edits: tuple[Edit, ...]
    faults: tuple[str, ...]
    breaks: frozenset[str]


CLAIM_REMOVED = PlantedBug(
    "claim removed",
    (
        Edit(
            "bulksend/ledger/claim.py",
            "WHERE m.status IN ('queued', 'retry') AND m.due_at <= {now}",
            "WHERE m.status IN ('queued', 'retry', 'accepted') AND m.due_at <= {now}",
        ),
        Edit(
            "bulksend/ledger/claim.py",
            "ON CONFLICT (message_pk) DO NOTHING",
            "ON CONFLICT (message_pk) DO UPDATE SET owner = excluded.owner, attempt_id = NULL",
        ),
        # The write-ahead looks at the status once more.
        Edit(
            "bulksend/ledger/write_ahead.py",
            "  AND (SELECT m.status IN ('queued', 'retry')",
            "  AND (SELECT m.status IN ('queued', 'retry', 'accepted')",
        ),
    ),
    ("every job delivered again",),
    frozenset({"P2"}),
)
FENCING_REMOVED = PlantedBug(
    "fencing removed",
    (
        Edit(
            "bulksend/ledger/write_ahead.py",
            "UPDATE in_flight SET attempt_id = {attempt}, started_at = {now} {source}\n"
            "WHERE in_flight.message_pk = {id} AND in_flight.owner = :lease\n"
            "  AND (in_flight.attempt_id IS NULL OR in_flight.attempt_id = {attempt})\n"
            "  AND (SELECT m.status IN ('queued', 'retry') AND (m.expires_at IS NULL OR m.expires_at > {now})\n"
            "       FROM messages m WHERE m.id = in_flight.message_pk)\n",
            # The row in flight is a fence of its own: it is gone when another worker has sent the message.
            "INSERT INTO in_flight (message_pk, owner, attempt_id, started_at)\n"
            "SELECT p.id, CAST(:lease AS uuid), p.attempt_id, {now}\n"
            "FROM unnest(CAST(:rows_0 AS uuid[]), CAST(:rows_1 AS uuid[])) AS p (id, attempt_id), messages m\n"
            "WHERE m.id = p.id AND (m.expires_at IS NULL OR m.expires_at > {now})\n",
        ),
        Edit(
            "bulksend/ledger/write_ahead.py",
            "  AND EXISTS (SELECT 1 FROM workers w WHERE w.id = :lease AND w.lease_until > {now} "
            "AND w.ended_at IS NULL)\n  {unless}\n",
            "  {unless}\nON CONFLICT (message_pk) DO UPDATE "
            "SET attempt_id = excluded.attempt_id, started_at = excluded.started_at\n",
        ),
        Edit(
            "worker/session/lease.py",
            "return self._id if self._clock() < self._valid_until else None",
            "return self._id",
        ),
        # It keeps what it held, and each freeze finds two workers that claim.
        Edit("worker/session/lease.py", "        self._on_lost()\n", ""),
        Edit(
            "worker/delivery/pipeline.py",
            "        if self._deps.lease.id != message.lease:\n            return NotSent(",
            "        if False:\n            return NotSent(",
        ),
    ),
    ("worker frozen past its lease",),
    frozenset({"P2"}),
)
WRITE_AHEAD_REMOVED = PlantedBug(
    "write-ahead removed",
    (
        Edit(
            "worker/delivery/pipeline.py",
            "self._deps.openers[message.claimed.kind].submit(message.opening, self._on_opened)",
            "self._on_opened(message.opening, True)",
        ),
    ),
    ("worker killed",),
    frozenset({"P4"}),
)
BLIND_RETRY = PlantedBug(
    "a lost answer taken for a message not sent",
    (
        Edit(
            "bulksend/gateway/replies.py",
            "    if failure.bytes_sent:",
            "    if False:",
        ),
    ),
    ("vendor sends, then resets",),
    frozenset({"P2"}),
)
TRUSTING = PlantedBug(
    "any answer that is no success taken for a message not sent",
    (
        Edit(
            "bulksend/gateway/error_codes.py",
            "if isinstance(outcome, Refused | Throttled) and not (self.not_sent or vouched):",
            "if False:",
        ),
    ),
    ("503 from a proxy that forwarded half", "130, 150, 151 or 200 of which half were sent"),
    frozenset({"P2"}),
)
SPOOL_REMOVED = PlantedBug(
    "receipts answered with 200 although nothing has them",
    (
        Edit(
            "ops/http/receipt_group_commit.py",
            "        if not self._store_in_time(group):\n            self._spool.save(group)\n",
            "        self._store_in_time(group)\n",
        ),
    ),
    ("serve cut off from the ledger",),
    frozenset({"P17"}),
)
KEY_IGNORED = PlantedBug(
    "the Idempotency-Key of a posted message ignored",
    (Edit("ops/http/messages_in.py", "given = request.headers.get(HEADER)", "given = None"),),
    ("serve's answers lost",),
    frozenset({"P18"}),
)
WEBHOOK_NOT_REPEATED = PlantedBug(
    "a webhook taken for delivered whatever the receiver answers",
    (
        Edit(
            "notifier/deliveries.py",
            "delivered = is_delivered(reply.http_status)",
            "delivered = True",
        ),
    ),
    ("a receiver of webhooks answers 500",),
    frozenset({"P20"}),
)
NEWER_IGNORED = PlantedBug(
    "an older code sent although a newer one waits or was sent",
    (
        Edit(
            "bulksend/ledger/write_ahead.py",
            "sql = (_BLOCKERS + _NEWER if codes else _BLOCKERS).format(",
            "sql = _BLOCKERS.format(",
        ),
    ),
    # Both codes wait for longer than the judge allows for the look of a write-ahead.
    ("Redis frozen",),
    frozenset({"P21"}),
)
CANARY_IGNORED = PlantedBug(
    "the rest of a campaign published and claimed beside its canary",
    (
        Edit(
            "bulksend/ledger/claim.py",
            "              AND (c.held_after IS NULL OR m.id <= c.held_after))",
            "              )",
        ),
        Edit("producer/relay.py", "held_after=campaign.held_after, claimed", "held_after=None, claimed"),
    ),
    ("campaign with a canary",),
    frozenset({"P22"}),
)
PLANTED = (
    *(CLAIM_REMOVED, FENCING_REMOVED, WRITE_AHEAD_REMOVED, BLIND_RETRY, TRUSTING),
    *(SPOOL_REMOVED, KEY_IGNORED, WEBHOOK_NOT_REPEATED, NEWER_IGNORED, CANARY_IGNORED),
)


def plant(bug: PlantedBug, folder: Path) -> Path:
    """A copy of the program with this bug. Raises ValueError where an edit does not fit."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in bug.edits:
        file = folder / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            raise ValueError(
                f"{bug.name}: {edit.file} holds {edit.old!r} {text.count(edit.old)} times, not once"
            )
        file.write_text(text.replace(edit.old, edit.new))
    return folder
