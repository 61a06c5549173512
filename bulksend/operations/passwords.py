"""Passwords of users: hashed by argon2id, checked in the same time whether there is one or not."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from bulksend.errors import InvalidValue

SHORTEST, LONGEST = 12, 200
_SALT_BYTES, _HASH_BYTES = 16, 32
#: After as many failures in a row each further one locks the user, for twice as long as the one before.
FREE_FAILURES = 5
_FIRST_LOCK_MS, _LONGEST_LOCK_MS = 30_000, 3_600_000


@dataclass(frozen=True, slots=True)
class Passwords:
    """Hashes and checks passwords, at a cost in passes and KiB of memory. OWASP's least for argon2id is the default."""

    passes: int = 2
    memory_kib: int = 19 * 1024
    random: Callable[[int], bytes] = secrets.token_bytes
    _of_none: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_of_none", self.hash(self.random(_SALT_BYTES).hex()))

    def hash(self, password: str) -> str:
        """The password's hash, with its salt and cost, as text."""
        made = Argon2id(
            salt=self.random(_SALT_BYTES),
            length=_HASH_BYTES,
            iterations=self.passes,
            lanes=1,
            memory_cost=self.memory_kib,
        )
        return made.derive_phc_encoded(password.encode("utf-8", "surrogatepass"))

    def is_right(self, password: str, hash: str | None) -> bool:
        """Whether the password has this hash. Without a hash it takes as long, and is never right."""
        try:
            Argon2id.verify_phc_encoded(
                password[:LONGEST].encode("utf-8", "surrogatepass"), hash or self._of_none
            )
        except InvalidKey:
            return False
        return hash is not None and len(password) <= LONGEST


def check_new(password: str, name: str) -> None:
    """Raises InvalidValue when the password is too short, too long, or the user's name."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidValue("password", "", f"must have {SHORTEST} to {LONGEST} characters")
    if name.lower() in password.lower() and len(password) < len(name) + SHORTEST:
        raise InvalidValue("password", "", "must not be the name of the user with a few more characters")


def lock_ms(failures: int) -> int:
    """For how long a user is locked after this many failed sign-ins in a row."""
    if failures < FREE_FAILURES:
        return 0
    return min(_FIRST_LOCK_MS << min(failures - FREE_FAILURES, 20), _LONGEST_LOCK_MS)
