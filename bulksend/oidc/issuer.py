"""An issuer: where it sends browsers, its keys, and the identity that it vouches for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote_plus, urlencode

from joserfc.jwk import Key

from bulksend.oidc import claims, discovery, id_token
from bulksend.oidc.calls import Calls
from bulksend.oidc.claims import Identity
from bulksend.oidc.discovery import Discovery
from bulksend.oidc.refusals import IssuerUnavailable, Refusal, SignInRefused
from bulksend.oidc.sign_in import Answer, SignIn
from bulksend.settings.oidc import OidcSettings

#: Addresses and keys are read again after this time; keys at once when a token names another one.
KNOWN_S = 3600.0
#: After a failure the issuer is not asked for this long: sign-ins fail at once instead of waiting in turn.
AWAY_S = 3.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at an issuer found. ``skew_s``: how far its clock is ahead of ours; None where it told no time."""

    keys: int
    skew_s: float | None


@dataclass(slots=True)
class _Known:
    discovery: Discovery
    keys: list[Key]
    at: float


class Issuer:
    """The issuer of these settings. Thread-safe."""

    def __init__(
        self,
        of: OidcSettings,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = of
        self._wall, self._steady = wall, steady
        self._calls = Calls()
        self._lock = threading.Lock()
        self._known: _Known | None = None
        self._failure: tuple[float, str] | None = None

    @property
    def sealing_key(self) -> str:
        """Seals what browsers keep, the same in every `serve`; it tells nothing of the client's secret."""
        return hmac.new(self.settings.client_secret.encode(), b"sign-in", hashlib.sha256).hexdigest()

    def begin(self, redirect_uri: str, next: str) -> tuple[str, SignIn]:
        """The address to send the browser to, and what it must keep. Raises IssuerUnavailable."""
        endpoint = self._current().discovery.authorization_endpoint
        begun = SignIn.begin(redirect_uri, next, now=self._wall())
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scopes,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": begun.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}", begun

    def is_answer_to(self, begun: SignIn, answer: Answer) -> bool:
        """Whether this browser began the sign-in that is answered, and not too long ago."""
        return answer.has_state(begun.state) and self._wall() < begun.expires_at

    def finish(self, begun: SignIn | None, answer: Answer) -> Identity:
        """Who signed in, by what the browser kept and brings. Raises SignInRefused, IssuerUnavailable."""
        if begun is None or not self.is_answer_to(begun, answer):
            raise SignInRefused(Refusal.EXPIRED, "the browser began no such sign-in, or too long ago")
        of, known = self.settings, self._current()
        code = answer.code(issuer=of.issuer, names_itself=known.discovery.names_itself)
        tokens = self._redeem(known.discovery, code, begun)
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise SignInRefused(Refusal.INVALID, "the issuer gave no ID token; is openid among the scopes?")
        if not id_token.has_signer(token, known.keys):
            known = self._read_again()
        told = id_token.claims_of(token, known.keys, of, nonce=begun.nonce, now=self._wall())
        return claims.identity(of, self._completed(known.discovery, told, tokens.get("access_token")))

    def look(self) -> Found:
        """Read addresses and keys now, and compare the clocks. Raises IssuerUnavailable."""
        known, date = self._read()
        try:
            skew = None if date is None else parsedate_to_datetime(date).timestamp() - self._wall()
        except ValueError:
            skew = None
        return Found(len(known.keys), skew)

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def _current(self) -> _Known:
        with self._lock:
            known, now = self._known, self._steady()
            if known is None or known.at <= now - KNOWN_S:
                known = self._remembered_read(now)
            return known

    def _read_again(self) -> _Known:
        with self._lock:
            return self._remembered_read(self._steady())

    def _remembered_read(self, now: float) -> _Known:
        if self._failure is not None and now < self._failure[0] + AWAY_S:
            raise IssuerUnavailable(self._failure[1])
        try:
            self._known, _ = self._read()
        except IssuerUnavailable as error:
            self._failure = (self._steady(), str(error))
            raise
        self._failure = None
        return self._known

    def _read(self) -> tuple[_Known, str | None]:
        issuer = self.settings.issuer
        url = issuer.rstrip("/") + discovery.PATH
        reply = self._calls.get(url)
        if reply.status != 200:
            raise IssuerUnavailable(f"{url} answers {reply.status}")
        try:
            found = discovery.read(issuer, reply.body)
        except IssuerUnavailable as error:
            raise IssuerUnavailable(f"{url}: {error}") from None
        keys = id_token.public_keys(self._calls.get(found.jwks_uri).body)
        if not keys:
            raise IssuerUnavailable(f"{found.jwks_uri} has no public key")
        return _Known(found, keys, self._steady()), reply.date

    def _redeem(self, at: Discovery, code: str, begun: SignIn) -> dict[str, Any]:
        """What the code is exchanged for."""
        of = self.settings
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": begun.redirect_uri,
            "code_verifier": begun.verifier,
        }
        headers = {}
        if at.takes_basic:
            # Each is encoded as in a form before both are joined (RFC 6749, 2.3.1).
            pair = f"{quote_plus(of.client_id)}:{quote_plus(of.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            fields |= {"client_id": of.client_id, "client_secret": of.client_secret}
        reply = self._calls.post(at.token_endpoint, fields, headers)
        if reply.status >= 500:
            raise IssuerUnavailable(f"{at.token_endpoint} answers {reply.status}")
        if reply.status != 200:
            # invalid_client: the secret is wrong; invalid_grant: the code was used, or is another's.
            error = str(reply.body.get("error", ""))[:40]
            said = error if error.replace("_", "").isalnum() and error.isascii() else "no reason"
            raise SignInRefused(Refusal.INVALID, f"the issuer refuses the code: {reply.status}, {said}")
        return reply.body

    def _completed(self, at: Discovery, told: dict[str, Any], access_token: object) -> dict[str, Any]:
        """The claims of the token; with those of the issuer's other call where the token lacks some."""
        url = at.userinfo_endpoint
        if url is None or not isinstance(access_token, str) or claims.is_complete(self.settings, told):
            return told
        reply = self._calls.get(url, bearer=access_token)
        if reply.status != 200:
            raise IssuerUnavailable(f"{url} answers {reply.status}")
        if reply.body.get("sub") != told["sub"]:
            raise SignInRefused(Refusal.INVALID, "the issuer tells the claims of another subject")
        return {**reply.body, **told}
