"""The settings of signing in at an OpenID provider: what each may be, and what they need of each other."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidInput
from bulksend.messaging.roles import Role
from bulksend.settings import Settings

ISSUER = "https://login.shop.example/realms/staff/"
WHOLE = {
    "BULKSEND_OIDC_ISSUER": ISSUER,
    "BULKSEND_OIDC_CLIENT_ID": "console",
    "BULKSEND_OIDC_CLIENT_SECRET": "a-word",
    "BULKSEND_OIDC_ROLES": "it=admin,marketing = sender",
}


def test_without_any_there_is_no_issuer() -> None:
    assert Settings.from_env({}).oidc() is None


def test_a_whole_setup_has_defaults_for_the_rest() -> None:
    found = Settings.from_env(WHOLE).oidc()
    assert found is not None
    assert found.issuer == ISSUER, "letter by letter, as it is in tokens"
    assert (found.label, found.scopes, found.role_claim) == (
        "login.shop.example",
        "openid profile email",
        "groups",
    )
    assert found.name_claims == ("preferred_username", "email")
    assert found.roles == {"it": Role.ADMIN, "marketing": Role.SENDER}
    assert "a-word" not in repr(found)


@pytest.mark.parametrize("missing", WHOLE)
def test_what_is_missing_is_named(missing: str) -> None:
    """When users are to sign in: a worker, which has no secret of it, starts without."""
    of = Settings.from_env({name: value for name, value in WHOLE.items() if name != missing})
    with pytest.raises(InvalidInput, match=f"^{missing} is not set"):
        of.oidc()


@pytest.mark.parametrize("alone", ["BULKSEND_OIDC_ONLY", "BULKSEND_OIDC_LABEL", "BULKSEND_OIDC_ROLE_CLAIM"])
def test_one_without_an_issuer_is_refused(alone: str) -> None:
    with pytest.raises(InvalidInput, match=f"ISSUER is not set, and {alone} is"):
        Settings.from_env({alone: "1"}).oidc()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("ISSUER", "http://login.shop.example", "https://"),
        ("ISSUER", "login.shop.example", "is not a link"),
        ("ISSUER", "https://ann:word@login.shop.example", "plain link"),
        ("ISSUER", "https://login.shop.example/?tenant=1", "plain link"),
        ("ISSUER", f"https://login.shop.example/{'x' * 255}", "255"),
        ("SCOPES", "profile email", "must have openid"),
        ("SCOPES", 'openid "all"', "is not a scope"),
        ("ROLES", "admin", "write it like it-staff=admin"),
        ("ROLES", "it=root", "the roles are viewer, sender, operator, admin"),
        ("ROLES", "it=admin,it=viewer", "'it' twice"),
        ("ROLES", "=admin", "without a value"),
        ("ROLES", ",", "gives no role"),
        ("ROLES", "{}", "gives no role"),
        ("ROLES", '{"it": ["admin"]}', "not a text"),
        ("ROLES", '{"it": ', "is not JSON"),
        ("ROLES", '{"it": "admin", "it": "viewer"}', "'it' twice"),
        ("LABEL", "x" * 61, "60 characters"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_name_and_a_reason(
    name: str, value: str, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        Settings.from_env({f"BULKSEND_OIDC_{name}": value})
    assert str(refused.value).startswith(f"BULKSEND_OIDC_{name}: ")


def test_an_issuer_on_this_machine_needs_no_tls() -> None:
    assert Settings.from_env({"BULKSEND_OIDC_ISSUER": "http://127.0.0.1:9000"}).oidc_issuer


def test_values_with_commas_and_equals_signs_are_written_as_json() -> None:
    text = '{"CN=it,OU=staff": "admin", "a=b": "viewer"}'
    found = Settings.from_env(WHOLE | {"BULKSEND_OIDC_ROLES": text}).oidc()
    assert found is not None
    assert found.roles == {"CN=it,OU=staff": Role.ADMIN, "a=b": Role.VIEWER}


def test_the_secret_is_not_shown() -> None:
    of = Settings.from_env(WHOLE)
    shown = {row.name: row.value for row in of.table()}
    assert shown["BULKSEND_OIDC_CLIENT_SECRET"] == "****"
    assert "a-word" not in str(shown) + repr(of)
