"""Suppressions: numbers or whole countries that must not get a kind of message, with reason and source.

The suppression of a person who is forgotten stays, under a keyed hash in place of the number (``person_keys.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, literal, or_, select, text

from bulksend.ledger import operator_log
from bulksend.ledger.bulk_parameters import array, bound, statement, storable, table
from bulksend.ledger.clock import now_sql, read_clock
from bulksend.ledger.database import among, dialect_insert, rows_changed
from bulksend.ledger.person_keys import person_key
from bulksend.ledger.schema import COUNTRIES_SQL, HASHED_SQL, attempts, messages, receipts, suppressions
from bulksend.messaging.number_forms import canonical_number, number_forms
from bulksend.messaging.person_hash import MARK, person_hash
from bulksend.messaging.recipient import region_of
from bulksend.messaging.states import Kind

SCOPES = ("marketing", "all")
COUNTRY = "country:"
_DAY_MS = 86_400_000
#: How many messages to a person are looked at: to one alone, and to each of many on average.
_MESSAGES_LOOKED_AT, _MESSAGES_OF_EACH = 1_000, 100
#: The sources of a suppression that a person asked for, by a word or by WhatsApp's switch; the same way lifts it.
STOP_WORD, SWITCH = "stop word", "whatsapp preference"
LIFT = "lift suppression"
#: Begins the error of a message that a suppression ended.
SUPPRESSED = "suppressed"


#: Recipients whose hashes take less than a round trip.
_FEW = 100


@dataclass(frozen=True, slots=True)
class Suppression:
    """``subject`` is a person's digits, the hash of a forgotten person or ``country:XX``; ``until`` in ms since the
    epoch, None: no end."""

    subject: str
    scope: str
    reason: str
    source: str
    added_at: int
    until: int | None


def scopes_of(kind: Kind) -> tuple[str, ...]:
    """The scopes that apply to a kind: ``marketing`` does not apply to one-time codes and utility messages."""
    return SCOPES if kind is Kind.MARKETING else ("all",)


def why(reason: str) -> str:
    """The error of a message that a suppression ended. Its first word names the rule, as in ``exclusions``."""
    return f"{SUPPRESSED}: {reason}"


#: Scope, subject and reason of what suppresses one of {recipients}, and of every suppressed country. The condition on
#: countries is the one of their partial index.
_COUNTRIES = f"""UNION ALL SELECT y.scope, y.subject, y.reason FROM suppressions y
    WHERE {COUNTRIES_SQL} AND (y.until IS NULL OR y.until > {{now}})"""  # noqa: S608 - our own words
_WHAT = "SELECT x.scope AS scope, x.subject AS subject, x.reason AS reason"
SUPPRESSING = f"""{_WHAT} FROM {{recipients}} JOIN suppressions x ON x.subject = p.recipient
    WHERE (x.until IS NULL OR x.until > {{now}}) {_COUNTRIES}"""
RECIPIENTS = {"recipient": "text"}
#: The same from an array of PostgreSQL, which takes a fifth of the time of a table of parameters.
_SUPPRESSING_ARRAY = f"""{_WHAT} FROM suppressions x WHERE x.subject = ANY(CAST(:rows AS text[]))
    AND (x.until IS NULL OR x.until > {{now}}) {_COUNTRIES}"""


class SuppressionReasons:
    """The rows of ``SUPPRESSING``, and the reason that they give for a recipient."""

    def __init__(self, found: Iterable[tuple[str, str, str]], key: bytes | None) -> None:
        """``key``: of the hashes of forgotten persons."""
        self._reasons = {(canonical_number(subject), scope): reason for scope, subject, reason in found}
        self._countries = any(subject.startswith(COUNTRY) for subject, _ in self._reasons)
        self._key = key if any(subject.startswith(MARK) for subject, _ in self._reasons) else None

    def candidates(self, recipients: Collection[str]) -> Collection[str]:
        """The recipients that ``reason`` may return a reason for."""
        if self._countries:
            return recipients
        if self._key is not None:
            found = {subject for subject, _ in self._reasons}
            return [recipient for recipient in recipients if not found.isdisjoint(self._subjects(recipient))]
        people = {form for subject, _ in self._reasons for form in number_forms(subject)}
        return [recipient for recipient in recipients if recipient in people] if people else []

    def reason(self, recipient: str, kind: Kind) -> str | None:
        """Why this recipient must not get this kind, or None. The number comes before its country."""
        if not self._reasons:
            return None
        for subject in self._subjects(recipient):
            if (reason := self._find(subject, kind)) is not None:
                return reason
        # Only then: finding the country of a number is slow.
        return self._find(COUNTRY + (region_of(recipient) or "?"), kind) if self._countries else None

    def _subjects(self, recipient: str) -> tuple[str, ...]:
        person = canonical_number(recipient)
        return (person,) if self._key is None else (person, person_hash(self._key, person))

    def _find(self, subject: str, kind: Kind) -> str | None:
        reasons = (self._reasons.get((subject, scope)) for scope in scopes_of(kind))
        return next((reason for reason in reasons if reason is not None), None)


def subject_rows(recipients: Iterable[str], key: bytes | None) -> list[tuple[str]]:
    """Every subject that may suppress these recipients, as rows of ``RECIPIENTS``."""
    people = set(recipients)
    hashes = [] if key is None else [(person_hash(key, person),) for person in people]
    return hashes + [(form,) for recipient in people for form in number_forms(recipient)]


def _is_subject(tx: Connection, subject: str) -> ColumnElement[bool]:
    key = None if subject.startswith(COUNTRY) else person_key(tx)
    return suppressions.c.subject.in_(
        [*number_forms(subject), *([] if key is None else [person_hash(key, subject)])]
    )


def reasons_for(
    tx: Connection,
    recipients: Iterable[str],
    kind: Kind,
    *,
    at: int | None = None,
    forms: Iterable[str] | None = None,
) -> dict[str, str]:
    """The recipients that must not get this kind at ``at`` (ms since the epoch; None: now), with the reasons.

    ``forms``: every form of their numbers, where known.
    """
    wanted = list(recipients)
    if not wanted:
        return {}
    # Usually no person was forgotten, and hashing each recipient of a file is saved; of a few it is less than to ask.
    key = person_key(tx) if len(wanted) <= _FEW or _has_hashed(tx) else None
    if tx.dialect.name == "sqlite":
        sql, rows = SUPPRESSING, bound(tx, RECIPIENTS, subject_rows(wanted, key))
    else:
        subjects = set(chain.from_iterable(map(number_forms, wanted)) if forms is None else forms)
        if key is not None:
            subjects |= {person_hash(key, recipient) for recipient in wanted}
        sql, rows = _SUPPRESSING_ARRAY, {"rows": array(subjects)}
    sql = sql.format(
        recipients=table(tx, RECIPIENTS), now=now_sql(tx) if at is None else "CAST(:at AS BIGINT)"
    )
    given = rows if at is None else {**rows, "at": at}
    reasons = SuppressionReasons(
        ((row.scope, row.subject, row.reason) for row in tx.execute(statement(sql), given)), key
    )
    found = ((recipient, reasons.reason(recipient, kind)) for recipient in reasons.candidates(wanted))
    return {recipient: reason for recipient, reason in found if reason is not None}


def _has_hashed(tx: Connection) -> bool:
    """Whether a forgotten person is suppressed."""
    found = select(literal(1)).select_from(suppressions).where(text(HASHED_SQL)).limit(1)
    return tx.execute(found).first() is not None


def add(
    tx: Connection,
    asked: Mapping[str, int | None],
    *,
    scope: str,
    reason: str,
    source: str,
    actor: str,
    until: int | None = None,
    only_changes: bool = False,
) -> None:
    """Suppress numbers or countries, and record the acts. An existing suppression keeps the later end.

    ``asked``: when each was asked for, by the vendor's clock, in ms; None: now. ``only_changes``: acts that change
    nothing are not recorded.
    """
    changed = add_many(tx, asked, scope=scope, reason=reason, source=source, until=until)
    if only_changes and not changed:
        return
    operator_log.record_many(
        tx,
        dict.fromkeys(map(canonical_number, asked)),
        actor=actor,
        act=f"suppress {scope}",
        scope="suppression",
        why=reason or source,
    )


def add_many(
    tx: Connection,
    asked: Mapping[str, int | None],
    *,
    scope: str,
    reason: str,
    source: str,
    until: int | None = None,
) -> int:
    """``add`` without acts, as an import does; returns how many rows were added or prolonged.

    Raises ValueError when the scope is not one of SCOPES.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope {scope!r} is not one of {SCOPES}")
    if not asked:
        return 0
    statement = dialect_insert(tx, suppressions)
    excluded = statement.excluded
    longer = or_(
        excluded.until.is_(None), excluded.until > func.coalesce(suppressions.c.until, excluded.until)
    )
    now = read_clock(tx)
    statement = statement.on_conflict_do_update(
        index_elements=["subject", "scope"],
        set_={name: excluded[name] for name in ("until", "reason", "source", "added_at")},
        where=(longer & suppressions.c.until.is_not(None))
        | (excluded.until.is_(None) & _is_stronger(excluded)),
    )
    changed = 0
    # In the order of the subjects, so that two transactions do not deadlock.
    people = sorted({canonical_number(subject): at for subject, at in asked.items()}.items())
    for start in range(0, len(people), 2000):
        values = [
            {
                "subject": subject,
                "scope": scope,
                "reason": storable(reason, 500),
                "source": storable(source, 100),
                "added_at": now if at is None else min(at, now),
                "until": until,
            }
            for subject, at in people[start : start + 2000]
        ]
        changed += rows_changed(tx, statement.values(values))
    return changed


