"""The vendor: takes one request, decides, puts it on record, and says what to do with the connection.

Knows no sockets and no clock: every request brings its own times, so a rehearsal can be told as a table.
"""

from __future__ import annotations

import binascii
import uuid
from base64 import b64decode
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol, assert_never

from simulator.checks import Call, Nonces, Refusal, Request, check_send, is_phone, let_in, read_body
from simulator.content import ContentError, body_parameter_count, decoder
from simulator.fault_rules import SEND_ACTIONS, Facts, FaultRules
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
from simulator.plan import Cut, Delivery, Pieces, Plan, Silence, Whole
from simulator.quotas import Quotas
from simulator.receipts import Sent
from simulator.records import STORED, Received, Records, Verdict, without_answer
from simulator.replies import (
    HttpDate,
    Names,
    accepted_body,
    body_start,
    data_body,
    http_reply,
    refused_body,
    to_json,
)
from simulator.settings import SimulatorSettings, VendorTemplate

#: Phones in these states can send (reference 1.6 lists all states).
_SENDING_STATES = frozenset({"CONNECTED", "FLAGGED", "RATE_LIMITED"})

_TEMPLATE_PROBLEMS = {
    "PAUSED": "(#132015) Template is paused",
    "DISABLED": "(#132016) Template is disabled",
}


class ReceiptDesk(Protocol):
    """Whoever sends status callbacks for what was accepted."""

    def accepted(self, sent: Sent) -> Callable[[], Awaitable[None]] | None:
        """Take note; answers what must be awaited before the send itself is answered, if anything."""


@dataclass(frozen=True, slots=True)
class _Decision:
    """What the vendor would answer, before a fault spoils it."""

    verdict: Verdict
    status: int
    body: bytes
    ret_code: int | None
    message_number: int = 0
    headers: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """The fields of a request that go on record, whatever is wrong with them."""

    action: str = ""
    to: str = ""
    sender: str = ""
    type: str = ""
    content: object = None


