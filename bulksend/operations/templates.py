"""Templates, as the vendor's notices tell of them."""

from __future__ import annotations

from bulksend.ledger import notices
from bulksend.ledger.database import Database
from bulksend.operations.json_shape import Page, to_json


def list_templates(database: Database, *, limit: int = 100, after: str | None = None) -> Page:
    """Templates in the order of name and language; ``after`` is the ``next`` of the page before."""
    language, _, name = (after or "").partition(" ")
    with database.read() as tx:
        found = notices.all_templates(tx, after=(name, language), limit=limit)
    items = [to_json(template._asdict()) for template in found]
    # A language has no spaces, a name may.
    last = f"{found[-1].language} {found[-1].name}" if len(found) == limit else None
    return Page(items, last)
