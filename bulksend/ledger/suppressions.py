"""Suppressions: numbers (or whole countries) that must not get a kind of message, with reason and source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select

from bulksend.ledger import operator_log
from bulksend.ledger.bulk_parameters import array, bound, now_sql, statement, storable, table
from bulksend.ledger.database import db_now, rows_changed
from bulksend.ledger.schema import COUNTRIES_SQL, attempts, messages, suppressions
from bulksend.messaging.number_forms import canonical_number, number_forms
from bulksend.messaging.recipient import region_of
from bulksend.messaging.states import Kind

SCOPES = ("marketing", "all")
COUNTRY = "country:"


@dataclass(frozen=True, slots=True)
class Suppression:
    """``subject`` is a person's digits or ``country:XX``; ``until`` is ms since the epoch, None for ever."""

    subject: str
    scope: str
    reason: str
    source: str
    added_at: int
    until: int | None


def scopes_of(kind: Kind) -> tuple[str, ...]:
    """Which suppressions hold back a kind: those of marketing spare one-time codes and utility messages."""
    return SCOPES if kind is Kind.MARKETING else ("all",)


#: What suppresses one of the recipients in {recipients}, and every suppressed country: scope, subject, reason.
#: The countries in the very words of their partial index.
_COUNTRIES = f"""UNION ALL SELECT y.scope, y.subject, y.reason FROM suppressions y
    WHERE {COUNTRIES_SQL} AND (y.until IS NULL OR y.until > {{now}})"""  # noqa: S608 - our own words
_WHAT = "SELECT x.scope AS scope, x.subject AS subject, x.reason AS reason"
SUPPRESSING = f"""{_WHAT} FROM {{recipients}} JOIN suppressions x ON x.subject = p.recipient
    WHERE (x.until IS NULL OR x.until > {{now}}) {_COUNTRIES}"""
RECIPIENTS = {"recipient": "text"}
#: The same for PostgreSQL and a sorted array, along which it walks the index: five times as quick as rows.
_LISTED = f"""{_WHAT} FROM suppressions x WHERE x.subject = ANY(CAST(:rows AS text[]))
    AND (x.until IS NULL OR x.until > {{now}}) {_COUNTRIES}"""


class Unwanted:
    """What ``SUPPRESSING`` found, to ask of each recipient."""

    def __init__(self, found: Iterable[tuple[str, str, str]]) -> None:
        self._reasons = {(canonical_number(subject), scope): reason for scope, subject, reason in found}
        self._countries = any(subject.startswith(COUNTRY) for subject, _ in self._reasons)

    def of(self, recipients: Collection[str]) -> Collection[str]:
        """Those that ``why`` may have a reason for."""
        if self._countries:
            return recipients
        people = {subject for subject, _ in self._reasons}
        return (
            [recipient for recipient in recipients if canonical_number(recipient) in people] if people else []
        )

    def why(self, recipient: str, kind: Kind) -> str | None:
        """The reason why this recipient must not get this kind, the number's own before that of its country."""
        if not self._reasons:
            return None
        reason = self._of(canonical_number(recipient), kind)
        # Which country it is costs a look into libphonenumber.
        if reason is None and self._countries:
            reason = self._of(COUNTRY + (region_of(recipient) or "?"), kind)
        return reason

    def _of(self, subject: str, kind: Kind) -> str | None:
        reasons = (self._reasons.get((subject, scope)) for scope in scopes_of(kind))
        return next((reason for reason in reasons if reason is not None), None)


def subjects_of(recipients: Iterable[str]) -> list[tuple[str]]:
    """What a suppression of these recipients may be stored under, as rows of ``RECIPIENTS``."""
    return [(form,) for recipient in set(recipients) for form in number_forms(recipient)]


def _stored_as(subject: str) -> ColumnElement[bool]:
    return suppressions.c.subject.in_(number_forms(subject))


