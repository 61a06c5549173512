"""Prove the promises from the ledger alone: nothing lost, nothing POSTed twice without a reason on record.

All rules about messages are asked in one pass over messages and attempts, whatever their number: each message
beside its attempts brought to one row, counted by campaign, status and rule. Sums over campaigns go by that
pass's counts. Only a broken rule costs a second look, which names its offenders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row

from bulksend.ledger.audit_rules import ATTEMPTS, RULES, OfCampaigns, OfMessages
from bulksend.ledger.database import unhurried
from bulksend.ledger.rowsets import as_parameter, now_sql, statement, table

#: A pass brings all attempts to a row a message: with PostgreSQL's usual 4 MB it would go through the disk many
#: times over. Held only while the pass runs.
_WORK_MEM = "256MB"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule: how many cases were looked at, how many break it, and the first of those."""

    rule: str
    promise: str
    checked: int
    broken: int
    offenders: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What the audit found. ``holds`` is the verdict."""

    findings: list[Finding]
    counts: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether every rule holds."""
        return not any(f.broken for f in self.findings)


def audit(tx: Connection, *, campaign_id: str | None = None, show: int = 20) -> Report:
    """Check every rule, for all campaigns or one; at most ``show`` offenders of each rule are named."""
    unhurried(tx)
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"SET LOCAL work_mem = '{_WORK_MEM}'")
    return _Audit(tx, campaign_id, show).report()


class _Audit:
    """One audit in one transaction: it sees one state of the ledger throughout."""

    def __init__(self, tx: Connection, campaign_id: str | None, show: int) -> None:
        self._tx = tx
        self._show = show
        self._parameters = {} if campaign_id is None else {"campaign": campaign_id}
        one = ":campaign" if tx.dialect.name == "sqlite" else "CAST(:campaign AS uuid)"
        self._narrowed = (
            {"c": "1 = 1", "m": "1 = 1", "a": "1 = 1"}
            if campaign_id is None
            else {
                "c": f"c.id = {one}",
                "m": f"m.campaign_id = {one}",
                "a": f"a.message_pk IN (SELECT id FROM messages WHERE campaign_id = {one})",  # noqa: S608
            }
        )

    def report(self) -> Report:
        passed = self._pass()
        there = [(row.campaign_id, row.status, row.n) for row in passed]
        findings = []
        for at, rule in enumerate(RULES):
            if isinstance(rule, OfMessages):
                checked = sum(getattr(row, f"checked_{at}") for row in passed)
                broken = sum(getattr(row, f"broken_{at}") for row in passed)
                offenders = self._of_messages(rule) if broken else []
            else:
                checked, broken, offenders = self._of_campaigns(rule, there)
            findings.append(Finding(rule.name, rule.promise, int(checked), int(broken), offenders))
        counts = Counter[str]()
        for _, status, n in there:
            counts[status] += n
        return Report(findings, dict(sorted(counts.items())))

    def _pass(self) -> Sequence[Row[tuple[object, ...]]]:
        """A row a campaign and status: how many messages, and of each rule how many checked and broken."""
        asked = ", ".join(
            f"{_counted(rule.sums, rule.concerns)} AS checked_{at}, {_counted(None, _broken(rule))} AS broken_{at}"
            for at, rule in enumerate(RULES)
            if isinstance(rule, OfMessages)
        )
        return self._rows(
            f"SELECT CAST(m.campaign_id AS text) AS campaign_id, m.status, count(*) AS n, {asked}"
            f" {self._messages()} WHERE {{m}} GROUP BY m.campaign_id, m.status"
        )

    def _of_messages(self, rule: OfMessages) -> list[str]:
        """The first offenders of a rule that is broken."""
        told = self._rows(
            f"SELECT CAST(m.id AS text) || {rule.told} AS offender {self._messages()}"
            f" WHERE {{m}} AND {_broken(rule)} LIMIT {self._show}"
        )
        return [row.offender for row in told]

    def _of_campaigns(
        self, rule: OfCampaigns, there: Sequence[tuple[object, ...]]
    ) -> tuple[int, int, list[str]]:
        counted = table(self._tx, {"campaign_id": "uuid", "status": "text", "n": "bigint"})
        known = {"rows": as_parameter(there)}
        checked = self._number(rule.checked, known, counted)
        offenders = [
            row.offender
            for row in self._rows(f"{rule.offenders} LIMIT {self._show + 1}", known, there=counted)
        ]
        if len(offenders) <= self._show:
            return checked, len(offenders), offenders
        broken = self._number(f"SELECT count(*) FROM ({rule.offenders}) AS o", known, counted)  # noqa: S608
        return checked, broken, offenders[: self._show]

    def _number(self, sql: str, known: Mapping[str, object], there: str) -> int:
        ((number,),) = self._rows(sql, known, there=there)
        return int(str(number))

    def _messages(self) -> str:
        return f"""FROM messages m JOIN campaigns h ON h.id = m.campaign_id
            LEFT JOIN ({ATTEMPTS}) t ON t.message_pk = m.id"""

    def _rows(
        self, sql: str, known: Mapping[str, object] | None = None, **parts: str
    ) -> Sequence[Row[tuple[object, ...]]]:
        whole = sql.format(**self._narrowed, now=now_sql(self._tx), **parts)
        used = {name: value for name, value in (known or {}).items() if f":{name}" in whole}
        return self._tx.execute(statement(whole), self._parameters | used).all()


def _broken(rule: OfMessages) -> str:
    return f"({rule.concerns} AND {rule.breach})"


def _counted(sums: str | None, condition: str) -> str:
    if sums is None:
        return f"count(*) FILTER (WHERE {condition})"
    return f"COALESCE(sum({sums}) FILTER (WHERE {condition}), 0)"
