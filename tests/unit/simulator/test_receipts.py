"""Status callbacks: which follow a message, in whose shape, and how they are delivered."""

from __future__ import annotations

import json
import queue
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import pytest

from bulksend.gateway.receipts import TemplateNotice, parse
from simulator import ReceiptSettings, read_rules
from simulator.latency import Constant
from simulator.receipt_shapes import SHAPES, Inbound, Receipt, Sent, as_json, meta_change
from simulator.receipts import plan_receipts

SENT = Sent("wamid.X", "447700900123", "8615000579987", 1_800_000_000_000.0)
NOW = Constant(0)


def planned(seed: int = 0, **settings: Any) -> list[tuple[float, str]]:
    wanted = ReceiptSettings("http://127.0.0.1:1/", **settings)
    return [(due.seconds, due.receipt.status) for due in plan_receipts(SENT, wanted, Random(seed))]


def test_a_message_is_sent_and_delivered_after_their_delays() -> None:
    assert planned() == [(0.05, "sent"), (0.2, "delivered")]


def test_a_read_message_was_delivered_before() -> None:
    assert planned(read_share=1, read=Constant(10)) == [(0.05, "sent"), (0.2, "delivered"), (0.2, "read")]


def test_a_failed_message_has_its_code_and_is_not_delivered() -> None:
    wanted = ReceiptSettings("http://127.0.0.1:1/", failed_share=1, failed_code=131049, failed_title="Cap")
    last = plan_receipts(SENT, wanted, Random(0))[-1].receipt
    assert (last.status, last.code, last.title) == ("failed", 131049, "Cap")
    assert planned(failed_share=1, read_share=1) == [(0.05, "sent"), (0.2, "failed")]


def test_a_message_may_stay_sent() -> None:
    assert planned(delivered_share=0, read_share=1) == [(0.05, "sent")]


def test_out_of_order_receipts_come_in_reverse_and_keep_the_times_of_their_statuses() -> None:
    wanted = ReceiptSettings("http://127.0.0.1:1/", out_of_order_share=1, read_share=1)
    told = plan_receipts(SENT, wanted, Random(0))
    assert [due.receipt.status for due in told] == ["read", "delivered", "sent"]
    assert [due.seconds for due in told] == [0.05, 0.2, 1.0]
    assert [due.receipt.at_ms - 1_800_000_000_000 for due in told] == [1000, 200, 50]


def test_duplicates_are_posted_twice() -> None:
    assert [status for _, status in planned(duplicate_share=1)] == ["sent", "sent", "delivered", "delivered"]


def test_shares_are_shares() -> None:
    wanted = ReceiptSettings("http://127.0.0.1:1/", read_share=0.5, failed_share=0.1)
    dice = Random(5)
    last = [plan_receipts(SENT, wanted, dice)[-1].receipt.status for _ in range(4000)]
    assert 330 < last.count("failed") < 470
    assert 1650 < last.count("read") < 1950


def test_metas_shape() -> None:
    told = as_json([Receipt(SENT, "failed", 1_800_000_000_999, 131026, "Message undeliverable")], "meta")
    value = told["entry"][0]["changes"][0]["value"]
    assert told["object"] == "whatsapp_business_account"
    (status,) = value["statuses"]
    assert (status["id"], status["status"], status["timestamp"]) == ("wamid.X", "failed", "1800000000")
    assert status["recipient_id"] == "447700900123"
    assert status["errors"][0]["code"] == 131026


def test_yclouds_shape() -> None:
    told = as_json([Receipt(SENT, "failed", 1_800_000_000_999, 131026, "Message undeliverable")], "ycloud")
    assert told["type"] == "whatsapp.message.updated"
    assert told["createTime"] == "2027-01-15T08:00:00.999Z"
    message = told["whatsappMessage"]
    assert (message["id"], message["status"], message["errorCode"]) == ("wamid.X", "failed", "131026")


def test_the_flat_shape() -> None:
    told = as_json([Receipt(SENT, "read", 1_800_000_000_999)], "flat")
    assert (told["message_id"], told["message_status"], told["error"]) == ("wamid.X", "read", None)
    assert as_json([Receipt(SENT, "failed", 1, 5, "x")], "flat")["error"] == {"code": 5, "title": "x"}


ALL_SHAPES = pytest.mark.parametrize("shape", sorted(SHAPES))


