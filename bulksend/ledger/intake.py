"""Jobs in: a chunk of rows becomes messages and refusals in one transaction, once for each (campaign, key)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, text, update

from bulksend.errors import BulksendError
from bulksend.ledger import suppressions
from bulksend.ledger.bulk_parameters import array, statement, storable
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.copy import NULL, blob, cell, copy_in
from bulksend.ledger.database import among, by_index, instant
from bulksend.ledger.encryption import Cipher, clear
from bulksend.ledger.endings import NEVER_TAKEN, listed
from bulksend.ledger.ids import new_ids
from bulksend.ledger.schema import campaigns, messages, refusals
from bulksend.messaging.number_forms import canonical_number, is_same_person, number_forms
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import UNSENT, CampaignStatus, Kind, Status


class NewMessage(NamedTuple):
    """A planned message. ``body`` is what its sending needs: ``{"v": variables}`` or ``{"c": content JSON}``.

    ``row`` is its row in the file, 0 for a direct send; ``explicit_key`` says that the producer chose the key,
    so that the same key with another body is a conflict and not merely the same person twice.
    """

    row: int
    key: str
    explicit_key: bool
    recipient: str
    sender: str
    type: str
    body: dict[str, object]
    body_text: str
    due_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a chunk. ``ready`` are the ids now due, to be published at once where that is wanted."""

    ready: list[str]
    messages: int
    duplicates: int
    suppressed: int
    refused: list[RefusedRow]
    already: int = 0
    """Rows of a continuation that a campaign has: they count nowhere."""
    counted: int = 0
    """By how much ``rows_read`` grew."""


class IntakeMoved(BulksendError):
    """The campaign took other rows in, or was cancelled, since we last looked; look again, nothing was written."""


EncryptionPolicy = Callable[[Kind], bool]
_QUEUED = Status.QUEUED.value


def encrypt_otp_only(kind: Kind) -> bool:
    """The default: one-time codes are encrypted, everything else rests in clear."""
    return kind is Kind.OTP


def encrypt_all(kind: Kind) -> bool:
    """``BULKSEND_ENCRYPT=all``."""
    return True


class Prepared(NamedTuple):
    """A message with all that can be made of it without asking the ledger."""

    message: NewMessage
    payload: bytes | None
    """None where it has to be encrypted: that takes the id, which takes the ledger's clock."""
    fingerprint: bytes


def prepare(
    campaign: Campaign,
    planned: Sequence[NewMessage],
    cipher: Cipher,
    encrypts: EncryptionPolicy = encrypt_otp_only,
) -> list[Prepared]:
    """Make payloads and fingerprints: before the transaction, which SQLite's other writers wait for."""
    encrypted = encrypts(campaign.kind)
    return [
        Prepared(message, None if encrypted else clear(message.body), cipher.fingerprint(*identity(message)))
        for message in planned
    ]


def take_chunk(
    tx: Connection,
    campaign: Campaign,
    *,
    after_row: int,
    up_to_row: int,
    planned: Sequence[NewMessage],
    refused: Sequence[RefusedRow],
    rows: int,
    cipher: Cipher,
    encrypts: EncryptionPolicy = encrypt_otp_only,
    prepared: Sequence[Prepared] | None = None,
    superseded: int = 0,
) -> Taken:
    """Store rows ``after_row`` < row <= ``up_to_row`` of a file, ``rows`` of them, as messages and refusals.

    Only where the campaign stands at ``after_row`` still: raises IntakeMoved otherwise, so that two intakes of
    one file cannot count a row twice. ``rows`` = len(planned) + len(refused) + ``superseded``, which the audit relies
    on; the superseded ones are counted as duplicates.
    ``prepared`` is what ``prepare`` made of ``planned``, where it was called before the transaction began.
    """
    if rows != len(planned) + len(refused) + superseded:
        raise ValueError("each row is planned, refused or superseded")
    _hold(tx, campaign, after_row)
    if prepared is None:
        prepared = prepare(campaign, planned, cipher, encrypts)
    stored = _store(tx, campaign, prepared, cipher)
    taken = replace(
        stored,
        refused=[*refused, *stored.refused],
        duplicates=stored.duplicates + superseded,
        counted=up_to_row - after_row,
    )
    _count(tx, campaign, taken)
    return taken


