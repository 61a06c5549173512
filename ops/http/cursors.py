"""Where a page ends, as an opaque text: an address may be logged, so what is private in it is encrypted."""

from __future__ import annotations

import base64
import binascii
from functools import cached_property

from bulksend.errors import InvalidValue
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.installation import limiter_key


class Cursors:
    """Makes and reads them, with a key that the whole installation has."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def _cipher(self) -> Cipher:
        return Cipher([limiter_key(self._database)])

    def seal(self, position: str, of: str) -> str:
        """The position in the list ``of`` as a cursor."""
        return base64.urlsafe_b64encode(self._cipher.seal(position.encode(), of)).decode().rstrip("=")

    def unseal(self, cursor: str, of: str) -> str:
        """The position. Raises InvalidValue when it is not a cursor of this list."""
        try:
            data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            # Only what was encrypted: a text in clear could be of anything.
            return (
                self._cipher.unseal(data, of).decode() if self._cipher.is_encrypted(data) else self._wrong()
            )
        except (CannotDecrypt, binascii.Error, UnicodeError, ValueError):
            return self._wrong()

    def _wrong(self) -> str:
        raise InvalidValue("after", "", "is not the `next` of a page of this list")
