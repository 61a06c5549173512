"""Faults as a client's socket sees them."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from simulator import Limits, Match, Rule
from simulator.checks import Request
from simulator.faults import (
    AcceptThenHang,
    AcceptThenReset,
    Close,
    Drip,
    Fault,
    Garbage,
    Hang,
    HttpStatus,
    Reset,
    Slow,
    Truncate,
    When,
)
from simulator.inspection import Inspection
from simulator.latency import Constant

Rehearse = Callable[..., Any]


def with_fault(rehearse: Rehearse, fault: Fault, **settings: Any) -> Any:
    """A simulator with this fault for the recipients that end in 9."""
    return rehearse(rules=(Rule(fault, Match(to_suffix="9")),), **settings)


def verdicts(rehearsal: Any) -> list[str]:
    return [row["verdict"] for row in rehearsal.page("/_/messages")]


def says_nothing(wire: Any) -> bool:
    return not select.select([wire.socket], [], [], 0)[0]


def test_a_connection_serves_one_request_after_the_other(rehearse: Rehearse) -> None:
    wire = rehearse().dial()
    ids = {wire.ask().json["Data"]["MessageId"] for _ in range(20)}
    assert len(ids) == 20


def test_pipelined_requests_are_answered_in_their_order(rehearse: Rehearse) -> None:
    wire = rehearse(latency=Constant(5)).dial()
    wire.socket.sendall(b"".join(wire.request_bytes(To=to) for to in ("447700900001", "bad", "447700900002")))
    assert [wire.reply().ret_code for _ in range(3)] == [0, 17115, 0]


def test_more_pipelined_requests_than_wait_at_once_are_all_answered(rehearse: Rehearse) -> None:
    wire = rehearse(latency=Constant(0.1)).dial()
    wire.socket.sendall(b"".join(wire.request_bytes() for _ in range(300)))
    assert [wire.reply().ret_code for _ in range(300)] == [0] * 300


def test_a_request_in_single_bytes_is_understood(rehearse: Rehearse) -> None:
    wire = rehearse().dial()
    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in wire.request_bytes():
        wire.socket.sendall(bytes([byte]))
    assert wire.reply().ret_code == 0


def test_a_chunked_body_is_understood(rehearse: Rehearse) -> None:
    wire = rehearse().dial()
    head, _, body = wire.request_bytes().partition(b"\r\n\r\n")
    head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"content-length"))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    wire.socket.sendall(head + b"\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    assert wire.reply().ret_code == 0


def test_a_client_that_expects_100_continue_gets_it(rehearse: Rehearse) -> None:
    wire = rehearse().dial()
    head, _, body = wire.request_bytes().partition(b"\r\n\r\n")
    wire.socket.sendall(head + b"\r\nexpect: 100-continue\r\n\r\n")
    assert wire.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.socket.sendall(body)
    assert wire.reply().ret_code == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"POST /api HTTP/1.1\r\nbig: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"POST /api HTTP/1.1\r\ncontent-length: 2000\r\n\r\n" + b"x" * 1001, 413),
    ],
)
def test_a_malformed_request_is_answered_and_the_connection_closed(
    rehearse: Rehearse, sent: bytes, status: int
) -> None:
    rehearsal = rehearse(max_body_bytes=1000)
    wire = rehearsal.dial()
    wire.socket.sendall(sent)
    assert wire.reply().status == status
    assert wire.rest() == b""
    assert rehearsal.page("/_/stats")["malformed"] == 1


def test_a_client_that_wants_to_close_is_closed_after_its_answer(rehearse: Rehearse) -> None:
    wire = rehearse().dial()
    head, _, body = wire.request_bytes().partition(b"\r\n\r\n")
    wire.socket.sendall(head + b"\r\nconnection: close\r\n\r\n" + body)
    assert wire.reply().ret_code == 0
    assert wire.rest() == b""


def test_a_request_to_switch_protocols_gets_an_http_reply(rehearse: Rehearse) -> None:
    wire = rehearse().dial()
    wire.socket.sendall(
        b"GET /_/healthz HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x00"
    )
    assert wire.reply().json == {"status": "ok"}
    assert wire.rest() == b""


def test_a_connection_can_be_closed_after_a_number_of_requests(rehearse: Rehearse) -> None:
    wire = rehearse(max_requests_per_connection=2).dial()
    assert [wire.ask().ret_code for _ in range(2)] == [0, 0]
    assert wire.rest() == b""


def test_an_idle_connection_can_be_closed(rehearse: Rehearse) -> None:
    wire = rehearse(idle_close_seconds=0.05).dial()
    assert wire.ask().ret_code == 0
    assert wire.rest() == b""


def test_a_hang_with_seconds_ends_without_a_byte(rehearse: Rehearse) -> None:
    rehearsal = with_fault(rehearse, Hang(0.05))
    wire = rehearsal.dial()
    wire.send(To="447700900129")
    assert wire.rest() == b""
    assert verdicts(rehearsal) == ["dropped"]


@pytest.mark.parametrize(("fault", "verdict"), [(Hang(), "dropped"), (AcceptThenHang(), "lost_answer")])
def test_a_hang_without_seconds_lasts_until_the_client_gives_up(
    rehearse: Rehearse, fault: Fault, verdict: str
) -> None:
    rehearsal = with_fault(rehearse, fault)
    hanging, other = rehearsal.dial(), rehearsal.dial()
    hanging.send(To="447700900129")
    rehearsal.until(lambda stats: stats["requests"] == 1)
    assert other.ask().ret_code == 0
    assert says_nothing(hanging)
    before = rehearsal.page("/_/stats")["connections"]
    hanging.close()
    rehearsal.until(lambda stats: stats["connections"] == before - 1)
    assert verdicts(rehearsal) == [verdict, "accepted"]


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (Reset(), "dropped"),
        (Reset(When.AFTER_STORING), "lost_answer"),
        (AcceptThenReset(), "lost_answer"),
    ],
)
def test_a_reset_is_a_rst_and_not_a_fin(rehearse: Rehearse, fault: Fault, verdict: str) -> None:
    rehearsal = with_fault(rehearse, fault)
    wire = rehearsal.dial()
    assert wire.ask().ret_code == 0
    wire.send(To="447700900129")
    with pytest.raises(ConnectionResetError):
        wire.rest()
    assert verdicts(rehearsal) == ["accepted", verdict]


def test_a_reset_before_reading_records_nothing(rehearse: Rehearse) -> None:
    rehearsal = rehearse(rules=(Rule(Reset(When.BEFORE_READING), times=1),))
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        _talk(rehearsal.dial())
    assert rehearsal.dial().ask().ret_code == 0
    assert verdicts(rehearsal) == ["accepted"]


def _talk(wire: Any) -> None:
    wire.send()
    wire.rest()


def test_a_close_before_reading_ends_the_connection_at_once(rehearse: Rehearse) -> None:
    rehearsal = rehearse(rules=(Rule(Close(When.BEFORE_READING), times=1),))
    assert rehearsal.dial().rest() == b""
    assert verdicts(rehearsal) == []


@pytest.mark.parametrize(
    ("when", "verdict"), [(When.AFTER_READING, "dropped"), (When.AFTER_STORING, "lost_answer")]
)
def test_a_close_ends_without_a_byte(rehearse: Rehearse, when: When, verdict: str) -> None:
    rehearsal = with_fault(rehearse, Close(when))
    wire = rehearsal.dial()
    wire.send(To="447700900129")
    assert wire.rest() == b""
    assert verdicts(rehearsal) == [verdict]


def test_a_truncated_body_has_its_whole_head_and_the_first_bytes(rehearse: Rehearse) -> None:
    rehearsal = with_fault(rehearse, Truncate(17))
    wire = rehearsal.dial()
    wire.send(To="447700900129")
    head, _, body = wire.rest().partition(b"\r\n\r\n")
    assert b"Content-Length: " in head
    assert body == b'{"Action":"SendMe'
    assert verdicts(rehearsal) == ["lost_answer"]


def test_a_reply_can_be_cut_in_its_head(rehearse: Rehearse) -> None:
    wire = with_fault(rehearse, Truncate(9, of="reply")).dial()
    wire.send(To="447700900129")
    assert wire.rest() == b"HTTP/1.1 "


def test_a_truncated_reply_can_end_in_a_reset(rehearse: Rehearse) -> None:
    wire = with_fault(rehearse, Truncate(9, of="reply", then="reset")).dial()
    wire.send(To="447700900129")
    with pytest.raises(ConnectionResetError):
        wire.rest()


def test_a_truncated_reply_can_be_followed_by_silence(rehearse: Rehearse) -> None:
    wire = with_fault(rehearse, Truncate(9, of="reply", then="hang")).dial()
    wire.send(To="447700900129")
    assert wire.socket.recv(9, socket.MSG_WAITALL) == b"HTTP/1.1 "
    assert says_nothing(wire)


def test_a_dripped_reply_is_complete_and_slow(rehearse: Rehearse) -> None:
    rehearsal = with_fault(rehearse, Drip(bytes=40, interval_ms=10))
    wire = rehearsal.dial()
    began = time.monotonic()
    answer = wire.ask(To="447700900129")
    pieces = -(-(len(answer.raw_body) + 200) // 40)
    assert answer.ret_code == 0
    assert time.monotonic() - began > 0.008 * (pieces - 1)
    assert wire.ask().ret_code == 0
    assert verdicts(rehearsal) == ["accepted", "accepted"]


def test_garbage_is_not_http(rehearse: Rehearse) -> None:
    rehearsal = with_fault(rehearse, Garbage(bytes=100))
    wire = rehearsal.dial()
    wire.send(To="447700900129")
    rubbish = wire.rest()
    assert len(rubbish) == 100
    assert not rubbish.startswith(b"HTTP")
    assert verdicts(rehearsal) == ["lost_answer"]


def test_a_slow_reply_is_complete(rehearse: Rehearse) -> None:
    wire = with_fault(rehearse, Slow(0.1)).dial()
    began = time.monotonic()
    assert wire.ask(To="447700900129").ret_code == 0
    assert time.monotonic() - began > 0.095


def test_a_redirect_leads_where_the_rule_says(rehearse: Rehearse) -> None:
    fault = HttpStatus(307, headers={"Location": "http://127.0.0.1:9/api"})
    answer = with_fault(rehearse, fault).dial().ask(To="447700900129")
    assert (answer.status, answer.headers["location"]) == (307, "http://127.0.0.1:9/api")


def test_a_reply_waits_for_the_latency(rehearse: Rehearse) -> None:
    wire = rehearse(latency=Constant(60)).dial()
    began = time.monotonic()
    assert wire.ask().ret_code == 0
    assert time.monotonic() - began > 0.055


def test_a_client_that_leaves_before_its_reply_is_recorded_as_not_told(rehearse: Rehearse) -> None:
    rehearsal = rehearse(latency=Constant(60_000))
    wire = rehearsal.dial()
    wire.send()
    rehearsal.until(lambda stats: stats["by_verdict"] == {"accepted": 1})
    wire.close()
    stats = rehearsal.until(lambda stats: stats["by_verdict"] == {"lost_answer": 1})
    assert stats["stored"] == 1


def test_a_stop_waits_for_a_reply_under_way(rehearse: Rehearse) -> None:
    rehearsal = rehearse(latency=Constant(300), stop_grace_seconds=20)
    wire = rehearsal.dial()
    wire.send()
    rehearsal.until(lambda stats: stats["requests"] == 1)
    rehearsal.stop()
    assert wire.reply().ret_code == 0


def test_a_stop_does_not_wait_for_a_hang(rehearse: Rehearse) -> None:
    rehearsal = with_fault(rehearse, Hang(), stop_grace_seconds=600)
    wire = rehearsal.dial()
    wire.send(To="447700900129")
    rehearsal.until(lambda stats: stats["requests"] == 1)
    rehearsal.stop()
    assert wire.rest() == b""


def test_no_fault_applies_to_the_inspection_pages(rehearse: Rehearse) -> None:
    rehearsal = rehearse(rules=(Rule(Hang(), Match(action="*")),))
    assert rehearsal.page("/_/healthz") == {"status": "ok"}
    assert rehearsal.page("/_/messages") == []


def test_messages_come_as_json_or_as_lines(rehearse: Rehearse) -> None:
    rehearsal = rehearse()
    wire = rehearsal.dial()
    for last in range(3):
        wire.ask(To=f"44770090012{last}")
    rows = rehearsal.page("/_/messages", after=1)
    assert [row["to"] for row in rows] == ["447700900121", "447700900122"]
    lines = rehearsal.get("/_/messages", format="jsonl", after=1)
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    assert [row["n"] for row in rehearsal.page("/_/messages", to="447700900121")] == [2]
    assert [row["n"] for row in rehearsal.page("/_/messages", type="text", limit=1)] == [1]
    assert abs(rows[0]["received_at_ms"] / 1000 - time.time()) < 60


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/_/messages", {"too": "447700900121"}, "too"),
        ("/_/messages", {"limit": "many"}, "limit"),
        ("/_/messages", {"limit": "10001"}, "limit"),
        ("/_/messages", {"verdict": "good"}, "verdict"),
        ("/_/messages", {"format": "xml"}, "format"),
        ("/_/duplicates", {"of": "some"}, "of"),
        ("/_/stats", {"since": "1"}, "since"),
    ],
)
def test_a_wrong_parameter_is_rejected_by_its_name(
    rehearse: Rehearse, path: str, query: dict[str, str], field: str
) -> None:
    refused = rehearse().get(path, **query)
    assert (refused.status_code, refused.json()["field"]) == (400, field)


def test_pages_that_are_not_there_are_404_and_wrong_methods_405(rehearse: Rehearse) -> None:
    rehearsal = rehearse()
    assert rehearsal.get("/_/nothing").status_code == 404
    assert rehearsal.post("/_/stats").status_code == 405


def test_faults_can_be_replaced_while_it_runs(rehearse: Rehearse) -> None:
    rehearsal = rehearse()
    wire = rehearsal.dial()
    assert wire.ask().ret_code == 0
    rules = [{"fault": {"do": "ret_code", "ret_code": 150}, "match": {"to_prefix": "4477"}, "times": 1}]
    assert rehearsal.post("/_/faults", rules).json() == {"rules": 1}
    assert [wire.ask().ret_code for _ in range(2)] == [150, 0]
    shown = rehearsal.page("/_/faults")
    assert shown["fired"] == [1]
    assert shown["rules"][0]["match"]["to_prefix"] == "4477"
    rehearsal.post("/_/faults", [])
    assert rehearsal.page("/_/faults") == {"rules": [], "fired": []}


def test_wrong_rules_are_rejected_and_the_old_ones_stay(rehearse: Rehearse) -> None:
    rehearsal = with_fault(rehearse, HttpStatus(503))
    refused = rehearsal.post("/_/faults", [{"fault": {"do": "hang", "sec": 1}}])
    assert (refused.status_code, refused.json()["field"]) == (400, "rules[0].fault.hang.sec")
    assert rehearsal.dial().ask(To="447700900129").status == 503


def test_a_reset_forgets_the_requests_and_restarts_the_counts(rehearse: Rehearse) -> None:
    rehearsal = rehearse(rules=(Rule(HttpStatus(503), Match(nth=1)),), balance=1)
    wire = rehearsal.dial()
    assert [wire.ask().status for _ in range(2)] == [503, 200]
    assert rehearsal.page("/_/stats")["balance"] == 0
    assert rehearsal.post("/_/reset").json() == {"reset": True}
    assert rehearsal.page("/_/messages") == []
    assert rehearsal.page("/_/stats")["balance"] == 1
    assert [wire.ask().status for _ in range(2)] == [503, 200]


def test_a_reset_while_a_reply_is_under_way_works(rehearse: Rehearse) -> None:
    rehearsal = rehearse(latency=Constant(60_000))
    wire = rehearsal.dial()
    wire.send()
    rehearsal.until(lambda stats: stats["requests"] == 1)
    rehearsal.post("/_/reset")
    before = rehearsal.page("/_/stats")["connections"]
    wire.close()
    rehearsal.until(lambda stats: stats["connections"] == before - 1)
    assert rehearsal.page("/_/stats")["malformed"] == 0
    assert rehearsal.page("/_/messages") == []


def test_the_balance_can_be_set_while_it_runs(rehearse: Rehearse) -> None:
    rehearsal = rehearse(balance=0)
    wire = rehearsal.dial()
    assert wire.ask().ret_code == 17125
    assert rehearsal.post("/_/balance", {"balance": 1}).json() == {"balance": 1}
    assert [wire.ask().ret_code for _ in range(2)] == [0, 17125]
    wrongs: list[object] = [{"balance": -1}, {"balance": "1"}, {"balance": True}, {}, [], 5]
    for wrong in wrongs:
        assert rehearsal.post("/_/balance", wrong).status_code == 400
    rehearsal.post("/_/balance", {"balance": None})
    assert wire.ask().ret_code == 0


def test_inspection_requires_the_token_when_there_is_one(rehearse: Rehearse) -> None:
    rehearsal = rehearse(inspection_token="let-me-see")
    assert rehearsal.get("/_/stats").status_code == 403
    assert rehearsal.get("/_/healthz").status_code == 200
    wire = rehearsal.dial()
    for token, status in (("wrong", 403), ("let-me-see", 200)):
        wire.socket.sendall(f"GET /_/stats HTTP/1.1\r\nauthorization: Bearer {token}\r\n\r\n".encode())
        assert wire.reply().status == status


def test_without_a_token_inspection_is_closed_when_other_machines_can_connect(desk: Any) -> None:
    inspection = Inspection(desk.vendor, token=None, on_loopback=False, extra_stats=dict)

    def status(path: str) -> bytes:
        return inspection.answer(Request("GET", path, "", {}, b"", 0.0, 0.0)).reply.split()[1]

    assert [status("/_/messages"), status("/_/stats"), status("/_/healthz")] == [b"403", b"403", b"200"]


def test_stats_show_the_used_share_of_the_limit(rehearse: Rehearse) -> None:
    rehearsal = rehearse(limits=Limits(per_sender_per_second=1000))
    wire = rehearsal.dial()
    for _ in range(5):
        wire.ask()
    sender = rehearsal.page("/_/stats")["senders"]["8615000579987"]
    assert sender["share_of_limit"] == pytest.approx(sender["mean_stored_per_second"] / 1000)
    assert sender["share_of_limit"] > 0
