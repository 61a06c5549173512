"""Suppressions: numbers or countries that must not get a kind of message: add, remove, import, list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from bulksend.errors import InvalidValue
from bulksend.ledger import operator_log, suppressions
from bulksend.ledger.database import Database
from bulksend.ledger.suppressions import COUNTRY, SCOPES
from bulksend.messaging import RefusedRow, canonical_number, parse_recipient
from bulksend.messaging.recipient import checked_region
from bulksend.operations.json_shape import Page, to_json


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import came to: rows read, different people among them, suppressions added, rows refused."""

    rows: int
    people: int
    added: int
    refused: list[RefusedRow]

    @property
    def before(self) -> int:
        """How many people were suppressed before."""
        return self.people - self.added

    def as_json(self) -> dict[str, object]:
        """The interface's answer to an import."""
        return {
            "rows": self.rows,
            "people": self.people,
            "added": self.added,
            "before": self.before,
            "refused": [row._asdict() for row in self.refused],
        }


def add_suppression(
    database: Database,
    subject: str,
    *,
    scope: str,
    reason: str,
    actor: str,
    until: int | None = None,
) -> None:
    """Suppress a number or country until an instant, or for ever; queued messages included."""
    with database.write() as tx:
        suppressions.add(tx, subject, scope=scope, reason=reason, source="operator", actor=actor, until=until)


def remove_suppressions(database: Database, subject: str, *, scope: str | None, actor: str, why: str) -> int:
    """Remove the suppressions of a number or country, of one scope or of all. Returns how many there were."""
    with database.write() as tx:
        return suppressions.remove(tx, subject, scope=scope, actor=actor, why=why)


def import_suppressions(
    database: Database,
    rows: Iterable[tuple[int, object] | RefusedRow],
    *,
    scope: str,
    reason: str,
    file_name: str,
    actor: str,
    default_region: str | None,
    source: str | None = None,
    dry_run: bool = False,
    also: Callable[[Connection, ImportReport], None] = lambda _tx, _report: None,
) -> ImportReport:
    """Suppress the number of each row, all in one transaction, in which ``also`` is called. A row is its number in the
    file and the recipient as written; rows that the reader refused are counted and reported with those refused here.

    With ``dry_run`` nothing is suppressed, and the report says what would be. ``source`` None: the file and the actor.
    """
    numbers: list[str] = []
    refused: list[RefusedRow] = []
    for row in rows:
        if isinstance(row, RefusedRow):
            refused.append(row)
            continue
        try:
            numbers.append(canonical_number(parse_recipient(row[1], default_region=default_region)))
        except InvalidValue as error:
            refused.append(RefusedRow(row[0], error.field, error.value, error.why))
    people = sorted(set(numbers))

    def report(added: int) -> ImportReport:
        return ImportReport(len(numbers) + len(refused), len(people), added, refused)

    with database.write() as tx:
        if dry_run:
            done = report(suppressions.count_new(tx, people, scope=scope))
        else:
            by = source or f"file {file_name} by {actor}"
            done = report(
                suppressions.add_many(tx, dict.fromkeys(people), scope=scope, reason=reason, source=by)
            )
            operator_log.record(
                tx,
                actor=actor,
                act=f"import {scope}",
                scope="suppression",
                subject=file_name[:40],
                why=reason,
            )
        also(tx, done)
    return done


def list_suppressions(
    database: Database, *, after: str = "", limit: int = 100, subject: str | None = None
) -> Page:
    """Suppressions by number, or those of one number or country; ``after`` is the ``next`` of the page before."""
    with database.read() as tx:
        found = suppressions.page(tx, after=after, limit=limit, subject=subject)
    is_full = subject is None and len({suppression.subject for suppression in found}) == limit
    return Page([to_json(suppression) for suppression in found], found[-1].subject if is_full else None)


def parse_subject(text: str, region: str | None, *, field: str) -> str:
    """A number as digits, or ``country:GB``. Raises InvalidValue."""
    if text.lower().startswith(COUNTRY):
        return COUNTRY + checked_region(text[len(COUNTRY) :], field)
    return parse_recipient(text, default_region=region, field=field)


def parse_scope(text: str, *, field: str) -> str:
    """``marketing`` or ``all``. Raises InvalidValue."""
    if text not in SCOPES:
        raise InvalidValue(field, text[:40], f"is not one of {', '.join(SCOPES)}")
    return text
