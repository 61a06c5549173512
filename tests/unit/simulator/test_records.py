"""What is recorded about faults, and what inspection finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator import Match, Rule
from simulator.faults import (
    AcceptThenHang,
    AcceptThenReset,
    Close,
    Drip,
    DuplicateMessageId,
    Fault,
    Garbage,
    Hang,
    HttpStatus,
    Reset,
    RetCode,
    Slow,
    Truncate,
    When,
)
from simulator.records import Verdict
from simulator.transmission import Cut, Mode, Pieces, Silence, Whole

OK_BODY = {"Action": "SendMessageResponse", "Data": {"MessageId": "{message_id}"}, "RetCode": "0"}


@pytest.mark.parametrize(
    ("fault", "verdict", "mode"),
    [
        (RetCode(150), "refused", Whole()),
        (HttpStatus(503), "http_error", Whole()),
        (HttpStatus(502, stored=True), "lost_answer", Whole()),
        (Hang(5), "dropped", Silence(5)),
        (Reset(), "dropped", Cut("reset")),
        (Reset(When.AFTER_STORING), "lost_answer", Cut("reset")),
        (Close(), "dropped", Cut("close")),
        (Close(When.AFTER_STORING), "lost_answer", Cut("close")),
        (Truncate(10), "lost_answer", Cut("close")),
        (Truncate(10, then="reset"), "lost_answer", Cut("reset")),
        (Truncate(0, of="reply", then="hang"), "lost_answer", Silence(None)),
        (Truncate(10_000), "accepted", Cut("close")),
        (Drip(3, 10), "accepted", Pieces(3, 0.01)),
        (Garbage(), "lost_answer", Cut("close")),
        (AcceptThenHang(), "lost_answer", Silence(None)),
        (AcceptThenReset(), "lost_answer", Cut("reset")),
        (Slow(2), "accepted", Whole()),
        (DuplicateMessageId(), "accepted", Whole()),
    ],
)
def test_every_fault_is_recorded_with_its_true_result(
    open_desk: Callable[..., Any], fault: Fault, verdict: str, mode: Mode
) -> None:
    desk = open_desk(rules=(Rule(fault, name="the rule"),))
    transmission = desk.transmission()
    (row,) = desk.rows
    assert transmission.mode == mode
    assert (row["verdict"], row["fault"]) == (verdict, "the rule")
    assert row["stored"] is (verdict in {"accepted", "lost_answer"})
    assert (row["message_id"] is not None) is row["stored"]


@pytest.mark.parametrize(
    "fault", [AcceptThenReset(), Truncate(5), Garbage(text="?"), Reset(When.AFTER_STORING)]
)
def test_a_fault_that_loses_the_reply_does_not_send_a_message_that_is_rejected(
    open_desk: Callable[..., Any], fault: Fault
) -> None:
    desk = open_desk(rules=(Rule(fault),))
    desk.transmission(Content={"nothing": "good"})
    assert (desk.rows[0]["verdict"], desk.rows[0]["stored"], desk.rows[0]["ret_code"]) == (
        "dropped",
        False,
        17115,
    )


def test_the_status_of_a_fault_reaches_the_client_whole_where_the_message_is_rejected(
    open_desk: Callable[..., Any],
) -> None:
    """It was recorded as an incomplete reply: the client that read it was said to have given the message up."""
    desk = open_desk(rules=(Rule(HttpStatus(200, body=OK_BODY, stored=True)),))
    assert desk.transmission(Content={"nothing": "good"}).mode == Whole()
    assert (desk.rows[0]["verdict"], desk.rows[0]["stored"]) == ("http_error", False)


def test_a_slow_reply_is_later_by_its_seconds(open_desk: Callable[..., Any]) -> None:
    assert open_desk(rules=(Rule(Slow(2.5)),)).transmission().delay_seconds == 2.5


def test_an_http_status_fault_can_imitate_any_reply(open_desk: Callable[..., Any]) -> None:
    fault = HttpStatus(200, body=OK_BODY, headers={"Content-Type": "text/plain"}, stored=True)
    desk = open_desk(rules=(Rule(fault),))
    answer = desk.ask()
    assert answer.json["RetCode"] == "0"
    assert answer.json["Data"]["MessageId"] == desk.rows[0]["message_id"]
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_gets_none(open_desk: Callable[..., Any], status: int) -> None:
    reply = open_desk(rules=(Rule(HttpStatus(status, body="x")),)).transmission().reply
    assert reply.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in reply


def test_a_duplicate_message_id_is_the_last_one_given(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(rules=(Rule(DuplicateMessageId(), Match(nth=2)),))
    first, second, third = (desk.ask().json["Data"]["MessageId"] for _ in range(3))
    assert first == second != third


def test_rules_see_the_template_and_count_each_recipients_attempts(open_desk: Callable[..., Any]) -> None:
    content = {"name": "otp_test_02", "language": {"code": "zh_CN", "policy": "deterministic"}}
    desk = open_desk(rules=(Rule(RetCode(150), Match(template="otp_test_02", attempt_up_to=2)),))

    def code(to: str) -> int:
        return int(desk.ask(To=to, Type="template", Content=content).ret_code)

    assert [code("447700900001"), code("447700900002")] == [150, 150]
    assert [code("447700900001"), code("447700900001")] == [150, 0]
    assert desk.ask(To="447700900003").ret_code == 0


def test_rules_that_are_set_later_count_earlier_attempts(desk: Any) -> None:
    desk.ask()
    desk.vendor.set_rules((Rule(RetCode(150), Match(attempt=2)),), 0.0)
    assert [desk.ask().ret_code for _ in range(2)] == [150, 0]


def test_a_rule_for_another_action_does_not_apply_to_sends(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(rules=(Rule(RetCode(17105), Match(action="GetAccountPhoneList")),))
    assert desk.ask().ret_code == 0
    assert desk.ask({"Action": "GetAccountPhoneList"}).ret_code == 17105


def test_a_reply_that_could_not_be_sent_changes_the_record(desk: Any) -> None:
    sent, refused = desk.transmission(), desk.transmission(Content="no")
    sent.lost()
    refused.lost()
    assert [row["verdict"] for row in desk.rows] == ["lost_answer", "dropped"]


def test_a_record_has_times_ids_and_the_decoded_content_but_not_the_signature(desk: Any) -> None:
    answer = desk.ask(at=1.5, headers={"user-agent": "Python-SDK/1.5.1"})
    (row,) = desk.rows
    headers = row.pop("headers")
    assert row == {
        "n": 1,
        "received_at_ms": 1_800_000_001_500.0,
        "monotonic": 1.5,
        "request_id": answer.json["RequestId"],
        "action": "SendMessage",
        "sender": "8615000579987",
        "to": "447700900123",
        "type": "text",
        "verdict": "accepted",
        "stored": True,
        "ret_code": 0,
        "http_status": 200,
        "message_id": answer.json["Data"]["MessageId"],
        "fault": "",
        "content": {"body": "text-message-content", "preview_url": False},
    }
    assert headers["user-agent"] == "Python-SDK/1.5.1"
    assert "x-signature" not in headers


def test_old_bodies_are_dropped_and_recipient_time_and_id_are_kept(
    open_desk: Callable[..., Any],
) -> None:
    desk = open_desk(keep_bodies=2)
    answers = [desk.ask(at=number, To=f"44770090000{number}").json for number in range(5)]
    rows = desk.rows
    assert [row["content"] is not None for row in rows] == [False, False, False, True, True]
    assert [row["to"] for row in rows] == [f"44770090000{number}" for number in range(5)]
    assert [row["monotonic"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["message_id"] for row in rows] == [answer["Data"]["MessageId"] for answer in answers]
    assert [row["request_id"] for row in rows] == [answer["RequestId"] for answer in answers]


def test_keeping_no_bodies_is_allowed(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(keep_bodies=0)
    desk.ask()
    assert (desk.rows[0]["content"], desk.rows[0]["to"]) == (None, "447700900123")


def test_records_are_found_by_each_filter(desk: Any) -> None:
    ids = [desk.ask(To=f"44770090000{number}").json["Data"]["MessageId"] for number in range(3)]
    desk.ask(To="447700900001", Type="image", Content={"id": "x"}, BusinessPhone="8615000579988")
    desk.ask(To="447700900001", Type="image", Content={})

    def found(**filters: Any) -> list[int]:
        return [row["n"] for row in desk.vendor.records.find(**filters)]

    assert found() == [1, 2, 3, 4, 5]
    assert found(to="447700900001") == [2, 4, 5]
    assert found(to="447700900099") == []
    assert found(type="image") == [4, 5]
    assert found(type="video") == []
    assert found(sender="8615000579988") == [4]
    assert found(verdict=Verdict.REFUSED) == [5]
    assert found(message_id=ids[1]) == [2]
    assert found(message_id="wamid.of-someone-else") == []
    assert found(after=3) == [4, 5]
    assert found(after=1, limit=2) == [2, 3]
    assert found(to="447700900001", type="image", verdict=Verdict.ACCEPTED) == [4]


def test_duplicates_are_recipients_with_more_than_one_message(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(rules=(Rule(RetCode(150), Match(nth=1)), Rule(AcceptThenReset(), Match(nth=2))))
    for to in ("447700900001", "447700900001", "447700900002"):
        desk.transmission(To=to)
    assert desk.vendor.records.duplicates() == []
    (tried,) = desk.vendor.records.duplicates(of="requests")
    assert (tried["to"], tried["n"], tried["verdicts"]) == (
        "447700900001",
        [1, 2],
        ["refused", "lost_answer"],
    )
    desk.transmission(To="447700900001")
    (double,) = desk.vendor.records.duplicates()
    assert (double["times"], double["n"], double["verdicts"]) == (2, [2, 4], ["lost_answer", "accepted"])
    assert len(set(double["message_ids"])) == 2


def test_duplicates_can_be_told_apart_by_sender_and_by_content(desk: Any) -> None:
    desk.ask(Content={"body": "one"})
    desk.ask(Content={"body": "two"})
    desk.ask(Content={"body": "one"}, BusinessPhone="8615000579988")
    assert [double["n"] for double in desk.vendor.records.duplicates()] == [[1, 2]]
    assert desk.vendor.records.duplicates(same_content=True) == []
    desk.ask(Content={"body": "two"})
    assert [double["n"] for double in desk.vendor.records.duplicates(same_content=True)] == [[2, 4]]


def test_stats_count_verdicts_codes_and_the_fullest_second(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(rules=(Rule(RetCode(150), Match(nth=3)), Rule(HttpStatus(503), Match(nth=4))))
    for at in (0.0, 0.5, 0.9, 0.99, 1.0, 1.49, 3.0):
        desk.transmission(at=at)
    desk.transmission(at=3.5, BusinessPhone="8615000579988")
    desk.transmission(at=3.6, Action=None)
    stats = desk.vendor.records.stats(distinct=True)
    assert (stats["requests"], stats["stored"], stats["distinct_recipients"]) == (9, 6, 1)
    assert stats["by_verdict"] == {"accepted": 6, "refused": 2, "http_error": 1}
    assert stats["by_ret_code"] == {"0": 6, "150": 1, "160": 1}
    assert stats["by_http_status"] == {"200": 8, "503": 1}
    assert (stats["first_at_ms"], stats["last_at_ms"]) == (1_800_000_000_000.0, 1_800_000_003_600.0)
    one = stats["senders"]["8615000579987"]
    assert (one["requests"], one["stored"]) == (7, 5)
    # [0.5, 1.5) holds 0.5, 0.9, 0.99, 1.0 and 1.49, of which 0.9 and 0.99 were not sent.
    assert (one["max_requests_in_any_second"], one["max_stored_in_any_second"]) == (5, 3)
    assert stats["senders"]["8615000579988"]["max_requests_in_any_second"] == 1
    assert stats["sends"]["max_stored_in_any_second"] == 3


def test_a_call_that_sends_no_message_is_in_no_second_of_its_sender(desk: Any) -> None:
    for at, action in ((0.0, "SendMessage"), (0.1, "GetTemplates"), (0.2, "SendWhatsappMessage")):
        desk.transmission(at=at, Action=action)
    stats = desk.vendor.records.stats()
    assert stats["requests"] == 3
    for counted in (stats["sends"], stats["senders"]["8615000579987"]):
        assert (counted["requests"], counted["max_requests_in_any_second"]) == (2, 2)


def test_stats_without_requests_are_empty(desk: Any) -> None:
    stats = desk.vendor.records.stats()
    assert (stats["requests"], stats["first_at_ms"], stats["sends"]["mean_stored_per_second"]) == (
        0,
        None,
        None,
    )
