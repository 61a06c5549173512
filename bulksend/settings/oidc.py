"""The settings of signing in at an OpenID provider, together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from bulksend.messaging.roles import Role

#: One of these makes the others of REQUIRED necessary.
FIELDS = (
    *("oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_label", "oidc_scopes", "oidc_name_claim"),
    *("oidc_role_claim", "oidc_roles", "oidc_only"),
)
REQUIRED = ("oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_roles")
#: Where a user's name is looked for: in the first of these that the issuer tells.
NAME_CLAIMS = ("preferred_username", "email")


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """An issuer, what it gave to this console, and what its claims mean here."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    label: str
    """Its name on the button."""
    scopes: str
    name_claims: tuple[str, ...]
    role_claim: str
    roles: Mapping[str, Role]
    """The role that a value of the claim gives."""


def parse_roles(text: str) -> dict[str, Role]:
    """``VALUE=ROLE``, separated by commas, or a JSON object of them. Raises ValueError."""
    pairs = _of_json(text) if text.lstrip().startswith("{") else _of_list(text)
    found: dict[str, Role] = {}
    for value, role in pairs:
        if not value:
            raise ValueError("has a role without a value; write it like it-staff=admin,marketing=sender")
        if value in found:
            raise ValueError(f"has {value[:40]!r} twice")
        if role not in list(Role):
            raise ValueError(f"has {role[:40]!r} for {value[:40]!r}; the roles are {', '.join(Role)}")
        found[value] = Role(role)
    if not found:
        raise ValueError("gives no role; write it like it-staff=admin,marketing=sender")
    return found


def _of_list(text: str) -> list[tuple[str, str]]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        value, equals, role = part.rpartition("=")
        if not equals:
            raise ValueError(f"has {part[:40]!r}; write it like it-staff=admin,marketing=sender")
        found.append((value.strip(), role.strip()))
    return found


def _of_json(text: str) -> list[tuple[str, str]]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise ValueError('is not JSON; write it like {"it-staff": "admin"}') from None
    if not all(isinstance(role, str) for _, role in pairs):
        raise ValueError('has a role that is not a text; write it like {"it-staff": "admin"}')
    return [(value, role) for value, role in pairs]
