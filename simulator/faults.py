"""Fault rules: what a rule matches and what it does. README.md describes their JSON.

There are two kinds of faults. Some **prevent** (ret_code, http_status without ``stored``, hang, reset or close before
storing): they replace the vendor's response, and nothing is sent. All others **damage**: the vendor processes the
request and sends the message when it accepts it, then the reply is damaged or delayed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from simulator.json_values import read_as

_STRICT = ConfigDict(extra="forbid")

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=0, le=1 << 24)]


class When(StrEnum):
    """When a connection is cut."""

    BEFORE_READING = "before_reading"
    """When it is made: no request was read."""
    AFTER_READING = "after_reading"
    """After the whole request was read; nothing is sent to the recipient."""
    AFTER_STORING = "after_storing"
    """After the message was sent to the recipient; only the reply is lost."""


@dataclass(frozen=True, slots=True)
class RetCode:
    """Reply with this RetCode; nothing is sent."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    ret_code: Annotated[int, Field(ge=1, le=2_000_000_000)]
    message: str = "simulated fault"
    do: Literal["ret_code"] = "ret_code"


@dataclass(frozen=True, slots=True)
class HttpStatus:
    """Reply with this HTTP status. ``{message_id}`` and ``{request_id}`` in the body are replaced."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    status: Annotated[int, Field(ge=200, le=599)]
    body: str | dict[str, Any] = ""
    headers: dict[str, str] = field(default_factory=dict)
    stored: bool = False
    """Whether the message was sent before this reply."""
    do: Literal["http_status"] = "http_status"

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not value.isprintable():
                raise ValueError("headers must be plain names with printable values")
            if not value.isascii():
                raise ValueError("header values must be ASCII")


@dataclass(frozen=True, slots=True)
class Hang:
    """Read the request and never reply; close after ``seconds``, or never when that is None. Nothing is sent."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    seconds: Seconds | None = None
    do: Literal["hang"] = "hang"


@dataclass(frozen=True, slots=True)
class Reset:
    """Cut the connection with a TCP RST."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    when: When = When.AFTER_READING
    do: Literal["reset"] = "reset"


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection without a reply (TCP FIN)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    when: When = When.AFTER_READING
    do: Literal["close"] = "close"


@dataclass(frozen=True, slots=True)
class Truncate:
    """Send only the first bytes of the reply, with ``of="body"`` the head and the first bytes of the body."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    bytes: Size
    of: Literal["body", "reply"] = "body"
    then: Literal["close", "reset", "hang"] = "close"
    do: Literal["truncate"] = "truncate"


@dataclass(frozen=True, slots=True)
class Drip:
    """Send the reply in small pieces with a pause after each, so that no single read times out."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    bytes: Annotated[int, Field(ge=1, le=65_536)] = 1
    interval_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)] = 100.0
    do: Literal["drip"] = "drip"


@dataclass(frozen=True, slots=True)
class Garbage:
    """Send bytes that are not HTTP, then close: ``text``, or else ``bytes`` random ones."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    bytes: Annotated[int, Field(ge=1, le=65_536)] = 256
    text: str | None = None
    do: Literal["garbage"] = "garbage"


@dataclass(frozen=True, slots=True)
class AcceptThenHang:
    """Send the message to the recipient, then never reply."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    seconds: Seconds | None = None
    do: Literal["accept_then_hang"] = "accept_then_hang"


@dataclass(frozen=True, slots=True)
class AcceptThenReset:
    """Send the message to the recipient, then reset the connection."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    do: Literal["accept_then_reset"] = "accept_then_reset"


@dataclass(frozen=True, slots=True)
class Slow:
    """Reply as usual, this much later than the latency."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    seconds: Seconds
    do: Literal["slow"] = "slow"


@dataclass(frozen=True, slots=True)
class DuplicateMessageId:
    """Accept, with the MessageId of the last accepted message."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    do: Literal["duplicate_message_id"] = "duplicate_message_id"


Fault = (
    RetCode
    | HttpStatus
    | Hang
    | Reset
    | Close
    | Truncate
    | Drip
    | Garbage
    | AcceptThenHang
    | AcceptThenReset
    | Slow
    | DuplicateMessageId
)


@dataclass(frozen=True, slots=True)
class Match:
    """All given conditions must hold; ``share`` is drawn last, so that it is a share of what matches the others."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    share: Share = 1.0
    to_regex: str | None = None
    """Searched anywhere in the recipient's digits; anchor it with ^ and $."""
    to_prefix: str | None = None
    to_suffix: str | None = None
    sender: str | None = None
    type: str | None = None
    template: str | None = None
    action: str | None = None
    """None: the send call by either name; ``*``: any action; else exactly this one."""
    nth: Count | None = None
    """The nth send request since start or reset, counted from 1 (before_reading: the nth connection)."""
    every: Count | None = None
    """Every nth of them."""
    attempt: Count | None = None
    """The nth request for this recipient, counted from 1."""
    attempt_up_to: Count | None = None
    """The first n requests for this recipient."""
    from_seconds: Seconds | None = None
    """From this many seconds after the rules were set..."""
    until_seconds: Seconds | None = None
    """...until this many."""

    def __post_init__(self) -> None:
        if self.to_regex is not None:
            try:
                re.compile(self.to_regex)
            except re.error as error:
                raise ValueError(f"to_regex is not a regular expression: {error}") from error

    @property
    def reads_the_request(self) -> bool:
        """Whether a condition needs the content of a request."""
        asked = (self.to_regex, self.to_prefix, self.to_suffix, self.sender, self.type, self.template)
        return any(one is not None for one in (*asked, self.action, self.attempt, self.attempt_up_to))


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of the list of rules."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    fault: Annotated[Fault, Field(discriminator="do")]
    match: Match = field(default_factory=Match)
    name: str = ""
    """Shown with each request to which it applied; by default what it does."""
    times: Count | None = None
    """How often it applies at most."""

    def __post_init__(self) -> None:
        if self.is_before_reading and self.match.reads_the_request:
            raise ValueError(
                "a before_reading fault has no request: match by share, nth, every or seconds only"
            )

    @property
    def is_before_reading(self) -> bool:
        """Whether it applies to a connection, before a request is read."""
        return isinstance(self.fault, Reset | Close) and self.fault.when is When.BEFORE_READING

    @property
    def title(self) -> str:
        """Its name; by default what it does."""
        return self.name or self.fault.do


_RULES: TypeAdapter[tuple[Rule, ...]] = TypeAdapter(tuple[Rule, ...])


def read_rules(value: object) -> tuple[Rule, ...]:
    """Rules from parsed JSON: a list, or an object ``{"rules": [...]}``.

    Raises InvalidValue that names the rule and the field.
    """
    if isinstance(value, dict) and set(value) == {"rules"}:
        value = value["rules"]
    return read_as(_RULES, value, "rules")


def rules_as_json(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    """The rules as ``read_rules`` reads them, without conditions that are not set."""
    written: list[dict[str, Any]] = _RULES.dump_python(rules, mode="json", exclude_none=True)
    return written
