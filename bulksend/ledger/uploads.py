"""Files that programs posted: on record before the answer, taken in by one process at a time under a lease.

The lease only saves work. That no row is stored twice is the campaign's own lock (``ledger/intake.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Update, insert, or_, select, text, update

from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import delete_found, first, newest_first
from bulksend.ledger.ids import lowest_at
from bulksend.ledger.schema import LIVE_UPLOADS_SQL, uploads


class UploadState(StrEnum):
    """How far a posted file is."""

    STORED = "stored"
    """On the disk; no row has been taken in."""
    INTAKE = "intake"
    """Its rows are being taken in."""
    DONE = "done"
    """Every row is in its campaign, or refused."""
    REFUSED = "refused"
    """Its rows are not, or not all, in a campaign: ``error`` says why."""


#: A file that was taken in or refused stays on record for this long.
KEPT_MS = 30 * 86_400_000
LIVE = (UploadState.STORED, UploadState.INTAKE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A row of the table. Instants in ms since the epoch."""

    id: str
    campaign_id: str | None
    state: UploadState
    options: str
    campaign_key: str
    source_hash: str
    file: str
    sha256: str
    bytes: int
    created_at: int
    created_by: str
    failures: int
    error_code: str | None
    error: str | None
    report: str | None
    ended_at: int | None


_SHOWN = [uploads.c[name] for name in Upload.__dataclass_fields__]


def add(tx: Connection, **values: Any) -> None:
    """Record a stored file: the fields of ``Upload`` that are known at its begin."""
    tx.execute(
        insert(uploads).values(state=UploadState.STORED.value, created_at=current_ms(), failures=0, **values)
    )


def get(tx: Connection, id: str) -> Upload | None:
    """The file of that id; None where there is none."""
    return first(tx, select(*_SHOWN).where(uploads.c.id == id), _made)


def of_campaign(tx: Connection, campaign_id: str) -> Upload | None:
    """The newest file of a campaign; None where it has none."""
    newest = select(*_SHOWN).where(uploads.c.campaign_id == campaign_id)
    return first(tx, newest_first(newest, uploads.c.id, 1), _made)


def waiting(
    tx: Connection, *, over_bytes: int = 0, most_bytes: int | None = None, limit: int = 50
) -> list[Upload]:
    """Files of these sizes that no intake has, the oldest first."""
    query = select(*_SHOWN).where(text(LIVE_UPLOADS_SQL), _is_free(), uploads.c.bytes > over_bytes)
    if most_bytes is not None:
        query = query.where(uploads.c.bytes <= most_bytes)
    return [_made(**row) for row in tx.execute(query.order_by(uploads.c.id).limit(limit)).mappings()]


def claim(tx: Connection, id: str, owner: str, lease_ms: int) -> bool:
    """Take a file; returns whether no other intake has it."""
    taken = (
        update(uploads)
        .where(uploads.c.id == id, text(LIVE_UPLOADS_SQL), _is_free())
        .values(owner=owner, lease_until=current_ms() + lease_ms, state=UploadState.INTAKE.value)
    )
    return tx.execute(taken).rowcount == 1


def renew(tx: Connection, id: str, owner: str, lease_ms: int) -> bool:
    """Keep a file; returns whether it is still this intake's."""
    kept = _owned(id, owner).values(lease_until=current_ms() + lease_ms)
    return tx.execute(kept).rowcount == 1


def release(tx: Connection, id: str, owner: str, *, failed: bool = False) -> None:
    """Let another intake have the file, from where this one stopped."""
    tx.execute(
        _owned(id, owner).values(owner=None, lease_until=None, failures=uploads.c.failures + int(failed))
    )


def begin(tx: Connection, id: str, owner: str, campaign_id: str) -> None:
    """Record the campaign that gets the rows."""
    tx.execute(_owned(id, owner).values(campaign_id=campaign_id))


def finish(tx: Connection, id: str, owner: str, *, campaign_id: str, report: str) -> bool:
    """Every row is stored. Returns whether the file was still this intake's."""
    done = _ended(_owned(id, owner), UploadState.DONE, campaign_id=campaign_id, report=report)
    return tx.execute(done).rowcount == 1


def end_repeated(tx: Connection, id: str, report: str) -> None:
    """Its rows were all taken in before it came."""
    tx.execute(_ended(update(uploads).where(uploads.c.id == id), UploadState.DONE, report=report))


def refuse(tx: Connection, id: str, owner: str, *, code: str, why: str) -> bool:
    """Its rows cannot be, or not all be, taken in. Returns whether the file was still this intake's."""
    said = {"error_code": code[:40], "error": storable(why, 5000)}
    return tx.execute(_ended(_owned(id, owner), UploadState.REFUSED, **said)).rowcount == 1


def live_ids(tx: Connection, ids: Sequence[str]) -> set[str]:
    """Those of the ids whose files are still needed."""
    found = select(uploads.c.id).where(uploads.c.id.in_(list(ids)), text(LIVE_UPLOADS_SQL))
    return {str(id) for id in tx.execute(found).scalars()}


def delete_old(tx: Connection, limit: int = 500) -> int:
    """Delete the oldest rows of files that ended more than KEPT_MS ago; returns how many."""
    cutoff = read_clock(tx) - KEPT_MS
    old = select(uploads.c.id).where(uploads.c.id < lowest_at(cutoff), uploads.c.ended_at < cutoff)
    return delete_found(tx, uploads.c.id, old.order_by(uploads.c.id).limit(limit))


def _is_free() -> Any:
    return or_(uploads.c.lease_until.is_(None), uploads.c.lease_until < current_ms())


def _owned(id: str, owner: str) -> Update:
    return update(uploads).where(uploads.c.id == id, uploads.c.owner == owner)


def _ended(change: Update, state: UploadState, **values: str) -> Update:
    return change.values(state=state.value, owner=None, ended_at=current_ms(), **values)


def _made(state: str, **rest: Any) -> Upload:
    return Upload(state=UploadState(state), **rest)
