"""The settings of the simulator. Only fault rules and balance can change while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, TypeAdapter

from bulksend.errors import InvalidValue
from simulator.faults import Rule, Share
from simulator.json_values import read_as
from simulator.latency import Constant, Latency

_STRICT = ConfigDict(extra="forbid")

#: The default credentials, which only simulators accept.
REHEARSAL_ACCESS_KEY_ID = "rehearsal-access-key"
REHEARSAL_SECRET = "rehearsal-secret-opens-only-the-simulator"  # noqa: S105

Positive = Annotated[int, Field(ge=1)]
PerSecond = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, slots=True)
class Limits:
    """The vendor's limits; None: no limit. Rejected requests do not count."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    per_sender_per_second: PerSecond | None = None
    """In any sliding window of one second, per BusinessPhone (WhatsApp's default is 80)."""
    per_account_per_second: PerSecond | None = None
    answer: Literal["http_429", "ret_code_153", "whatsapp_130429"] = "ret_code_153"
    """The reply when a rate is exceeded. It is not documented which one the vendor uses (docs/vendor.md#limits)."""
    retry_after_seconds: Annotated[int, Field(ge=0)] | None = None
    """The Retry-After header of an ``http_429``; None: no header."""
    pair_interval_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """One message in this time to the same recipient, else 131056 (WhatsApp: 6 s); None: off."""
    pair_burst: Positive = 45
    """How many may be sent at once before the interval applies."""


@dataclass(frozen=True, slots=True)
class VendorButton:
    """A button of a template. A URL with ``{{1}}`` needs a parameter."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    type: str = "URL"
    text: str = "Open"
    url: str = ""


@dataclass(frozen=True, slots=True)
class VendorTemplate:
    """A template of the account."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    language: str
    status: str = "APPROVED"
    category: str = "MARKETING"
    body_parameters: Annotated[int, Field(ge=0)] | None = None
    """How many variables its body has, else 132000; None: no parameter is checked."""
    quality: str = "UNKNOWN"
    rejected_reason: str = ""
    header: Literal["", "TEXT", "IMAGE", "VIDEO", "DOCUMENT"] = ""
    header_parameters: Annotated[int, Field(ge=0, le=1)] = 0
    """Of a text header."""
    buttons: tuple[VendorButton, ...] = ()
    variable_names: tuple[str, ...] = ()
    """Names for people of the body's variables."""
    body: str = ""
    """The body's text with its variables as ``{{1}}``; empty: a text of the simulator."""


