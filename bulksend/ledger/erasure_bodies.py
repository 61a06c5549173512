"""Erase a person from what is stored as a whole: callbacks as they came, and bodies of webhooks.

Both are read in pages and changed in transactions of a page, so that nothing waits long.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from bulksend.ledger import raw_receipts
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.erasure import ERASED, Person
from bulksend.ledger.raw_receipts import Callback, Group
from bulksend.ledger.schema import webhook_deliveries
from bulksend.messaging.masking import mask_phone

_PAGE = 100


@dataclass(slots=True)
class ErasedCallbacks:
    """``waiting``: not read yet, so that they were left; ``sealed``: rows that no key opens."""

    erased: int = 0
    waiting: int = 0
    sealed: int = 0


def erase_callbacks(database: Database, person: Person, cipher: Cipher) -> ErasedCallbacks:
    """Empty each callback that was read and has the number. Its row and its place stay.

    A callback may be of several persons: what it said of the others is in the ledger, and cannot be read again.
    """
    done, after = ErasedCallbacks(), ""
    while True:
        with database.read() as tx:
            found = raw_receipts.page(tx, after=after, limit=_PAGE)
        changed: list[Group] = []
        for group, was_read in found:
            try:
                callbacks = raw_receipts.unpack(group, cipher)
            except CannotDecrypt:
                done.sealed += 1
                continue
            count = sum(has_number(callback, person) for callback in callbacks)
            if count and was_read:
                empty = [
                    Callback(each.token, {}, b"") if has_number(each, person) else each for each in callbacks
                ]
                changed.append(raw_receipts.repack(group, empty, cipher))
                done.erased += count
            else:
                done.waiting += count
        if changed:
            database.retrying(lambda tx, changed=changed: raw_receipts.replace_data(tx, changed))  # type: ignore[misc]
        if len(found) < _PAGE:
            return done
        after = found[-1][0].id


def has_number(callback: Callback, person: Person) -> bool:
    """Whether a callback has the person's number."""
    return person.traces.in_bytes(callback.body) or any(
        person.traces.in_text(value) for value in callback.headers.values()
    )


def erase_deliveries(database: Database, person: Person, messages: Collection[str]) -> int:
    """Mask the number in bodies of webhooks, and erase what they say of these messages; returns how many had it.

    Those that are still to be sent go out without them.
    """
    own, after, erased = frozenset(messages), "", 0
    table = webhook_deliveries.c
    while True:
        wanted = select(table.id, table.body).where(table.body.is_not(None))
        if after:
            wanted = wanted.where(table.id > after)
        with database.read() as tx:
            found = [
                (str(id), bytes(body)) for id, body in tx.execute(wanted.order_by(table.id).limit(_PAGE))
            ]
        changed = {id: new for id, body in found if (new := erased_body(body, person, own)) is not None}
        if changed:

            def store(tx: Any, changed: Mapping[str, bytes] = changed) -> None:
                for id, body in changed.items():
                    # A body that was deleted by its age meanwhile stays deleted.
                    still = table.body.is_not(None)
                    tx.execute(update(webhook_deliveries).where(table.id == id, still).values(body=body))

            database.retrying(store)
            erased += len(changed)
        if len(found) < _PAGE:
            return erased
        after = found[-1][0]


def erased_body(body: bytes, person: Person, messages: Collection[str]) -> bytes | None:
    """The body without the person; None where it has nothing of the person."""
    written = body.decode("utf-8", "replace")
    if not person.traces.in_text(written) and not any(id in written for id in messages):
        return None
    document = json.loads(written)
    before = json.dumps(document)
    after = json.dumps(_without(document, person, messages), separators=(",", ":"), ensure_ascii=False)
    return after.encode("utf-8", "replace") if json.loads(after) != json.loads(before) else None


def _without(value: Any, person: Person, messages: Collection[str]) -> Any:
    if isinstance(value, dict):
        made = {name: _without(each, person, messages) for name, each in value.items()}
        if made.get("id") in messages:
            made |= {name: new for name, new in _of_message(made).items() if name in made}
        return made
    if isinstance(value, list):
        return [_without(each, person, messages) for each in value]
    if isinstance(value, str) and person.traces.in_text(value):
        return person.traces.masked(value)
    return value


def _of_message(item: Mapping[str, Any]) -> dict[str, Any]:
    to = str(item.get("to", ""))
    return {"to": mask_phone(to) if to.isdigit() else to, "key": f"{ERASED}{item['id']}", "error": None}
