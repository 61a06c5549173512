"""Requests with an Idempotency-Key, each with its answer, in the transaction of what it made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, bindparam, delete, select

from bulksend.ledger.bulk_parameters import bound, statement, table
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import Database, among
from bulksend.ledger.schema import idempotent_requests as requests

T = TypeVar("T")

#: How long an answer is kept.
KEPT_MS = 7 * 86_400_000
#: One transaction deletes this many.
_DELETED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that may be answered once. ``id`` hashes its key, method, path and principal; ``owner`` is new."""

    id: str
    fingerprint: str
    owner: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its HTTP status, its JSON, and the path of what it made."""

    status: int
    body: str
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """The answered request of a claim's id."""

    fingerprint: str
    owner: str
    answer: Answer


def lock(tx: Connection, claim: Claim) -> bool:
    """Whether no other transaction answers the same request now; holds it until this one ends.

    SQLite has one writer at a time: the other one is committed.
    """
    if tx.dialect.name == "sqlite":
        return True
    number = int(claim.id[:15], 16)
    return bool(tx.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({number})").scalar())


_FIND = select(requests).where(requests.c.id == bindparam("request"))


def find(tx: Connection, claim: Claim) -> Earlier | None:
    """The answered request of the claim's id."""
    row = tx.execute(_FIND, {"request": claim.id}).one_or_none()
    if row is None:
        return None
    return Earlier(row.fingerprint, str(row.owner), Answer(row.status, row.answer, row.location))


def keep(tx: Connection, claim: Claim, answer: Answer) -> None:
    """Keep the answer of a request that is locked and has none."""
    values = {"id": claim.id, "fingerprint": claim.fingerprint, "owner": claim.owner, "at": current_ms()}
    tx.execute(
        requests.insert().values(**values, status=answer.status, answer=answer.body, location=answer.location)
    )


_BEGUN = {"id": "text", "fingerprint": "text", "owner": "uuid", "status": "integer", "answer": "text"}
#: In the order of the ids, so that two transactions do not deadlock.
_BEGIN = """
INSERT INTO idempotent_requests (id, fingerprint, owner, at, status, answer)
SELECT p.id, p.fingerprint, p.owner, :now, p.status, p.answer FROM {rows} WHERE true ORDER BY p.id
ON CONFLICT (id) DO NOTHING RETURNING owner
"""


def begin(tx: Connection, claims: Sequence[tuple[Claim, Answer | None]], now: int) -> set[str]:
    """Begin several requests with the answers that are expected; ``end`` stores another one in the same transaction.

    Returns the owners of those that are new, or that they have begun before, when only the answer to a COMMIT was lost.
    """
    if not claims:
        return set()
    rows = [
        (
            claim.id,
            claim.fingerprint,
            claim.owner,
            answer.status if answer else 0,
            answer.body if answer else "",
        )
        for claim, answer in claims
    ]
    values = bound(tx, _BEGUN, rows) | {"now": now}
    begun = {
        str(owner) for owner in tx.execute(statement(_BEGIN.format(rows=table(tx, _BEGUN))), values).scalars()
    }
    if len(begun) < len(rows):
        others = [claim for claim, _ in claims if claim.owner not in begun]
        found = select(requests.c.owner).where(among(tx, requests.c.id, [claim.id for claim in others]))
        begun |= {str(owner) for owner in tx.execute(found).scalars()} & {claim.owner for claim in others}
    return begun


_ENDED = {"id": "text", "status": "integer", "answer": "text"}
_END = """
UPDATE idempotent_requests SET status = p.status, answer = p.answer
FROM {rows} WHERE idempotent_requests.id = p.id
"""


def end(tx: Connection, answers: Sequence[tuple[Claim, Answer | None]]) -> None:
    """Change the answers of requests that ``begin`` began; one with None is forgotten: it made nothing."""
    rows = [(claim.id, answer.status, answer.body) for claim, answer in answers if answer is not None]
    if rows:
        tx.execute(statement(_END.format(rows=table(tx, _ENDED))), bound(tx, _ENDED, rows))
    if len(rows) < len(answers):
        undone = [claim.id for claim, answer in answers if answer is None]
        tx.execute(delete(requests).where(among(tx, requests.c.id, undone)))


def delete_old(tx: Connection) -> int:
    """Delete answers that are older than KEPT_MS; returns how many."""
    old = select(requests.c.id).where(requests.c.at < read_clock(tx) - KEPT_MS).limit(_DELETED_AT_ONCE)
    return tx.execute(delete(requests).where(requests.c.id.in_(old))).rowcount


class OneTransaction(Database):
    """A database whose every transaction is a part of ``tx``: what is done with it is committed together."""

    is_one_transaction = True

    def __init__(self, database: Database, tx: Connection) -> None:
        self.__dict__.update(database.__dict__)
        self._tx = tx

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A part of the transaction, which sees what was written in it and always ends durable."""
        yield self._tx

    read = autocommit = write

    def retrying(
        self,
        work: Callable[[Connection], T],
        *,
        patience_s: float = 10.0,
        autocommit: bool = False,
        durable: bool = True,
    ) -> T:
        """Run ``work`` once: after a failure the whole transaction is repeated."""
        return work(self._tx)
