"""``bulksend restored``: makes an older ledger safe to start from. Nothing that may have been sent is sent again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bulksend.errors import WrongState
from bulksend.ledger import event_numbers, leases, pauses, restore, sessions
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database

#: Messages of one transaction.
_CHUNK = 2_000


@dataclass(slots=True)
class Marked:
    """What was changed, or would be by a run that is not dry."""

    account: str
    dry_run: bool
    unknown: int = 0
    """Messages that are unknown now."""
    campaigns_paused: list[str] = field(default_factory=list)
    """Their rows were not all taken in."""
    files_refused: int = 0
    """Posted files whose intake had not ended."""
    retries_ended: list[str] = field(default_factory=list)
    """Campaigns whose retry was under way: what it had not reached stays failed."""
    plans_expired: list[str] = field(default_factory=list)
    """Plans that were open: each may have been applied since."""

    def as_json(self) -> dict[str, Any]:
        """The answer of ``restored``."""
        return asdict(self)


def mark_restored(database: Database, account: str, *, actor: str, why: str, dry_run: bool = False) -> Marked:
    """Pause the account, then make everything unknown that may have been sent after the backup.

    Later events get numbers that no reader has seen. The account stays paused, so that a person resumes it; an
    interrupted run is repeated. Raises WrongState while a worker holds a lease.
    """
    done = Marked(account, dry_run)
    with database.read() as tx:
        running = leases.alive(tx)
        now = read_clock(tx)
        if dry_run:
            done.unknown = sum(restore.count(tx, now).values())
    if running:
        raise WrongState(
            f"workers are running: {', '.join(running[:5])}; nothing was changed. Stop them: what they send meanwhile "
            "may have been sent before. After a restore their leases lapse within a minute"
        )
    if dry_run:
        return done
    event_numbers.number_all(database)
    database.retrying(event_numbers.skip_numbers)
    # Those that ended since the backup would be live again.
    database.retrying(sessions.end_every)
    database.retrying(lambda tx: pauses.pause_account(tx, account, actor=actor, why=why))
    done.campaigns_paused, done.files_refused = database.retrying(
        lambda tx: restore.stop_intakes(tx, actor=actor, why=why)
    )
    done.retries_ended = database.retrying(lambda tx: restore.end_retries(tx, actor=actor, why=why))
    done.plans_expired = database.retrying(lambda tx: restore.expire_plans(tx, actor=actor, why=why))
    done.unknown = database.retrying(restore.close_held)
    with database.read() as tx:
        left = restore.campaigns_to_mark(tx)
    for id in left:
        while marked := database.retrying(lambda tx, id=id: restore.mark(tx, id, now, _CHUNK)):  # type: ignore[misc]
            done.unknown += marked
    return done
