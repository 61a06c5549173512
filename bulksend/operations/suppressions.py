"""Suppressions: numbers or countries that must not get a kind of message: add, remove, import, list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from bulksend.errors import InvalidValue
from bulksend.ledger import operator_log, suppressions
from bulksend.ledger.database import Database
from bulksend.ledger.suppressions import COUNTRY, SCOPES, Suppression
from bulksend.messaging import RefusedRow, canonical_number, mask_digits, mask_phone, parse_recipient
from bulksend.messaging.plan import as_text
from bulksend.messaging.recipient import checked_region
from bulksend.messaging.units import parse_instant_ms
from bulksend.operations.json_shape import Page, to_json

#: The columns of an export of suppressions. A file with all of them is imported as it was exported.
OWN_COLUMNS = ("to", "scope", "reason", "source", "added_at", "until")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import came to: rows read, different people (of each scope) among them, suppressions added, refused."""

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
        asked = {subject: None}
        suppressions.add(tx, asked, scope=scope, reason=reason, source="operator", actor=actor, until=until)


def remove_suppressions(database: Database, subject: str, *, scope: str | None, actor: str, why: str) -> int:
    """Remove the suppressions of a number or country, of one scope or of all. Returns how many there were."""
    with database.write() as tx:
        return suppressions.remove(tx, subject, scope=scope, actor=actor, why=why)


class ReadRow(NamedTuple):
    """A row of a file of suppressions: its number, the recipient as written, and its cells of OWN_COLUMNS."""

    row: int
    recipient: object
    own: Mapping[str, object] | None = None
    """None where the file is no export of suppressions."""


def import_suppressions(
    database: Database,
    rows: Iterable[ReadRow | RefusedRow],
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
    """Suppress the number of each row, all in one transaction, in which ``also`` is called. Rows that the reader
    refused are counted and reported with those refused here. A row with ``own`` cells keeps its scope, reason, source
    and end.

    With ``dry_run`` nothing is suppressed, and the report says what would be. ``source`` None: the file and the actor.
    """
    usual = _Said(scope, reason, source or f"file {file_name} by {actor}", None)
    asked: dict[_Said, dict[str, int | None]] = {}
    refused: list[RefusedRow] = []
    count = 0
    for row in rows:
        count += 1
        if isinstance(row, RefusedRow):
            refused.append(row)
            continue
        try:
            subject, said, at = _read(row, usual, default_region)
        except InvalidValue as error:
            refused.append(RefusedRow(row.row, error.field, error.value, error.why))
        else:
            asked.setdefault(said, {})[subject] = at
    people = {(subject, said.scope) for said, subjects in asked.items() for subject in subjects}

    def report(added: int) -> ImportReport:
        return ImportReport(count, len(people), added, refused)

    with database.write() as tx:
        if dry_run:
            done = report(
                sum(
                    suppressions.count_new(tx, [*subjects], scope=said.scope, until=said.until)
                    for said, subjects in asked.items()
                )
            )
        else:
            # In a fixed order, as the subjects of each, so that two imports do not deadlock.
            done = report(
                sum(
                    suppressions.add_many(tx, asked[said], **said._asdict())
                    for said in sorted(
                        asked, key=lambda said: (said.scope, said.reason, said.source, said.until or 0)
                    )
                )
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


class _Said(NamedTuple):
    """What a row says of its suppression, besides whom and when."""

    scope: str
    reason: str
    source: str
    until: int | None


def _read(row: ReadRow, usual: _Said, default_region: str | None) -> tuple[str, _Said, int | None]:
    """The subject of a row, what it says, and when it was asked for. Raises InvalidValue."""
    if row.own is None:
        return canonical_number(parse_recipient(row.recipient, default_region=default_region)), usual, None
    said = {name: as_text(name, row.own.get(name)) for name in OWN_COLUMNS if name != "to"}
    subject = parse_subject(as_text("to", row.recipient) or "", default_region, field="to")
    added_at, until = (
        None if text is None else parse_instant_ms(text, timezone=None, now_ms=0, field=name)
        for name, text in (("added_at", said["added_at"]), ("until", said["until"]))
    )
    own = _Said(
        parse_scope(said["scope"] or usual.scope, field="scope"),
        said["reason"] or usual.reason,
        said["source"] or usual.source,
        until,
    )
    return canonical_number(subject), own, added_at


def every_suppression(tx: Connection) -> Iterator[dict[str, Any]]:
    """Every suppression with OWN_COLUMNS, for a file that ``import_suppressions`` takes; memory stays flat."""
    after = ""
    while found := suppressions.page(tx, after=after, limit=2000):
        yield from map(_own, found)
        after = found[-1].subject


def stream_suppressions(database: Database) -> Iterator[dict[str, Any]]:
    """``every_suppression`` for a reader who may be slow: no transaction is open while it reads."""
    after = ""
    while True:
        with database.read() as tx:
            found = suppressions.page(tx, after=after, limit=2000)
        if not found:
            return
        yield from map(_own, found)
        after = found[-1].subject


def _own(suppression: Suppression) -> dict[str, Any]:
    shown = to_json(suppression)
    return {name: shown["subject" if name == "to" else name] for name in OWN_COLUMNS}


def list_suppressions(
    database: Database, *, after: str = "", limit: int = 100, subject: str | None = None
) -> Page:
    """Suppressions by number, or those of one number or country; ``after`` is the ``next`` of the page before."""
    with database.read() as tx:
        found = suppressions.page(tx, after=after, limit=limit, subject=subject)
    is_full = subject is None and len({suppression.subject for suppression in found}) == limit
    return Page([to_json(suppression) for suppression in found], found[-1].subject if is_full else None)


def masked(item: Mapping[str, Any]) -> dict[str, Any]:
    """One of a list for a reader who sees no numbers."""
    subject = str(item["subject"])
    return {
        **item,
        "subject": subject if subject.startswith(COUNTRY) else mask_phone(subject),
        "reason": mask_digits(str(item["reason"])),
        "source": mask_digits(str(item["source"])),
    }


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