@ALL_SHAPES
@pytest.mark.parametrize("status", ["sent", "delivered", "read", "failed"])
@pytest.mark.parametrize("by_alias", [False, True])
def test_the_receiver_reads_every_shape(shape: str, status: str, by_alias: bool) -> None:
    code = 131026 if status == "failed" else None
    receipt = Receipt(SENT, status, 1_764_400_001_000, code, "undeliverable" if code else "", by_alias)
    more = [replace(receipt, sent=replace(SENT, message_id="wamid.Y"))] if SHAPES[shape].batches else []
    parsed = parse(json.dumps(as_json([receipt, *more], shape)).encode())
    assert (parsed.inbound, parsed.notices, parsed.unreadable) == ([], [], [])
    assert [each.status for each in parsed.receipts] == [status] * (1 + len(more))
    for each, message_id in zip(parsed.receipts, ["wamid.X", "wamid.Y"], strict=False):
        assert message_id in each.ids
        assert (each.at, each.whatsapp_code, each.why) == (receipt.at_ms, code, receipt.title)


@ALL_SHAPES
@pytest.mark.parametrize("payload", ["", "opt-out"])
def test_the_receiver_reads_inbound_messages_of_every_shape(shape: str, payload: str) -> None:
    message = Inbound(
        "wamid.IN", "447700900123", "8615000579987", 1_764_400_001_000, "Stop", payload, "wamid.X"
    )
    parsed = parse(json.dumps(SHAPES[shape].inbound(message)).encode())
    assert (parsed.receipts, parsed.notices, parsed.unreadable) == ([], [], [])
    (found,) = parsed.inbound
    assert (found.recipient, found.text, found.at) == ("447700900123", "Stop", message.at_ms)
    if shape != "ucloud":  # its messages are bare texts
        assert (found.payload, found.context_ids) == (payload, ("wamid.X",))


def test_the_receiver_reads_a_change() -> None:
    value = {"event": "PAUSED", "message_template_name": "spring", "message_template_language": "en"}
    body = meta_change("message_template_status_update", value, 1_764_400_001_000)
    (notice,) = parse(json.dumps(body).encode()).notices
    assert notice == TemplateNotice("spring", "en", "PAUSED", "", "", "", 1_764_400_001_000)


