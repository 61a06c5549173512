"""What doctor makes of receipts, webhooks, folders and the HTTP API: each fault with a command that mends it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from bulksend.operations.blockers import Check
from bulksend.operations.doctor_rules import (
    ApiState,
    FolderState,
    ReceiptState,
    WebhookState,
    check_api,
    check_clock,
    check_folders,
    check_notifier,
    check_receipts,
    check_serve,
)

MINUTE, HOUR = 60_000, 3_600_000
WELL = ReceiptState(accepted=5, has_token=True, last_callback_ms=MINUTE, unanswered_ms=HOUR)
HOOK = WebhookState("w1", "https://hooks.example/in", events=3, deliveries=2)


def wrong(checks: Iterable[Check]) -> dict[str, str]:
    found = [check for check in checks if not check.well]
    assert all(check.remedy for check in found)
    return {check.about: f"{check.found}; {check.remedy}" for check in found}


def test_receipts_that_come_are_well() -> None:
    assert [(check.about, check.well) for check in check_receipts(WELL)] == [("receipts", True)]


def test_an_installation_without_receipts_is_well_until_a_message_waits_for_one() -> None:
    assert not list(check_receipts(ReceiptState()))
    assert "bulksend tokens add" in wrong(check_receipts(ReceiptState(accepted=1)))["receipts"]


@pytest.mark.parametrize(("last", "unanswered"), [(None, HOUR), (2 * HOUR, HOUR)])
def test_receipts_have_stopped_when_an_accepted_post_has_waited_long_for_any(
    last: int | None, unanswered: int
) -> None:
    state = ReceiptState(accepted=5, has_token=True, last_callback_ms=last, unanswered_ms=unanswered)
    assert "bulksend tokens list" in wrong(check_receipts(state))["receipts"]


@pytest.mark.parametrize(
    "state",
    [
        # The last POST is older than the last callback, or no POST is old enough.
        ReceiptState(accepted=5, has_token=True, last_callback_ms=HOUR, unanswered_ms=2 * HOUR),
        ReceiptState(accepted=5, has_token=True, last_callback_ms=48 * HOUR, unanswered_ms=None),
        ReceiptState(accepted=0, has_token=True, last_callback_ms=48 * HOUR, unanswered_ms=HOUR),
    ],
)
def test_silence_of_the_vendor_is_well_while_nothing_waits_for_it(state: ReceiptState) -> None:
    assert not wrong(check_receipts(state))


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        (ReceiptState(unread=7, oldest_unread_ms=2 * MINUTE), "bulksend relay"),
        (ReceiptState(unreadable=2), "bulksend receipts reparse"),
        (ReceiptState(oldest_spooled_ms=2 * MINUTE), "bulksend serve"),
    ],
)
def test_callbacks_that_are_stuck_on_their_way_are_named(state: ReceiptState, remedy: str) -> None:
    assert remedy in wrong(check_receipts(state))["callbacks"]


def test_callbacks_that_have_just_come_are_well() -> None:
    assert not wrong(check_receipts(ReceiptState(unread=7, oldest_unread_ms=900, oldest_spooled_ms=900)))


@pytest.mark.parametrize("silent", [None, 31_000])
def test_serve_must_run_where_a_key_or_token_was_given_out(silent: int | None) -> None:
    assert not list(check_serve(silent, is_used=False))
    assert "bulksend serve" in wrong(check_serve(silent, is_used=True))["serve"]
    assert not wrong(check_serve(5_000, is_used=True))


def test_a_notifier_must_run_where_a_webhook_is_active() -> None:
    found = wrong(check_notifier(None, [HOOK]))
    assert list(found) == ["notifier"]
    assert "3 events and 2 deliveries wait; start bulksend notifier" in found["notifier"]
    assert not list(check_notifier(None, []))
    assert not wrong(check_notifier(4_000, [HOOK]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"disabled_why": "it answered 410 Gone"},
            "Gone; 3 events and 2 deliveries wait; bulksend webhooks enable w1",
        ),
        ({"disabled_why": ""}, "without a reason"),
        ({"failing_ms": 3 * MINUTE}, "has taken nothing for 3 minutes"),
        ({"waiting_ms": 3 * MINUTE}, "the oldest since 3 minutes; see the log of bulksend notifier"),
    ],
)
def test_an_endpoint_that_does_not_get_its_events_is_named(changes: dict[str, object], said: str) -> None:
    hook = WebhookState(**{"id": "w1", "url": HOOK.url, "events": 3, "deliveries": 2, **changes})  # type: ignore[arg-type]
    assert said in wrong(check_notifier(1_000, [hook]))["webhook w1"]


def test_a_backlog_is_not_told_of_each_endpoint_when_no_notifier_runs() -> None:
    assert list(wrong(check_notifier(90_000, [HOOK, HOOK]))) == ["notifier"]


def test_a_folder_that_cannot_be_written_is_named_with_the_one_in_the_way() -> None:
    spool = FolderState("spool", "BULKSEND_SPOOL_DIR", "/var/lib/x/spool", "bulksend")
    assert [check.well for check in check_folders([spool])] == [True]
    itself = FolderState(spool.name, spool.setting, spool.path, spool.user, closed=spool.path)
    assert "/var/lib/x/spool cannot be written by bulksend" in wrong(check_folders([itself]))["spool folder"]
    above = FolderState(spool.name, spool.setting, spool.path, spool.user, closed="/var/lib")
    said = wrong(check_folders([spool, above]))["spool folder"]
    assert "does not exist, and /var/lib cannot be written by bulksend" in said
    assert "install -d -o bulksend -m 0700 /var/lib/x/spool, or set BULKSEND_SPOOL_DIR" in said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ApiState("http://h", problem="no answer within 5 s"), "start bulksend serve there"),
        (ApiState("http://h", 401), "bulksend keys add"),
        (ApiState("http://h", 404), "answers 404"),
    ],
)
def test_an_api_that_does_not_answer_well_is_named(state: ApiState, said: str) -> None:
    assert said in wrong([check_api(state)])["BULKSEND_URL"]
    assert check_api(ApiState("http://h", 200)).well


@pytest.mark.parametrize(
    ("skew_s", "well", "found"),
    [
        (-30.0, True, "within 30 s of the vendor's"),
        (-31.0, True, "this machine's clock is +31 s off the vendor's; it refuses more than 300 s"),
        (400.0, False, "this machine's clock is -400 s off the vendor's; it refuses more than 300 s"),
    ],
)
def test_a_clock_that_is_behind_the_vendors_has_a_minus(skew_s: float, well: bool, found: str) -> None:
    check = check_clock(skew_s)
    assert (check.well, check.found) == (well, found)
