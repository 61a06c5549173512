"""What calls return and raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulksend.errors import BulksendError


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that the ledger has. ``repeated``: its key was used before."""

    id: str
    status: str
    repeated: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> SentMessage:
        """From the answer of the API."""
        return cls(answer["id"], answer["status"], answer["repeated"])


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A message of several that was not stored: a stable code, the field that is wrong, and the remedy.

    ``wait_seconds``: of a code that is ``too_late``, the forecast; None while its end is not known.
    """

    code: str
    field: str | None
    why: str
    wait_seconds: float | None = None

    @classmethod
    def of(cls, error: Mapping[str, Any]) -> RefusedMessage:
        """From the answer of the API."""
        return cls(error["code"], error.get("field"), error["why"], error.get("wait_seconds"))


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``id`` is its number as text: what to give as ``after`` the next time."""

    id: str
    type: str
    at: str
    data: Mapping[str, Any]

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Event:
        """From an item of the API."""
        return cls(item["id"], item["type"], item["at"], item["data"])


class ApiError(BulksendError):
    """A call of the HTTP API failed.

    ``request_id`` is in the log of ``serve``; the same call with ``idempotency_key`` is done once.
    """

    def __init__(
        self, text: str, *, request_id: str | None = None, idempotency_key: str | None = None
    ) -> None:
        self.request_id = request_id
        self.idempotency_key = idempotency_key
        super().__init__(text)


class ApiRefused(ApiError):
    """The API refused the request: nothing was changed. ``errors`` are ``{field, row, why}``.

    ``wait_seconds``: of a one-time code that is ``too_late``, the forecast; None while its end is not known.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int,
        code: str,
        errors: Sequence[Mapping[str, Any]] = (),
        wait_seconds: float | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.errors = list(errors)
        self.wait_seconds = wait_seconds
        super().__init__(text, request_id=request_id, idempotency_key=idempotency_key)


class ApiUnreachable(ApiError):
    """No answer came, or only that a server is away. The call may have been done: repeat it with its key."""