class Vendor:
    """One account's view of the vendor. Not thread-safe: it belongs to one event loop."""

    def __init__(
        self, settings: SimulatorSettings, now: float, names: Names, receipts: ReceiptDesk | None = None
    ) -> None:
        self.settings = settings
        self.names = names
        self._receipts = receipts
        self._date = HttpDate()
        self._dice = Random(settings.seed)
        self._known_templates = {(one.name, one.language): one for one in settings.templates or ()}
        self._known_phones = {one.number: one for one in settings.phones or ()}
        self._messages = 0
        self.rulebook = FaultRules(settings.rules, settings.seed, now)
        self.reset(now)

    def reset(self, now: float) -> None:
        """Forget all requests, nonces and counters; the rules and the balance start again. Ids are not
        reused.
        """
        self.records = Records(self.settings.keep_bodies, self.names)
        self._nonces = Nonces(self.settings.nonce_window_seconds)
        self._allowances = Quotas(self.settings.limits, self.settings.balance)
        self._sends = 0
        self._last_message = 0
        self._attempts: Counter[int] = Counter()
        self.set_rules(self.rulebook.rules, now)

    def set_rules(self, rules: tuple[Rule, ...], now: float) -> None:
        """Replace the rules; their clock, their dice and their counts start anew."""
        self.rulebook = FaultRules(rules, self.settings.seed, now)
        self._attempts = self.records.attempts() if self.rulebook.counts_attempts else Counter()

    @property
    def balance(self) -> int | None:
        """How many messages can still be paid for; None is without end."""
        return self._allowances.balance

    def top_up(self, balance: int | None) -> None:
        """Set what the account can still pay for."""
        self._allowances.balance = balance

    def greet(self, now: float) -> Cut | None:
        """Called for each new connection: whether to cut it at once."""
        rule = self.rulebook.for_connection(now)
        return None if rule is None else Cut("reset" if isinstance(rule.fault, Reset) else "close")

    # ---- one request -----------------------------------------------------------------------------

    def receive(self, request: Request) -> Plan:
        """Decide one complete request."""
        body = read_body(request)
        if isinstance(body, Refusal):
            return self._answer(request, _Asked(), self._refused("", body), None)
        asked = _asked(body)
        call = let_in(request, body, self.settings, self._nonces)
        if isinstance(call, Refusal):
            return self._answer(request, asked, self._refused(asked.action, call), None)
        if call.action not in SEND_ACTIONS:
            return self._receive_other(request, call, asked)
        return self._receive_send(request, call, asked)

    def _receive_send(self, request: Request, call: Call, asked: _Asked) -> Plan:
        self._sends += 1
        throttled = self._allowances.refuse_rate(asked.sender, request.now)
        if throttled is not None:
            return self._answer(request, asked, self._throttled(call.action, throttled), None)
        rule = self._struck_by(request, call, asked)
        if rule is not None and _prevents(rule.fault):
            return self._answer(request, asked, self._prevented(call.action, rule.fault), rule)
        again = rule is not None and isinstance(rule.fault, DuplicateMessageId)
        return self._answer(request, asked, self._decide_send(call, request.now, again), rule)

    def _receive_other(self, request: Request, call: Call, asked: _Asked) -> Plan:
        rule = self._struck_by(request, call, asked)
        if rule is not None and _prevents(rule.fault):
            return self._answer(request, asked, self._prevented(call.action, rule.fault), rule)
        return self._answer(request, asked, self._decide_other(call), rule)

    def _struck_by(self, request: Request, call: Call, asked: _Asked) -> Rule | None:
        if not self.rulebook.looks_at_requests:
            return None
        attempt = 0
        if self.rulebook.counts_attempts and asked.to:
            key = int("1" + asked.to)
            attempt = self._attempts[key] = self._attempts[key] + 1
        facts = Facts(
            call.action, asked.to, asked.sender, asked.type, _template_name(call), self._sends, attempt
        )
        return self.rulebook.for_request(facts, request.now)

    # ---- what the vendor would say ---------------------------------------------------------------

    def _decide_send(self, call: Call, now: float, again: bool) -> _Decision:
        try:
            content = check_send(call.body)
        except ContentError as bad:
            return self._refused(call.action, Refusal(bad.message, 17115))
        sender, to = call.body["BusinessPhone"], call.body["To"]
        refusal = self._refuse_phone(sender)
        if refusal is None and call.body["Type"] == "template":
            refusal = self._refuse_template(content)
        if refusal is None and self._allowances.is_broke:
            refusal = Refusal("No money in account", 17125)
        if refusal is None:
            refusal = self._allowances.refuse_pair(sender, to, now)
        if refusal is not None:
            return self._refused(call.action, refusal)
        return self._accept(call, again)

    def _accept(self, call: Call, again: bool) -> _Decision:
        self._allowances.pay()
        if not (again and self._last_message):
            self._messages += 1
            self._last_message = self._messages
        number = self._last_message
        body = accepted_body(call.action, self.names.message_id(number), self._request_id())
        return _Decision(Verdict.ACCEPTED, 200, body, 0, number)

    def _refuse_phone(self, sender: str) -> Refusal | None:
        if self.settings.phones is None:
            return None
        phone = self._known_phones.get(sender)
        if phone is None:
            return Refusal("channel account not found", 17102)
        if phone.status not in _SENDING_STATES:
            return Refusal("(#133010) Phone number not registered", 17115)
        return None

    def _refuse_template(self, content: dict[str, Any]) -> Refusal | None:
        if self.settings.templates is None:
            return None
        template = self._known_templates.get((content["name"], content["language"]["code"]))
        if template is None or template.status not in {"APPROVED", *_TEMPLATE_PROBLEMS}:
            return Refusal("(#132001) Template name does not exist in the translation", 17115)
        if template.status in _TEMPLATE_PROBLEMS:
            return Refusal(_TEMPLATE_PROBLEMS[template.status], 17115)
        if template.body_parameters not in (None, body_parameter_count(content)):
            return Refusal(
                "(#132000) Number of parameters does not match the expected number of params", 17115
            )
        return None

    def _decide_other(self, call: Call) -> _Decision:
        data: dict[str, Any] | Refusal
        match call.action:
            case "GetAccountPhoneList":
                data = self._phone_list()
            case "GetTemplates":
                data = self._template_list(call.body)
            case _:
                data = _uploaded(call.body)
        if isinstance(data, Refusal):
            return self._refused(call.action, data)
        return _Decision(Verdict.SERVED, 200, data_body(call.action, data, self._request_id()), 0)

    def _phone_list(self) -> dict[str, Any]:
        phones = [
            {
                "Number": phone.number,
                "Country": phone.country,
                "Status": phone.status,
                "QualityRating": phone.quality_rating,
                "DisplayName": phone.display_name,
                "MessagingLimit": phone.messaging_limit,
            }
            for phone in self._known_phones.values()
        ]
        return {"Data": {"PhoneList": phones}}

    def _template_list(self, body: dict[str, Any]) -> dict[str, Any] | Refusal:
        if not is_phone(body.get("BusinessPhone")):
            return Refusal("BusinessPhone must be 7 to 15 digits", 17108)
        wanted = body.get("Name")
        found = [one for one in self._known_templates.values() if wanted in (None, "", one.name)]
        paging = {"Cursors": {"After": "", "Before": ""}, "Next": "", "Previous": ""}
        # List and paging are inside an outer Data: so the SDK reads it (its GetTemplatesResData).
        return {"Data": {"Data": [_as_vendor_tells(one) for one in found], "Paging": paging}}

    def _refused(self, action: str, refusal: Refusal) -> _Decision:
        if refusal.ret_code is None:
            body = to_json({"Message": refusal.message, "RequestId": self._request_id()})
            headers = {"Allow": "POST"} if refusal.http_status == 405 else None
            return _Decision(Verdict.REFUSED, refusal.http_status, body, None, headers=headers)
        body = refused_body(action, refusal.ret_code, refusal.message, self._request_id())
        return _Decision(Verdict.REFUSED, refusal.http_status, body, refusal.ret_code)

    def _throttled(self, action: str, refusal: Refusal) -> _Decision:
        told = self._refused(action, refusal)
        wait = self.settings.limits.retry_after_seconds
        headers = {"Retry-After": str(wait)} if told.status == 429 and wait is not None else None
        return _Decision(Verdict.THROTTLED, told.status, told.body, told.ret_code, headers=headers)

    def _prevented(self, action: str, fault: Fault) -> _Decision:
        if isinstance(fault, RetCode):
            return self._refused(action, Refusal(fault.message, fault.ret_code))
        if isinstance(fault, HttpStatus):
            return _Decision(Verdict.HTTP_ERROR, fault.status, b"", None)
        return _Decision(Verdict.DROPPED, 0, b"", None)

    # ---- on record, and out ----------------------------------------------------------------------

    def _answer(self, request: Request, asked: _Asked, decision: _Decision, rule: Rule | None) -> Plan:
        fault = None if rule is None else rule.fault
        whole = self._reply(request, decision, fault)
        reply, delivery = self._spoil(whole, fault)
        verdict = decision.verdict
        if (reply != whole and verdict is not Verdict.DROPPED) or _is_stored_error(fault):
            verdict = without_answer(verdict)
        record = self.records.add(
            Received(
                received_at_ms=request.received_at_ms,
                now=request.now,
                action=asked.action,
                to=asked.to,
                sender=asked.sender,
                type=asked.type,
                verdict=verdict,
                ret_code=decision.ret_code,
                http_status=fault.status if isinstance(fault, HttpStatus) else decision.status,
                message_number=decision.message_number,
                fault="" if rule is None else rule.title,
                content=asked.content,
                headers=request.headers,
            )
        )
        delay = draw(self.settings.latency, self._dice)
        return Plan(
            reply=reply,
            delivery=delivery,
            delay_seconds=delay + (fault.seconds if isinstance(fault, Slow) else 0.0),
            # Of these records, even where others have taken their place by then.
            lost=partial(self.records.answer_lost, record),
            first=self._announce(request, asked, decision) if verdict in STORED else None,
        )

    def _reply(self, request: Request, decision: _Decision, fault: Fault | None) -> bytes:
        """The whole reply; a fault that sets the HTTP status replaces what the vendor would have said."""
        request_id = self._request_id()
        status, body, own = decision.status, decision.body, decision.headers
        content_type = "application/json"
        if isinstance(fault, HttpStatus):
            status, own = fault.status, fault.headers
            body = _fault_body(fault, self._message_id(decision), request_id)
            content_type = "application/json" if body[:1] in (b"{", b"[") else "text/html"
        headers = {"X-Speedo-Request-Uuid": request_id, **(own or {})}
        return http_reply(status or 200, body, self._date.at(request.received_at_ms), headers, content_type)

    def _spoil(self, reply: bytes, fault: Fault | None) -> tuple[bytes, Delivery]:
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
                return _shortened(reply, fault)
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

    def _announce(
        self, request: Request, asked: _Asked, decision: _Decision
    ) -> Callable[[], Awaitable[None]] | None:
        if self._receipts is None:
            return None
        return self._receipts.accepted(
            Sent(self._message_id(decision), asked.to, asked.sender, request.received_at_ms)
        )

    def _message_id(self, decision: _Decision) -> str:
        return self.names.message_id(decision.message_number) if decision.message_number else ""

    def _request_id(self) -> str:
        """Of the request being answered, which goes on record as the next."""
        return self.names.request_id(len(self.records) + 1)


