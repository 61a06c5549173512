"""Prove the promises from the ledger alone: nothing lost, nothing POSTed twice without a reason on record.

Three passes for any number of rules. The first counts messages. The second joins them with their attempts and finds
suspects by the columns of the two rows alone. The third checks the suspects, which are few if all is well. A broken
rule costs one more query, which names its offenders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from bulksend.ledger.audit_rules import NUMBERED, RULES, OfCampaigns, OfMessages
from bulksend.ledger.bulk_parameters import IDS, bound, statement, table
from bulksend.ledger.clock import now_sql
from bulksend.ledger.database import set_statement_timeout

#: The second pass joins all messages with all attempts. With PostgreSQL's usual 4 MB it would go through the disk
#: many times over; held only while it runs.
_WORK_MEM = "128MB"
#: With more suspects than this their ids are not sent back to the database; all messages are checked in full.
_MOST_SUSPECTS = 1_000_000
_THERE = {"campaign_id": "uuid", "status": "text", "n": "bigint", "attempts": "bigint"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule: how many cases were checked, how many break it, and the first of those."""

    rule: str
    promise: str
    checked: int
    broken: int
    offenders: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What the audit found."""

    findings: list[Finding]
    counts: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether every rule holds."""
        return not any(f.broken for f in self.findings)


def audit(
    tx: Connection, *, campaign_id: str | None = None, show: int = 20, most_suspects: int = _MOST_SUSPECTS
) -> Report:
    """Check every rule, for all campaigns or one; at most ``show`` offenders of each rule are named.

    Reads only, one state of the ledger where ``tx`` sees one. Ten million messages are a minute's work.
    """
    set_statement_timeout(tx, 0)
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"SET LOCAL work_mem = '{_WORK_MEM}'")
        # PostgreSQL expects most pairs to be suspects and so uses one process. They are few; all cores should work.
        tx.exec_driver_sql("SET LOCAL parallel_tuple_cost = 0")
    return _Audit(tx, campaign_id, show, most_suspects).report()


@dataclass(frozen=True, slots=True)
class _Subset:
    """Messages to check in full: SQL FROM … WHERE … of m and h, and its parameters."""

    of: str
    known: Mapping[str, object]


_ALL_MESSAGES = _Subset(" FROM messages m JOIN campaigns h ON h.id = m.campaign_id WHERE {m}", {})


