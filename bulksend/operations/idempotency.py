"""An act that a program asks for again with the same key is done once and answered as before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import IdempotencyKeyReused, InvalidValue, RequestRunning
from bulksend.failpoints import reach
from bulksend.ledger import idempotency
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.idempotency import Answer, Claim, OneTransaction
from bulksend.ledger.ids import new_id

#: The longest key.
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request with a key, and how its body is compared with an earlier one's."""

    claim: Claim
    body: str
    """A hash of the body."""
    key: str
    """Stands for the key in what the request makes, such as the keys of its messages. It reveals nothing."""

    def earlier(self, tx: Connection, cipher: Cipher) -> Answer | None:
        """The answer to the same request, if there is one. Raises IdempotencyKeyReused for another body."""
        found = idempotency.find(tx, self.claim)
        if found is None:
            return None
        if not cipher.same_fingerprint(bytes.fromhex(found.fingerprint), self.body):
            raise IdempotencyKeyReused(
                "this Idempotency-Key came with another body before; use a new key for another request"
            )
        return found.answer


def keyed(key: str, *, scope: tuple[str, ...], body: str, cipher: Cipher) -> Keyed:
    """A request with this key. ``scope``: where the key counts; ``body``: a hash of what is asked.

    Raises InvalidValue when the key is malformed.
    """
    check_key(key)
    id = hashlib.sha256("\0".join((*scope, key)).encode()).hexdigest()[:40]
    return Keyed(Claim(id, cipher.fingerprint(body).hex(), new_id()), body, f"http:{id}")


def check_key(key: str) -> None:
    """Raises InvalidValue when an Idempotency-Key is malformed."""
    if not 1 <= len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise InvalidValue("Idempotency-Key", "", f"must have 1 to {MAX_KEY} printable ASCII characters")


def run_once(
    database: Database, cipher: Cipher, request: Keyed, act: Callable[[Database], Answer]
) -> tuple[Answer, bool]:
    """Run the act and keep its answer in one transaction, or find the answer; also whether it was found.

    The act uses the database that it is given, and may be repeated until the transaction is committed. Raises what it
    raises, which keeps nothing, IdempotencyKeyReused, RequestRunning and LedgerUnreachable.
    """

    def work(tx: Connection) -> tuple[Answer, bool]:
        if not idempotency.lock(tx, request.claim):
            raise RequestRunning("the first request with this Idempotency-Key is still running; ask again")
        found = idempotency.find(tx, request.claim)
        if found is not None and found.owner == request.claim.owner:
            return found.answer, False  # only the answer to the COMMIT was lost
        answer = request.earlier(tx, cipher)
        if answer is not None:
            return answer, True
        answer = act(OneTransaction(database, tx))
        idempotency.keep(tx, request.claim, answer)
        reach("act_done")
        return answer, False

    with database.translated_errors():
        done = database.retrying(work)
    reach("act_kept")
    return done


def make_secret_once(
    database: Database,
    cipher: Cipher,
    request: Keyed,
    act: Callable[[Database], Mapping[str, Any]],
    *,
    secret: Sequence[str],
) -> dict[str, Any]:
    """Run the act once and return what it returns; to a repetition the same, with None for what is ``secret``.

    Raises what ``run_once`` raises.
    """
    made: dict[str, Any] = {}

    def kept(database: Database) -> Answer:
        made.clear()
        made.update(act(database))
        return Answer(200, json.dumps({**made, **dict.fromkeys(secret)}), None)

    found, is_repeated = run_once(database, cipher, request, kept)
    return dict(json.loads(found.body)) if is_repeated else made
