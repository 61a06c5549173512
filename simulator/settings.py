"""Everything about the rehearsal vendor that can be set; the faults alone may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, TypeAdapter

from bulksend.errors import InvalidValue
from simulator.faults import Rule
from simulator.json_values import read_as
from simulator.latency import Constant, Latency

_STRICT = ConfigDict(extra="forbid")

#: Credentials that open nothing but a simulator on this machine; used where none are given.
REHEARSAL_ACCESS_KEY_ID = "rehearsal-access-key"
REHEARSAL_SECRET = "rehearsal-secret-opens-only-the-simulator"  # noqa: S105

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1)]
PerSecond = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the vendor lets through. None is no limit. Requests that are turned away do not count."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    per_sender_per_second: PerSecond | None = None
    """In any sliding window of one second, per BusinessPhone (WhatsApp's default is 80)."""
    per_account_per_second: PerSecond | None = None
    answer: Literal["http_429", "ret_code_153", "whatsapp_130429"] = "ret_code_153"
    """How a rate that was exceeded is told. Nobody documents which the vendor uses (reference 1.1, 1.4)."""
    retry_after_seconds: Annotated[int, Field(ge=0)] | None = None
    """The Retry-After header of an ``http_429``; None sends none."""
    pair_interval_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """One message per so long to the same user, else 131056 (WhatsApp: 6 s); None is off."""
    pair_burst: Positive = 45
    """So many may go out at once before the interval binds, borrowed from later."""


@dataclass(frozen=True, slots=True)
class VendorTemplate:
    """A template the vendor knows."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    language: str
    status: str = "APPROVED"
    category: str = "MARKETING"
    body_parameters: Annotated[int, Field(ge=0)] | None = None
    """How many variables its body has, else 132000; None is not checked."""


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
    """Status callbacks. The delays count from the instant at which the message was accepted."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    url: str = field(repr=False)
    """Where to POST them. Its path may hold a token, so it is neither logged nor shown."""
    shape: Literal["meta", "ycloud", "flat"] = "meta"
    """Whose JSON to imitate (reference, section 2: the vendor documents none)."""
    sent: Latency = field(default_factory=lambda: Constant(50))
    delivered: Latency = field(default_factory=lambda: Constant(200))
    read: Latency = field(default_factory=lambda: Constant(1_000))
    delivered_share: Share = 1.0
    """Of the messages that do not fail; the rest stays ``sent``."""
    read_share: Share = 0.0
    """Of the delivered ones."""
    failed_share: Share = 0.0
    failed_code: int = 131026
    failed_title: str = "Message undeliverable"
    duplicate_share: Share = 0.0
    """Of the receipts: POSTed once more."""
    out_of_order_share: Share = 0.0
    """Of the messages: their receipts come in reverse."""
    before_answer_share: Share = 0.0
    """Of the messages: the first receipt is POSTed, and its reply awaited, before the send itself is
    answered.
    """
    tries: Annotated[int, Field(ge=1, le=100)] = 5
    retry_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 500.0
    """Before the second try; doubles with each further one."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    connections: Annotated[int, Field(ge=1, le=64)] = 8

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("url must be an http:// or https:// address")


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """One rehearsal vendor."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """0 lets the system choose."""
    access_key_id: str = REHEARSAL_ACCESS_KEY_ID
    secret: str = field(default=REHEARSAL_SECRET, repr=False)
    account_id: int | None = None
    """Refuse any other AccountId with 172; None takes all. The SDKs send none, so none is always taken."""
    clock_tolerance_seconds: Annotated[int, Field(ge=0)] = 300
    nonce_window_seconds: Annotated[int, Field(ge=0)] = 300
    """How long a nonce may not be used again; 0 is never checked."""
    latency: Latency = field(default_factory=Constant)
    limits: Limits = field(default_factory=Limits)
    balance: Annotated[int, Field(ge=0)] | None = None
    """How many messages the account can still pay for, then 17125; None is without end."""
    templates: tuple[VendorTemplate, ...] | None = None
    """The templates there are; None takes every name and language."""
    phones: tuple[VendorPhone, ...] | None = None
    """The business phones of the account; None takes every one."""
    rules: tuple[Rule, ...] = ()
    seed: int = 0
    """Of all dice: faults, latency, garbage, receipts. The same seed and order of requests give the same run.
    """
    keep_bodies: Annotated[int, Field(ge=0)] = 20_000
    """How many of the last requests are kept whole; of all older ones a compact record stays."""
    max_body_bytes: Positive = 32 * 1024 * 1024
    max_requests_per_connection: Positive | None = None
    idle_close_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Close a connection on which nothing was asked for so long; None never does."""
    stop_grace_seconds: Annotated[float, Field(ge=0, le=600)] = 2.0
    """How long a stop waits for answers under way."""
    inspection_token: str | None = field(default=None, repr=False)
    """Asked for as a Bearer token by /_/ ; without one, /_/ answers only peers on this machine."""
    receipts: ReceiptSettings | None = None


_SETTINGS: TypeAdapter[SimulatorSettings] = TypeAdapter(SimulatorSettings)

#: Secrets do not belong into a settings file that gets copied around.
_NOT_IN_A_FILE = ("secret", "inspection_token")


def read_settings(value: object) -> SimulatorSettings:
    """Settings from parsed JSON, an object with the names above. Raises InvalidValue that names the field."""
    if not isinstance(value, dict):
        raise InvalidValue("settings", "", "must be a JSON object")
    for name in _NOT_IN_A_FILE:
        if name in value:
            raise InvalidValue(
                f"settings.{name}", "", "does not belong into a settings file; use the option for it"
            )
    known: dict[str, Any] = value
    return read_as(_SETTINGS, known, "settings")


def with_changes(settings: SimulatorSettings, **changes: Any) -> SimulatorSettings:
    """The settings with those changes whose value is not None."""
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})
