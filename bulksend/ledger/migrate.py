"""Migrate a database's schema, or check that it is up to date. The steps are in ``migrations/``."""

from __future__ import annotations

import re
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from bulksend.errors import LedgerUnreachable, SchemaNewer, SchemaOutdated
from bulksend.ledger import installation
from bulksend.ledger.database import Database, is_lock_timeout, set_lock_timeout, set_statement_timeout

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.get_logger(__name__)

#: Beside the packages in a checkout and in an installed wheel alike.
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
#: The entry of the installation that holds OLDEST_COMPATIBLE.
_COMPATIBLE = "compatible_with"
#: Programs whose newest step is this one, or a later one, work with the schema of this program: they may run beside it
#: during an upgrade. A step that renames or removes what they use raises it. One before 0044 looks for the messages in
#: flight in ``messages`` and not in ``in_flight``, so it would claim what another worker holds.
OLDEST_COMPATIBLE = "0044"
#: A step waits this long for a lock: longer than an autovacuum takes to give way (1 s), as all writers wait behind it.
LOCK_MS = 3_000
#: For this long a step that does not get its locks is tried again.
PATIENCE_S = 300.0
_STEP = re.compile(r'^(revision|down_revision) *(?::[^=]*)?= *"(.+)"', re.MULTILINE)


def migrate(
    database: Database, revision: str = "head", *, lock_ms: int = LOCK_MS, patience_s: float = PATIENCE_S
) -> None:
    """Upgrade or downgrade to ``revision``. Raises SchemaNewer when a newer program migrated the database.

    On PostgreSQL an upgrade commits each step by itself, so that none keeps its locks while the others work: programs
    of the version before write meanwhile. An interrupted one is repeated, and goes on from there. A step that does not
    get a lock within ``lock_ms``, as while a long export reads the table, lets the writers behind it pass and is tried
    again; raises LedgerUnreachable when ``patience_s`` did not do.
    """
    target = newest_revision() if revision == "head" else revision
    deadline = time.monotonic() + patience_s
    while True:
        try:
            if not _step(database, target, lock_ms):
                return
        except DBAPIError as error:
            if not is_lock_timeout(error):
                raise
            if time.monotonic() > deadline:
                raise LedgerUnreachable(
                    f"the ledger at {database.address}: a transaction that runs for long, such as an export, holds a "
                    "table that the next step changes; run `bulksend migrate` again when it has ended"
                ) from None
            log.warning("migration_waits_for_a_lock", longest_s=round(deadline - time.monotonic()))


def _step(database: Database, target: str, lock_ms: int) -> bool:
    """The next step of an upgrade; or all of them where no other program waits. Returns whether more is to be done."""
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config()
    with database.write() as tx:
        set_statement_timeout(tx, 0)
        set_lock_timeout(tx, lock_ms)
        config.attributes["connection"] = tx
        current = _recorded(tx)
        _refuse_newer(database, current)
        known = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()][::-1]
        if target == "base" or (current in known and target in known[: known.index(current)]):
            command.downgrade(config, target)
            reached = target
        else:
            reached = target
            # A target that is not known is Alembic's to refuse.
            if current is not None and current != target and target in known and not database.is_sqlite:
                reached = known[known.index(current) + 1]
            command.upgrade(config, reached)
        if reached != "base":
            installation.put(tx, _COMPATIBLE, min(OLDEST_COMPATIBLE, reached).encode())
    return reached != target


def check_schema(database: Database) -> str:
    """The schema's revision. Raises SchemaOutdated or SchemaNewer, with the remedy, when this program cannot use it.

    A newer schema is fine where the program that made it says that this one may run beside it.
    """
    head = newest_revision()
    with database.translated_errors(), database.read() as tx:
        current = _recorded(tx)
        if current is not None and _may_run_beside(tx, current, head):
            return current
    _refuse_newer(database, current)
    if current != head:
        state = (
            "has no tables yet" if current is None else f"is at revision {current}, this program needs {head}"
        )
        raise SchemaOutdated(f"the ledger at {database.address} {state}; run `bulksend migrate`")
    return head


def _may_run_beside(tx: Connection, current: str, head: str) -> bool:
    if current in {step["revision"] for step in _steps()}:
        return False
    oldest = installation.get(tx, _COMPATIBLE)
    return oldest is not None and oldest.decode() <= head


def _refuse_newer(database: Database, current: str | None) -> None:
    if current is not None and current not in {step["revision"] for step in _steps()}:
        raise SchemaNewer(
            f"the ledger at {database.address} is at revision {current}, which is newer than this program; nothing was "
            "changed: update bulksend on this machine"
        )


@cache
def _steps() -> list[dict[str, str]]:
    """Revisions read from the text of the steps: importing Alembic takes longer than a send."""
    return [
        dict(_STEP.findall(file.read_text(encoding="utf-8")))
        for file in (MIGRATIONS / "versions").glob("0*.py")
    ]


def newest_revision() -> str:
    """The revision that no step builds on."""
    steps = _steps()
    head: str
    (head,) = {step["revision"] for step in steps} - {step.get("down_revision") for step in steps}
    return head


def _recorded(tx: Connection) -> str | None:
    if not inspect(tx).has_table("alembic_version"):
        return None
    return tx.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
