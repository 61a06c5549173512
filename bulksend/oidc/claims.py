"""What the claims of an issuer mean here: who it is, with which name and role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bulksend.messaging.roles import Role
from bulksend.settings.oidc import OidcSettings

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in at an issuer. Issuer and subject are the same for ever; the name is what a new user is called."""

    issuer: str
    subject: str
    name: str | None = None
    role: Role | None = None
    """None where no value of the claim gives one."""


def identity(of: OidcSettings, claims: Claims) -> Identity:
    """The identity of claims that were checked."""
    return Identity(of.issuer, str(claims["sub"]), _name(of, claims), _role(of, claims))


def is_complete(of: OidcSettings, claims: Claims) -> bool:
    """Whether the claims have a name and the claim of the role: some issuers tell them by another call only."""
    return find(claims, of.role_claim) is not None and _name(of, claims) is not None


def find(claims: Claims, name: str) -> Any:
    """The claim of that name, else the one at that path, such as ``realm_access.roles``; None where it is not there."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _role(of: OidcSettings, claims: Claims) -> Role | None:
    """The greatest role that one of the claim's values gives."""
    best: Role | None = None
    for value in _texts(find(claims, of.role_claim)):
        role = of.roles.get(value)
        if role is not None and (best is None or role.includes(best)):
            best = role
    return best


def _texts(value: Any) -> Iterable[str]:
    values = value if isinstance(value, list) else [value]
    return (each for each in values if isinstance(each, str))


def _name(of: OidcSettings, claims: Claims) -> str | None:
    for claim in of.name_claims:
        value = find(claims, claim)
        if isinstance(value, str) and value.strip() and not _is_unverified(claim, claims):
            return value.strip()
    return None


def _is_unverified(claim: str, claims: Claims) -> bool:
    """An address that was not verified may be another person's. Where the issuer says nothing, it is verified."""
    return claim == "email" and claims.get("email_verified", True) not in (True, "true")
