"""Direct sends: one statement stores the messages of many callers in the standing campaign of their kind.

A caller with several messages, or with an Idempotency-Key, has all of them stored in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, compress
from typing import NamedTuple

from sqlalchemy import Connection, select

from bulksend.failpoints import reach
from bulksend.ledger import exclusions, message_rows
from bulksend.ledger.bulk_parameters import bound, statement, table
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database, among
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.idempotency import Answer, Claim, begin, end
from bulksend.ledger.message_rows import EncryptionPolicy, NewMessage, encrypt_otp_only
from bulksend.ledger.schema import messages
from bulksend.messaging.states import Kind, Status
from bulksend.messaging.units import is_long_past


class DirectSend(NamedTuple):
    """One message of one caller. ``due_at`` in ms since the epoch; None: now, by the ledger's clock.

    ``timezone`` is the recipient's, where it was given. ``in_quiet_hours``: ``due_at`` is when they end.
    """

    key: str
    recipient: str
    sender: str
    type: str
    content: str
    due_at: int | None
    lives_ms: int | None
    timezone: str | None = None
    in_quiet_hours: bool = False
    purpose: str | None = None

    def message(self, now: int) -> NewMessage:
        """The message to store, when the ledger's clock says ``now``."""
        due_at = now if self.due_at is None else self.due_at
        return NewMessage(
            row=0,
            key=self.key,
            explicit_key=True,
            recipient=self.recipient,
            sender=self.sender,
            type=self.type,
            body={"c": self.content} if self.timezone is None else {"c": self.content, "z": self.timezone},
            body_text=self.content,
            due_at=due_at,
            expires_at=None if self.lives_ms is None else due_at + self.lives_ms,
            in_quiet_hours=self.in_quiet_hours,
            purpose=self.purpose,
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """The message of a direct send. With ``repeated`` the key was used before, and the id is that message's."""

    id: str
    status: Status
    repeated: bool


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """The key of a direct send was used before for another message, ``id``; nothing is stored."""

    id: str


@dataclass(frozen=True, slots=True)
class AlreadyExpired:
    """The time to live of a direct send has passed; nothing is stored."""


@dataclass(frozen=True, slots=True)
class DueTimePassed:
    """The due time of a direct send is long before the ledger's clock, ``now``; nothing is stored."""

    now: int


@dataclass(frozen=True, slots=True)
class WouldBeLate:
    """A code would wait for longer than it lives; nothing is stored. ``wait_ms`` None: it is not known how long.

    ``by_quota``: it would wait for a place in the account's quota, and not for a pause or its turn.
    """

    wait_ms: int | None
    by_quota: bool = False


#: The result of a direct send.
DirectResult = Stored | KeyConflict | AlreadyExpired | DueTimePassed | WouldBeLate
#: Why a one-time code would be late, by the forecast; None where it is in time.
Late = Callable[[DirectSend], WouldBeLate | None]


class SendRequest(NamedTuple):
    """The messages of one caller, which are stored together. With ``claim`` they are stored once, with an answer."""

    sends: Sequence[tuple[Kind, DirectSend]]
    claim: Claim | None = None
    answer: Callable[[Sequence[DirectResult]], Answer | None] = lambda _: None
    """The answer to keep; None where nothing was stored."""


def store(
    database: Database,
    campaigns: Mapping[Kind, Campaign],
    requests: Sequence[SendRequest],
    *,
    cipher: Cipher,
    encrypts: EncryptionPolicy = encrypt_otp_only,
    late: Late = lambda _: None,
) -> list[list[DirectResult] | None]:
    """Store all of them in one transaction; returns the results of each request, in the order of its messages.

    None: an earlier request has the claim, and nothing of this one is stored. Safe to repeat with the same keys. Raises
    LedgerUnreachable; they may be stored or not then.
    """
    lanes = [
        _Lane(campaigns[kind], kind, requests, late)
        for kind in dict.fromkeys(k for r in requests for k, _ in r.sends)
    ]
    claims = {n: request.claim for n, request in enumerate(requests) if request.claim is not None}

    def work(tx: Connection) -> list[list[DirectResult] | None]:
        now = read_clock(tx)
        expected = _by_request(
            requests, {lane.kind: lane.expected(tx, now, cipher, encrypts) for lane in lanes}
        )
        answers = {n: requests[n].answer(expected[n]) for n in claims}
        begun = begin(tx, [(claim, answers[n]) for n, claim in claims.items()], now)
        taken = {n for n, claim in claims.items() if claim.owner not in begun}
        found = _by_request(requests, {lane.kind: lane.store(tx, taken, cipher) for lane in lanes}, taken)
        # Usually all messages are new, and the answers that were begun are right.
        end(
            tx,
            [
                (claim, requests[n].answer(found[n]))
                for n, claim in claims.items()
                if n not in taken and (found[n] != expected[n] or answers[n] is None)
            ],
        )
        if claims:
            reach("act_done")
        return [None if n in taken else results for n, results in enumerate(found)]

    # Without claims one statement of one lane is all that writes.
    stored = database.retrying(work, autocommit=not claims and len(lanes) == 1)
    if claims:
        reach("act_kept")
    return stored


def _by_request(
    requests: Sequence[SendRequest],
    results: Mapping[Kind, Sequence[DirectResult]],
    taken: Collection[int] = (),
) -> list[list[DirectResult]]:
    """The results of each request, in the order of its messages; those of the ``taken`` ones have none."""
    left = {kind: iter(each) for kind, each in results.items()}
    return [
        [] if n in taken else [next(left[kind]) for kind, _ in request.sends]
        for n, request in enumerate(requests)
    ]


class _Lane:
    """The messages of one kind, and the number of the request that each belongs to."""

    def __init__(self, campaign: Campaign, kind: Kind, requests: Sequence[SendRequest], late: Late) -> None:
        self.kind = kind
        self._campaign = campaign
        mine = [(n, send) for n, request in enumerate(requests) for k, send in request.sends if k is kind]
        self._numbers = [n for n, _ in mine]
        self._sends = [send for _, send in mine]
        self._rows: list[message_rows.MessageRow] = []
        self._late = [late(send) if kind is Kind.OTP else None for send in self._sends]

    def expected(
        self, tx: Connection, now: int, cipher: Cipher, encrypts: EncryptionPolicy
    ) -> list[DirectResult]:
        """The results if none of their keys was used before."""
        # Computed once: when only the answer to a COMMIT was lost, the ids tell that the stored rows are these.
        if not self._rows:
            planned = [send.message(now) for send in self._sends]
            prepared = message_rows.prepare(self._campaign, planned, cipher, encrypts)
            left_out = exclusions.left_out(tx, self.kind, self._campaign.exclusions, planned, now)
            self._rows = message_rows.message_rows(self._campaign, prepared, cipher, now, left_out)
        return [
            _refusal(row, send) or late or Stored(row.id, Status(row.status), repeated=False)
            for row, send, late in zip(self._rows, self._sends, self._late, strict=True)
        ]

    def store(self, tx: Connection, taken: Collection[int], cipher: Cipher) -> list[DirectResult]:
        """Store those of the requests that are not ``taken``; their results."""
        live = [n not in taken for n in self._numbers]
        rows, sends = list(compress(self._rows, live)), list(compress(self._sends, live))
        return _store(tx, self._campaign, rows, sends, list(compress(self._late, live)), cipher)


def _store(
    tx: Connection,
    campaign: Campaign,
    rows: Sequence[message_rows.MessageRow],
    sends: Sequence[DirectSend],
    late: Sequence[WouldBeLate | None],
    cipher: Cipher,
) -> list[DirectResult]:
    refusals = [_refusal(row, send) or delay for row, send, delay in zip(rows, sends, late, strict=True)]
    in_time = [row for row, refusal in zip(rows, refusals, strict=True) if refusal is None]
    stored = _insert(tx, campaign, in_time)
    earlier = _earlier_sends(tx, campaign, [row.key for row in rows if row.id not in stored])
    results: list[DirectResult] = []
    for row, send, refusal in zip(rows, sends, refusals, strict=True):
        first = earlier.get(row.key)
        if row.id in stored or (first is not None and first.id == row.id):
            results.append(Stored(row.id, Status(row.status), repeated=False))
        elif first is None:
            results.append(refusal or AlreadyExpired())
        elif first.matches(send, cipher):
            results.append(Stored(first.id, Status(first.status), repeated=True))
        else:
            results.append(KeyConflict(first.id))
    return results


def _refusal(row: message_rows.MessageRow, send: DirectSend) -> DueTimePassed | AlreadyExpired | None:
    """Why a message is too late to be stored. An earlier message of its key counts even then."""
    if send.due_at is not None and is_long_past(send.due_at, row.queued_at):
        return DueTimePassed(row.queued_at)
    return AlreadyExpired() if row.expires_at is not None and row.expires_at <= row.queued_at else None


class _EarlierSend(NamedTuple):
    """The stored message of a key."""

    id: str
    status: str
    fingerprint: bytes

    def matches(self, send: DirectSend, cipher: Cipher) -> bool:
        return message_rows.matches_fingerprint(send.message(0), self.fingerprint, cipher)


def _earlier_sends(tx: Connection, campaign: Campaign, keys: Sequence[str]) -> dict[str, _EarlierSend]:
    if not keys:
        return {}
    columns = messages.c.key, messages.c.id, messages.c.status, messages.c.fingerprint
    found = tx.execute(
        select(*columns).where(messages.c.campaign_id == campaign.id, among(tx, messages.c.key, keys))
    )
    return {key: _EarlierSend(str(id), status, bytes(mark)) for key, id, status, mark in found}


_COLUMNS = {
    name: {"row": "bigint", "payload": "bytea", "fingerprint": "bytea", "due_at": "bigint", "expires_at": "bigint",
           "queued_at": "bigint", "ended_at": "bigint",
           "first_due_at": "bigint", "id": "uuid", "campaign_id": "uuid"}.get(name, "text")
    for name in message_rows.COLUMNS
}  # fmt: skip
#: Rows in the order of their keys, so that two transactions with the same keys do not deadlock.
_INSERT = f"""
WITH put AS (
    INSERT INTO messages ({message_rows.COLUMN_NAMES})
    SELECT {", ".join(f"p.{name}" for name in message_rows.COLUMNS)}, 0, 0, 0, 0
    FROM {{rows}} ORDER BY p.key ON CONFLICT (campaign_id, key) DO NOTHING RETURNING id, status),
counted AS (
    UPDATE campaigns SET rows_read = campaigns.rows_read + new.n, messages = campaigns.messages + new.n,
        suppressed = campaigns.suppressed + new.suppressed
    FROM (SELECT count(*) AS n, count(*) FILTER (WHERE status = 'suppressed') AS suppressed FROM put) AS new
    WHERE campaigns.id = CAST(:campaign AS uuid) AND new.n > 0)
SELECT CAST(id AS text) FROM put
"""  # noqa: S608 - our column names


def _insert(tx: Connection, campaign: Campaign, rows: Sequence[message_rows.MessageRow]) -> set[str]:
    """Insert the rows whose keys are new, and count them; returns their ids."""
    if not rows:
        return set()
    if tx.dialect.name == "sqlite":
        return _insert_on_sqlite(tx, campaign, rows)
    sql = _INSERT.format(rows=table(tx, _COLUMNS))
    parameters = bound(tx, _COLUMNS, rows) | {"campaign": campaign.id}
    return set(tx.execute(statement(sql), parameters).scalars())


_COUNT = """UPDATE campaigns SET rows_read = rows_read + :n, messages = messages + :n,
    suppressed = suppressed + :suppressed WHERE id = :campaign"""


def _insert_on_sqlite(
    tx: Connection, campaign: Campaign, rows: Sequence[message_rows.MessageRow]
) -> set[str]:
    # A statement of SQLite changes one table; one transaction has both statements.
    found = tx.exec_driver_sql(_sqlite_statement(len(rows)), tuple(chain.from_iterable(rows)))
    status_of = {str(id): status for id, status in found}
    if status_of:
        suppressed = sum(status == Status.SUPPRESSED for status in status_of.values())
        counted = {"n": len(status_of), "suppressed": suppressed, "campaign": campaign.id}
        tx.execute(statement(_COUNT), counted)
    return set(status_of)


@cache
def _sqlite_statement(count: int) -> str:
    return f"{message_rows.insert_on_sqlite(count)} ON CONFLICT (campaign_id, key) DO NOTHING RETURNING id, status"