def _prevents(fault: Fault) -> bool:
    """Whether the message is not even looked at: nothing is sent."""
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


def _shortened(reply: bytes, fault: Truncate) -> tuple[bytes, Delivery]:
    keep = fault.bytes + (body_start(reply) if fault.of == "body" else 0)
    return reply[:keep], Silence(None) if fault.then == "hang" else Cut(fault.then)


def _fault_body(fault: HttpStatus, message_id: str, request_id: str) -> bytes:
    body = to_json(fault.body) if isinstance(fault.body, dict) else fault.body.encode(errors="replace")
    return body.replace(b"{message_id}", message_id.encode()).replace(b"{request_id}", request_id.encode())


def _asked(body: dict[str, Any]) -> _Asked:
    to = body.get("To")
    return _Asked(
        action=_word(body.get("Action")),
        to=to if isinstance(to, str) and is_phone(to) else "",
        sender=_word(body.get("BusinessPhone")),
        type=_word(body.get("Type")),
        content=body.get("Content"),
    )


def _word(value: object) -> str:
    """A field as it is counted by: never longer than an honest one, lest the records grow without bound."""
    return value[:64] if isinstance(value, str) else ""


def _template_name(call: Call) -> str:
    """The template that a rule may look at, read before anything was checked; empty where there is none."""
    content = call.body.get("Content")
    if call.body.get("Type") != "template" or not isinstance(content, str):
        return ""
    try:
        name = decoder.decode(content).get("name")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""


def _as_vendor_tells(template: VendorTemplate) -> dict[str, Any]:
    """One entry of GetTemplates (reference 1.6), with as many body variables as the template has."""
    variables = " ".join(f"{{{{{place + 1}}}}}" for place in range(template.body_parameters or 0))
    return {
        "ID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{template.name}/{template.language}")),
        "Name": template.name,
        "Category": template.category,
        "Language": template.language,
        "Status": template.status,
        "RejectedReason": "",
        "QualityScore": {"Score": "UNKNOWN"},
        "Tags": [],
        "Components": [{"Type": "BODY", "Text": f"Rehearsal {variables} end".replace("  ", " ")}],
    }


def _uploaded(body: dict[str, Any]) -> dict[str, Any] | Refusal:
    """UploadMedia: ``Id`` as a string, as the sample and the SDK have it (reference 1.6). The file is not
    kept.
    """
    if not is_phone(body.get("BusinessPhone")):
        return Refusal("BusinessPhone must be 7 to 15 digits", 17112)
    try:
        file = b64decode(body.get("File") or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        return Refusal("File must be base64 without a data: prefix", 17110)
    if not file:
        return Refusal("File is empty", 17110)
    return {"Data": {"Id": str(uuid.uuid4())}}