def take_more(
    tx: Connection,
    campaign: Campaign,
    *,
    after: int,
    planned: Sequence[NewMessage],
    refused: Sequence[RefusedRow],
    alike: Sequence[Campaign],
    rest_of: Sequence[Campaign] = (),
    cipher: Cipher,
    encrypts: EncryptionPolicy = encrypt_otp_only,
) -> Taken:
    """Store those rows of a continuation that neither this campaign nor one of ``alike`` has, and that were surely not
    sent in one of ``rest_of``; refusals as well.

    What is there already counts nowhere, so that a continuation may begin again at the first row.
    Raises IntakeMoved where the campaign has got other rows since it had ``after``.
    """
    _hold(tx, campaign, after)
    elsewhere = {**having(tx, alike, planned, cipher), **sent_in(tx, rest_of, planned)}
    left = [message for n, message in enumerate(planned) if n not in elsewhere]
    stored = _store(tx, campaign, prepare(campaign, left, cipher, encrypts), cipher)
    all_refused = [*refused, *stored.refused]
    taken = replace(
        stored,
        refused=all_refused,
        duplicates=0,
        already=len(elsewhere) + stored.duplicates,
        counted=stored.messages + len(all_refused),
    )
    _count(tx, campaign, taken)
    return taken


def _hold(tx: Connection, campaign: Campaign, after: int) -> None:
    """Lock the campaign's row for this transaction. Raises IntakeMoved where it changed or was cancelled."""
    there = tx.execute(
        update(campaigns)
        .where(
            campaigns.c.id == campaign.id,
            campaigns.c.rows_read == after,
            campaigns.c.source_hash == campaign.source_hash,
            campaigns.c.intake_done_at.is_(None),
            campaigns.c.status != CampaignStatus.CANCELLED.value,
        )
        .values(rows_read=campaigns.c.rows_read)
    ).rowcount
    if there != 1:
        raise IntakeMoved(campaign.id)


def _count(tx: Connection, campaign: Campaign, taken: Taken) -> None:
    """Put refusals on record, and all of it on the campaign."""
    if taken.refused:
        tx.execute(
            insert(refusals),
            [
                {
                    "campaign_id": campaign.id,
                    "row": r.row,
                    "field": storable(r.field, 100),
                    "value": storable(r.value, 100),
                    "why": storable(r.why, 500),
                }
                for r in taken.refused
            ],
        )
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == campaign.id)
        .values(
            rows_read=campaigns.c.rows_read + taken.counted,
            messages=campaigns.c.messages + taken.messages,
            duplicates=campaigns.c.duplicates + taken.duplicates,
            suppressed=campaigns.c.suppressed + taken.suppressed,
            refused=campaigns.c.refused + len(taken.refused),
        )
    )


def there(tx: Connection, campaign: Campaign, planned: Sequence[NewMessage]) -> dict[int, str]:
    """Which of ``planned`` the campaign has by their key, however they ended; by place, the campaign's id."""
    return _places(campaign, planned, _stored(tx, campaign, {message.key for message in planned}))


def sent_in(tx: Connection, cancelled: Sequence[Campaign], planned: Sequence[NewMessage]) -> dict[int, str]:
    """Which of ``planned`` these campaigns have by their key and did not surely leave unsent; by place, the id."""
    found: dict[int, str] = {}
    for campaign in cancelled:
        keys = _stored(tx, campaign, {message.key for message in planned}, _MAYBE_TAKEN)
        found |= _places(campaign, planned, keys)
    return found


