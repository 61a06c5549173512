"""Erase a person from the rows of the ledger. ``person_columns.py`` says what each column may hold.

What remains of a message: its status, times, codes and attempts, by which counts and audit still hold. A suppression
and the acts on it go on under a keyed hash, and so does a consent: it is proof of what was sent before. Each function
may be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    text,
    update,
)

from bulksend.errors import WrongState
from bulksend.ledger import campaigns, in_flight, legal_holds, suppressions
from bulksend.ledger.database import among, set_statement_timeout
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.endings import RESTORED, WORKER_LOST, end_unsent
from bulksend.ledger.legal_holds import CAMPAIGN, PERSON, Held
from bulksend.ledger.person_columns import COLUMNS, Holds, columns_with
from bulksend.ledger.person_keys import make_person_key
from bulksend.ledger.schema import (
    LIVE_UPLOADS_SQL,
    OPEN_JOBS_SQL,
    acts,
    attempts,
    consents,
    inbound_messages,
    messages,
    metadata,
    plans,
    receipts,
)
from bulksend.ledger.schema import suppressions as suppressed
from bulksend.messaging.masking import mask_phone
from bulksend.messaging.number_traces import NumberTraces
from bulksend.messaging.person_hash import person_hash
from bulksend.messaging.states import Status
from bulksend.messaging.units import counted

#: Stands before the id of its row, or a hash, where a key or an id of the vendor was.
ERASED = "erased:"
FORGOTTEN = "the person was forgotten"
#: Rows of one statement.
_AT_ONCE = 500
#: Rows that are at work: what they hold is needed until they end.
_OPEN = {
    "campaigns": "status NOT IN ('finished', 'cancelled')",
    "jobs": OPEN_JOBS_SQL,
    "uploads": LIVE_UPLOADS_SQL,
}
#: Why something that has the number is left.
_AT_WORK = "its row is at work; repeat it once that has ended"
_WAITS = "it waits to be sent with the number in its variables"
_HELD = "it is under legal hold; repeat it once that has ended"
#: Columns whose numbers are those of businesses, and a key that is no text of a person.
_NOT_SEARCHED = {("installation", "value"), ("webhook_endpoints", "sealed")}


@dataclass(frozen=True, slots=True)
class Person:
    """A person by a number, with what finds every form of it, and the hash that stands for it afterwards."""

    number: str
    traces: NumberTraces
    hash: str
    key: bytes

    @classmethod
    def of(cls, tx: Connection, number: str) -> Person:
        """The owner of a number. ``tx`` writes."""
        key = make_person_key(tx)
        traces = NumberTraces(number)
        return cls(traces.forms[0], traces, person_hash(key, number), key)

    @property
    def masked(self) -> str:
        """The number as it may be shown."""
        return mask_phone(self.number)


@dataclass(frozen=True, slots=True)
class Left:
    """Something that still has the number: where, and what is to do."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class ErasedRows:
    """What ``erase_rows`` did. ``messages``: ids of those that the person had."""

    messages: list[str]
    counts: dict[str, int]


def erase_rows(tx: Connection, person: Person, cipher: Cipher) -> ErasedRows:
    """Erase the person's own rows: messages with attempts and receipts, what the person wrote, suppressions, acts.

    What still waits to be sent ends as cancelled. Raises WrongState while a message is being sent to the person, and
    under a legal hold; nothing was changed then.
    """
    ids = _checked_messages(tx, person)
    counts = {"messages": len(ids), "attempts": 0, "receipts": 0, "cancelled": 0}
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        counts["attempts"] += _erase_of_messages(tx, attempts, attempts.c.message_pk, part, person)
        counts["receipts"] += _erase_of_messages(tx, receipts, receipts.c.message_pk, part, person)
        _erase_of_messages(tx, messages, messages.c.id, part, person)
        counts["cancelled"] += end_unsent(tx, part, Status.CANCELLED, FORGOTTEN)
    in_flight.take_claims(tx, ids)
    counts["inbound"] = _erase_inbound(tx, person, cipher)
    counts["suppressions"] = _hash_suppressions(tx, person)
    counts["consents"] = _hash_consents(tx, person)
    counts["acts"] = tx.execute(
        update(acts)
        .where(acts.c.scope == "suppression", acts.c.subject.in_(person.traces.forms))
        .values(subject=person.hash)
    ).rowcount
    tx.execute(update(plans).where(plans.c.samples.is_not(None)).values(samples=None))
    return ErasedRows(ids, counts)


