"""The pages under ``/_/``: what the simulator received, its rules, its balance, what changes at the vendor, and reset.

They show private data, so they answer only clients on this machine, or clients with the token.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from pydantic import ConfigDict, TypeAdapter

from bulksend.errors import InvalidInput, InvalidValue
from simulator.account import template_entry
from simulator.checks import Request
from simulator.faults import read_rules, rules_as_json
from simulator.json_values import read_as
from simulator.receipt_sender import ReceiptSender
from simulator.receipt_shapes import Inbound, meta_change
from simulator.records import Verdict
from simulator.replies import HttpDate, http_reply, to_json
from simulator.transmission import Transmission
from simulator.vendor import Vendor

PREFIX = "/_/"


@dataclass(frozen=True, slots=True)
class _Inbound:
    """What a person writes or taps, on command."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    person: str
    sender: str
    text: str = ""
    payload: str = ""
    context_id: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class _Change:
    """A notice of Meta, on command."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    field: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _TemplateChange:
    """What the vendor changes of a template; without ``language`` in all of its languages."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    language: str | None = None
    status: str | None = None
    category: str | None = None
    quality: str | None = None
    rejected_reason: str | None = None


@dataclass(frozen=True, slots=True)
class _PhoneChange:
    """What the vendor changes of a business phone."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    number: str
    status: str | None = None
    quality_rating: str | None = None
    messaging_limit: str | None = None


_CALLBACKS = ("inbound", "change", "body")
_INBOUND, _CHANGE = TypeAdapter(_Inbound), TypeAdapter(_Change)
_TEMPLATE, _PHONE = TypeAdapter(_TemplateChange), TypeAdapter(_PhoneChange)

#: Rows of one page; ``after`` asks for the next. A larger page would delay the replies to sends.
_MOST_ROWS = 10_000
_DEFAULT_ROWS = 1_000


class Inspection:
    """Serves ``/_/``. ``on_loopback``: only clients on this machine can reach the simulator."""

    def __init__(
        self,
        vendor: Vendor,
        token: str | None,
        on_loopback: bool,
        extra_stats: Callable[[], dict[str, Any]],
        receipt_sender: ReceiptSender | None = None,
    ) -> None:
        self._receipt_sender = receipt_sender
        self._vendor = vendor
        self._token = token
        self._on_loopback = on_loopback
        self._extra_stats = extra_stats
        self._date = HttpDate()
        self._posted = 0
        self._pages: dict[tuple[str, str], Callable[[Request], bytes]] = {
            ("GET", "messages"): self._messages,
            ("GET", "stats"): self._stats,
            ("GET", "duplicates"): self._duplicates,
            ("GET", "receipts"): self._receipts,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._set_faults,
            ("POST", "balance"): self._set_balance,
            ("POST", "callbacks"): self._post_callback,
            ("GET", "templates"): self._templates,
            ("POST", "templates"): self._change_template,
            ("POST", "phones"): self._change_phone,
            ("GET", "media"): self._media,
            ("POST", "reset"): self._reset,
        }

    def answer(self, request: Request) -> Transmission:
        """One page."""
        if request.path == PREFIX + "healthz":
            return self._reply(request, 200, to_json({"status": "ok"}))
        if not self._is_authorized(request):
            return self._reply(
                request, 403, to_json({"error": "give the inspection token as a Bearer token"})
            )
        name = request.path.removeprefix(PREFIX)
        page = self._pages.get((request.method, name))
        if page is None:
            known = any(path == name for _, path in self._pages)
            return self._reply(request, 405 if known else 404, to_json({"error": "no such page"}))
        try:
            body = page(request)
        except InvalidInput as error:
            field = error.field if isinstance(error, InvalidValue) else None
            return self._reply(request, 400, to_json({"error": str(error), "field": field}))
        kind = (
            "application/x-ndjson"
            if name == "messages" and "format=jsonl" in request.query
            else "application/json"
        )
        return self._reply(request, 200, body, kind)

    def _reply(
        self, request: Request, status: int, body: bytes, kind: str = "application/json"
    ) -> Transmission:
        return Transmission(
            http_reply(status, body, self._date.at(request.received_at_ms), content_type=kind)
        )

    def _is_authorized(self, request: Request) -> bool:
        if self._token is None:
            return self._on_loopback
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _messages(self, request: Request) -> bytes:
        query = _Query(
            request.query, {"to", "sender", "type", "verdict", "message_id", "after", "limit", "format"}
        )
        rows = self._vendor.records.find(
            to=query.text("to"),
            sender=query.text("sender"),
            type=query.text("type"),
            verdict=query.verdict(),
            message_id=query.text("message_id"),
            after=query.number("after", 0, 1 << 62),
            limit=query.number("limit", _DEFAULT_ROWS, _MOST_ROWS),
        )
        if query.one_of("format", "json", "jsonl") == "jsonl":
            return b"".join(to_json(row) + b"\n" for row in rows)
        return to_json(rows)

    def _duplicates(self, request: Request) -> bytes:
        query = _Query(request.query, {"of", "same", "limit"})
        return to_json(
            self._vendor.records.duplicates(
                of=query.one_of("of", "stored", "requests"),
                same_content=query.one_of("same", "recipient", "content") == "content",
                limit=query.number("limit", _DEFAULT_ROWS, _MOST_ROWS),
            )
        )

    def _receipts(self, request: Request) -> bytes:
        query = _Query(request.query, {"after", "limit"})
        after, limit = query.number("after", 0, 1 << 62), query.number("limit", _DEFAULT_ROWS, _MOST_ROWS)
        return to_json([] if self._receipt_sender is None else self._receipt_sender.posted(after, limit))

    def _stats(self, request: Request) -> bytes:
        query = _Query(request.query, {"distinct"})
        stats = self._vendor.records.stats(distinct=query.one_of("distinct", "0", "1") == "1")
        limits = self._vendor.settings.limits
        stats["limits"] = {
            "per_sender_per_second": limits.per_sender_per_second,
            "per_account_per_second": limits.per_account_per_second,
        }
        _add_share_of_limit(stats["sends"], limits.per_account_per_second)
        for sender in stats["senders"].values():
            _add_share_of_limit(sender, limits.per_sender_per_second)
        return to_json(stats | {"balance": self._vendor.balance} | self._extra_stats())

    def _faults(self, request: Request) -> bytes:
        current = self._vendor.fault_rules
        return to_json({"rules": rules_as_json(current.rules), "fired": current.fired})

    def _set_faults(self, request: Request) -> bytes:
        rules = read_rules(_json(request.body))
        self._vendor.set_rules(rules, request.now)
        return to_json({"rules": len(rules)})

    def _set_balance(self, request: Request) -> bytes:
        given = _json(request.body)
        balance = given.get("balance", False) if isinstance(given, dict) else False
        if (
            isinstance(balance, bool)
            or not isinstance(balance, int | None)
            or (balance is not None and balance < 0)
        ):
            raise InvalidValue("balance", "", "must be a number of messages from 0, or null for no limit")
        self._vendor.balance = balance
        return to_json({"balance": balance})

    def _post_callback(self, request: Request) -> bytes:
        """``{"inbound": …}``, ``{"change": …}`` or ``{"body": …}``, see simulator/README.md."""
        if self._receipt_sender is None:
            raise InvalidInput("the simulator posts no callbacks: start it with --receipts URL")
        given = _json(request.body)
        if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in _CALLBACKS:
            raise InvalidValue("callback", "", "must be an object with one of inbound, change, body")
        ((kind, value),) = given.items()
        if kind == "inbound":
            message = read_as(_INBOUND, value, kind)
            self._posted += 1
            self._receipt_sender.post_inbound(
                Inbound(
                    message.id or f"wamid.inbound.{self._posted}",
                    message.person,
                    message.sender,
                    int(request.received_at_ms),
                    message.text,
                    message.payload,
                    message.context_id,
                )
            )
        elif kind == "change":
            change = read_as(_CHANGE, value, kind)
            self._receipt_sender.post(meta_change(change.field, change.value, int(request.received_at_ms)))
        else:
            self._receipt_sender.post(value)
        return to_json({"posted": kind})

    def _templates(self, request: Request) -> bytes:
        return to_json([template_entry(one) for one in self._vendor.account.templates.values()])

    def _change_template(self, request: Request) -> bytes:
        change = read_as(_TEMPLATE, _json(request.body), "template")
        changes = asdict(change)
        changed = self._vendor.account.change_template(
            changes.pop("name"), changes.pop("language"), **changes
        )
        if not changed:
            raise InvalidValue("template.name", "", "is no template of the settings")
        return to_json({"changed": changed})

    def _change_phone(self, request: Request) -> bytes:
        changes = asdict(read_as(_PHONE, _json(request.body), "phone"))
        if not self._vendor.account.change_phone(changes.pop("number"), **changes):
            raise InvalidValue("phone.number", "", "is no phone of the settings")
        return to_json({"changed": 1})

    def _media(self, request: Request) -> bytes:
        return to_json(self._vendor.account.media(request.received_at_ms))

    def _reset(self, request: Request) -> bytes:
        self._vendor.reset(request.now)
        return to_json({"reset": True})


def _add_share_of_limit(described: dict[str, Any], limit: int | None) -> None:
    """Add the used share of the allowed rate, the mean from the first sent message to the last."""
    mean = described["mean_stored_per_second"]
    described["share_of_limit"] = None if limit is None or mean is None else mean / limit


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput("the body is not valid JSON") from None


class _Query:
    """The query of one page. Raises InvalidValue for an unknown parameter or a wrong value."""

    def __init__(self, query: str, known: set[str]) -> None:
        self._given = dict(parse_qsl(query, keep_blank_values=True))
        for name in self._given:
            if name not in known:
                raise InvalidValue(
                    name[:40],
                    "",
                    "is not a parameter of this page; known are: " + (", ".join(sorted(known)) or "none"),
                )

    def text(self, name: str) -> str | None:
        return self._given.get(name)

    def number(self, name: str, default: int, most: int) -> int:
        text = self._given.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
            raise InvalidValue(name, "", f"must be a whole number from 0 to {most}")
        return int(text)

    def one_of(self, name: str, default: str, *others: str) -> str:
        text = self._given.get(name, default)
        if text not in (default, *others):
            raise InvalidValue(name, "", "must be one of " + ", ".join((default, *others)))
        return text

    def verdict(self) -> Verdict | None:
        text = self._given.get("verdict")
        try:
            return None if text is None else Verdict(text)
        except ValueError:
            raise InvalidValue("verdict", "", "must be one of " + ", ".join(Verdict)) from None