@dataclass(frozen=True, slots=True)
class VendorPhone:
    """A business phone of the account."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    number: str
    status: str = "CONNECTED"
    quality_rating: str = "GREEN"
    messaging_limit: str = "TIER_UNLIMITED"
    country: str = ""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class ReceiptSettings:
    """Status callbacks. Delays count from the acceptance of the message."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    url: str = field(repr=False)
    """Where to POST them. The path may contain a token, so the URL is never logged or shown."""
    shape: Literal[
        "meta", "ycloud", "flat", "alibaba", "engagelab", "nxcloud", "gupshup", "ucloud", "byteplus"
    ] = "meta"
    """Whose JSON to imitate; the vendor documents none (docs/vendor.md#receipts)."""
    batch: Annotated[int, Field(ge=1, le=1_000)] = 1
    """The most receipts of one POST, of those that are due at once; shapes without batches always have one."""
    alias_share: Share = 0.0
    """Of the messages: the MessageId stands under the shape's second name for ids, where it has one."""
    sent: Latency = field(default_factory=lambda: Constant(50))
    delivered: Latency = field(default_factory=lambda: Constant(200))
    read: Latency = field(default_factory=lambda: Constant(1_000))
    delivered_share: Share = 1.0
    """Of the messages that do not fail; the others stay ``sent``."""
    read_share: Share = 0.0
    """Of the delivered ones."""
    failed_share: Share = 0.0
    failed_code: int = 131026
    failed_title: str = "Message undeliverable"
    reply_share: Share = 0.0
    """Of the messages that are delivered: their person answers ``reply_text`` a moment later."""
    reply_text: str = "STOP"
    duplicate_share: Share = 0.0
    """Of the receipts: POSTed twice."""
    out_of_order_share: Share = 0.0
    """Of the messages: their receipts are POSTed in reverse order."""
    before_answer_share: Share = 0.0
    """Of the messages: the first receipt is POSTed, and its reply awaited, before the reply to the send."""
    tries: Annotated[int, Field(ge=1, le=100)] = 5
    retry_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 500.0
    """Before the second try; doubles with each further try."""
    retry_cap_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 3_600_000.0
    """The longest wait between two tries."""
    keep_posted: bool = False
    """Keep which receipts were answered with 2xx, for ``/_/receipts``."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    connections: Annotated[int, Field(ge=1, le=64)] = 8

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("url must be an http:// or https:// address")


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """The settings of one simulator."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """0 lets the system choose."""
    access_key_id: str = REHEARSAL_ACCESS_KEY_ID
    secret: str = field(default=REHEARSAL_SECRET, repr=False)
    account_id: int | None = None
    """Any other AccountId is rejected with 172; None: all are accepted. A request without one always is."""
    clock_tolerance_seconds: Annotated[int, Field(ge=0)] = 300
    nonce_window_seconds: Annotated[int, Field(ge=0)] = 300
    """How long a nonce may not be used again; 0: not checked."""
    latency: Latency = field(default_factory=Constant)
    limits: Limits = field(default_factory=Limits)
    balance: Annotated[int, Field(ge=0)] | None = None
    """How many messages the account can pay for, then 17125; None: no limit."""
    templates: tuple[VendorTemplate, ...] | None = None
    """The templates of the account; None: every name and language is accepted."""
    phones: tuple[VendorPhone, ...] | None = None
    """The business phones of the account; None: every one is accepted."""
    unlisted: Literal["refused", "accepted"] = "refused"
    """What becomes of other templates and phones than those that are listed."""
    media: Literal["any", "uploaded"] = "any"
    """Which ids of files a message may have: any, or those that were uploaded within 30 days, else 131053."""
    rules: tuple[Rule, ...] = ()
    seed: int = 0
    """Of all random numbers. The same seed and the same order of requests give the same run."""
    keep_bodies: Annotated[int, Field(ge=0)] = 20_000
    """How many of the newest requests are kept whole; older ones keep a compact row."""
    max_body_bytes: Positive = 32 * 1024 * 1024
    max_requests_per_connection: Positive | None = None
    idle_close_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Close a connection that has been idle this long; None: never."""
    stop_grace_seconds: Annotated[float, Field(ge=0, le=600)] = 2.0
    """How long a stop waits for replies under way."""
    inspection_token: str | None = field(default=None, repr=False)
    """The Bearer token of /_/; without one, /_/ answers only when the simulator listens on loopback."""
    receipts: ReceiptSettings | None = None


_SETTINGS: TypeAdapter[SimulatorSettings] = TypeAdapter(SimulatorSettings)

#: A settings file gets copied, so it must not contain secrets.
_NOT_IN_A_FILE = ("secret", "inspection_token")


def read_settings(value: object) -> SimulatorSettings:
    """Settings from parsed JSON. Raises InvalidValue that names the field."""
    if not isinstance(value, dict):
        raise InvalidValue("settings", "", "must be a JSON object")
    for name in _NOT_IN_A_FILE:
        if name in value:
            raise InvalidValue(
                f"settings.{name}",
                "",
                "is not allowed in a settings file; use its option of the command line",
            )
    known: dict[str, Any] = value
    return read_as(_SETTINGS, known, "settings")


def with_changes(settings: SimulatorSettings, **changes: Any) -> SimulatorSettings:
    """The settings with the changes that are not None."""
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})
