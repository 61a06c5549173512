"""Checks an ID token: its signature, that it is for us, of now, and of this sign-in (OpenID Connect Core, 3.1.3.7)."""

from __future__ import annotations

import hmac
import math
from collections.abc import Sequence
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact

from bulksend.oidc.refusals import Refusal, SignInRefused
from bulksend.oidc.sign_in import LEEWAY_S
from bulksend.settings.oidc import OidcSettings

#: By a public key of the issuer only. With ``none`` or ``HS256``, a token could be made without its private key.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
#: Of the standard.
_LONGEST_SUBJECT = 255
#: What joserfc and the readers beneath it raise for what is no token or no key.
_UNREADABLE = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class _Registry(JWSRegistry):
    max_header_length = 4096


def public_keys(document: dict[str, Any]) -> list[Key]:
    """The keys of an issuer that may sign. Those that cannot be read, or are secrets, are left out."""
    found: list[Key] = []
    listed = document.get("keys")
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        try:
            key = JWKRegistry.import_key(each)
        except _UNREADABLE:
            continue
        if isinstance(key, RSAKey | ECKey | OKPKey):
            found.append(key)
    return found


def has_signer(token: str, keys: Sequence[Key]) -> bool:
    """Whether one of the keys may have signed the token, by the id that it names. Raises SignInRefused."""
    return bool(_candidates(token, keys))


def claims_of(token: str, keys: Sequence[Key], of: OidcSettings, *, nonce: str, now: float) -> dict[str, Any]:
    """The claims of an ID token. Raises SignInRefused."""
    claims = _signed(token, keys)
    _check_parties(claims, of)
    _check_times(claims, now)
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode("utf-8", "replace"), nonce.encode()):
        raise _bad("its nonce is that of another sign-in")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise _bad("it has no subject")
    return claims


def _bad(why: str) -> SignInRefused:
    return SignInRefused(Refusal.INVALID, f"the issuer's ID token is refused: {why}")


def _registry() -> JWSRegistry:
    return _Registry(algorithms=ALGORITHMS, strict_check_header=False)


def _candidates(token: str, keys: Sequence[Key]) -> list[Key]:
    registry = _registry()
    try:
        header = extract_compact(token.encode(), registry=registry).headers()
        registry.get_alg(header["alg"])
    except _UNREADABLE as error:
        raise _bad(f"it is not signed as it must be ({type(error).__name__})") from None
    named = header.get("kid")
    return [key for key in keys if named is None or key.kid == named]


def _signed(token: str, keys: Sequence[Key]) -> dict[str, Any]:
    for key in _candidates(token, keys):
        try:
            return jwt.decode(token, key, algorithms=ALGORITHMS, registry=_registry()).claims
        except _UNREADABLE:
            continue
    raise _bad("no key of the issuer has signed it")


def _check_parties(claims: dict[str, Any], of: OidcSettings) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    party = claims.get("azp")
    if claims.get("iss") != of.issuer:
        raise _bad("it is of another issuer")
    if of.client_id not in audiences:
        raise _bad("it is for another client")
    if (len(audiences) > 1 or party is not None) and party != of.client_id:
        raise _bad("it was given to another client")


def _check_times(claims: dict[str, Any], now: float) -> None:
    expires, issued, begins = (_instant(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None or issued is None:
        raise _bad("it does not say when it was made and when it expires")
    if expires <= now - LEEWAY_S:
        raise _bad("it has expired")
    if max(issued, begins or 0.0) > now + LEEWAY_S:
        raise _bad("it is of the future: one of the two clocks is wrong")


def _instant(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
