"""Callbacks as they came, before they are read: one row for each group commit, which holds up to hundreds of them.

The row's data is compressed, and encrypted where there is a key: bodies hold numbers and inbound texts. Within it: four
bytes of length, a JSON list with token, headers and length of each callback, then the bodies.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, delete, func, literal, select, update

from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import among, count_up_to, insert_if_new, newest_first, rows_changed
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import lowest_at, new_id
from bulksend.ledger.schema import raw_receipts, unreadable_receipts

#: Fast: the data of one group repeats itself.
_LEVEL = 1


class Callback(NamedTuple):
    """One callback: the id of the token it came by, its headers by lower-case name, and its body."""

    token: str
    headers: Mapping[str, str]
    body: bytes


class Group(NamedTuple):
    """One row. ``data`` is sealed."""

    id: str
    received_at: int
    bodies: int
    data: bytes


#: The position of a row that cannot be unpacked at all.
WHOLE_ROW = -1


class Unreadable(NamedTuple):
    """A callback that could not be read: its row, its position in it, and why."""

    raw_id: str
    n: int
    received_at: int
    why: str


def pack(callbacks: Sequence[Callback], cipher: Cipher, received_at: int) -> Group:
    """These callbacks as one row."""
    id = new_id()
    return Group(id, received_at, len(callbacks), _packed(callbacks, cipher, id))


def _packed(callbacks: Sequence[Callback], cipher: Cipher, id: str) -> bytes:
    head = json.dumps([(c.token, c.headers, len(c.body)) for c in callbacks], separators=(",", ":")).encode()
    data = b"".join((len(head).to_bytes(4, "big"), head, *(c.body for c in callbacks)))
    return cipher.seal(zlib.compress(data, _LEVEL), id)


def unpack(group: Group, cipher: Cipher) -> list[Callback]:
    """The callbacks of a row. Raises CannotDecrypt when no key fits."""
    data = zlib.decompress(cipher.unseal(group.data, group.id))
    start = 4 + int.from_bytes(data[:4], "big")
    found = []
    for token, headers, length in json.loads(data[4:start]):
        found.append(Callback(token, headers, data[start : start + length]))
        start += length
    return found


def repack(group: Group, callbacks: Sequence[Callback], cipher: Cipher) -> Group:
    """The row with other callbacks in the same places."""
    return group._replace(data=_packed(callbacks, cipher, group.id))


def store(tx: Connection, groups: Sequence[Group]) -> None:
    """Add these rows. One that is there already is left as it is, so this may be repeated."""
    # Values that are bound by themselves: a statement with them in it would be compiled each time, in 0.5 ms.
    rows = [group._asdict() for group in groups]
    tx.execute(insert_if_new(tx, raw_receipts), rows[0] if len(rows) == 1 else rows)


def unread(tx: Connection, *, bodies: int, most_bytes: int = 16 << 20) -> list[Group]:
    """The oldest rows that were not read, up to about that many callbacks and sealed bytes, one row at least."""
    columns = raw_receipts.c.id, raw_receipts.c.bodies, func.length(raw_receipts.c.data).label("bytes")
    waiting = (
        select(*columns).where(raw_receipts.c.read_at.is_(None)).order_by(raw_receipts.c.id).limit(bodies)
    )
    ids: list[str] = []
    for row in tx.execute(waiting):
        bodies -= row.bodies
        most_bytes -= row.bytes
        if ids and (bodies < 0 or most_bytes < 0):
            break
        ids.append(str(row.id))
    return of_ids(tx, ids)


def of_ids(tx: Connection, ids: Sequence[str]) -> list[Group]:
    """The rows of these ids, by id."""
    wanted = select(*_GROUP).where(among(tx, raw_receipts.c.id, ids)).order_by(raw_receipts.c.id)
    return [_group(row) for row in tx.execute(wanted)]


_GROUP = [raw_receipts.c[name] for name in Group._fields]


def _group(row: Any) -> Group:
    return Group(row.id, row.received_at, row.bodies, bytes(row.data))


def page(tx: Connection, *, after: str, limit: int) -> list[tuple[Group, bool]]:
    """The next rows after an id ("": the first ones), each with whether it was read."""
    wanted = select(*_GROUP, raw_receipts.c.read_at).order_by(raw_receipts.c.id).limit(limit)
    if after:
        wanted = wanted.where(raw_receipts.c.id > after)
    return [(_group(row), row.read_at is not None) for row in tx.execute(wanted)]


def replace_data(tx: Connection, groups: Sequence[Group]) -> None:
    """Store the data of these rows, which are there."""
    for group in groups:
        tx.execute(update(raw_receipts).where(raw_receipts.c.id == group.id).values(data=group.data))


def mark_read(tx: Connection, ids: Sequence[str]) -> bool:
    """Mark these rows as read, in the transaction that applies them. Returns whether none of them was before."""
    change = (
        update(raw_receipts)
        .where(among(tx, raw_receipts.c.id, ids), raw_receipts.c.read_at.is_(None))
        .values(read_at=current_ms())
    )
    return tx.execute(change).rowcount == len(ids)


def set_aside(tx: Connection, found: Sequence[Unreadable]) -> None:
    """Keep callbacks that could not be read, to be shown and read again."""
    if found:
        rows = [{"id": new_id(), **one._asdict(), "why": storable(one.why, 500)} for one in found]
        tx.execute(insert_if_new(tx, unreadable_receipts).values(rows))


_ASIDE = [unreadable_receipts.c[name] for name in ("id", "raw_id", "n", "received_at", "why")]


def aside(tx: Connection, *, limit: int, before: str | None = None) -> list[RowMapping]:
    """The callbacks that were set aside, newest first."""
    rows = newest_first(select(*_ASIDE), unreadable_receipts.c.id, limit, before)
    return list(tx.execute(rows).mappings())


def aside_between(tx: Connection, after: str, until: str, limit: int) -> list[RowMapping]:
    """The next callbacks that were set aside before the id ``until``, oldest first, locked."""
    rows = select(*_ASIDE).where(unreadable_receipts.c.id < until)
    rows = rows.order_by(unreadable_receipts.c.id).limit(limit).with_for_update()
    if after:
        rows = rows.where(unreadable_receipts.c.id > after)
    return list(tx.execute(rows).mappings())


def take_back(tx: Connection, ids: Sequence[str]) -> None:
    """Forget that these were set aside, to read them again in the same transaction."""
    tx.execute(delete(unreadable_receipts).where(among(tx, unreadable_receipts.c.id, ids)))


class Waiting(NamedTuple):
    """How many callbacks wait to be read, and for how long the oldest has (ms)."""

    bodies: int
    oldest_ms: int


def waiting(tx: Connection) -> Waiting:
    """What waits to be read."""
    row = tx.execute(
        select(func.coalesce(func.sum(raw_receipts.c.bodies), 0), func.min(raw_receipts.c.received_at)).where(
            raw_receipts.c.read_at.is_(None)
        )
    ).one()
    return Waiting(int(row[0]), 0 if row[1] is None else max(0, read_clock(tx) - int(row[1])))


def newest_at(tx: Connection) -> int | None:
    """When the newest callback came (ms); None where none is kept."""
    found = tx.execute(
        select(raw_receipts.c.received_at).order_by(raw_receipts.c.id.desc()).limit(1)
    ).scalar()
    return None if found is None else int(found)


def count_aside(tx: Connection, most: int, *, since: int = 0) -> int:
    """How many callbacks were set aside since an instant (ms), counted up to ``most``."""
    return count_up_to(tx, most, select(literal(1)).where(unreadable_receipts.c.id >= lowest_at(since)))


def delete_old(tx: Connection, keep_ms: int, limit: int = 200) -> int:
    """Delete the oldest rows that were read and are older than that, and what was set aside of them.

    Returns how many. Rows that were not read stay.
    """
    before = lowest_at(read_clock(tx) - keep_ms)
    old = select(raw_receipts.c.id).where(raw_receipts.c.id < before, raw_receipts.c.read_at.is_not(None))
    ids = [str(id) for id in tx.execute(old.order_by(raw_receipts.c.id).limit(limit)).scalars()]
    if not ids:
        return 0
    tx.execute(delete(unreadable_receipts).where(among(tx, unreadable_receipts.c.raw_id, ids)))
    return rows_changed(tx, delete(raw_receipts).where(among(tx, raw_receipts.c.id, ids)))
