"""Callbacks of the vendor: store them, read and apply them, show those that did not apply, and read them again.

A callback is stored first (``store_callbacks``) and read later (``read_callbacks``), in the transaction that applies it
and marks it as read: a crash at any point loses nothing and applies nothing twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from bulksend.errors import BulksendError, InvalidValue, LedgerUnreachable
from bulksend.failpoints import FailpointReached, reach
from bulksend.gateway.receipts import InboundMessage, Notice, ParsedReceipt, parse
from bulksend.ledger import operator_log, raw_receipts, receipts
from bulksend.ledger.database import Database, is_transient
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.raw_receipts import WHOLE_ROW, Callback, Group, Unreadable
from bulksend.ledger.receipts import Delay, Receipt
from bulksend.operations.callbacks import CallbackRules
from bulksend.operations.json_shape import Page, checked_after

log = structlog.get_logger(__name__)

STATES = ("orphan", "unreadable")
#: How many callbacks are applied in one transaction.
AT_ONCE = 2_000
#: A body is unpacked to at most this size: a few kilobytes can hold gigabytes.
_MOST_UNPACKED = 30 * 1024 * 1024
#: The bodies of one transaction have about this size, unpacked: what they say is in memory at once.
MOST_BYTES = 32 * 1024 * 1024
#: A group is read in one transaction. Of packed bodies that have this many times as much, the rest is set aside.
_MOST_OF_A_GROUP = 4
#: How many ids of one receipt are looked for.
_MOST_IDS = 6
#: A passing failure, such as a connection that an idle firewall dropped, is repeated this long.
_PATIENCE_S = 1.0
_MOST_SHOWN = 2_000


def store_callbacks(database: Database, groups: Sequence[Group]) -> None:
    """Store these groups, each once however often it is handed in; without groups only ask whether the ledger is there.

    Raises LedgerUnreachable, LedgerUnfit.
    """
    if not groups:
        database.check()
        return
    with database.translated_errors():
        database.retrying(lambda tx: raw_receipts.store(tx, groups), patience_s=_PATIENCE_S, autocommit=True)


# -- read and apply ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Read:
    """What some callbacks say, and what came of it."""

    callbacks: int = 0
    size: int = 0
    """Bytes of their bodies, unpacked."""
    received_at: list[int] = field(default_factory=list)
    """When each group of them came (ms)."""
    receipts: list[Receipt] = field(default_factory=list)
    inbound: list[InboundMessage] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    delays: Sequence[Delay] = ()
    """Of the messages that these receipts are the first to call delivered."""

    def add(self, other: Read) -> None:
        """Add what other callbacks say."""
        self.callbacks += other.callbacks
        self.size += other.size
        self.received_at += other.received_at
        self.receipts += other.receipts
        self.inbound += other.inbound
        self.notices += other.notices
        self.unreadable += other.unreadable
        self.delays = [*self.delays, *other.delays]

    def counts(self) -> dict[str, int]:
        """The fields of a log line."""
        return {
            "callbacks": self.callbacks,
            "receipts": len(self.receipts),
            "inbound": len(self.inbound),
            "notices": len(self.notices),
            "unreadable": len(self.unreadable),
        }


def read_callbacks(
    database: Database, rules: CallbackRules, *, at_once: int = AT_ONCE, most_bytes: int = MOST_BYTES
) -> Read:
    """Apply the oldest callbacks that wait, about ``at_once`` of them with bodies of about ``most_bytes``.

    Any number of readers may run: what another one has read meanwhile is left to it. Raises LedgerUnreachable.
    """
    with database.translated_errors(), database.read() as tx:
        waiting = raw_receipts.unread(tx, bodies=at_once)
    if not waiting:
        return Read()
    read, groups = _read(waiting, rules.cipher, most_bytes)
    reach("receipts_parsed")
    try:
        database.retrying(lambda tx: _apply_unread(tx, groups, read, rules))
    except _ReadMeanwhile:
        return Read()
    except (LedgerUnreachable, FailpointReached):
        raise
    except Exception as error:  # noqa: BLE001 - one of thousands must not stop the others
        log.error("receipts_not_applied", error=log_text(error), callbacks=read.callbacks)
        return _one_by_one(database, groups, rules)
    reach("receipts_applied")
    return read


class _ReadMeanwhile(BulksendError):
    """Another reader has read one of the groups."""


def _apply_unread(tx: Connection, groups: Sequence[Group], read: Read, rules: CallbackRules) -> None:
    """Apply what these groups say. Raises _ReadMeanwhile."""
    if not raw_receipts.mark_read(tx, [group.id for group in groups]):
        raise _ReadMeanwhile
    _apply(tx, read, rules)
    raw_receipts.set_aside(tx, read.unreadable)
    reach("receipts_applying")


def _apply(tx: Connection, read: Read, rules: CallbackRules) -> None:
    # Set, and not added to: the transaction may be repeated.
    read.delays = receipts.take(tx, read.receipts).delays
    rules.apply(tx, read.inbound, read.notices)


def _one_by_one(database: Database, groups: Sequence[Group], rules: CallbackRules) -> Read:
    """Apply each callback alone, and set aside those that cannot be applied. Raises LedgerUnreachable."""
    total = Read()
    for group in groups:

        def work(tx: Connection, group: Group = group) -> Read:
            read = Read()
            if raw_receipts.mark_read(tx, [group.id]):
                for part in _parts([group], rules.cipher):
                    read.add(_apply_alone(tx, part, rules))
            return read

        total.add(database.retrying(work))
    return total


def _apply_alone(tx: Connection, part: _Part, rules: CallbackRules) -> Read:
    """Apply one callback, or set it aside."""
    alone = Read()
    _add(alone, part)
    try:
        with tx.begin_nested():
            _apply(tx, alone, rules)
    except Exception as error:
        if isinstance(error, DBAPIError) and is_transient(error):
            raise
        alone = Read(1, unreadable=[part.aside(f"it could not be applied: {log_text(error)}")])
    raw_receipts.set_aside(tx, alone.unreadable)
    return alone


class _Part(NamedTuple):
    """One callback of a group; None where the group cannot be decrypted, for the reason ``why``."""

    group: Group
    n: int
    callback: Callback | None
    why: str = ""

    def aside(self, why: str) -> Unreadable:
        return Unreadable(self.group.id, self.n, self.group.received_at, why)


def _parts(groups: Sequence[Group], cipher: Cipher) -> Iterator[_Part]:
    for group in groups:
        try:
            callbacks = raw_receipts.unpack(group, cipher)
        except CannotDecrypt as error:
            yield _Part(group, WHOLE_ROW, None, str(error))
        except (zlib.error, ValueError):
            yield _Part(group, WHOLE_ROW, None, "the row was changed since it was written")
        else:
            yield from (_Part(group, n, callback) for n, callback in enumerate(callbacks))


def _read(groups: Sequence[Group], cipher: Cipher, most_bytes: int) -> tuple[Read, Sequence[Group]]:
    """What the first groups say, and which groups these are; one at least."""
    read = Read()
    for n, group in enumerate(groups):
        if read.size > most_bytes:
            return read, groups[:n]
        read.received_at.append(group.received_at)
        for part in _parts([group], cipher):
            _add(read, part, most_bytes * _MOST_OF_A_GROUP)
    return read, groups


def _add(read: Read, part: _Part, most_bytes: int | None = None) -> None:
    """Add what one callback says; a packed one is set aside where more than ``most_bytes`` are read already."""
    if part.callback is None:
        read.callbacks += part.group.bodies
        read.unreadable.append(part.aside(part.why))
        return
    read.callbacks += 1
    body = part.callback.body
    if body[:2] == b"\x1f\x8b" or "gzip" in part.callback.headers.get("content-encoding", ""):
        if most_bytes is not None and read.size > most_bytes:
            why = "it came with others that unpack to too much at once; `bulksend receipts reparse` reads it"
            read.unreadable.append(part.aside(why))
            return
        try:
            body = _unpacked(body)
        except zlib.error:
            read.unreadable.append(part.aside("its gzip body is damaged or too large"))
            return
    read.size += len(body)
    parsed = parse(body)
    received_at = part.group.received_at
    read.receipts.extend(_receipt(each, received_at) for each in parsed.receipts)
    read.inbound.extend(parsed.inbound)
    read.notices.extend(parsed.notices)
    if parsed.unreadable:
        first = parsed.unreadable[0]
        more = f", and {len(parsed.unreadable) - 1} more" if len(parsed.unreadable) > 1 else ""
        read.unreadable.append(part.aside(f"part {first.n}: {first.why}{more}"))


def _receipt(of: ParsedReceipt, received_at: int) -> Receipt:
    at = received_at if of.at is None else of.at
    return Receipt(of.ids[0], of.status, at, of.code, of.why, of.ids[1:_MOST_IDS])


def _unpacked(body: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    data = unpacking.decompress(body, _MOST_UNPACKED)
    if not unpacking.eof:
        raise zlib.error("cut off, or too large")
    return data


# -- show and read again ----------------------------------------------------------------------------


def list_receipts(
    database: Database,
    cipher: Cipher,
    *,
    state: str | None = None,
    limit: int = 100,
    after: str | None = None,
    bodies: bool = False,
) -> Page:
    """Receipts, newest first; ``after`` is the ``next`` of the page before.

    ``state``: ``orphan``, those whose message is not known, or ``unreadable``, callbacks that could not be read, with
    their ``bodies`` if wanted. Raises InvalidValue.
    """
    if state is not None and state not in STATES:
        raise InvalidValue("state", state[:40], f"is not one of {', '.join(STATES)}")
    checked_after(after)
    with database.read() as tx:
        if state == "unreadable":
            return _unreadable(tx, cipher, limit, after, bodies=bodies)
        rows = receipts.newest(tx, orphans=state == "orphan", limit=limit, before=after)
    return Page.of([{**row, "aliases": (row["aliases"] or "").split()} for row in rows], limit)


def _unreadable(tx: Connection, cipher: Cipher, limit: int, after: str | None, *, bodies: bool) -> Page:
    rows: list[dict[str, Any]] = [dict(row) for row in raw_receipts.aside(tx, limit=limit, before=after)]
    if bodies:
        groups = raw_receipts.of_ids(tx, sorted({row["raw_id"] for row in rows}))
        found = {(part.group.id, part.n): part.callback for part in _parts(groups, cipher)}
        for row in rows:
            callback = found.get((row["raw_id"], row["n"]))
            row["body"] = None if callback is None else callback.body[:_MOST_SHOWN].decode(errors="replace")
    return Page.of(rows, limit)


@dataclass(frozen=True, slots=True)
class Reparsed:
    """Callbacks that were set aside: how many were read now, and how many still cannot be.

    ``more``: there are others, which were not looked at.
    """

    read: int
    unreadable: int
    more: bool

    def as_json(self) -> dict[str, Any]:
        """The interface's answer."""
        return asdict(self)


