"""What doctor finds of the OpenID provider: whether users could sign in there now."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bulksend.operations.blockers import Check
from bulksend.operations.doctor_issuer import check_issuer
from bulksend.settings import Settings
from tests.issuer import FakeIssuer, running_issuer


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as made:
        yield made


def found(issuer: FakeIssuer, **more: str) -> list[Check]:
    return list(check_issuer(Settings.from_env(issuer.settings() | more)))


def test_an_issuer_that_answers_is_well(issuer: FakeIssuer) -> None:
    (check,) = found(issuer)
    assert check.well
    assert f"{issuer.url} answers" in check.found


def test_nothing_is_said_where_none_is_set() -> None:
    assert list(check_issuer(Settings.from_env({}))) == []


def test_an_issuer_that_is_down_or_another_is_named(issuer: FakeIssuer) -> None:
    issuer.is_down = True
    (check,) = found(issuer)
    assert not check.well
    assert f"{issuer.url}/.well-known/openid-configuration answers 503" in check.found
    issuer.is_down = False
    (check,) = found(issuer, BULKSEND_OIDC_ISSUER=f"{issuer.url}/")
    assert f"it calls itself '{issuer.url}'" in check.found
    (check,) = found(issuer, BULKSEND_OIDC_ISSUER="http://127.0.0.1:1")
    assert "cannot be reached" in check.found


def test_an_incomplete_setup_is_named_with_what_it_lacks(issuer: FakeIssuer) -> None:
    (check,) = found(issuer, BULKSEND_OIDC_ROLES="")
    assert not check.well
    assert check.found == "BULKSEND_OIDC_ROLES is not set, and BULKSEND_OIDC_ISSUER is"
    assert check.remedy == (
        "`serve` does not start: set it, as users cannot sign in at the OpenID provider without it"
    )
    (check,) = found(issuer, BULKSEND_OIDC_CLIENT_SECRET="")
    assert check.well, "a worker's container has no such secret"


@pytest.mark.parametrize(("skew_s", "well"), [(-30.0, True), (3600.0, False)])
def test_a_clock_that_is_off_is_told(issuer: FakeIssuer, skew_s: float, well: bool) -> None:
    issuer.skew_s = skew_s
    check = found(issuer)[1]
    assert check.well is well
    assert check.about == "clock of the OIDC issuer"
