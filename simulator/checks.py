"""The checks of a request: HTTP, access key, signature, clock, nonce, Action, account, and the fields of a SendMessage.

Their order is our choice; the vendor documents none. Only ``Nonces`` has a state.
"""

from __future__ import annotations

import hmac
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from bulksend.gateway.signature import sign
from simulator.content import TYPES, ContentError, check_content, decoder
from simulator.settings import SimulatorSettings

PATHS = frozenset({"/api", "/api/"})
ACTIONS = frozenset(
    [
        *("SendMessage", "SendWhatsappMessage", "GetAccountPhoneList", "GetTemplates"),
        *("UploadMedia", "GetMedia", "DeleteMedia"),
    ]
)

#: A comment in the Go SDK says at most 32 characters, but the Java SDK sends a UUID of 36 (docs/vendor.md#request).
MAX_NONCE = 36


@dataclass(frozen=True, slots=True)
class Request:
    """One complete HTTP request. Header names are in lower case; ``now`` is monotonic seconds."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    received_at_ms: float
    now: float


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a request is rejected. ``ret_code`` None: by its HTTP status alone."""

    message: str
    ret_code: int | None = None
    http_status: int = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed the checks of ``authenticate``."""

    action: str
    body: dict[str, Any]


class Nonces:
    """The nonces of the last ``window`` seconds, as hashes of 100 bytes each; a window of 0 switches the check off."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._seen: set[int] = set()
        self._order: deque[tuple[float, int]] = deque()

    def use(self, nonce: str, now: float) -> bool:
        """Record a nonce; returns whether it was not used within the window. ``now`` is monotonic seconds."""
        if not self._window:
            return True
        order, seen = self._order, self._seen
        while order and now - order[0][0] > self._window:
            seen.discard(order.popleft()[1])
        mark = hash(nonce)
        if mark in seen:
            return False
        seen.add(mark)
        order.append((now, mark))
        return True


def read_body(request: Request) -> dict[str, Any] | Rejection:
    """The JSON object in the body, when path, method, media type and encoding are right."""
    if request.path not in PATHS:
        return Rejection("no such path; the endpoint is /api", http_status=404)
    if request.method != "POST":
        return Rejection("only POST is allowed", http_status=405)
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        return Rejection("Content-Type must be application/json", http_status=415)
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in {"", "utf-8", "utf8"}:
        return Rejection("the body must be UTF-8", http_status=415)
    try:
        body = decoder.decode(request.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return Rejection("the body is not valid JSON in UTF-8", http_status=400)
    if not isinstance(body, dict):
        return Rejection("the body must be a JSON object", http_status=400)
    return body


def authenticate(
    request: Request, body: dict[str, Any], settings: SimulatorSettings, nonces: Nonces
) -> Call | Rejection:
    """The call, when access key, signature, clock, nonce, Action and account are right."""
    headers = request.headers
    signature = headers.get("x-signature")
    if not signature:
        return Rejection("Missing signature", 170)
    if not hmac.compare_digest(headers.get("x-access-key-id", "").encode(), settings.access_key_id.encode()):
        # The reply to an unknown key is not documented; 174 is UCloud's "token does not exist".
        return Rejection("Access key does not exist", 174)
    if not _is_signed(body, signature, settings.secret):
        return Rejection("Signature VerifyAC Error", 171)
    return (
        _check_clock(headers.get("x-timestamp", ""), request.received_at_ms, settings.clock_tolerance_seconds)
        or _check_nonce(headers.get("x-nonce", ""), request.now, nonces)
        or _check_action(request.query, body, settings.account_id)
    )


def _is_signed(body: dict[str, Any], signature: str, secret: str) -> bool:
    try:
        wanted = sign(body, secret)
    except (TypeError, ValueError, RecursionError):
        # null, a lone surrogate, nested too deep: no client can sign that.
        return False
    return hmac.compare_digest(wanted.encode(), signature.encode())


def _check_clock(timestamp: str, received_at_ms: float, tolerance: int) -> Rejection | None:
    # The code for a wrong timestamp is not documented. 171 is our guess: for that code a client checks its clock first.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return Rejection("X-Timestamp must be unix seconds", 171)
    if abs(int(timestamp) - received_at_ms / 1000) > tolerance:
        return Rejection(f"X-Timestamp is not within {tolerance} s of the server's time", 171)
    return None


def _check_nonce(nonce: str, now: float, nonces: Nonces) -> Rejection | None:
    # The code for a wrong nonce is not documented either.
    if not nonce or len(nonce) > MAX_NONCE:
        return Rejection(f"X-Nonce must be 1 to {MAX_NONCE} characters", 171)
    if not nonces.use(nonce, now):
        return Rejection("X-Nonce was used before", 171)
    return None


def _check_action(query: str, body: dict[str, Any], account_id: int | None) -> Call | Rejection:
    action = body.get("Action")
    if action is None or action == "":
        return Rejection("Missing Action", 160)
    if not isinstance(action, str) or action not in ACTIONS:
        return Rejection("Action not found", 161)
    # The query is optional and unsigned (docs/vendor.md#request); one that contradicts the body is a mistake.
    in_query = parse_qs(query).get("Action") if query else None
    if in_query is not None and in_query != [action]:
        return Rejection("Action in the query differs from the body", 161)
    given = body.get("AccountId")
    if given is not None and not _is_account(given, account_id):
        return Rejection("Account does not exist", 172)
    return Call(action, body)


def _is_account(given: object, account_id: int | None) -> bool:
    """An integer, or as in the tests of the SDKs a string of digits."""
    if isinstance(given, bool) or not isinstance(given, int | str):
        return False
    digits = str(given)
    return digits.isascii() and digits.isdigit() and (account_id is None or int(digits) == account_id)


def is_phone(value: object) -> bool:
    """Whether it is 7 to 15 digits without ``+``, as in all samples (docs/vendor.md#request)."""
    return isinstance(value, str) and value.isascii() and value.isdigit() and 7 <= len(value) <= 15


def check_send(body: dict[str, Any]) -> dict[str, Any]:
    """The decoded Content of a SendMessage. Raises ContentError for the first field that is wrong."""
    if not is_phone(body.get("BusinessPhone")):
        raise ContentError("Invalid parameter: BusinessPhone must be 7 to 15 digits")
    if not is_phone(body.get("To")):
        raise ContentError("Invalid parameter: To must be 7 to 15 digits")
    if body["To"] == body["BusinessPhone"]:
        raise ContentError("Sender and recipient are the same number", 131021)
    kind = body.get("Type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise ContentError("Invalid parameter: Type is not one of " + ", ".join(sorted(TYPES)))
    return check_content(kind, body.get("Content"))
