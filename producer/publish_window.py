"""The publish window: the part of one campaign that is in Redis or claimed, as the relay remembers it.

A claimed message counts until its attempt is open. So all workers together hold at most a window of a campaign that
waits for permits, and what goes out makes room for a job, which the next free worker takes.

A large window is not read as a whole in each round: twenty thousand rows twice a second would cost more than sending
them. Between two whole scans only the rows after its end are read, as many as have left the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection

from bulksend.ledger import due
from bulksend.ledger.due import Cursor, DueMessage

#: A message and its due time. With another due time a worker has had the message since, and it is a new job_key.
JobKey = tuple[str, int]

#: A window of at most this many rows is read as a whole each time.
SMALL = 2_000
#: A larger one is read as a whole this often, which finds what Redis lost and what workers gave back.
WHOLE_MS = 5_000


def job_key(row: DueMessage) -> JobKey:
    """The job of a message as it is now."""
    return row.id, row.due_at


@dataclass(slots=True)
class Scan:
    """The rows that a scan read. ``reached_end``: the campaign has no more messages that are due."""

    rows: list[DueMessage]
    is_whole: bool
    reached_end: bool


@dataclass(slots=True)
class PublishWindow:
    """The jobs that Redis took, each with the time (ms)."""

    published: dict[JobKey, int] = field(default_factory=dict)
    _end: Cursor | None = None
    _whole_at_ms: int = 0
    _whole_rows: int = 0

    def scan(
        self,
        tx: Connection,
        campaign_id: str,
        size: int,
        now_ms: int,
        *,
        held_after: str | None = None,
        claimed: bool = True,
    ) -> Scan:
        """The rows of the whole window, or those after its end; without those that the campaign's canary holds.

        Without ``claimed`` a claim leaves the window.
        """
        found = partial(due.due_messages, tx, campaign_id, held_after=held_after, claimed=claimed)
        if self._end is None or self._whole_rows <= SMALL or now_ms - self._whole_at_ms >= WHOLE_MS:
            rows = found(size)
            self._whole_at_ms, self._whole_rows = now_ms, len(rows)
            # A claim uses up its job: a message that a worker gives back needs another.
            kept = (job_key(row) for row in rows if not row.is_claimed)
            self.published = {key: self.published[key] for key in kept if key in self.published}
            return Scan(rows, is_whole=True, reached_end=len(rows) < size)
        room = size - due.count_waiting_up_to(tx, campaign_id, self._end, size, claimed=claimed)
        rows = found(room, after=self._end) if room > 0 else []
        return Scan(rows, is_whole=False, reached_end=len(rows) < room)

    def record(self, scan: Scan, taken: dict[str, int]) -> None:
        """Record the ids of a scan that Redis took. The window ends before the first row without a job or a claim."""
        for row in scan.rows:
            if row.id in taken:
                self.published[job_key(row)] = taken[row.id]
        end = None if scan.is_whole else self._end
        for row in scan.rows:
            if not row.is_claimed and job_key(row) not in self.published:
                break
            end = row.due_at, row.id
        self._end = end
