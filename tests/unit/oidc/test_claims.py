"""What claims mean here: the role, the name, and where they are looked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bulksend.messaging.roles import Role
from bulksend.oidc.claims import find, identity, is_complete
from bulksend.settings.oidc import OidcSettings

OF = OidcSettings(
    issuer="https://login.shop.example",
    client_id="console",
    client_secret="a-word",
    label="Shop",
    scopes="openid",
    name_claims=("preferred_username", "email"),
    role_claim="groups",
    roles={"it": Role.ADMIN, "marketing": Role.SENDER, "all": Role.VIEWER},
)


def role(value: Any) -> Role | None:
    return identity(OF, {"sub": "s", "groups": value}).role


def test_the_greatest_role_of_several_counts_whatever_their_order() -> None:
    assert role(["all", "it", "marketing"]) is Role.ADMIN
    assert role(["marketing", "all"]) is Role.SENDER
    assert role("all") is Role.VIEWER


@pytest.mark.parametrize(
    "value", [None, "", "IT", "it ", "it,all", [], ["others"], [["it"]], {"it": True}, True, 1]
)
def test_a_value_that_is_not_one_of_ours_letter_by_letter_gives_no_role(value: Any) -> None:
    assert role(value) is None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("groups", ["a"]),
        ("realm_access.roles", ["b"]),
        ("https://shop.example/roles", ["c"]),
        ("realm_access.none", None),
        ("groups.0", None),
        ("none", None),
    ],
)
def test_a_claim_is_found_by_its_name_or_its_path(name: str, found: Any) -> None:
    claims = {"groups": ["a"], "realm_access": {"roles": ["b"]}, "https://shop.example/roles": ["c"]}
    assert find(claims, name) == found


def test_a_claim_of_the_very_name_comes_before_a_path() -> None:
    assert find({"a.b": 1, "a": {"b": 2}}, "a.b") == 1


def test_claims_are_complete_with_a_role_claim_and_a_name() -> None:
    assert is_complete(OF, {"groups": [], "email": "ann@shop.example"})
    assert not is_complete(OF, {"groups": ["it"]})
    assert not is_complete(OF, {"preferred_username": "ann"})


def test_a_name_claim_that_is_set_is_the_only_one() -> None:
    of = replace(OF, name_claims=("upn",))
    claims = {"sub": "s", "preferred_username": "ann", "email": "ann@shop.example"}
    assert identity(of, claims).name is None
    assert identity(of, claims | {"upn": " ann "}).name == "ann"
