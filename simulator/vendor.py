"""The vendor: decides about one request, records it, and tells the connection how to reply.

It has no sockets and no clock: each request brings its own times, so that a test can be a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol, assert_never

from simulator.account import Account
from simulator.checks import Call, Nonces, Rejection, Request, authenticate, check_send, is_phone, read_body
from simulator.content import ContentError, decoder
from simulator.fault_rules import SEND_ACTIONS, FaultRules, RequestFacts
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
    Rule,
    Slow,
    Truncate,
    When,
)
from simulator.latency import draw
from simulator.quotas import Quotas
from simulator.receipt_shapes import Sent
from simulator.records import STORED, ReceivedRequest, Records, Verdict, with_lost_reply
from simulator.replies import (
    HttpDate,
    Ids,
    accepted_body,
    body_start,
    data_body,
    http_reply,
    refused_body,
    to_json,
)
from simulator.settings import SimulatorSettings
from simulator.transmission import Cut, Mode, Pieces, Silence, Transmission, Whole


class ReceiptScheduler(Protocol):
    """Sends the status callbacks of accepted messages."""

    def schedule(self, sent: Sent) -> Callable[[], Awaitable[None]] | None:
        """Schedule the receipts of a message; returns what to await before the send gets its reply, if anything."""


@dataclass(frozen=True, slots=True)
class _Response:
    """The vendor's response before a fault damages it."""

    verdict: Verdict
    status: int
    body: bytes
    ret_code: int | None
    message_number: int = 0
    headers: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _RecordedFields:
    """The fields of a request that are recorded, valid or not."""

    action: str = ""
    to: str = ""
    sender: str = ""
    type: str = ""
    content: object = None


