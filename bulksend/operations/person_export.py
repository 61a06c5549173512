"""All that is held about a person, as JSON, for the person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from bulksend.ledger import consents as kept_consents
from bulksend.ledger import legal_holds, operator_log, raw_receipts, search, suppressions
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.erasure import Person
from bulksend.ledger.erasure_bodies import has_number
from bulksend.ledger.search import Query
from bulksend.messaging.units import format_instant
from bulksend.operations import consents, messages
from bulksend.operations.acts import acts_on
from bulksend.operations.inbound import list_inbound
from bulksend.operations.json_shape import to_json
from bulksend.operations.messages import Filter
from bulksend.operations.persons import SCOPE

EXPORT = "export person"
_PAGE = 1000
_PAGE_OF_CALLBACKS = 100


def export_person(database: Database, cipher: Cipher, number: str, *, actor: str, why: str) -> dict[str, Any]:
    """Everything about the owner of a number: messages with contents, what the person wrote, suppressions, acts, holds.

    ``number`` is E.164 digits. A one-time code is not in it. The act is on record under the person's hash.
    """

    def record(tx: Connection) -> Person:
        person = Person.of(tx, number)
        operator_log.record(tx, actor=actor, act=EXPORT, scope=SCOPE, subject=person.hash, why=why)
        return person

    person = database.retrying(record)
    with database.read() as tx:
        held = {
            "person": person.number,
            "forms": [*person.traces.forms],
            "made_at": format_instant(int(time.time() * 1000)),
            "messages": list(_messages(tx, person, cipher)),
            "suppressions": [
                to_json(each) | {"subject": person.number}
                for each in suppressions.page(tx, subject=person.number)
            ],
            "consents": [
                {**consents.shown(each), "to": person.number}
                for subject in (person.number, person.hash)
                for each in kept_consents.page(tx, subject=subject)
            ],
            "acts": [
                *acts_on(tx, "suppression", person.number),
                *acts_on(tx, "suppression", person.hash),
                *acts_on(tx, SCOPE, person.hash),
            ],
            "legal_holds": [to_json(hold) for hold in legal_holds.every(tx) if hold.subject == person.number],
        }
    return held | {
        "inbound": list(_inbound(database, person, cipher)),
        # A callback may be of several persons: what it says of this one is in the messages.
        "callbacks": _callbacks(database, person, cipher),
    }


def _messages(tx: Connection, person: Person, cipher: Cipher) -> Iterator[dict[str, Any]]:
    for row in search.find_all(tx, Query(phone=person.number)):
        yield messages.show(tx, str(row["id"]), cipher)


def _inbound(database: Database, person: Person, cipher: Cipher) -> Iterator[dict[str, Any]]:
    before = None
    while True:
        page = list_inbound(
            database, cipher, Filter(phone=f"+{person.number}"), limit=_PAGE, before=before, full=True
        )
        yield from page.items
        if page.next is None:
            return
        before = page.next


def _callbacks(database: Database, person: Person, cipher: Cipher) -> int:
    """How many callbacks, as they came, have the number."""
    count, after = 0, ""
    while True:
        with database.read() as tx:
            found = raw_receipts.page(tx, after=after, limit=_PAGE_OF_CALLBACKS)
        for group, _ in found:
            try:
                count += sum(has_number(each, person) for each in raw_receipts.unpack(group, cipher))
            except CannotDecrypt:
                continue
        if len(found) < _PAGE_OF_CALLBACKS:
            return count
        after = found[-1][0].id
