"""Whether a commit survives a crash of the database, and a failover: PostgreSQL's settings and replicas."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Durability:
    """What PostgreSQL says. ``asynchronous``: replicas that a commit does not wait for, if this role sees them."""

    fsync: bool
    full_page_writes: bool
    asynchronous: int

    def unsafe(self) -> str | None:
        """What a crash of the server may lose or spoil; None where nothing."""
        off = [
            name
            for name, is_on in (("fsync", self.fsync), ("full_page_writes", self.full_page_writes))
            if not is_on
        ]
        if not off:
            return None
        return f"{' and '.join(off)} off: a crash of the server can lose or spoil what was committed"


_ASKED = """
SELECT current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async')
"""


def durability(tx: Connection) -> Durability:
    """Ask PostgreSQL."""
    fsync, full_page_writes, asynchronous = tx.execute(text(_ASKED)).one()
    return Durability(bool(fsync), bool(full_page_writes), int(asynchronous))
