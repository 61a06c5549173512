"""The reply to GetAccountPhoneList: the account's senders and the vendor's clock."""

from __future__ import annotations

import json

import pytest

from bulksend.gateway import RawReply
from bulksend.gateway.phones import read_phone_list, vendor_clock_skew_seconds

DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
DATE_SECONDS = 1_700_000_000


def reply(fields: object, status: int = 200, **headers: str) -> RawReply:
    return RawReply(status, headers, json.dumps(fields).encode())


def test_the_phone_list_names_the_accounts_senders() -> None:
    entry = {
        "Number": "+8615000579987",
        "Country": "CN",
        "Status": "connected",
        "QualityRating": "GREEN",
        "DisplayName": "Shop",
        "MessagingLimit": "TIER_2K",
    }
    good = reply({"RetCode": "0", "Data": {"PhoneList": [entry, 7, {}]}}, date=DATE)
    answer = read_phone_list(good, now_seconds=DATE_SECONDS + 0.9)
    assert (answer.problem, answer.answered) == ("", True)
    first, second = answer.phones
    assert (first.number, first.status, first.messaging_limit) == ("8615000579987", "CONNECTED", "TIER_2K")
    assert second.number == ""
    assert answer.clock_skew_seconds == pytest.approx(-0.9)


@pytest.mark.parametrize(
    ("reached", "problem"),
    [
        (reply({"RetCode": 171, "Message": "bad signature"}), "clock"),
        (reply({"RetCode": 174}), "access key"),
        (reply({"RetCode": 0}), "no list of phones"),
        (reply({"RetCode": 0, "Data": {"PhoneList": "x"}}), "no list of phones"),
        (reply([], status=403), "does not let us in"),
        (RawReply(200, {}, b"<html>"), "no answer that can be read"),
        ("no connection within 5 s", "no connection within 5 s"),
    ],
)
def test_a_phone_list_that_cannot_be_had_says_why(reached: RawReply | str, problem: str) -> None:
    answer = read_phone_list(reached, now_seconds=DATE_SECONDS)
    assert answer.phones == ()
    assert problem in answer.problem
    assert answer.answered == isinstance(reached, RawReply)


@pytest.mark.parametrize(
    ("headers", "skew"),
    [
        ({"Date": DATE}, 10.0),
        ({"date": DATE}, 10.0),
        ({}, None),
        ({"Date": "yesterday"}, None),
        ({"Date": ""}, None),
    ],
)
def test_the_vendors_clock_is_read_from_its_date_header(headers: dict[str, str], skew: float | None) -> None:
    assert vendor_clock_skew_seconds(headers, now_seconds=DATE_SECONDS - 10) == skew