def among_recipients(tx: Connection, recipients: Iterable[str], kind: Kind) -> dict[str, str]:
    """Which of these recipients must not get this kind now: recipient -> reason."""
    wanted = list(recipients)
    if not wanted:
        return {}
    if tx.dialect.name == "sqlite":
        sql, rows = SUPPRESSING, bound(tx, RECIPIENTS, subjects_of(wanted))
    else:
        sql, rows = _LISTED, {"rows": array([subject for (subject,) in subjects_of(wanted)])}
    sql = sql.format(recipients=table(tx, RECIPIENTS), now=now_sql(tx))
    unwanted = Unwanted((row.scope, row.subject, row.reason) for row in tx.execute(statement(sql), rows))
    reasons = ((recipient, unwanted.why(recipient, kind)) for recipient in unwanted.of(wanted))
    return {recipient: reason for recipient, reason in reasons if reason is not None}


def add(
    tx: Connection,
    subject: str,
    *,
    scope: str,
    reason: str,
    source: str,
    actor: str,
    until: int | None = None,
) -> None:
    """Suppress a number or country; a suppression that is there keeps the longer of the two ends."""
    add_many(tx, [subject], scope=scope, reason=reason, source=source, until=until)
    operator_log.record(
        tx,
        actor=actor,
        act=f"suppress {scope}",
        scope="suppression",
        subject=canonical_number(subject),
        why=reason or source,
    )


def add_many(
    tx: Connection,
    subjects: Sequence[str],
    *,
    scope: str,
    reason: str,
    source: str,
    until: int | None = None,
) -> int:
    """Suppress many at once, as an import does; says how many rows were added or prolonged."""
    if scope not in SCOPES:
        raise ValueError(f"scope {scope!r} is not one of {SCOPES}")
    if not subjects:
        return 0
    if tx.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        statement = sqlite_insert(suppressions)
    else:
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        statement = postgresql_insert(suppressions)  # type: ignore[assignment]
    excluded = statement.excluded
    longer = or_(
        excluded.until.is_(None), excluded.until > func.coalesce(suppressions.c.until, excluded.until)
    )
    now = tx.execute(select(db_now())).scalar_one()
    statement = statement.on_conflict_do_update(
        index_elements=["subject", "scope"],
        set_={"until": excluded.until, "reason": excluded.reason, "source": excluded.source},
        where=longer & suppressions.c.until.is_not(None),
    )
    changed = 0
    people = list(dict.fromkeys(map(canonical_number, subjects)))
    for start in range(0, len(people), 2000):
        chunk = people[start : start + 2000]
        values = [
            {
                "subject": subject,
                "scope": scope,
                "reason": storable(reason, 500),
                "source": storable(source, 100),
                "added_at": now,
                "until": until,
            }
            for subject in chunk
        ]
        changed += rows_changed(tx, statement.values(values))
    return changed


def remove(tx: Connection, subject: str, *, scope: str | None, actor: str, why: str) -> int:
    """Lift the suppressions of a number or country; says how many there were."""
    condition = _stored_as(subject)
    if scope is not None:
        condition = condition & (suppressions.c.scope == scope)
    count = tx.execute(delete(suppressions).where(condition)).rowcount
    if count:
        operator_log.record(
            tx, actor=actor, act="lift suppression", scope="suppression", subject=subject, why=why
        )
    return count


def listed(
    tx: Connection, *, after: str = "", limit: int = 100, subject: str | None = None
) -> list[Suppression]:
    """A page of suppressions: those of the next ``limit`` subjects, so that none is torn between two pages."""
    if subject is not None:
        page = _stored_as(subject)
    else:
        subjects = select(suppressions.c.subject).where(suppressions.c.subject > after).distinct()
        page = suppressions.c.subject.in_(subjects.order_by(suppressions.c.subject).limit(limit))
    statement = select(suppressions).where(page).order_by(suppressions.c.subject, suppressions.c.scope)
    return [Suppression(**row) for row in tx.execute(statement).mappings()]


def days_with_code(tx: Connection, recipient: str, whatsapp_code: int) -> int:
    """On how many different days (UTC) a recipient's attempts ended with a WhatsApp code."""
    day = attempts.c.started_at // 86_400_000
    return int(
        tx.execute(
            select(func.count(func.distinct(day)))
            .select_from(attempts.join(messages, attempts.c.message_pk == messages.c.id))
            .where(
                messages.c.recipient.in_(number_forms(recipient)), attempts.c.whatsapp_code == whatsapp_code
            )
        ).scalar_one()
    )
