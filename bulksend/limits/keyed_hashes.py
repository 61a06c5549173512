"""Keyed hashes for people and numbers in Redis: without the key no number can be compared with them."""

from __future__ import annotations

import hashlib
from functools import lru_cache, partial

from bulksend.messaging.number_forms import canonical_number
from bulksend.messaging.outcome import Scope

#: Hex characters of a recipient's hash: 96 bits, so that no two of ten million recipients have the same by chance.
RECIPIENT_LENGTH = 24


class KeyedHashes:
    """Hashes under one key of 16 to 64 bytes, the same in every process. Raises ValueError for another length."""

    def __init__(self, key: bytes, account: str) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError(f"the limiter's hash key must have 16 to 64 bytes, not {len(key)}")
        self._key = key
        self.account = account
        self.account_tag = self._tag("account", account)
        self.sender = lru_cache(4096)(partial(self._tag, "sender"))
        self._recipient = hashlib.blake2b(b"recipient ", key=key, digest_size=RECIPIENT_LENGTH // 2)

    @property
    def prefix(self) -> str:
        """The first part of every key of this account; braces keep the keys in one slot of a Redis Cluster."""
        return f"bs:{{{self.account_tag}}}:"

    def _tag(self, what: str, text: str) -> str:
        return hashlib.blake2b(f"{what} {text}".encode(), key=self._key, digest_size=8).hexdigest()

    def recipient(self, recipient: str) -> str:
        """The hash of a recipient, the same for every form of the number and every sender."""
        hashed = self._recipient.copy()
        hashed.update(canonical_number(recipient).encode())
        return hashed.hexdigest()

    def field(self, scope: Scope, id: str) -> str:
        """What a pause or a slow-down is kept under. Raises ValueError for a pair, which has neither."""
        match scope:
            case Scope.ACCOUNT:
                return f"account:{self._tag('account', id)}"
            case Scope.SENDER:
                return f"sender:{self.sender(id)}"
            case Scope.CAMPAIGN:
                return f"campaign:{id}"
            case _:
                raise ValueError(f"a {scope} can be neither paused nor slowed down here")

    def unfield(self, field: str) -> tuple[Scope, str]:
        """The scope and id behind a field: the account's id, a campaign's, a sender's tag."""
        scope, _, id = field.partition(":")
        return Scope(scope), self.account if id == self.account_tag else id
