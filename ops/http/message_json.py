"""The JSON of ``POST /v1/messages``, for the documentation: ``producer.direct_sends`` checks what comes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bulksend.messaging import Kind, MessageType, Status
from ops.http.argument_formats import Instant, LocalTime, Phone, TimeZone

#: The most messages of a request.
MOST_MESSAGES = 1000
#: The longest wait for an ending.
MOST_WAIT_S = 30
#: The longest time to live: a year.
MOST_TTL_S = 366 * 86_400


class NewMessage(BaseModel):
    """A message to send."""

    model_config = ConfigDict(extra="forbid")

    to: Phone = Field(description="The recipient, in any common notation of its number.")
    sender: Phone = Field(description="The sender's number.")
    kind: Kind
    type: MessageType
    content: dict[str, Any] = Field(description="The vendor's Content; `{{name}}` stands for a variable.")
    variables: dict[str, Any] | None = None
    ttl_seconds: float | None = Field(
        None, ge=0.001, le=MOST_TTL_S, description="It is not sent later than this. OTP: 600, by default."
    )
    send_at: Instant | None = Field(None, description="ISO 8601; now by default.")
    local_time: LocalTime | None = Field(
        None, description="When by the recipient's clock: 09:00, the next one from `send_at` on."
    )
    timezone: TimeZone | None = Field(None, description="The recipient's; default: what its number shows.")
    key: str | None = Field(None, min_length=1, max_length=200, description="Two sends of a key are one.")
    purpose: str | None = Field(
        None,
        min_length=1,
        max_length=40,
        description="Of a one-time code: a newer one for the same person and purpose replaces one that waits.",
    )
    wait_seconds: float | None = Field(None, ge=0, le=MOST_WAIT_S, description="Answer when it has ended.")


class NewMessages(BaseModel):
    """Messages to send."""

    model_config = ConfigDict(extra="forbid")

    # What is no message is refused in its place, and its neighbours are stored.
    messages: list[NewMessage | Any] = Field(min_length=1, max_length=MOST_MESSAGES)

    @staticmethod
    def schema_of_body() -> dict[str, Any]:
        """One message or many, as JSON Schema."""
        return TypeAdapter(NewMessage | NewMessages).json_schema()


class MessageAnswer(BaseModel):
    """A message that is stored. ``repeated``: its key was used before."""

    id: str
    status: Status
    repeated: bool


class Refused(BaseModel):
    """Why a message was not stored."""

    code: str
    field: str | None
    why: str
    wait_seconds: float | None = Field(
        None, description="Of a code that would be late: the forecast; null while its end is not known."
    )


class IndexedAnswer(MessageAnswer):
    """A message that is stored, by its place in the request."""

    index: int


class IndexedRefusal(BaseModel):
    """A message that is not stored, by its place in the request."""

    index: int
    error: Refused


class ManyMessages(BaseModel):
    """What became of each message of a request."""

    items: list[IndexedAnswer | IndexedRefusal]