def _places(campaign: Campaign, planned: Sequence[NewMessage], keys: Collection[str]) -> dict[int, str]:
    return {n: campaign.id for n, message in enumerate(planned) if message.key in keys}


class _Earlier(NamedTuple):
    """A message that a person has of an earlier campaign."""

    campaign: str
    recipient: str
    key: str
    fingerprint: bytes


def having(
    tx: Connection, alike: Sequence[Campaign], planned: Sequence[NewMessage], cipher: Cipher
) -> dict[int, str]:
    """Which of ``planned`` are the same message as one that a campaign of ``alike`` sent or will send.

    By its place in ``planned``, the id of the newest such campaign. What makes two messages the same for each kind:
    docs/decisions/0009. A message that ended without having been sent is none.
    """
    if not alike or not planned:
        return {}
    of_person: dict[str, list[_Earlier]] = {}
    recipients = {form for message in planned for form in number_forms(message.recipient)}
    for earlier in _earlier(tx, alike, recipients):
        of_person.setdefault(canonical_number(earlier.recipient), []).append(earlier)
    kinds = {campaign.id: campaign.kind for campaign in alike}
    found: dict[int, str] = {}
    for n, message in enumerate(planned):
        same = [
            earlier.campaign
            for earlier in of_person.get(canonical_number(message.recipient), ())
            if _is_same(message, earlier, kinds[earlier.campaign], cipher)
        ]
        if same:
            found[n] = max(same)
    return found


def _is_same(message: NewMessage, earlier: _Earlier, kind: Kind, cipher: Cipher) -> bool:
    chosen = message.explicit_key and earlier.key not in number_forms(earlier.recipient)
    if chosen and message.key != earlier.key:
        return False
    if kind is Kind.MARKETING:
        return True
    return is_same(message, earlier.fingerprint, cipher)


def _earlier(tx: Connection, alike: Sequence[Campaign], recipients: Collection[str]) -> list[_Earlier]:
    """What these people have, or will get, of these campaigns: found by the index on recipients alone."""
    if tx.dialect.name == "sqlite":
        given = {"recipients": json.dumps(list(recipients)), "campaigns": json.dumps([c.id for c in alike])}
        rows = tx.execute(statement(_EARLIER_SQLITE), given)
    else:
        given = {"recipients": array(recipients), "campaigns": array([c.id for c in alike])}
        rows = tx.execute(statement(_EARLIER), given)
    now = instant(tx)
    return [
        _Earlier(str(campaign), recipient, key, bytes(fingerprint))
        for campaign, recipient, key, fingerprint, kind, expires_at in rows
        # A code whose time is over is another code, though its digits came again.
        if kind != Kind.OTP.value or expires_at is None or expires_at > now
    ]


def _store(tx: Connection, campaign: Campaign, prepared: Sequence[Prepared], cipher: Cipher) -> Taken:
    """Store what is new. The campaign's row is locked: nobody else stores messages of it meanwhile."""
    first: dict[str, Prepared] = {}
    again = [of.message for of in prepared if first.setdefault(of.message.key, of) is not of]
    stored = _stored(tx, campaign, first)
    new = [of for key, of in first.items() if key not in stored]
    rows = rows_of(tx, campaign, new, cipher)
    _insert(tx, rows)
    refused = [
        _conflict(message, f"row {first[message.key].message.row}")
        for message in again
        if _differs(message, first[message.key].message)
    ]
    refused += _clashing([first[key].message for key in stored], stored, cipher)
    duplicates = len(prepared) - len(new) - len(refused)
    queued = [row for row in rows if row.status == _QUEUED]
    ready = [row.id for row in queued if row.due_at <= row.queued_at]
    return Taken(ready, len(rows), duplicates, len(rows) - len(queued), refused)


class Row(NamedTuple):
    """A message as it goes into the ledger, in the order of the columns."""

    id: str
    campaign_id: str
    key: str
    row: int
    kind: str
    sender: str
    recipient: str
    type: str
    payload: bytes | None
    fingerprint: bytes
    status: str
    due_at: int
    expires_at: int | None
    error: str | None
    queued_at: int
    ended_at: int | None


