"""What doctor checks: its JSON, a remedy for each problem, and the connection to the vendor."""

from __future__ import annotations

from pathlib import Path

from bulksend.ledger.database import Database
from bulksend.operations.doctor import Examination, check_vendor, examine
from bulksend.settings import Settings

KEYS = {
    "USPEEDO_ACCESSKEY_ID": "key",
    "USPEEDO_ACCESSKEY_SECRET": "word",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
PROXY = {"HTTPS_PROXY": "http://proxy:3128"}


def wrong(found: Examination) -> dict[str, str]:
    """What is found wrong, with its remedy."""
    return {check.about: f"{check.found}; {check.remedy}" for check in found.checks if not check.well}


def test_the_answer_says_whether_all_is_well_and_lists_each_check(ledger: Database) -> None:
    found = examine(Settings.from_env({"DATABASE_URL": ledger.url.render_as_string(hide_password=False)}))
    shown = found.as_json()
    assert list(shown) == ["well", "findings"]
    assert shown["well"] is found.well is False
    assert {tuple(check) for check in shown["findings"]} == {("about", "well", "found", "remedy")}
    well = {check.about for check in found.checks if check.well}
    assert {"ledger", "schema"} <= well
    assert "REDIS_URL is not set; set REDIS_URL" in wrong(found)["Redis"]
    assert "USPEEDO_ACCESSKEY_ID" in wrong(found)["credentials"]
    assert all(check.remedy for check in found.checks if not check.well)


def test_a_ledger_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    found = examine(Settings.from_env({"DATABASE_URL": f"sqlite:///{file}"}))
    assert "create it with bulksend migrate" in wrong(found)["ledger"]
    assert not file.exists()


def test_a_database_without_the_schema_is_named_with_the_command_that_creates_it(database_url: str) -> None:
    Database(database_url).check()
    found = examine(Settings.from_env({"DATABASE_URL": database_url}))
    assert "bulksend migrate" in wrong(found)["schema"]


def test_a_malformed_encryption_key_is_found_and_not_shown(ledger: Database) -> None:
    url = ledger.url.render_as_string(hide_password=False)
    found = examine(Settings.from_env({"DATABASE_URL": url, "BULKSEND_ENCRYPTION_KEY": "no-key-at-all"}))
    assert "bulksend keys new-encryption-key" in wrong(found)["encryption key"]
    assert "no-key-at-all" not in str(found.as_json())


def test_doctor_names_the_proxy_the_missing_account_and_a_link_in_the_clear() -> None:
    clear = {"USPEEDO_BASE_URL": "http://vendor.example/api", "BULKSEND_ALLOW_PLAIN_HTTP": "1"}
    # The proxy is in the way, so the vendor itself is not asked.
    found = {
        d.about: d for d in check_vendor(Settings.from_env(KEYS | clear | {"http_proxy": "http://proxy:1"}))
    }
    assert "page calls AccountId required" in found["account id"].found
    assert not found["vendor link"].well
    assert "in the clear" in found["vendor link"].found
    assert not found["proxy"].well
    assert "http_proxy is set" in found["proxy"].found
    assert "vendor" not in found


def test_doctor_says_nothing_of_a_link_by_tls_nor_of_an_account_that_is_set() -> None:
    found = {
        d.about: d for d in check_vendor(Settings.from_env(KEYS | PROXY | {"USPEEDO_ACCOUNT_ID": "8899"}))
    }
    assert found["account id"].found == "set"
    assert "vendor link" not in found
