"""Signing in at an issuer in a real browser: from the button over the issuer to the overview, under our policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from bulksend.ledger.key_file import new_encryption_key
from bulksend.settings import Settings
from ops.http.app import create_app
from ops.http.server import services_of
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.issuer import FakeIssuer, running_issuer
from tests.served import Served

pytestmark = ON_ONE_DATABASE


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as made:
        yield made


@pytest.fixture
def served(ledger_url: str, valkey_url: str, tmp_path: Path, issuer: FakeIssuer) -> Iterator[Served]:
    folders = {f"BULKSEND_{name.upper()}_DIR": str(tmp_path / name) for name in ("spool", "upload", "export")}
    environ = {"DATABASE_URL": ledger_url, "REDIS_URL": valkey_url}
    services = services_of(
        Settings.from_env(
            environ | {"BULKSEND_ENCRYPTION_KEY": new_encryption_key()} | folders | issuer.settings()
        )
    )
    made = Served(create_app(services))
    made.start()
    yield made
    made.stop()
    services.close()


def test_the_button_leads_over_the_issuer_to_the_overview(
    browser: Browser, served: Served, issuer: FakeIssuer
) -> None:
    context = browser.new_context(locale="en")
    page, wrong = context.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(f"{served.url}/")
    page.get_by_role("link", name="Sign in with Shop Login").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    assert page.url == f"{served.url}/"
    expect(page.locator(".who")).to_contain_text("ann")
    assert {"GET /authorize", "POST /token"} <= set(issuer.seen)
    page.get_by_role("button", name="Sign out").click()
    issuer.user["groups"] = []
    page.get_by_role("link", name="Sign in with Shop Login").click()
    expect(page.get_by_role("alert")).to_contain_text("Shop Login knows you, but gives you no role here")
    assert "code=" not in page.url
    assert wrong == []
    context.close()