def rows_of(
    tx: Connection, campaign: Campaign, prepared: Sequence[Prepared], cipher: Cipher, now: int | None = None
) -> list[Row]:
    """The messages as rows of the ledger, those suppressed as that. ``now``: its clock, where that is known."""
    if not prepared:
        return []
    recipients = {of.message.recipient for of in prepared}
    unwanted = suppressions.among_recipients(tx, recipients, campaign.kind)
    now = instant(tx) if now is None else now
    kind, campaign_id = campaign.kind.value, campaign.id
    made: list[Row] = []
    ids = new_ids(len(prepared), now)
    for id, (message, payload, fingerprint) in zip(ids, prepared, strict=True):
        row, key, _, recipient, sender, type, body, _, due_at, expires_at = message
        reason = unwanted.get(recipient) if unwanted else None
        if reason is None:
            status, error, ended_at = _QUEUED, None, None
        else:
            status, error, ended_at = Status.SUPPRESSED.value, f"suppressed: {reason}"[:500], now
        if reason is not None and campaign.kind is Kind.OTP:
            payload = None
        elif payload is None:
            payload = cipher.encrypt(body, id)
        made.append(
            Row(id, campaign_id, key, row, kind, sender, recipient, type, payload, fingerprint,
                 status, due_at, expires_at, error, now, ended_at)
        )  # fmt: skip
    return made


def identity(message: NewMessage) -> tuple[str, ...]:
    """What the fingerprint is made of: what tells two messages of one key apart."""
    return message.sender, message.recipient, message.type, message.body_text


#: Of keys that stand in the ledger: recipient and fingerprint.
_Stored = dict[str, tuple[str, bytes]]


#: SQL: it was sent, or may have been, or may still be.
_MAYBE_TAKEN = f"NOT (messages.status IN ({listed(UNSENT)}) AND {NEVER_TAKEN})"


def _stored(tx: Connection, campaign: Campaign, keys: Collection[str], of: str = "true") -> _Stored:
    """Those of the keys that stand in the ledger already, and for what; only messages ``of`` which the SQL is true."""
    if tx.dialect.name == "sqlite":
        columns = messages.c.key, messages.c.recipient, messages.c.fingerprint
        found = tx.execute(
            select(*columns).where(
                messages.c.campaign_id == campaign.id, among(tx, messages.c.key, list(keys)), text(of)
            )
        )
    else:
        by_index(tx)
        found = tx.execute(statement(_STORED.format(of=of)), {"campaign": campaign.id, "keys": array(keys)})
    return {key: (recipient, bytes(fingerprint)) for key, recipient, fingerprint in found}


def _clashing(planned: Sequence[NewMessage], stored: _Stored, cipher: Cipher) -> list[RefusedRow]:
    """Those whose key stands in the ledger for something else."""
    return [
        _conflict(message, "an earlier message")
        for message in planned
        for recipient, fingerprint in [stored[message.key]]
        if not is_same_person(recipient, message.recipient)
        or (message.explicit_key and not is_same(message, fingerprint, cipher))
    ]


def _differs(message: NewMessage, first: NewMessage) -> bool:
    """Whether the same key means two things: other people always, other content where the key was chosen."""
    return not is_same_person(message.recipient, first.recipient) or (
        message.explicit_key and identity(message) != identity(first._replace(recipient=message.recipient))
    )


def is_same(message: NewMessage, fingerprint: bytes, cipher: Cipher) -> bool:
    """Whether the fingerprint is of this message, to whichever form of its recipient's number."""
    return any(
        cipher.same_fingerprint(fingerprint, *identity(message._replace(recipient=form)))
        for form in number_forms(message.recipient)
    )


