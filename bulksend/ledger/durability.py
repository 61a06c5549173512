"""Whether a commit survives a crash of PostgreSQL and a failover: its settings and replicas."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Durability:
    """PostgreSQL's settings. ``asynchronous``: replicas that a commit does not wait for, if this role may see them."""

    fsync: bool
    full_page_writes: bool
    asynchronous: int

    def unsafe(self) -> str | None:
        """The settings by which a crash of the server may lose data, as a sentence; None if there are none."""
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
    """The durability of this server."""
    fsync, full_page_writes, asynchronous = tx.execute(text(_ASKED)).one()
    return Durability(bool(fsync), bool(full_page_writes), int(asynchronous))