class Vendor:
    """The vendor for one account. Not thread-safe: it belongs to one event loop."""

    def __init__(
        self, settings: SimulatorSettings, now: float, ids: Ids, receipts: ReceiptScheduler | None = None
    ) -> None:
        self.settings = settings
        self.ids = ids
        self._receipts = receipts
        self._date = HttpDate()
        self._dice = Random(settings.seed)
        self._messages = 0
        self.fault_rules = FaultRules(settings.rules, settings.seed, now)
        self.reset(now)

    def reset(self, now: float) -> None:
        """Forget all requests, nonces, counters and files; rules, balance, templates and phones start again.

        Ids are never reused.
        """
        self.records = Records(self.settings.keep_bodies, self.ids)
        self._nonces = Nonces(self.settings.nonce_window_seconds)
        self._quotas = Quotas(self.settings.limits, self.settings.balance)
        self.account = Account(self.settings)
        self._sends = 0
        self._last_message = 0
        self._attempts: Counter[int] = Counter()
        self.set_rules(self.fault_rules.rules, now)

    def set_rules(self, rules: tuple[Rule, ...], now: float) -> None:
        """Replace the rules; their clock, their dice and their counts start again."""
        self.fault_rules = FaultRules(rules, self.settings.seed, now)
        self._attempts = self.records.attempts() if self.fault_rules.needs_attempts else Counter()

    @property
    def balance(self) -> int | None:
        """How many messages the account can still pay for; None: no limit."""
        return self._quotas.balance

    @balance.setter
    def balance(self, balance: int | None) -> None:
        self._quotas.balance = balance

    def on_connection(self, now: float) -> Cut | None:
        """Called for each new connection; returns how to cut it, if at all."""
        rule = self.fault_rules.for_connection(now)
        return None if rule is None else Cut("reset" if isinstance(rule.fault, Reset) else "close")

    # ---- one request -----------------------------------------------------------------------------

    def receive(self, request: Request) -> Transmission:
        """Process one complete request."""
        body = read_body(request)
        if isinstance(body, Rejection):
            return self._respond(request, _RecordedFields(), self._rejected("", body), None)
        fields = _recorded_fields(body)
        call = authenticate(request, body, self.settings, self._nonces)
        if isinstance(call, Rejection):
            return self._respond(request, fields, self._rejected(fields.action, call), None)
        is_send = call.action in SEND_ACTIONS
        if is_send:
            self._sends += 1
            throttled = self._quotas.take_rate(fields.sender, request.now)
            if throttled is not None:
                return self._respond(request, fields, self._throttled(call.action, throttled), None)
        rule = self._matching_rule(request, call, fields)
        if rule is not None and _prevents_sending(rule.fault):
            response = self._response_of_fault(call.action, rule.fault)
        elif is_send:
            again = rule is not None and isinstance(rule.fault, DuplicateMessageId)
            response = self._process_send(call, request, again)
        else:
            response = self._process_other(call, request.received_at_ms)
        return self._respond(request, fields, response, rule)

    def _matching_rule(self, request: Request, call: Call, fields: _RecordedFields) -> Rule | None:
        if not self.fault_rules.has_request_rules:
            return None
        attempt = 0
        if self.fault_rules.needs_attempts and fields.to:
            key = int("1" + fields.to)
            attempt = self._attempts[key] = self._attempts[key] + 1
        facts = RequestFacts(
            call.action, fields.to, fields.sender, fields.type, _template_name(call), self._sends, attempt
        )
        return self.fault_rules.for_request(facts, request.now)

    # ---- the response ----------------------------------------------------------------------------

    def _process_send(self, call: Call, request: Request, again: bool) -> _Response:
        try:
            content = check_send(call.body)
        except ContentError as bad:
            return self._rejected(call.action, Rejection(bad.message, 17115))
        sender, to = call.body["BusinessPhone"], call.body["To"]
        rejection = self.account.check_sender(sender)
        if rejection is None and call.body["Type"] == "template":
            rejection = self.account.check_template(content)
        if rejection is None:
            rejection = self.account.check_media(content, sender, request.received_at_ms)
        if rejection is None and self._quotas.is_out_of_money:
            rejection = Rejection("No money in account", 17125)
        if rejection is None:
            rejection = self._quotas.take_pair(sender, to, request.now)
        if rejection is not None:
            return self._rejected(call.action, rejection)
        return self._accept(call, again)

    def _accept(self, call: Call, again: bool) -> _Response:
        self._quotas.pay()
        if not (again and self._last_message):
            self._messages += 1
            self._last_message = self._messages
        number = self._last_message
        body = accepted_body(call.action, self.ids.message_id(number), self._request_id())
        return _Response(Verdict.ACCEPTED, 200, body, 0, number)

    def _process_other(self, call: Call, now_ms: float) -> _Response:
        data = self.account.serve(call, now_ms)
        if isinstance(data, Rejection):
            return self._rejected(call.action, data)
        return _Response(Verdict.SERVED, 200, data_body(call.action, data, self._request_id()), 0)

    def _rejected(self, action: str, rejection: Rejection) -> _Response:
        if rejection.ret_code is None:
            body = to_json({"Message": rejection.message, "RequestId": self._request_id()})
            headers = {"Allow": "POST"} if rejection.http_status == 405 else None
            return _Response(Verdict.REFUSED, rejection.http_status, body, None, headers=headers)
        body = refused_body(action, rejection.ret_code, rejection.message, self._request_id())
        return _Response(Verdict.REFUSED, rejection.http_status, body, rejection.ret_code)

    def _throttled(self, action: str, rejection: Rejection) -> _Response:
        rejected = self._rejected(action, rejection)
        wait = self.settings.limits.retry_after_seconds
        headers = {"Retry-After": str(wait)} if rejected.status == 429 and wait is not None else None
        return _Response(
            Verdict.THROTTLED, rejected.status, rejected.body, rejected.ret_code, headers=headers
        )

    def _response_of_fault(self, action: str, fault: Fault) -> _Response:
        if isinstance(fault, RetCode):
            return self._rejected(action, Rejection(fault.message, fault.ret_code))
        if isinstance(fault, HttpStatus):
            return _Response(Verdict.HTTP_ERROR, fault.status, b"", None)
        return _Response(Verdict.DROPPED, 0, b"", None)

    # ---- the record and the transmission ---------------------------------------------------------

    def _respond(
        self, request: Request, fields: _RecordedFields, response: _Response, rule: Rule | None
    ) -> Transmission:
        fault = None if rule is None else rule.fault
        whole = self._reply(request, response, fault)
        reply, mode = self._damage(whole, fault)
        verdict = response.verdict
        if _is_stored_error(fault):
            # The fault's answer comes whole, also where the message is refused, as for a paused template.
            verdict = Verdict.LOST_ANSWER if verdict in STORED else Verdict.HTTP_ERROR
        elif reply != whole and verdict is not Verdict.DROPPED:
            verdict = with_lost_reply(verdict)
        record = self.records.add(
            ReceivedRequest(
                received_at_ms=request.received_at_ms,
                now=request.now,
                action=fields.action,
                to=fields.to,
                sender=fields.sender,
                type=fields.type,
                verdict=verdict,
                ret_code=response.ret_code,
                http_status=fault.status if isinstance(fault, HttpStatus) else response.status,
                message_number=response.message_number,
                fault="" if rule is None else rule.title,
                content=fields.content,
                headers=request.headers,
            )
        )
        delay = draw(self.settings.latency, self._dice)
        return Transmission(
            reply=reply,
            mode=mode,
            delay_seconds=delay + (fault.seconds if isinstance(fault, Slow) else 0.0),
            # Bound to these records: a reset may have replaced them by then.
            lost=partial(self.records.mark_reply_lost, record),
            before=self._schedule_receipts(request, fields, response) if verdict in STORED else None,
        )

    def _reply(self, request: Request, response: _Response, fault: Fault | None) -> bytes:
        """The whole reply; a fault with an HTTP status replaces the vendor's response."""
        request_id = self._request_id()
        status, body, own = response.status, response.body, response.headers
        content_type = "application/json"
        if isinstance(fault, HttpStatus):
            status, own = fault.status, fault.headers
            body = _fault_body(fault, self._message_id(response), request_id)
            content_type = "application/json" if body[:1] in (b"{", b"[") else "text/html"
        headers = {"X-Speedo-Request-Uuid": request_id, **(own or {})}
        return http_reply(status or 200, body, self._date.at(request.received_at_ms), headers, content_type)

    def _damage(self, reply: bytes, fault: Fault | None) -> tuple[bytes, Mode]:
        match fault:
            case None | RetCode() | HttpStatus() | Slow() | DuplicateMessageId():
                return reply, Whole()
            case Hang(seconds) | AcceptThenHang(seconds):
                return b"", Silence(seconds)
            case Reset() | AcceptThenReset():
                return b"", Cut("reset")
            case Close():
                return b"", Cut("close")
            case Truncate():
                return _truncated(reply, fault)
            case Drip():
                return reply, Pieces(fault.bytes, fault.interval_ms / 1000)
            case Garbage():
                return self._garbage(fault), Cut("close")
            case _:
                assert_never(fault)

    def _garbage(self, fault: Garbage) -> bytes:
        return (
            self._dice.randbytes(fault.bytes) if fault.text is None else fault.text.encode(errors="replace")
        )

    def _schedule_receipts(
        self, request: Request, fields: _RecordedFields, response: _Response
    ) -> Callable[[], Awaitable[None]] | None:
        if self._receipts is None:
            return None
        return self._receipts.schedule(
            Sent(self._message_id(response), fields.to, fields.sender, request.received_at_ms)
        )

    def _message_id(self, response: _Response) -> str:
        return self.ids.message_id(response.message_number) if response.message_number else ""

    def _request_id(self) -> str:
        """The id of the current request, which is recorded next."""
        return self.ids.request_id(len(self.records) + 1)


