"""Changes of a pace by the vendor's throttle codes, in the operator log: whose, by how much, and by which code.

A sender, or the account, uses a part of its rate for a while; a pair waits. The limiter and the message's due time do
it; here it is on record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection

from bulksend.ledger import operator_log
from bulksend.messaging.outcome import Scope

ACT = "slow"


class PaceChange(NamedTuple):
    """One change: the scope and subject of its act, and the values before and after it.

    That of a pair is on record under the message, since its recipient is private.
    """

    scope: str
    subject: str
    why: str
    before: dict[str, Any]
    after: dict[str, Any]

    @classmethod
    def of_rate(cls, scope: Scope, id: str, before: float, after: float, why: str) -> PaceChange:
        """Of a sender or the account: the part of its rate that it used before, and uses now."""
        return cls(scope.value, id, why, {"pace": round(before, 3)}, {"pace": round(after, 3)})

    @classmethod
    def of_pair(cls, message: str, wait_ms: int, why: str) -> PaceChange:
        """Of a message's sender and recipient."""
        return cls("message", message, why, {}, {"wait_seconds": wait_ms / 1000})


def record(tx: Connection, changes: Iterable[PaceChange], *, actor: str) -> None:
    """Add an act for each."""
    for scope, subject, why, before, after in changes:
        operator_log.record(
            tx, actor=actor, act=ACT, scope=scope, subject=subject, why=why, before=before, after=after
        )


def newest(
    tx: Connection, senders: Iterable[str], account: str, *, since: int = 0, limit: int = 20
) -> list[operator_log.Act]:
    """The newest changes of these senders and of the account, newest first."""
    subjects = [(Scope.SENDER.value, each) for each in senders] + [(Scope.ACCOUNT.value, account)]
    found = [
        act
        for scope, subject in subjects
        for act in operator_log.newest(tx, scope, subject, ACT, since=since, limit=limit)
    ]
    return sorted(found, key=lambda act: act.at, reverse=True)[:limit]