class _Audit:
    """One audit in one transaction: it sees one state of the ledger throughout."""

    def __init__(self, tx: Connection, campaign_id: str | None, show: int, most_suspects: int) -> None:
        self._tx = tx
        self._show = show
        self._most = most_suspects
        self._parameters = {} if campaign_id is None else {"campaign": campaign_id}
        one = ":campaign" if tx.dialect.name == "sqlite" else "CAST(:campaign AS uuid)"
        self._narrowed = (
            {"c": "1 = 1", "m": "1 = 1", "a": "1 = 1"}
            if campaign_id is None
            else {
                "c": f"c.id = {one}",
                "m": f"m.campaign_id = {one}",
                "a": f"a.message_pk IN (SELECT id FROM messages WHERE campaign_id = {one})",
            }
        )

    def report(self) -> Report:
        counted = self._count()
        there = [(row.campaign_id, row.status, int(row.n), int(row.attempts)) for row in counted]
        suspects = self._suspects()
        checked_messages = self._subset_of(suspects)
        broken = self._broken(checked_messages)
        if broken[_column(NUMBERED)] or not self._all_attempts_are_there(counted):
            checked_messages = self._subset_of([*suspects, *self._miscounted()])
            broken = self._broken(checked_messages)
        findings = []
        for rule in RULES:
            if isinstance(rule, OfMessages):
                checked = sum(row._mapping[_column(rule)] for row in counted)
                number = broken[_column(rule)]
                offenders = self._named(rule, checked_messages) if number else []
            else:
                checked, number, offenders = self._of_campaigns(rule, there)
            findings.append(Finding(rule.name, rule.promise, int(checked), number, offenders))
        counts = Counter[str]()
        for _, status, n, _ in there:
            counts[status] += n
        return Report(findings, dict(sorted(counts.items())))

    def _count(self) -> Sequence[Row[Any]]:
        """A row a campaign and status: how many messages and attempts, and how many each rule concerns."""
        concerned = _each_rule(lambda rule: f"COALESCE(sum({rule.each}) FILTER (WHERE {rule.concerns}), 0)")
        return self._rows(
            "SELECT CAST(m.campaign_id AS text) AS campaign_id, m.status, count(*) AS n, sum(m.attempts) AS attempts,"
            f" {concerned} FROM messages m WHERE {{m}} GROUP BY m.campaign_id, m.status"
        )

    def _all_attempts_are_there(self, counted: Sequence[Row[Any]]) -> bool:
        """Whether attempts are as many as messages count.

        A message's attempts have numbers of their own, so where none is beyond its count, which a suspect's is, they
        are as many as it counts at most; and where all are as many as all counts, each message has all of its own.
        """
        ((attempts,),) = self._rows("SELECT count(*) FROM attempts a WHERE {a}")
        return bool(attempts == sum(row.attempts for row in counted))

    def _suspects(self) -> Sequence[str]:
        suspicious = " OR ".join(f"({rule.suspect})" for rule in RULES if isinstance(rule, OfMessages))
        return self._ids(
            f"FROM messages m LEFT JOIN attempts a ON a.message_pk = m.id WHERE {{m}} AND ({suspicious})"
        )

    def _miscounted(self) -> Sequence[str]:
        """Messages that count more or fewer attempts than there are: one too many may hide one too few elsewhere."""
        return self._ids(
            "FROM messages m LEFT JOIN (SELECT a.message_pk, count(*) AS n FROM attempts a WHERE {a} GROUP BY"
            " a.message_pk) t ON t.message_pk = m.id WHERE {m} AND m.attempts <> COALESCE(t.n, 0)"
        )

    def _ids(self, of: str) -> Sequence[str]:
        """Ids of these messages, at most one more than the limit of suspects."""
        return [id for (id,) in self._rows(f"SELECT CAST(m.id AS text) {of} LIMIT {self._most + 1}")]

    def _subset_of(self, suspects: Sequence[str]) -> _Subset:
        if len(suspects) > self._most:
            return _ALL_MESSAGES
        suspect = table(self._tx, IDS)
        return _Subset(
            f" FROM {suspect} JOIN messages m ON m.id = p.id JOIN campaigns h ON h.id = m.campaign_id WHERE 1 = 1",
            bound(self._tx, IDS, [(id,) for id in dict.fromkeys(suspects)]),
        )

    def _broken(self, checked_messages: _Subset) -> Mapping[str, int]:
        """How many messages break each rule, by its column."""
        breaches = _each_rule(lambda rule: f"count(*) FILTER (WHERE {rule.breach})")
        (row,) = self._rows(f"SELECT {breaches} {checked_messages.of}", checked_messages.known)
        return dict(row._mapping)

    def _named(self, rule: OfMessages, checked_messages: _Subset) -> list[str]:
        """The first offenders of a rule that is broken."""
        told = self._rows(
            f"SELECT CAST(m.id AS text) || {rule.told} AS offender {checked_messages.of} AND {rule.breach}"
            f" LIMIT {self._show}",
            checked_messages.known,
        )
        return [row.offender for row in told]

    def _of_campaigns(
        self, rule: OfCampaigns, there: Sequence[tuple[object, ...]]
    ) -> tuple[int, int, list[str]]:
        counted = table(self._tx, _THERE)
        known = bound(self._tx, _THERE, there)
        checked = self._number(rule.checked, known, counted)
        offenders = [
            row.offender
            for row in self._rows(f"{rule.offenders} LIMIT {self._show + 1}", known, there=counted)
        ]
        if len(offenders) <= self._show:
            return checked, len(offenders), offenders
        broken = self._number(f"SELECT count(*) FROM ({rule.offenders}) AS o", known, counted)
        return checked, broken, offenders[: self._show]

    def _number(self, sql: str, known: Mapping[str, object], there: str) -> int:
        ((number,),) = self._rows(sql, known, there=there)
        return int(str(number))

    def _rows(self, sql: str, known: Mapping[str, object] | None = None, **parts: str) -> Sequence[Row[Any]]:
        whole = sql.format(**self._narrowed, now=now_sql(self._tx), **parts)
        used = {name: value for name, value in (known or {}).items() if f":{name}" in whole}
        return self._tx.execute(statement(whole), self._parameters | used).all()


def _each_rule(column: Callable[[OfMessages], str]) -> str:
    """A column a rule about messages."""
    return ", ".join(f"{column(rule)} AS {_column(rule)}" for rule in RULES if isinstance(rule, OfMessages))


def _column(rule: OfMessages) -> str:
    return rule.name.replace(" ", "_")