def _prevents_sending(fault: Fault) -> bool:
    """Whether the fault replaces the vendor's processing, so that nothing is sent."""
    match fault:
        case RetCode() | Hang():
            return True
        case HttpStatus():
            return not fault.stored
        case Reset() | Close():
            return fault.when is not When.AFTER_STORING
        case _:
            return False


def _is_stored_error(fault: Fault | None) -> bool:
    return isinstance(fault, HttpStatus) and fault.stored


def _truncated(reply: bytes, fault: Truncate) -> tuple[bytes, Mode]:
    keep = fault.bytes + (body_start(reply) if fault.of == "body" else 0)
    return reply[:keep], Silence(None) if fault.then == "hang" else Cut(fault.then)


def _fault_body(fault: HttpStatus, message_id: str, request_id: str) -> bytes:
    body = to_json(fault.body) if isinstance(fault.body, dict) else fault.body.encode(errors="replace")
    return body.replace(b"{message_id}", message_id.encode()).replace(b"{request_id}", request_id.encode())


def _recorded_fields(body: dict[str, Any]) -> _RecordedFields:
    to = body.get("To")
    return _RecordedFields(
        action=_shortened_text(body.get("Action")),
        to=to if isinstance(to, str) and is_phone(to) else "",
        sender=_shortened_text(body.get("BusinessPhone")),
        type=_shortened_text(body.get("Type")),
        content=body.get("Content"),
    )


def _shortened_text(value: object) -> str:
    """A field for the records, cut to a length that no valid one has, so that their memory stays bounded."""
    return value[:64] if isinstance(value, str) else ""


def _template_name(call: Call) -> str:
    """The template's name for the rules, from a Content that is not checked yet; empty when there is none."""
    content = call.body.get("Content")
    if call.body.get("Type") != "template" or not isinstance(content, str):
        return ""
    try:
        name = decoder.decode(content).get("name")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""