def _checked_messages(tx: Connection, person: Person) -> list[str]:
    """The ids of the person's messages, locked and kept from workers. Raises WrongState."""
    rows = tx.execute(
        select(cast(messages.c.id, Text), cast(messages.c.campaign_id, Text))
        .where(messages.c.recipient.in_(person.traces.forms))
        .order_by(messages.c.id)
        .with_for_update()
    ).all()
    hold = legal_holds.on_person(tx, person.number, {campaign for _, campaign in rows})
    if hold is not None:
        held = PERSON
        if hold.scope == CAMPAIGN:
            held = f"campaign {person.traces.masked(campaigns.names_of(tx, {hold.subject})[hold.subject])}"
        raise WrongState(
            f"{person.masked} is under legal hold {hold.id} ({held}); nothing was changed. "
            f"`bulksend holds remove {hold.id} --why …` ends it"
        )
    ids = [id for id, _ in rows]
    if not in_flight.keep_from_workers(tx, ids):
        raise WrongState(
            f"a message to {person.masked} is being sent now; nothing was changed. Repeat it in a minute"
        )
    return ids


def _erase_of_messages(
    tx: Connection, of: Table, key: Column[Any], ids: Sequence[str], person: Person
) -> int:
    """Erase the rows of these messages in a table; returns how many there are."""
    _hash_vendor_ids(tx, of, among(tx, key, ids), person)
    return tx.execute(update(of).where(among(tx, key, ids)).values(_erased_values(of))).rowcount


def _erased_values(of: Table) -> dict[str, Any]:
    if of is attempts:
        # Our own words for what an attempt left behind: operators act on them.
        ours = attempts.c.error.in_([WORKER_LOST, RESTORED])
        return {"vendor_message": None, "error": case((ours, attempts.c.error), else_=None)}
    if of is receipts:
        return {"why": ""}
    return {
        "recipient": "",
        "key": literal(ERASED) + cast(messages.c.id, Text),
        "payload": None,
        "fingerprint": b"",
        "error": None,
    }


def _hash_vendor_ids(tx: Connection, of: Table, rows: ColumnElement[bool], person: Person) -> None:
    """Replace the ids of the vendor that have the number in them: WhatsApp's own do."""
    names = [name for name, holds in COLUMNS[of.name].items() if holds is Holds.VENDOR_ID]
    for row in tx.execute(select(of.c.id, *(of.c[name] for name in names)).where(rows)).mappings().all():
        hashed = {
            name: hashed_id(person.key, row[name])
            for name in names
            if row[name] is not None and person.traces.in_text(row[name])
        }
        if hashed:
            tx.execute(update(of).where(of.c.id == row["id"]).values(hashed))


def hashed_id(key: bytes, id: str) -> str:
    """What stands in place of an id of the vendor: the same for the same id."""
    return ERASED + blake2b(id.encode(), key=key, digest_size=16).hexdigest()


def _erase_inbound(tx: Connection, person: Person, cipher: Cipher) -> int:
    own = inbound_messages.c.recipient.in_(person.traces.forms)
    _hash_vendor_ids(tx, inbound_messages, own, person)
    ids = [str(id) for id in tx.execute(select(inbound_messages.c.id).where(own)).scalars()]
    for id in ids:
        empty = cipher.seal(b'{"text": "", "payload": ""}', id)
        tx.execute(
            update(inbound_messages).where(inbound_messages.c.id == id).values(recipient="", body=empty)
        )
    return len(ids)


