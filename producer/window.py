"""What of one campaign lies in Redis, as the relay remembers it, and what is to be looked at next.

A large window is not read anew at each look: twenty thousand rows twice a second cost more than sending them. Between
two whole looks only what comes after its end is read, as much as has left it meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from bulksend.ledger import due
from bulksend.ledger.due import Cursor, DueMessage

#: A message and its due time: due at another time, it has been in a worker's hands since, and is a job anew, even
#: if both happened between two looks.
Job = tuple[str, int]

#: A window of so many is read whole each time.
SMALL = 2_000
#: A larger one this often: what Redis lost and what workers gave back is found by it.
WHOLE_MS = 5_000


def job(row: DueMessage) -> Job:
    """The job that a row is now."""
    return row.id, row.due_at


@dataclass(slots=True)
class Look:
    """What a look found. ``is_short``: the campaign has no more that is due now."""

    rows: list[DueMessage]
    is_whole: bool
    is_short: bool


@dataclass(slots=True)
class Window:
    """The jobs that Redis took, each with the instant (ms) at which it did."""

    published: dict[Job, int] = field(default_factory=dict)
    _end: Cursor | None = None
    _whole_at_ms: int = 0
    _whole_rows: int = 0

    def look(self, tx: Connection, campaign_id: str, size: int, now_ms: int) -> Look:
        """The rows to be judged: the whole window, or what comes after its end."""
        if self._end is None or self._whole_rows <= SMALL or now_ms - self._whole_at_ms >= WHOLE_MS:
            rows = due.due_messages(tx, campaign_id, size)
            self._whole_at_ms, self._whole_rows = now_ms, len(rows)
            kept = map(job, rows)
            self.published = {key: self.published[key] for key in kept if key in self.published}
            return Look(rows, is_whole=True, is_short=len(rows) < size)
        room = size - due.count_waiting_up_to(tx, campaign_id, self._end, size)
        rows = due.due_messages(tx, campaign_id, room, after=self._end) if room > 0 else []
        return Look(rows, is_whole=False, is_short=len(rows) < room)

    def took(self, look: Look, taken: dict[str, int]) -> None:
        """Redis took these ids of a look. The window ends before the first row that it does not hold."""
        for row in look.rows:
            if row.id in taken:
                self.published[job(row)] = taken[row.id]
        end = None if look.is_whole else self._end
        for row in look.rows:
            if job(row) not in self.published:
                break
            end = row.due_at, row.id
        self._end = end
