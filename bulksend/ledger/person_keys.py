"""The key of the hashes that stand for forgotten persons: made with the schema, the same in every process, for ever.

It is in the ledger because a suppression must outlive an erasure whatever happens to the keys of the environment. The
one who has the whole ledger can therefore test numbers against the hashes, as intake does.
"""

from __future__ import annotations

import os
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool

from bulksend.ledger import installation
from bulksend.ledger.schema import installation as values

NAME = "person_hash_key"
#: It never changes, so each process reads it once. By the pool, which the engines of one ledger share.
_known: WeakKeyDictionary[Pool, bytes] = WeakKeyDictionary()


def person_key(tx: Connection) -> bytes | None:
    """The key; None in a ledger without one, which has no forgotten person."""
    key = _known.get(tx.engine.pool)
    if key is None:
        key = installation.get(tx, NAME)
        if key is not None:
            _known[tx.engine.pool] = key
    return key


def make_person_key(tx: Connection, copied: bytes | None = None) -> bytes:
    """The key, made where the ledger has none. ``tx`` writes.

    ``copied`` is another ledger's, for one that has no forgotten person yet and gets the hashes of that one.
    """
    if copied is not None:
        tx.execute(values.delete().where(values.c.name == NAME))
    key = _known[tx.engine.pool] = installation.kept(tx, NAME, copied or os.urandom(32))
    return key
