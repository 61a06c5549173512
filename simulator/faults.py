"""The language of faults: what a rule matches and what it does. The JSON form is described in README.md.

Faults come in two families. Those that **prevent** (ret_code, http_status without ``stored``, hang, reset or
close before storing) answer instead of the vendor: nothing was sent. Those that **damage** (all others) let
the vendor decide as it would have, store the message where it accepts, and only then spoil or delay the
answer.
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
    """The instant at which a connection is cut."""

    BEFORE_READING = "before_reading"
    """As soon as it is made: nothing of any request was read."""
    AFTER_READING = "after_reading"
    """The whole request was read, nothing was sent to the recipient."""
    AFTER_STORING = "after_storing"
    """The message was sent to the recipient; only the answer is lost."""


@dataclass(frozen=True, slots=True)
class RetCode:
    """Answer this RetCode; nothing is sent."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    ret_code: Annotated[int, Field(ge=1, le=2_000_000_000)]
    message: str = "simulated fault"
    do: Literal["ret_code"] = "ret_code"


@dataclass(frozen=True, slots=True)
class HttpStatus:
    """Answer this HTTP status. ``{message_id}`` and ``{request_id}`` in the body are filled in."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    status: Annotated[int, Field(ge=200, le=599)]
    body: str | dict[str, Any] = ""
    headers: dict[str, str] = field(default_factory=dict)
    stored: bool = False
    """Whether the vendor had sent the message before it answered like this."""
    do: Literal["http_status"] = "http_status"

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not value.isprintable():
                raise ValueError("headers must be plain names with printable values")
            if not value.isascii():
                raise ValueError("header values must be ASCII")


@dataclass(frozen=True, slots=True)
class Hang:
    """Read the request and say nothing; None waits until the client gives up. Nothing is sent."""

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
    """Close the connection without an answer (TCP FIN)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    when: When = When.AFTER_READING
    do: Literal["close"] = "close"


@dataclass(frozen=True, slots=True)
class Truncate:
    """Send only the first bytes of the answer. ``of="body"`` lets the head through and counts from there."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    bytes: Size
    of: Literal["body", "reply"] = "body"
    then: Literal["close", "reset", "hang"] = "close"
    do: Literal["truncate"] = "truncate"


@dataclass(frozen=True, slots=True)
class Drip:
    """Send the answer in small pieces with a pause after each: no single read ever times out."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    bytes: Annotated[int, Field(ge=1, le=65_536)] = 1
    interval_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)] = 100.0
    do: Literal["drip"] = "drip"


@dataclass(frozen=True, slots=True)
class Garbage:
    """Send bytes that are no HTTP at all, then close: ``text``, or else that many random ones."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    bytes: Annotated[int, Field(ge=1, le=65_536)] = 256
    text: str | None = None
    do: Literal["garbage"] = "garbage"


@dataclass(frozen=True, slots=True)
class AcceptThenHang:
    """Send the message to the recipient, then say nothing."""

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
    """Answer as usual, so much later than the latency alone would."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    seconds: Seconds
    do: Literal["slow"] = "slow"


@dataclass(frozen=True, slots=True)
class DuplicateMessageId:
    """Accept, but hand out the MessageId that the last accepted message already got."""

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
    """All conditions that are given must hold; ``share`` is thrown last, so it is a share of what matched."""

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
    """None is the two names of the send call, ``*`` is any action, else exactly this one."""
    nth: Count | None = None
    """The nth send request since start or reset, counted from 1 (before_reading: the nth connection)."""
    every: Count | None = None
    """Every so many of them."""
    attempt: Count | None = None
    """The nth request for this recipient, counted from 1."""
    attempt_up_to: Count | None = None
    """The first so many requests for this recipient."""
    from_seconds: Seconds | None = None
    """Only from so many seconds after the rules were set..."""
    until_seconds: Seconds | None = None
    """...and only before so many."""

    def __post_init__(self) -> None:
        if self.to_regex is not None:
            try:
                re.compile(self.to_regex)
            except re.error as wrong:
                raise ValueError(f"to_regex is not a regular expression: {wrong}") from wrong

    @property
    def reads_the_request(self) -> bool:
        """Whether a condition needs the request to have been read."""
        asked = (self.to_regex, self.to_prefix, self.to_suffix, self.sender, self.type, self.template)
        return any(one is not None for one in (*asked, self.action, self.attempt, self.attempt_up_to))


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the rule list: the first rule that matches a request decides."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    fault: Annotated[Fault, Field(discriminator="do")]
    match: Match = field(default_factory=Match)
    name: str = ""
    """Shown beside each request that it hit; default: what it does."""
    times: Count | None = None
    """At most so often."""

    def __post_init__(self) -> None:
        if self.is_before_reading and self.match.reads_the_request:
            raise ValueError(
                "a before_reading fault sees no request: match by share, nth, every or seconds only"
            )

    @property
    def is_before_reading(self) -> bool:
        """Whether it strikes a connection rather than a request."""
        return isinstance(self.fault, Reset | Close) and self.fault.when is When.BEFORE_READING

    @property
    def title(self) -> str:
        """Its name, or else what it does."""
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
    """The rules in the form that :func:`read_rules` takes, without the conditions that are not set."""
    written: list[dict[str, Any]] = _RULES.dump_python(rules, mode="json", exclude_none=True)
    return written
