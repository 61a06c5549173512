"""The errors of bulksend, in one tree. A class is defined here, or in its room with its base here.

The number is the exit code of a command that ends with the error, then the status that an HTTP answer gives it.

BulksendError                   1  500  everything below
├── InvalidInput                2  422  the input or the setup is wrong; nothing was changed
│   ├── InvalidValue                    one field of the input: which, its value, why
│   │   ├── WrongFields                 fields of a form in the console: why, by the field
│   │   └── TooLate                     a one-time code would wait for longer than it lives; nothing was stored
│   ├── NotFound                2  404  nothing has that id or name
│   │   ├── CampaignNotFound
│   │   ├── MessageNotFound
│   │   └── SenderNotFound
│   ├── IdempotencyKeyReused            the key of a request or a campaign came with another body before
│   ├── RequestRunning          2  409  the request with this Idempotency-Key is being answered
│   ├── EventsGone              2  410  events that a reader has not seen were deleted
│   ├── TooManyRequests         2  429  the key makes more requests a second than it may
│   ├── IntakeInterrupted       1  409  the campaign was cancelled or taken over meanwhile; stored rows are kept
│   ├── NotSignedIn             2  401  no key was given, or it is not valid
│   │   └── SignInRefused               an OpenID provider did not sign a user in, or the user may not come in
│   ├── AccessDenied            2  403  the key or user may not do this
│   ├── WrongState              2  409  the state of a campaign, message or sender does not allow it
│   │   └── PlanChanged                 what a plan would send is not what it was when the plan was made
│   ├── TooLarge                2  413  a body is above its limit
│   ├── SamePeople              2  409  some recipients have this message from an earlier campaign
│   ├── IncompleteSetup                 a setting or a package is missing: which, and what to do
│   └── Unfit                   2  500  a server cannot be used until its setup is changed
│       ├── LedgerUnfit
│       ├── RedisUnfit
│       └── SchemaNewer                 the ledger belongs to a newer program
├── Unavailable                 3  503  a server is needed and cannot be used now
│   ├── LedgerUnreachable
│   ├── RedisUnreachable
│   ├── DiskFull                3  507  the disk for posted files is full
│   ├── SchemaOutdated                  the ledger needs `bulksend migrate`
│   ├── IssuerUnavailable               the OpenID provider gave no answer, or one that is none
│   ├── VendorUnavailable               the vendor did not do what it was asked; the text says why
│   └── CannotStart                     a local server of `up`, `demo` or the tests did not start
├── ApiError                            a call of the HTTP API by bulksend.client failed
│   ├── ApiRefused                      the API said why; nothing was changed
│   └── ApiUnreachable                  no answer in all tries; it may have been done
├── IntakeConflict                      another process changed the campaign; read it again and repeat
├── CannotDecrypt                       one stored payload cannot be read
├── CannotRender                        one message cannot be sent as it is stored
├── NeverOpen                           quiet hours leave one message no time to be sent
├── NotJson                             a callback cannot be read; it is kept
├── BadXml                              a part of a workbook cannot be read
├── TransportError                      one POST failed on its connection; becomes the attempt's evidence
│   ├── DisconnectedError
│   ├── InvalidReplyError
│   ├── ReadTimeoutError
│   └── WriteTimeoutError
└── FailpointReached                    a test asked for this failure

A bad row of a file is a refusal, and the result of a POST is an outcome: neither is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class ServerProblem:
    """What is wrong with a server and what to do about it.

    ``fatal``: waiting does not help, so a worker or relay ends at its start. Other problems may end by themselves.
    """

    what: str
    remedy: str
    fatal: bool

    def text(self, server: str) -> str:
        """One sentence that names the server."""
        return f"{server}: {self.what}; {self.remedy}"


class BulksendError(Exception):
    """Base of all errors of bulksend. The text of one that a user sees is a sentence with the remedy."""

    exit_code: ClassVar[int] = 1


def code_of(error: type[Exception]) -> str:
    """The code of an error in JSON: its class's name, in small letters with underscores."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", error.__name__).lower()


class InvalidInput(BulksendError, ValueError):
    """The input or the setup is wrong. Nothing was changed."""

    exit_code = 2


class InvalidValue(InvalidInput):
    """One field is wrong.

    ``field`` names it as the user wrote it (``to``, ``components[1].index``), ``value`` is safe to show (masked
    when private, at most 40 characters), ``why`` says what is wrong and what to do, in one sentence.
    """

    def __init__(self, field: str, value: str, why: str) -> None:
        self.field = field
        self.value = value
        self.why = why
        super().__init__(f"{field}: {why}" + (f" (got {value!r})" if value else ""))


class TooLate(InvalidValue):
    """A one-time code would wait for longer than it lives. Nothing was stored: the caller takes another channel.

    ``wait_seconds`` is the forecast; None: until a pause ends, or for a place in a quota that gets none free.
    """

    def __init__(self, field: str, why: str, wait_seconds: float | None) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(field, "", why)


class NotFound(InvalidInput):
    """Nothing in the ledger has the given id or name."""


class CampaignNotFound(NotFound):
    """No campaign has that id or name."""


class MessageNotFound(NotFound):
    """No message has that id."""


class SenderNotFound(NotFound):
    """No sender on record has that number."""


class EventsGone(InvalidInput):
    """Events that a reader has not seen were deleted by age. ``oldest`` is the lowest number that is kept."""

    def __init__(self, text: str, *, oldest: int) -> None:
        super().__init__(text)
        self.oldest = oldest


class NotSignedIn(InvalidInput):
    """No key was given, or it is unknown, expired or revoked."""


class AccessDenied(InvalidInput):
    """The key or user may not do this."""


class IdempotencyKeyReused(InvalidInput):
    """The Idempotency-Key, or the key of a campaign, came with another body before."""


class RequestRunning(InvalidInput):
    """The first request with this Idempotency-Key is still being answered."""


class WrongState(InvalidInput):
    """The state that something is in does not allow what is asked. The text says which state, and the remedy."""


class PlanChanged(WrongState):
    """What a plan would send now differs from what it froze. ``changes``: (field, before, after) of each fact."""

    def __init__(self, text: str, *, changes: Sequence[tuple[str, object, object]]) -> None:
        super().__init__(text)
        self.changes = changes


class IncompleteSetup(InvalidInput):
    """A setting or a package is missing. ``what`` says which, ``remedy`` what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}: {remedy}")


class TooLarge(InvalidInput):
    """A body or a file is above its limit. The text names the limit and its setting."""


class TooManyRequests(InvalidInput):
    """The key makes more requests a second than it may."""


class Unfit(InvalidInput):
    """A server cannot be used until its setup is changed. Waiting does not help."""


class LedgerUnfit(Unfit):
    """The database cannot be used as it is set up."""


class SchemaNewer(Unfit):
    """The database's schema belongs to a newer program, which alone knows what it means."""


class Unavailable(BulksendError):
    """A server is needed and cannot be used now. The text says which, at which address, and how to start it."""

    exit_code = 3


class LedgerUnreachable(Unavailable):
    """The database does not answer, or refuses work for now."""


class SchemaOutdated(Unavailable):
    """The database's schema is older than this program."""


class VendorUnavailable(Unavailable):
    """The vendor did not do what it was asked, or gave no answer."""


class DiskFull(Unavailable):
    """The disk for posted files is full."""


class RedisUnreachable(Unavailable):
    """Redis does not answer, or is not set."""


class TransportError(BulksendError):
    """A POST failed on its connection."""