def _conflict(message: NewMessage, holder: str) -> RefusedRow:
    return RefusedRow(
        message.row,
        "key",
        message.key[:100],
        f"this key stands for {holder} with another recipient or content; nothing was overwritten, "
        "use a key of its own",
    )


COLUMNS = Row._fields
_ZEROS = ("attempts", "tries", "waits", "rescues")
NAMES = ", ".join([*COLUMNS, *_ZEROS])
#: OFFSET 0: each key is looked for by itself. Left to choose, PostgreSQL walks the whole campaign for each chunk.
#: A range and an order of keys: of the indexes that begin with the campaign only that of keys has it, see ``by_index``.
_STORED = """SELECT k.key, found.recipient, found.fingerprint FROM unnest(CAST(:keys AS text[])) AS k(key),
    LATERAL (SELECT recipient, fingerprint FROM messages
             WHERE campaign_id = CAST(:campaign AS uuid) AND messages.key >= k.key AND messages.key <= k.key AND {of}
             ORDER BY messages.key LIMIT 1) AS found"""
#: OFFSET 0: each person's few messages are found by the index on recipients, whatever PostgreSQL knows of the
#: campaigns; only then those of these campaigns are picked.
_UNSENT = f"({listed(UNSENT)})"
_EARLIER = f"""SELECT found.campaign_id, r.recipient, found.key, found.fingerprint, found.kind, found.expires_at
    FROM unnest(CAST(:recipients AS text[])) AS r(recipient),
    LATERAL (SELECT m.campaign_id, m.key, m.fingerprint, m.kind, m.expires_at, m.status FROM messages m
             WHERE m.recipient = r.recipient OFFSET 0) AS found
    WHERE found.campaign_id = ANY(CAST(:campaigns AS uuid[])) AND found.status NOT IN {_UNSENT}"""  # noqa: S608
_EARLIER_SQLITE = f"""SELECT m.campaign_id, m.recipient, m.key, m.fingerprint, m.kind, m.expires_at
    FROM json_each(:recipients) AS r CROSS JOIN messages AS m ON m.recipient = r.value
    WHERE +m.campaign_id IN (SELECT value FROM json_each(:campaigns)) AND m.status NOT IN {_UNSENT}"""  # noqa: S608
_COPY = f"COPY messages ({NAMES}) FROM STDIN"
#: Rows of one statement, or of one piece. A row at a time, the interpreter is given away and asked for again with each.
_AT_ONCE = 200


def _insert(tx: Connection, rows: list[Row]) -> None:
    """Insert rows of which none is there."""
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            tx.exec_driver_sql(insert_on_sqlite(len(part)), tuple(chain.from_iterable(part)))
    else:
        pieces = (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
        copy_in(tx, _COPY, ("".join([_line(row) for row in piece]) for piece in pieces))


@cache
def insert_on_sqlite(many: int) -> str:
    """SQL that inserts ``many`` rows, their values one after the other."""
    row = f"({', '.join('?' for _ in COLUMNS)}, 0, 0, 0, 0)"
    return f"INSERT INTO messages ({NAMES}) VALUES {', '.join([row] * many)}"  # noqa: S608 - names of our own


def _line(row: Row) -> str:
    """The row as COPY reads it. Only the key and the error are text of other people's."""
    (
        id,
        campaign,
        key,
        n,
        kind,
        sender,
        to,
        type,
        payload,
        fingerprint,
        status,
        due,
        expires,
        error,
        queued,
        ended,
    ) = row
    return (
        f"{id}\t{campaign}\t{key if key.isalnum() else cell(key)}\t{n}\t{kind}\t{sender}\t{to}\t{type}\t"
        f"{NULL if payload is None else blob(payload)}\t{blob(fingerprint)}\t{status}\t{due}\t"
        f"{NULL if expires is None else expires}\t{NULL if error is None else cell(error)}\t{queued}\t"
        f"{NULL if ended is None else ended}\t0\t0\t0\t0\n"
    )
