"""Callbacks of the vendor: store them, show those that could not be applied, and have them read again."""

from __future__ import annotations

from collections.abc import Sequence

from bulksend.ledger import raw_receipts
from bulksend.ledger.database import Database
from bulksend.ledger.raw_receipts import Group

#: A passing failure, such as a connection that an idle firewall dropped, is repeated this long.
_PATIENCE_S = 1.0


def store_callbacks(database: Database, groups: Sequence[Group]) -> None:
    """Store these groups, each once however often it is handed in; without groups only ask whether the ledger is there.

    Raises LedgerUnreachable, LedgerUnfit.
    """
    if not groups:
        database.check()
        return
    with database.translated_errors():
        database.retrying(lambda tx: raw_receipts.store(tx, groups), patience_s=_PATIENCE_S, autocommit=True)
