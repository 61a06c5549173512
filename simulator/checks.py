"""The vendor's door: who may come in, and what a SendMessage must look like. Pure but for the nonces it
remembers.

The order (transport, credentials, signature, clock, nonce, Action) is ours; the vendor documents none.
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
    {"SendMessage", "SendWhatsappMessage", "GetAccountPhoneList", "GetTemplates", "UploadMedia"}
)

#: The Go SDK's comment says at most 32 characters, yet the Java SDK sends a UUID of 36 (reference 1.1). A
#: rehearsal must not refuse what the vendor's own client sends, so 36 are taken.
MAX_NONCE = 36


@dataclass(frozen=True, slots=True)
class Request:
    """One complete HTTP request. Header names are lower case; the time is unix milliseconds, ``now``
    monotonic seconds.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    received_at_ms: float
    now: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not let in. ``ret_code`` None is a refusal by HTTP alone."""

    message: str
    ret_code: int | None = None
    http_status: int = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in."""

    action: str
    body: dict[str, Any]


class Nonces:
    """The nonces of the last ``window`` seconds. Keeps hashes, 100 bytes each; a window of 0 remembers
    nothing.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._seen: set[int] = set()
        self._order: deque[tuple[float, int]] = deque()

    def is_new(self, nonce: str, now: float) -> bool:
        """Remember it, and tell whether it was not used within the window. ``now`` is monotonic seconds."""
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


def read_body(request: Request) -> dict[str, Any] | Refusal:
    """The JSON object of a request that was sent to the right place in the right way."""
    if request.path not in PATHS:
        return Refusal("no such path; the endpoint is /api", http_status=404)
    if request.method != "POST":
        return Refusal("only POST is taken", http_status=405)
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        return Refusal("Content-Type must be application/json", http_status=415)
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in {"", "utf-8", "utf8"}:
        return Refusal("the body must be UTF-8", http_status=415)
    try:
        body = decoder.decode(request.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return Refusal("the body is not valid JSON in UTF-8", http_status=400)
    if not isinstance(body, dict):
        return Refusal("the body must be a JSON object", http_status=400)
    return body


def let_in(
    request: Request, body: dict[str, Any], settings: SimulatorSettings, nonces: Nonces
) -> Call | Refusal:
    """The call, if key, signature, clock, nonce, Action and account are in order."""
    headers = request.headers
    signature = headers.get("x-signature")
    if not signature:
        return Refusal("Missing signature", 170)
    if not hmac.compare_digest(headers.get("x-access-key-id", "").encode(), settings.access_key_id.encode()):
        # What the vendor answers to an unknown key is not documented; 174 is UCloud's "token does not exist".
        return Refusal("Access key does not exist", 174)
    if not _is_signed(body, signature, settings.secret):
        return Refusal("Signature VerifyAC Error", 171)
    return (
        _refuse_clock(
            headers.get("x-timestamp", ""), request.received_at_ms, settings.clock_tolerance_seconds
        )
        or _refuse_nonce(headers.get("x-nonce", ""), request.now, nonces)
        or _find_action(request.query, body, settings.account_id)
    )


def _is_signed(body: dict[str, Any], signature: str, secret: str) -> bool:
    try:
        wanted = sign(body, secret)
    except (TypeError, ValueError, RecursionError):
        # null, a lone surrogate, nested too deep: no client can have signed that.
        return False
    return hmac.compare_digest(wanted.encode(), signature.encode())


def _refuse_clock(timestamp: str, received_at_ms: float, tolerance: int) -> Refusal | None:
    # The code for a stale timestamp is unknown (reference 1.4). 171 with a Message that names it is our
    # guess; it is the one for which a client should check its clock first.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return Refusal("X-Timestamp must be unix seconds", 171)
    if abs(int(timestamp) - received_at_ms / 1000) > tolerance:
        return Refusal(f"X-Timestamp is not within {tolerance} s of the server's time", 171)
    return None


def _refuse_nonce(nonce: str, now: float, nonces: Nonces) -> Refusal | None:
    # The codes for a missing, long or used nonce are unknown as well.
    if not nonce or len(nonce) > MAX_NONCE:
        return Refusal(f"X-Nonce must be 1 to {MAX_NONCE} characters", 171)
    if not nonces.is_new(nonce, now):
        return Refusal("X-Nonce was used before", 171)
    return None


def _find_action(query: str, body: dict[str, Any], account_id: int | None) -> Call | Refusal:
    action = body.get("Action")
    if action is None or action == "":
        return Refusal("Missing Action", 160)
    if not isinstance(action, str) or action not in ACTIONS:
        return Refusal("Action not found", 161)
    # The query is optional and unsigned (reference 1.1). What the vendor does when it contradicts the body is
    # not known; here it is refused, for it can only be a mistake.
    in_query = parse_qs(query).get("Action") if query else None
    if in_query is not None and in_query != [action]:
        return Refusal("Action in the query differs from the body", 161)
    given = body.get("AccountId")
    if given is not None and not _is_account(given, account_id):
        return Refusal("Account does not exist", 172)
    return Call(action, body)


def _is_account(given: object, account_id: int | None) -> bool:
    """An integer by the page; the SDKs' tests also sign one as a string of digits (reference, vector 3)."""
    if isinstance(given, bool) or not isinstance(given, int | str):
        return False
    digits = str(given)
    return digits.isascii() and digits.isdigit() and (account_id is None or int(digits) == account_id)


def is_phone(value: object) -> bool:
    """Digits only, without ``+``, 7 to 15 of them, as all samples of the page have it (reference 1.3)."""
    return isinstance(value, str) and value.isascii() and value.isdigit() and 7 <= len(value) <= 15


def check_send(body: dict[str, Any]) -> dict[str, Any]:
    """The decoded Content of a SendMessage. Raises ContentError for any field that is wrong."""
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
