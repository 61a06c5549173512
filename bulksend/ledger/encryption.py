"""The content of ``messages.payload``: JSON, encrypted with AES-256-GCM where the kind asks for it.

The first byte says which: 0 clear JSON, 1 encrypted (4 bytes of key id, 12 of nonce, then ciphertext and tag; the
message's own id is the associated data, so an encrypted payload cannot be moved to another message).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bulksend.errors import BulksendError, InvalidInput
from bulksend.messaging.json_encoding import make_json_encoder

CLEAR, ENCRYPTED = b"\x00", b"\x01"
_KEY_ID, _NONCE = 4, 12
_CHANGED = "the payload was changed since it was written"


class CannotDecrypt(BulksendError):
    """The payload was encrypted with a key that is not in the list, or was tampered with."""


@dataclass(frozen=True, slots=True)
class _Key:
    id: bytes
    cipher: AESGCM
    hashing: bytes


class Cipher:
    """Encrypts with the first key of the list, decrypts with any of them."""

    def __init__(self, keys: Sequence[bytes], nonce: Callable[[int], bytes] = os.urandom) -> None:
        self._keys = [
            _Key(
                hashlib.sha256(b"bulksend key id" + key).digest()[:_KEY_ID],
                AESGCM(key),
                hashlib.sha256(b"bulksend fingerprints" + key).digest(),
            )
            for key in keys
        ]
        self._nonce = nonce
        # Copying a keyed hash costs a fifth of making one.
        self._hashing = [_keyed(key.hashing) for key in self._keys] + [_keyed(b"")]

    @classmethod
    def from_text(cls, keys: str) -> Cipher:
        """From ``BULKSEND_ENCRYPTION_KEY``: keys in url-safe base64 of 32 bytes, separated by commas, the newest first.

        Raises InvalidInput, with the position of the key and without the key, when one is malformed.
        """
        decoded = []
        for n, text in enumerate((part.strip() for part in keys.split(",") if part.strip()), start=1):
            try:
                key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != 32:
                raise InvalidInput(
                    f"BULKSEND_ENCRYPTION_KEY: key {n} is not url-safe base64 of 32 bytes; make one with "
                    "`bulksend keys new-encryption-key`"
                )
            decoded.append(key)
        return cls(decoded)

    @property
    def can_encrypt(self) -> bool:
        """Whether there is a key at all."""
        return bool(self._keys)

    def encrypt(self, payload: Mapping[str, object], message: str) -> bytes:
        """Encrypt the payload of the message with that id."""
        return self._encrypt(_dump(payload), message)

    def seal(self, data: bytes, row: str) -> bytes:
        """The data of the row with that id: encrypted where there is a key, else as it is."""
        return self._encrypt(data, row) if self._keys else CLEAR + data

    def _encrypt(self, data: bytes, owner: str) -> bytes:
        key = self._keys[0]
        nonce = self._nonce(_NONCE)
        return ENCRYPTED + key.id + nonce + key.cipher.encrypt(nonce, data, owner.encode())

    def decrypt(self, stored: bytes, message: str) -> dict[str, object]:
        """The payload of that message. Raises CannotDecrypt when no key fits or the payload was changed."""
        return _load(self.unseal(stored, message))

    def unseal(self, stored: bytes, row: str) -> bytes:
        """What ``seal`` got. Raises CannotDecrypt when no key fits or the data was changed."""
        if stored[:1] == CLEAR:
            return stored[1:]
        key_id, rest = stored[1 : 1 + _KEY_ID], stored[1 + _KEY_ID :]
        if stored[:1] != ENCRYPTED or len(rest) <= _NONCE:
            raise CannotDecrypt(_CHANGED)
        for key in self._keys:
            if key.id == key_id:
                try:
                    return key.cipher.decrypt(rest[:_NONCE], rest[_NONCE:], row.encode())
                except InvalidTag:
                    raise CannotDecrypt(_CHANGED) from None
        raise CannotDecrypt(
            "no key of BULKSEND_ENCRYPTION_KEY encrypted this payload; add the old key to the list"
        )

    @staticmethod
    def is_encrypted(stored: bytes) -> bool:
        """Whether the data was encrypted, with whatever key."""
        return stored[:1] == ENCRYPTED

    def has_key_of(self, stored: bytes) -> bool:
        """Whether the payload is clear, or encrypted with a key of the list."""
        return stored[:1] != ENCRYPTED or stored[1 : 1 + _KEY_ID] in {key.id for key in self._keys}

    def fingerprint(self, *parts: str) -> bytes:
        """A keyed hash of the content, which tells equal content and reveals nothing else."""
        return _hash(self._hashing[0], parts)

    def same_fingerprint(self, stored: bytes, *parts: str) -> bool:
        """Whether ``stored`` was made from these parts, with any key of the list or with none."""
        return any(hmac.compare_digest(stored, _hash(begun, parts)) for begun in self._hashing)


def _keyed(key: bytes) -> hashlib.blake2b:
    return hashlib.blake2b(key=key, digest_size=16)


def _hash(begun: hashlib.blake2b, parts: Sequence[str]) -> bytes:
    """Hashes the length of each part with it, so that different lists of parts are different bytes."""
    digest = begun.copy()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()


def clear(payload: Mapping[str, object] | str) -> bytes:
    """The payload, or its JSON, without encryption, for kinds whose content is not secret."""
    return CLEAR + (payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else _dump(payload))


_compact = make_json_encoder(separators=(",", ":"))


def _dump(payload: Mapping[str, object]) -> bytes:
    return _compact(payload).encode("utf-8", "surrogatepass")


def _load(data: bytes) -> dict[str, object]:
    try:
        loaded = json.loads(data.decode("utf-8", "surrogatepass"))
    except ValueError:
        raise CannotDecrypt(_CHANGED) from None
    if not isinstance(loaded, dict):
        raise CannotDecrypt(_CHANGED)
    return loaded
