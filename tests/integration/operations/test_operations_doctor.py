"""What doctor checks: its JSON, a remedy for each problem, and the connection to the vendor."""

from __future__ import annotations

import os
import time
from pathlib import Path

from sqlalchemy import text

from bulksend.ledger import raw_receipts, senders, webhook_deliveries
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.raw_receipts import Callback, Unreadable
from bulksend.messaging.webhook_bodies import trial_body
from bulksend.operations import webhooks
from bulksend.operations.doctor import Examination, check_vendor, examine
from bulksend.operations.doctor_readings import check_own_folders
from bulksend.operations.health import NOTIFIER, SERVE, leave_sign
from bulksend.operations.receipt_tokens import add_token
from bulksend.settings import Settings
from tests.integration.ledger.conftest import SENDER, Desk

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


def test_a_newer_schema_that_this_program_may_use_is_not_called_up_to_date(ledger: Database) -> None:
    with ledger.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    found = examine(Settings.from_env({"DATABASE_URL": ledger.url.render_as_string(hide_password=False)}))
    (schema,) = (check for check in found.checks if check.about == "schema")
    assert (schema.well, schema.found) == (
        True,
        "at revision 9999 of a newer bulksend, which this one may run beside",
    )


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


def test_receipts_webhooks_and_the_processes_for_them_are_checked_by_what_the_ledger_says(
    desk: Desk, tmp_path: Path
) -> None:
    of = Settings.from_env(
        {
            "DATABASE_URL": desk.database.url.render_as_string(hide_password=False),
            "BULKSEND_SPOOL_DIR": str(tmp_path),
            "BULKSEND_URL": "http://127.0.0.1:1",
            "BULKSEND_API_KEY": "bsk_of-no-one",
        }
    )
    desk.write(senders.register, SENDER)
    desk.accepted(desk.queued(n=2))
    found = examine(of)
    assert "2 accepted messages will never" in wrong(found)["receipts"]
    assert "cannot be reached" in wrong(found)["BULKSEND_URL"]
    assert not {"serve", "notifier"} & {check.about for check in found.checks}

    add_token(desk.database, name="console", actor="ann")
    cipher = Cipher([bytes(32)])
    hooks = [
        webhooks.add(desk.database, cipher, f"https://hooks.example/{n}", allowed=(), actor="ann")["id"]
        for n in range(3)
    ]
    webhooks.set_active(desk.database, hooks[0], False, actor="ann", why="moved")
    desk.sql(
        "UPDATE webhook_endpoints SET failing_since = :at WHERE id = :id",
        at=desk.now() - 200_000,
        id=hooks[1],
    )
    desk.write(webhook_deliveries.store, hooks[2], [trial_body(desk.now())])
    desk.sql("UPDATE webhook_deliveries SET next_at = :at", at=desk.now() - 300_000)
    desk.sql("UPDATE attempts SET started_at = :at", at=desk.now() - 3_600_000)
    found = examine(of)
    assert "no callback has come yet, and messages were accepted since" in wrong(found)["receipts"]
    assert "start bulksend serve" in wrong(found)["serve"]
    assert "start bulksend notifier" in wrong(found)["notifier"]

    for process in (NOTIFIER, SERVE):
        leave_sign(desk.database, process)
    group = raw_receipts.pack([Callback("t", {}, b"{}")], Cipher([]), desk.now() - 90_000)
    desk.write(raw_receipts.store, [group])
    desk.write(raw_receipts.set_aside, [Unreadable(group.id, 0, group.received_at, "no JSON")])
    spooled = tmp_path / "x.receipts"
    spooled.write_bytes(b"")
    os.utime(spooled, (time.time() - 90, time.time() - 90))
    found = examine(of)
    assert {check.about for check in found.checks if check.well} >= {"serve", "notifier", "receipts"}
    assert {f"webhook {id}" for id in hooks} <= wrong(found).keys()
    assert "moved" in wrong(found)[f"webhook {hooks[0]}"]
    assert "has taken nothing for 3 minutes" in wrong(found)[f"webhook {hooks[1]}"]
    assert "1 delivery wait, the oldest since 5 minutes" in wrong(found)[f"webhook {hooks[2]}"]
    stuck = " ".join(check.remedy for check in found.checks if check.about == "callbacks")
    assert "bulksend relay" in stuck
    assert "bulksend receipts reparse" in stuck
    assert "bulksend serve" in stuck


def test_folders_are_those_that_this_user_can_write(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    of = Settings.from_env({"BULKSEND_UPLOAD_DIR": str(tmp_path / "a-file" / "x")})
    found = {check.about: check for check in check_own_folders(of)}
    assert list(found) == ["upload folder"]
    assert f"{tmp_path / 'a-file'} cannot be written" in found["upload folder"].found