def reparse(
    database: Database, rules: CallbackRules, *, actor: str, most: int = 10_000, at_once: int = 500
) -> Reparsed:
    """Read callbacks again that were set aside, the oldest first, e.g. after an update that knows their shape.

    On record. In one transaction, as with an Idempotency-Key, only ``at_once`` of them. Raises LedgerUnreachable.
    """
    if database.is_one_transaction:
        most = at_once
    # Those that are set aside again come after it.
    until, after, more = new_id(), "", True
    read = unreadable = 0
    while more and read + unreadable < most:

        def work(tx: Connection, after: str = after) -> tuple[str, int, int]:
            return _reparse_some(tx, rules, after, until, at_once)

        after, well, badly = database.retrying(work)
        read, unreadable, more = read + well, unreadable + badly, bool(after)
    with database.write() as tx:
        operator_log.record(
            tx,
            actor=actor,
            act="reparse",
            scope="receipt",
            subject="unreadable",
            why=f"{read} read, {unreadable} still unreadable",
        )
    return Reparsed(read, unreadable, more)


def _reparse_some(
    tx: Connection, rules: CallbackRules, after: str, until: str, limit: int
) -> tuple[str, int, int]:
    """The last id, "" at the end; how many were read, and how many not."""
    rows = raw_receipts.aside_between(tx, after, until, limit)
    groups = raw_receipts.of_ids(tx, sorted({str(row["raw_id"]) for row in rows}))
    wanted = {(str(row["raw_id"]), int(row["n"])) for row in rows}
    raw_receipts.take_back(tx, [str(row["id"]) for row in rows])
    read = unreadable = 0
    for part in _parts(groups, rules.cipher):
        if (part.group.id, part.n) in wanted or (part.group.id, WHOLE_ROW) in wanted:
            alone = _apply_alone(tx, part, rules)
            read, unreadable = read + (not alone.unreadable), unreadable + bool(alone.unreadable)
    return (str(rows[-1]["id"]) if len(rows) == limit else ""), read, unreadable