def _hash_suppressions(tx: Connection, person: Person) -> int:
    """Each goes on under the hash; where there is one of its scope already, the one that ends later stays."""
    table = suppressed
    found = tx.execute(select(table).where(table.c.subject.in_(person.traces.forms))).mappings().all()
    for row in found:
        own = and_(table.c.subject == row["subject"], table.c.scope == row["scope"])
        other = and_(table.c.subject == person.hash, table.c.scope == row["scope"])
        earlier = tx.execute(select(table.c.until).where(other)).one_or_none()
        if earlier is None:
            tx.execute(update(table).where(own).values(subject=person.hash))
            continue
        if earlier.until is not None and (row["until"] is None or row["until"] > earlier.until):
            tx.execute(update(table).where(other).values(until=row["until"]))
        tx.execute(table.delete().where(own))
    return len(found)


def _hash_consents(tx: Connection, person: Person) -> int:
    """Each is kept under the hash as proof of what was sent; what is sent to the person from now on needs another."""
    own = consents.c.subject.in_(person.traces.forms)
    found = tx.execute(select(consents.c.subject, consents.c.at).where(own)).all()
    kept = set(tx.execute(select(consents.c.at).where(consents.c.subject == person.hash)).scalars())
    for subject, at in found:
        row = and_(consents.c.subject == subject, consents.c.at == at)
        if at in kept:
            tx.execute(consents.delete().where(row))
        else:
            tx.execute(update(consents).where(row).values(subject=person.hash))
            kept.add(at)
    return len(found)


# -- texts, wherever they are ----------------------------------------------------------------------------------------


def orphans_with_number(tx: Connection, person: Person) -> int:
    """Hash the ids of receipts that no message has, where they have the number; returns how many there were."""
    orphan = receipts.c.message_pk.is_(None)
    found = and_(orphan, or_(_like(receipts.c.message_id, person), _like(receipts.c.aliases, person)))
    set_statement_timeout(tx, 0)
    count = int(tx.execute(select(func.count()).select_from(receipts).where(found)).scalar_one())
    if count:
        _hash_vendor_ids(tx, receipts, found, person)
        tx.execute(update(receipts).where(orphan, _like(receipts.c.why, person)).values(why=""))
    return count


@dataclass(frozen=True, slots=True)
class TextFound:
    """A text that has the number. ``why_kept``: why it is needed still; None: it is not."""

    table: Table
    column: str
    key: tuple[Any, ...]
    why_kept: str | None


def texts(tx: Connection, person: Person) -> Iterator[TextFound]:
    """Every text that has the number, but those of the person's messages."""
    set_statement_timeout(tx, 0)
    held = legal_holds.held(tx)
    # The subject of an import of suppressions is the name of a file.
    for name, column in (*columns_with(Holds.TEXT, Holds.KEY), ("acts", "subject")):
        table = metadata.tables[name]
        if table is not messages:
            yield from _texts_of(tx, table, column, person, held)


def _texts_of(tx: Connection, table: Table, column: str, person: Person, held: Held) -> Iterator[TextFound]:
    keys = list(table.primary_key.columns)
    is_open = case((text(_OPEN.get(table.name, "1 = 0")), 1), else_=0)
    campaign = table.c.id if table.name == "campaigns" else table.c.get("campaign_id", null())
    found = select(*keys, is_open, campaign, table.c[column]).where(_like(table.c[column], person))
    for *key, at_work, of_campaign, value in tx.execute(found).all():
        if person.traces.in_text(value):
            why = _AT_WORK if at_work else _HELD if str(of_campaign) in held.campaigns else None
            yield TextFound(table, column, tuple(key), why)