def _is_stronger(new: Any) -> ColumnElement[bool]:
    """Whether a suppression without end replaces the one that is there, so that less lifts it.

    A start word lifts what a stop word suppressed, WhatsApp's switch what it suppressed, and neither the rest. Of two
    from the same of these the later one counts.
    """
    old = suppressions.c
    stronger: ColumnElement[bool] = (
        ((old.source == STOP_WORD) & (new.source != STOP_WORD))
        | ((old.source == SWITCH) & new.source.not_in([STOP_WORD, SWITCH]))
        | (old.source.in_([STOP_WORD, SWITCH]) & (new.source == old.source) & (new.added_at > old.added_at))
    )
    return stronger


def count_new(tx: Connection, subjects: Sequence[str], *, scope: str, until: int | None) -> int:
    """How many rows ``add_many`` would add or prolong with this ``until``; not those whose source it would replace."""
    people = list(dict.fromkeys(map(canonical_number, subjects)))
    there, lasting = suppressions.c.until, suppressions.c.until.is_(None)
    unchanged = lasting if until is None else lasting | (there >= until)
    kept = 0
    for start in range(0, len(people), 2000):
        of = among(tx, suppressions.c.subject, people[start : start + 2000])
        counted = select(func.count()).where(of, suppressions.c.scope == scope, unchanged)
        kept += int(tx.execute(counted).scalar_one())
    return len(people) - kept