class Receiver:
    """A receipt endpoint: keeps what it gets and answers with the given statuses, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.got: queue.Queue[Any] = queue.Queue()
        self.open = threading.Event()
        self.open.set()
        """While it is not set, requests wait for their reply."""
        left = iter(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.put(json.loads(body))
                receiver.open.wait(10)
                self.send_response(next(left, 200))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Silent: what it receives is not for the test output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/receipts/token"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def next(self) -> Any:
        return self.got.get(timeout=10)

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    opened: list[Receiver] = []

    def receiver(*statuses: int) -> Receiver:
        opened.append(Receiver(*statuses))
        return opened[-1]

    yield receiver
    for one in opened:
        one.close()


def test_receipts_of_an_accepted_message_are_posted(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    rehearsal = rehearse(
        receipts=ReceiptSettings(receiver.url, shape="flat", sent=NOW, delivered=Constant(20))
    )
    message_id = rehearsal.dial().ask().json["Data"]["MessageId"]
    told = [receiver.next() for _ in range(2)]
    # Two connections carry them: under load the later one may arrive first.
    assert sorted(one["message_status"] for one in told) == ["delivered", "sent"]
    assert {one["message_id"] for one in told} == {message_id}
    stats = rehearsal.until(lambda stats: stats["receipts"]["pending"] == 0)
    assert stats["receipts"] == {"posted": 2, "retried": 0, "given_up": 0, "pending": 0}


def test_a_rejected_message_has_no_receipts(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    rehearsal = rehearse(receipts=ReceiptSettings(receive().url))
    assert rehearsal.dial().ask(To="bad").ret_code == 17115
    assert rehearsal.page("/_/stats")["receipts"]["pending"] == 0


def test_a_failed_receipt_is_tried_again(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    receiver = receive(500, 503)
    settings = ReceiptSettings(receiver.url, shape="flat", sent=NOW, delivered_share=0, retry_ms=1)
    rehearsal = rehearse(receipts=settings)
    rehearsal.dial().ask()
    assert [receiver.next()["message_status"] for _ in range(3)] == ["sent"] * 3
    stats = rehearsal.until(lambda stats: stats["receipts"]["pending"] == 0)
    assert stats["receipts"] == {"posted": 1, "retried": 2, "given_up": 0, "pending": 0}


def test_a_receipt_is_given_up_after_its_tries(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    receiver = receive(*[500] * 9)
    settings = ReceiptSettings(receiver.url, sent=NOW, delivered_share=0, retry_ms=1, tries=3)
    rehearsal = rehearse(receipts=settings)
    rehearsal.dial().ask()
    stats = rehearsal.until(lambda stats: stats["receipts"]["given_up"] == 1)
    assert stats["receipts"] == {"posted": 0, "retried": 2, "given_up": 1, "pending": 0}


def test_receipts_that_were_taken_are_listed_and_no_wait_exceeds_the_cap(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    # Without the cap the first wait alone is ten minutes.
    receiver = receive(*[500] * 9)
    settings = ReceiptSettings(
        receiver.url,
        sent=NOW,
        delivered_share=0,
        retry_ms=600_000,
        retry_cap_ms=1,
        tries=20,
        keep_posted=True,
    )
    rehearsal = rehearse(receipts=settings)
    message_id = rehearsal.dial().ask().json["Data"]["MessageId"]
    stats = rehearsal.until(lambda stats: stats["receipts"]["pending"] == 0)
    assert stats["receipts"]["retried"] == 9
    (taken,) = rehearsal.page("/_/receipts")
    assert (taken["n"], taken["message_id"], taken["status"]) == (1, message_id, "sent")
    assert rehearsal.page("/_/receipts", after=1) == []


def test_a_dead_url_costs_receipts_and_no_replies(rehearse: Callable[..., Any]) -> None:
    settings = ReceiptSettings("http://127.0.0.1:9/", sent=NOW, delivered_share=0, retry_ms=1, tries=2)
    rehearsal = rehearse(receipts=settings)
    assert rehearsal.dial().ask().ret_code == 0
    rehearsal.until(lambda stats: stats["receipts"]["given_up"] == 1)


def test_a_receipt_can_arrive_before_the_reply_to_its_send(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    receiver.open.clear()
    rehearsal = rehearse(receipts=ReceiptSettings(receiver.url, shape="flat", before_answer_share=1))
    wire = rehearsal.dial()
    wire.send()
    told = receiver.next()
    assert not select.select([wire.socket], [], [], 0)[0]
    receiver.open.set()
    assert wire.reply().json["Data"]["MessageId"] == told["message_id"]


def test_a_message_with_a_lost_reply_has_its_receipts(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    rehearsal = rehearse(
        receipts=ReceiptSettings(receiver.url, shape="flat", sent=NOW, delivered_share=0),
        rules=read_rules([{"fault": {"do": "accept_then_reset"}}]),
    )
    wire = rehearsal.dial()
    wire.send()
    with pytest.raises(ConnectionResetError):
        wire.rest()
    assert receiver.next()["message_id"] == rehearsal.page("/_/messages")[0]["message_id"]


def test_a_receipt_before_the_reply_is_posted_though_the_client_gives_up(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    receiver.open.clear()
    settings = ReceiptSettings(receiver.url, sent=NOW, delivered_share=0, before_answer_share=1)
    rehearsal = rehearse(receipts=settings)
    wire = rehearsal.dial()
    wire.send()
    receiver.next()
    wire.close()
    rehearsal.until(lambda stats: stats["by_verdict"] == {"lost_answer": 1})
    receiver.open.set()
    rehearsal.until(lambda stats: stats["receipts"]["posted"] == 1 and stats["receipts"]["pending"] == 0)


def test_receipts_that_are_due_together_share_a_post(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    receiver.open.clear()
    settings = ReceiptSettings(
        receiver.url, shape="alibaba", sent=NOW, delivered_share=0, batch=10, connections=1
    )
    rehearsal = rehearse(receipts=settings)
    wire = rehearsal.dial()
    for _ in range(4):
        wire.ask()
    first = receiver.next()  # the others come while it waits for its reply
    rehearsal.until(lambda stats: stats["receipts"]["pending"] == 4)
    receiver.open.set()
    assert len(first) + len(receiver.next()) == 4


def test_a_person_may_answer_what_was_delivered(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    settings = ReceiptSettings(receiver.url, sent=NOW, delivered=NOW, reply_share=1, reply_text="Baja")
    rehearse(receipts=settings).dial().ask()
    told = [parse(json.dumps(receiver.next()).encode()) for _ in range(3)]
    assert [message.text for parsed in told for message in parsed.inbound] == ["Baja"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"inbound": {"person": "447700900123", "sender": "15550100100", "text": "STOP"}}, "STOP"),
        ({"change": {"field": "account_update", "value": {"event": "VERIFIED_ACCOUNT"}}}, "VERIFIED_ACCOUNT"),
        ({"body": {"anything": "at all"}}, "at all"),
    ],
)
def test_callbacks_are_posted_on_command(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver], command: Any, expected: str
) -> None:
    receiver = receive()
    rehearsal = rehearse(receipts=ReceiptSettings(receiver.url))
    assert rehearsal.post("/_/callbacks", command).json() == {"posted": next(iter(command))}
    assert expected in json.dumps(receiver.next())


@pytest.mark.parametrize("command", [{}, [], {"inbound": {}}, {"change": {"field": 1}}, {"other": 1}])
def test_a_wrong_command_is_refused(
    rehearse: Callable[..., Any], receive: Callable[..., Receiver], command: Any
) -> None:
    rehearsal = rehearse(receipts=ReceiptSettings(receive().url))
    assert rehearsal.post("/_/callbacks", command).status_code == 400