def mask_text(tx: Connection, found: TextFound, person: Person) -> bool:
    """Mask the number in one text, or replace a key; returns whether it had the number."""
    table, column = found.table, found.column
    own = and_(*(each == value for each, value in zip(table.primary_key.columns, found.key, strict=True)))
    value = tx.execute(select(table.c[column]).where(own).with_for_update()).scalar_one_or_none()
    if value is None or not person.traces.in_text(value):
        return False
    is_key = COLUMNS[table.name][column] is Holds.KEY
    masked = hashed_id(person.key, value) if is_key else masked_words(person.traces, value)
    tx.execute(update(table).where(own).values({column: masked}))
    return True


def masked_words(traces: NumberTraces, value: str) -> str:
    """The text with the number masked; of JSON each text and number in it, so that it stays JSON."""
    if value[:1] in ("{", "["):
        try:
            return json.dumps(_masked_json(json.loads(value), traces))
        except ValueError:
            pass
    return traces.masked(value)


def _masked_json(value: Any, traces: NumberTraces) -> Any:
    if isinstance(value, dict):
        return {traces.masked(name): _masked_json(each, traces) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked_json(each, traces) for each in value]
    written = value if isinstance(value, str) else repr(value)
    return traces.masked(written) if traces.in_text(written) else value


def _like(column: ColumnElement[Any], person: Person) -> ColumnElement[bool]:
    return or_(*(column.like(pattern) for pattern in person.traces.like))


# -- the proof -------------------------------------------------------------------------------------------------------


def search_everything(tx: Connection, person: Person) -> Iterator[str]:
    """The columns that still have the number, by their names and how often: of all tables, whatever they may hold."""
    set_statement_timeout(tx, 0)
    for table in metadata.sorted_tables:
        for column in table.columns:
            if (table.name, column.name) in _NOT_SEARCHED:
                continue
            count = _count(tx, table, column, person)
            if count:
                yield f"{table.name}.{column.name} ({counted(count, 'row')})"


def _count(tx: Connection, table: Table, column: Column[Any], person: Person) -> int:
    if isinstance(column.type, LargeBinary):
        stored = tx.execute(select(column).where(_contains(tx, column, person))).scalars()
        return sum(person.traces.in_bytes(bytes(value)) for value in stored)
    if isinstance(column.type, String | Text):
        values = tx.execute(select(column).where(_like(column, person))).scalars()
        return sum(person.traces.in_text(value) for value in values)
    return 0


def _contains(tx: Connection, column: Column[Any], person: Person) -> ColumnElement[bool]:
    """SQL: the bytes of the column have the number in its plainest form."""
    parts = person.traces.parts
    if tx.dialect.name == "sqlite":
        return or_(*(func.instr(column, literal(part, LargeBinary)) > 0 for part in parts))
    # No part has a character that LIKE reads as another.
    return or_(*(column.op("LIKE")(literal(b"%" + part + b"%", LargeBinary)) for part in parts))


def payloads_with_number(tx: Connection, person: Person) -> list[tuple[str, str | None]]:
    """Messages to others whose variables have the number, in clear: id, and why they are needed still."""
    set_statement_timeout(tx, 0)
    m, held = messages.c, legal_holds.held(tx)
    columns = cast(m.id, Text), m.payload, m.ended_at, cast(m.campaign_id, Text), m.recipient
    rows = tx.execute(select(*columns).where(_contains(tx, m.payload, person)))
    return [
        (id, _WAITS if ended is None else _HELD if campaign in held.campaigns or to in held.numbers else None)
        for id, payload, ended, campaign, to in rows
        if person.traces.in_bytes(bytes(payload))
    ]


def wipe_payloads(tx: Connection, ids: Sequence[str]) -> None:
    """Empty the contents of these messages, which have ended."""
    for start in range(0, len(ids), _AT_ONCE):
        own = among(tx, messages.c.id, ids[start : start + _AT_ONCE])
        tx.execute(update(messages).where(own, not_(messages.c.ended_at.is_(None))).values(payload=None))


def suppressed_scopes(tx: Connection, person: Person) -> list[str]:
    """The scopes of the person's suppressions that still apply."""
    return [each.scope for each in suppressions.page(tx, subject=person.number)]
