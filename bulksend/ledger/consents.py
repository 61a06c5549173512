"""Consents: that a person agreed to get messages, where and when, from the rows that said so. None is overwritten."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from bulksend.ledger.bulk_parameters import bound, statement, storable, table
from bulksend.ledger.database import among
from bulksend.ledger.schema import consents, suppressions
from bulksend.messaging.exclusions import Consent
from bulksend.messaging.number_forms import canonical_number

_COLUMNS = {"subject": "text", "at": "bigint", "source": "text", "campaign_id": "uuid"}
_RECORD = """INSERT INTO consents (subject, at, source, campaign_id, recorded_at)
    SELECT p.subject, p.at, p.source, p.campaign_id, :now FROM {rows} WHERE true
    ON CONFLICT (subject, at) DO NOTHING"""


@dataclass(frozen=True, slots=True)
class KeptConsent:
    """A consent on record. ``subject`` is a person's digits, instants in ms since the epoch."""

    subject: str
    at: int
    source: str
    campaign_id: str
    """The campaign whose rows said so first."""
    recorded_at: int
    suppressed: str | None
    """The scope in which the person is suppressed: a stop word revokes a consent."""


def record(
    tx: Connection, campaign_id: str, of_recipients: Iterable[tuple[str, Consent]], *, now: int
) -> None:
    """Keep the consents of these recipients; one of a person and instant that is there stays as it is."""
    # In the order of the subjects, so that two transactions do not deadlock.
    rows = sorted(
        {
            (canonical_number(recipient), consent.at): storable(consent.source, 200)
            for recipient, consent in of_recipients
        }.items()
    )
    if rows:
        given = [(subject, at, source, campaign_id) for (subject, at), source in rows]
        sql = _RECORD.format(rows=table(tx, _COLUMNS))
        tx.execute(statement(sql), {**bound(tx, _COLUMNS, given), "now": now})


def having(tx: Connection, recipients: Collection[str]) -> set[str]:
    """Those of the recipients for whom a consent is on record, as ``canonical_number``."""
    people = list({canonical_number(recipient) for recipient in recipients})
    found = select(consents.c.subject).where(among(tx, consents.c.subject, people)).distinct()
    return set(tx.execute(found).scalars())


def page(
    tx: Connection, *, after: str = "", limit: int = 100, subject: str | None = None
) -> list[KeptConsent]:
    """The consents of the next ``limit`` people after ``after``, or of one; no person is split over two pages."""
    if subject is not None:
        condition = consents.c.subject == canonical_number(subject)
    else:
        subjects = select(consents.c.subject).where(consents.c.subject > after).distinct()
        condition = consents.c.subject.in_(subjects.order_by(consents.c.subject).limit(limit))
    scope = (
        select(suppressions.c.scope)
        .where(suppressions.c.subject == consents.c.subject)
        .order_by(suppressions.c.scope)
        .limit(1)
        .scalar_subquery()
    )
    of = select(consents, scope.label("suppressed")).where(condition)
    rows = tx.execute(of.order_by(consents.c.subject, consents.c.at)).mappings()
    return [KeptConsent(**{**row, "campaign_id": str(row["campaign_id"])}) for row in rows]


def every(tx: Connection, *, at_once: int = 2000) -> Iterator[KeptConsent]:
    """Every consent, by person; memory stays flat."""
    after = ""
    while found := page(tx, after=after, limit=at_once):
        yield from found
        after = found[-1].subject
