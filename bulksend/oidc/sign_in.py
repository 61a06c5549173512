"""What a browser keeps of a sign-in that it began, and brings back with the issuer's answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Self

from bulksend.oidc.refusals import Refusal, SignInRefused

#: A person may take this long at the issuer.
LIFE_S = 600
#: Clocks of the issuer and of this machine may differ by this.
LEEWAY_S = 60
_CODE_OF_AN_ERROR = re.compile(r"[a-z_]{1,40}")
_LONGEST_CODE = 4096

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class SignIn:
    """One sign-in. ``state`` binds the issuer's answer to this browser, ``nonce`` its token, ``verifier`` its code."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    next: str
    expires_at: int

    @classmethod
    def begin(
        cls, redirect_uri: str, next: str, *, now: float, random: Random = secrets.token_bytes
    ) -> SignIn:
        """A new one, which leads to the path ``next``."""
        state, nonce, verifier = (_base64(random(32)) for _ in range(3))
        return cls(state, nonce, verifier, redirect_uri, next, int(now) + LIFE_S)

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """One that ``to_text`` wrote; None where it did not."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def to_text(self) -> str:
        """It as text; the one who keeps it seals it."""
        return json.dumps(asdict(self))

    @property
    def challenge(self) -> str:
        """What the issuer is told of the verifier (PKCE, S256)."""
        return _base64(hashlib.sha256(self.verifier.encode()).digest())


@dataclass(frozen=True, slots=True)
class Answer:
    """What the issuer says by the browser, as parameters of an address."""

    values: Mapping[str, str]
    is_plain: bool
    """Whether no parameter came twice."""

    def has_state(self, state: str) -> bool:
        """Whether it answers the sign-in with this state."""
        return hmac.compare_digest(self.values.get("state", "").encode("utf-8", "replace"), state.encode())

    def code(self, *, issuer: str, names_itself: bool) -> str:
        """The code that it has. Raises SignInRefused."""
        named = self.values.get("iss")
        if named != issuer and (named is not None or names_itself):
            raise SignInRefused(Refusal.INVALID, "the answer is of another issuer")
        if "error" in self.values:
            error = self.values["error"]
            said = error if _CODE_OF_AN_ERROR.fullmatch(error) else "an error without a code"
            raise SignInRefused(Refusal.DENIED, f"the issuer did not sign the user in: {said}")
        code = self.values.get("code", "")
        if not self.is_plain or not 0 < len(code) <= _LONGEST_CODE:
            raise SignInRefused(Refusal.INVALID, "the answer has no code, or a parameter twice")
        return code


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