def remove(tx: Connection, subject: str, *, scope: str | None, actor: str, why: str) -> int:
    """Delete the suppressions of a number or country; returns how many there were."""
    condition = _is_subject(tx, subject)
    if scope is not None:
        condition = condition & (suppressions.c.scope == scope)
    return _remove(tx, subject, condition, actor=actor, why=why)


def lift_own(
    tx: Connection, subject: str, *, source: str, actor: str, why: str, at: int | None = None
) -> int:
    """Delete the suppressions of marketing to a person that came from this source; returns how many there were.

    ``at``: when it was asked for. What was asked for later stays: callbacks come in any order.
    """
    condition = (
        _is_subject(tx, subject) & (suppressions.c.scope == "marketing") & (suppressions.c.source == source)
    )
    if at is not None:
        condition = condition & (suppressions.c.added_at <= at)
    return _remove(tx, subject, condition, actor=actor, why=why)


def _remove(tx: Connection, subject: str, condition: ColumnElement[bool], *, actor: str, why: str) -> int:
    count = tx.execute(delete(suppressions).where(condition)).rowcount
    if count:
        operator_log.record(
            tx,
            actor=actor,
            act=LIFT,
            scope="suppression",
            subject=canonical_number(subject),
            why=why,
        )
    return count


def lifted_at(tx: Connection, recipients: Collection[str]) -> dict[str, int]:
    """When the newest suppression of each of these people was lifted, in ms; 0: never."""
    key = person_key(tx)
    subjects = {
        recipient: {canonical_number(recipient)} | (set() if key is None else {person_hash(key, recipient)})
        for recipient in recipients
    }
    every = sorted(set().union(*subjects.values()))
    lifted = operator_log.last_of_each(tx, "suppression", every, LIFT)
    return {recipient: max(lifted.get(name, 0) for name in names) for recipient, names in subjects.items()}


def page(
    tx: Connection, *, after: str = "", limit: int = 100, subject: str | None = None
) -> list[Suppression]:
    """The suppressions of the next ``limit`` subjects after ``after``; one subject is never split over two pages."""
    if subject is not None:
        condition = _is_subject(tx, subject)
    else:
        subjects = select(suppressions.c.subject).where(suppressions.c.subject > after).distinct()
        condition = suppressions.c.subject.in_(subjects.order_by(suppressions.c.subject).limit(limit))
    statement = select(suppressions).where(condition).order_by(suppressions.c.subject, suppressions.c.scope)
    return [Suppression(**row) for row in tx.execute(statement).mappings()]


def days_with_code(tx: Connection, recipients: Collection[str], whatsapp_code: int) -> dict[str, int]:
    """On how many days (UTC) of the last 30 attempts to each of these recipients, or their receipts, had this code."""
    since = read_clock(tx) - 30 * _DAY_MS
    forms = {form: canonical_number(form) for recipient in recipients for form in number_forms(recipient)}
    # By their ids in a statement of its own: PostgreSQL may read all receipts to join the few of one person.
    to_them = select(messages.c.id, messages.c.recipient).where(among(tx, messages.c.recipient, [*forms]))
    most = max(_MESSAGES_LOOKED_AT, _MESSAGES_OF_EACH * len(forms))
    newest = tx.execute(to_them.order_by(messages.c.id.desc()).limit(most))
    to = {str(id): forms[recipient] for id, recipient in newest}
    codes = [f"#{whatsapp_code}", str(whatsapp_code)]
    in_attempts = select(attempts.c.message_pk, attempts.c.started_at).where(
        among(tx, attempts.c.message_pk, [*to]),
        attempts.c.whatsapp_code == whatsapp_code,
        attempts.c.started_at > since,
    )
    in_receipts = select(receipts.c.message_pk, receipts.c.at).where(
        among(tx, receipts.c.message_pk, [*to]), receipts.c.code.in_(codes), receipts.c.at > since
    )
    days: dict[str, set[int]] = {person: set() for person in forms.values()}
    for message, at in (*tx.execute(in_attempts), *tx.execute(in_receipts)):
        days[to[str(message)]].add(at // _DAY_MS)
    return {recipient: len(days[canonical_number(recipient)]) for recipient in recipients}
