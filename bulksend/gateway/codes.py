"""The classification table: what each of the vendor's codes means and what it asks us to do about it.

One row a line of reference section 4. The meanings come from sources (V1 the vendor's enum, V6 UCloud's
gateway list that the vendor's SDKs share, M1 Meta's error codes, T the vendor's tests); what follows from a
code is our choice, made to one rule: **a row may ask for another POST only where the vendor says that it did
not send**. Where a person has to mend something first, the row pauses and uses ``Retry.FREE``: the message
waits, spends no try, and goes out after the fix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from bulksend.messaging.outcome import (
    NotSent,
    Outcome,
    Refused,
    Remedy,
    Retry,
    Scope,
    Suppress,
    Throttled,
    Unknown,
)

SECOND_MS = 1000
DAY_MS = 24 * 60 * 60 * SECOND_MS

#: "Repeated" and "N in a row" in reference section 4.
IN_A_ROW = 10
#: 17115 without a WhatsApp code may have any reason, so it takes more of them to blame the campaign.
MANY_IN_A_ROW = 50

Make = Callable[[str, str, int | None], Outcome]
"""(code as people read it, why, the vendor's Retry-After in milliseconds or None) -> outcome."""


class Family(StrEnum):
    """Three lists of numbers that overlap: RetCode 200 is an outage, HTTP 200 is not."""

    RETCODE = "RetCode"
    WHATSAPP = "WhatsApp code"
    HTTP = "HTTP status"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. A row without codes stands for all that its family does not list."""

    family: Family
    codes: tuple[int, ...]
    meaning: str
    make: Make
    source: str

    def outcome(self, code: int, retry_after_ms: int | None = None) -> Outcome:
        """What this row makes of ``code``."""
        return self.make(code_text(self.family, code), self.meaning, retry_after_ms)


def code_text(family: Family, code: int) -> str:
    """``17125``, ``#131049`` as Meta writes its own, ``HTTP 403``: no two families look alike."""
    prefix = {Family.RETCODE: "", Family.WHATSAPP: "#", Family.HTTP: "HTTP "}[family]
    return f"{prefix}{code}"


def _refused(remedy: Remedy) -> Make:
    def make(code: str, why: str, retry_after_ms: int | None) -> Outcome:
        wait = max(remedy.min_wait_ms, retry_after_ms or 0) if remedy.retry is not Retry.NEVER else 0
        return Refused(code, why, replace(remedy, min_wait_ms=wait))

    return make


def _throttled(scope: Scope, remedy: Remedy) -> Make:
    return lambda code, why, retry_after_ms: Throttled(code, why, scope, retry_after_ms, remedy)


def _unknown(remedy: Remedy) -> Make:
    return lambda code, why, _: Unknown(why, code, remedy)


# -- what a row can ask for ------------------------------------------------------------------------------

#: This message has ended; others go on.
FAIL = _refused(Remedy())
#: As FAIL; when it happens again and again, the campaign itself is wrong.
FAIL_AND_WATCH = _refused(Remedy(pause=Scope.CAMPAIGN, pause_after=IN_A_ROW))
#: Later, as often as the policy allows.
AGAIN = _refused(Remedy(retry=Retry.BACKOFF))
#: Later, at most twice.
TWICE = _refused(Remedy(retry=Retry.FEW))
#: The vendor is down and says so.
OUTAGE = _refused(Remedy(retry=Retry.BACKOFF, breaker=True))
#: It may have gone out.
MAYBE = _unknown(Remedy(breaker=True))


def _mend(scope: Scope) -> Make:
    """Nothing of this scope can succeed until a person mends something: keep it queued, pause, alert."""
    return _refused(Remedy(retry=Retry.FREE, pause=scope, alert=True))


def _after(seconds: int) -> Make:
    return _refused(Remedy(retry=Retry.BACKOFF, min_wait_ms=seconds * SECOND_MS))


def _slow(scope: Scope) -> Make:
    return _throttled(scope, Remedy(retry=Retry.FREE, slow=scope))


def _stop(suppress: Suppress) -> Make:
    return _refused(Remedy(suppress=suppress))


MEND_CAMPAIGN, MEND_SENDER, MEND_ACCOUNT = _mend(Scope.CAMPAIGN), _mend(Scope.SENDER), _mend(Scope.ACCOUNT)

_LISTED_171XX = range(17100, 17126)
_LISTED_132XXX = (
    132000,
    132001,
    132005,
    132007,
    132012,
    132015,
    132016,
    132018,
    132068,
    132069,
)


def _retcode(codes: Iterable[int], meaning: str, make: Make, source: str) -> Row:
    return Row(Family.RETCODE, tuple(codes), meaning, make, source)


def _whatsapp(codes: Iterable[int], meaning: str, make: Make, source: str = "M1; action: choice") -> Row:
    return Row(Family.WHATSAPP, tuple(codes), meaning, make, source)


def _http(codes: Iterable[int], meaning: str, make: Make, source: str = "RFC 9110; action: choice") -> Row:
    return Row(Family.HTTP, tuple(codes), meaning, make, source)


V1, V6 = "V1; action: choice", "V6; action: choice"

TABLE: tuple[Row, ...] = (
    # -- RetCode: the gateway ----------------------------------------------------------------------------
    _retcode([0], "accepted, but without a usable MessageId", MAYBE, V1),
    _retcode([110], "the vendor's API timed out; it may have gone out", MAYBE, V6),
    _retcode([130], "the vendor's gateway or its sign-in service is at fault", OUTAGE, V6),
    _retcode([150], "the vendor's service is unavailable", OUTAGE, V6),
    _retcode([151], "the vendor's gateway cache is at fault", OUTAGE, V6),
    _retcode([200], "the vendor's common service is unavailable", OUTAGE, V6),
    _retcode([153], "the vendor's gateway says we call too often", _slow(Scope.SENDER), V6),
    _retcode([160], "the request names no Action", MEND_ACCOUNT, V6),
    _retcode([161], "no such Action; try the other value of USPEEDO_ACTION", MEND_ACCOUNT, V6),
    _retcode([180], "the request names no API version", MEND_ACCOUNT, V6),
    _retcode([170], "the request carries no signature", MEND_ACCOUNT, V6),
    _retcode([171], "wrong signature; check this machine's clock first, then the secret", MEND_ACCOUNT, V6),
    _retcode([172], "the account does not exist", MEND_ACCOUNT, V6),
    _retcode([174], "the access key does not exist", MEND_ACCOUNT, V6),
    _retcode([173], "the account is restricted", MEND_ACCOUNT, V6),
    _retcode([290], "the project is not authorised", MEND_ACCOUNT, V6),
    _retcode([291], "the access key has no permission for this Action", MEND_ACCOUNT, V6),
    _retcode([292], "the project does not exist", MEND_ACCOUNT, V6),
    _retcode([293], "no permission for this zone", MEND_ACCOUNT, V6),
    _retcode([294], "this machine's address is refused", MEND_ACCOUNT, V6),
    _retcode([295], "the account has a security lock", MEND_ACCOUNT, V6),
    _retcode([299], "the permission check failed", MEND_ACCOUNT, V6),
    # -- RetCode: WhatsApp -------------------------------------------------------------------------------
    _retcode([17100], "the account has no valid WhatsApp channel", MEND_SENDER, V1),
    _retcode([17102], "the channel account was not found", MEND_SENDER, V1),
    _retcode([17104], "the channel account could not be read", MEND_SENDER, V1),
    _retcode([17105], "the phone list could not be read", AGAIN, V1),
    _retcode([17108], "the templates could not be read", AGAIN, V1),
    _retcode([17113], "the media could not be read", AGAIN, V1),
    _retcode([17116], "the template could not be read", AGAIN, V1),
    _retcode([17122], "the message summary could not be read", AGAIN, V1),
    _retcode([17110], "the uploaded file is bad", FAIL, V1),
    _retcode([17111], "the template file could not be uploaded", TWICE, V1),
    _retcode([17112], "the media could not be uploaded", TWICE, V1),
    _retcode([17117], "the file could not be uploaded", TWICE, V1),
    _retcode([17114], "the media could not be deleted", AGAIN, V1),
    _retcode([17101], "the channel account could not be created", FAIL, V1),
    _retcode([17103], "the register token could not be had", FAIL, V1),
    _retcode([17106], "the check code failed", FAIL, V1),
    _retcode([17107], "the template could not be created", FAIL, V1),
    _retcode([17109], "the template could not be deleted", FAIL, V1),
    _retcode([17118], "the conversation list could not be read", FAIL, V1),
    _retcode([17119], "the inbound analysis could not be read", FAIL, V1),
    _retcode([17120], "the outbound analysis could not be read", FAIL, V1),
    _retcode([17121], "the message list could not be read", FAIL, V1),
    _retcode([17123], "the template's tag could not be changed", FAIL, V1),
    _retcode(
        [17115],
        "the vendor could not send the message and names no WhatsApp code",
        _refused(Remedy(retry=Retry.FEW, never_otp=True, pause=Scope.CAMPAIGN, pause_after=MANY_IN_A_ROW)),
        V1,
    ),
    _retcode(
        [17125], "the account has no money left; top it up", MEND_ACCOUNT, "T (Go example); action: choice"
    ),
    _retcode(
        [17124, *(code for code in range(17100, 17200) if code not in _LISTED_171XX)],
        "the vendor reports a WhatsApp failure that it does not document",
        _refused(Remedy(alert=True, pause=Scope.CAMPAIGN, pause_after=IN_A_ROW)),
        "choice",
    ),
    # -- WhatsApp codes: too fast ------------------------------------------------------------------------
    _whatsapp([130429], "the sender's throughput is reached", _slow(Scope.SENDER)),
    _whatsapp(
        [131056],
        "too many messages from this sender to this recipient",
        _throttled(Scope.PAIR, Remedy(retry=Retry.FREE, pair_backoff=True)),
        "M1, M10; action: choice",
    ),
    _whatsapp([4, 80007], "the rate limit of the app or business account is reached", _slow(Scope.ACCOUNT)),
    # -- WhatsApp codes: temporary -----------------------------------------------------------------------
    _whatsapp([131057], "the business account is in maintenance or being upgraded", _after(60)),
    _whatsapp([134101], "the template is still being synchronised", _after(600)),
    _whatsapp([1, 2, 131000, 131016, 133004], "temporary or unknown fault at WhatsApp", TWICE),
    # -- WhatsApp codes: this recipient ------------------------------------------------------------------
    _whatsapp(
        [131049],
        "WhatsApp held it back to keep people engaged: this recipient gets too much marketing",
        _stop(Suppress("marketing", for_ms=DAY_MS)),
    ),
    _whatsapp([130472], "the recipient is part of a WhatsApp experiment", FAIL),
    _whatsapp([131050], "the recipient opted out of marketing", _stop(Suppress("marketing"))),
    _whatsapp([130403], "we blocked this recipient", _stop(Suppress("all"))),
    _whatsapp(
        [131026],
        "undeliverable: not on WhatsApp, or an old app, or its terms not accepted",
        _stop(Suppress("all", after_days=3)),
    ),
    _whatsapp([131021], "sender and recipient are the same number", FAIL),
    _whatsapp([131047], "the 24 hour window is closed; use a template", FAIL),
    _whatsapp(
        [130497],
        "messages to this recipient's country are not allowed",
        _stop(Suppress("all", country=True)),
    ),
    # -- WhatsApp codes: this content --------------------------------------------------------------------
    _whatsapp(
        [131051, 131008, 131009, 100, 135000],
        "WhatsApp calls the request wrong: type, missing or wrong parameter",
        FAIL_AND_WATCH,
    ),
    _whatsapp([131053], "WhatsApp could not fetch or take the media", FAIL),
    _whatsapp(
        [131052],
        "WhatsApp could not fetch inbound media, which says nothing about a send",
        _refused(Remedy(retry=Retry.FEW, never_otp=True, pause=Scope.CAMPAIGN, pause_after=MANY_IN_A_ROW)),
        "M1; action: as 17115 without a code, choice",
    ),
    _whatsapp(
        [132000, 132005, 132012, 132018],
        "the template's parameters are wrong in number, length or form",
        FAIL_AND_WATCH,
        "M1, M9; action: choice",
    ),
    _whatsapp([132001], "the template does not exist in this language", MEND_CAMPAIGN),
    _whatsapp([132007], "the template breaks a policy", MEND_CAMPAIGN),
    _whatsapp([132015], "the template is paused for its quality", MEND_CAMPAIGN, "M1, M12; action: choice"),
    _whatsapp(
        [132016],
        "the template is disabled for good",
        _refused(Remedy(pause=Scope.CAMPAIGN, alert=True)),
        "M1, M12; action: choice",
    ),
    _whatsapp([132068, 132069], "the template's flow is blocked or throttled", MEND_CAMPAIGN),
    _whatsapp(
        (code for code in range(132000, 133000) if code not in _LISTED_132XXX),
        "WhatsApp refuses the template",
        MEND_CAMPAIGN,
        "choice",
    ),
    _whatsapp([131055, 134100, 134102, 131063], "this category of template needs another API", MEND_CAMPAIGN),
    # -- WhatsApp codes: the sender or the account -------------------------------------------------------
    _whatsapp([131048], "WhatsApp limits this sender for spam", MEND_SENDER),
    _whatsapp([131037, 131045, 133006, 133010, 33], "the sender's number cannot be used", MEND_SENDER),
    _whatsapp(
        [0, 3, 10, 190, *range(200, 300), 131005],
        "the vendor's own sign-in or permission at WhatsApp fails; open a ticket with the vendor",
        MEND_SENDER,
    ),
    _whatsapp([131064], "WhatsApp limits the account for wrong template categories", MEND_ACCOUNT),
    _whatsapp([131031, 368], "WhatsApp restricts the account", MEND_ACCOUNT),
    _whatsapp([131042, 134011], "payment or terms at WhatsApp are not in order", MEND_ACCOUNT),
    # -- HTTP status, where the reply holds no RetCode that is listed ------------------------------------
    _http(
        range(300, 400),
        "the vendor's address redirects; check USPEEDO_BASE_URL",
        _refused(Remedy(pause=Scope.ACCOUNT, alert=True)),
    ),
    _http([400, 404, 405, 413, 415, 422], "the vendor's server calls the request wrong", FAIL_AND_WATCH),
    _http([401, 403], "the vendor's server does not let us in", MEND_ACCOUNT),
    _http(
        [425, 429],
        "the vendor's server says we call too often",
        _throttled(Scope.ACCOUNT, Remedy(retry=Retry.FREE, slow=Scope.ACCOUNT)),
    ),
    _http([408, 500, 502, 504], "the vendor's server failed; it may have gone out", MAYBE),
    _http([503], "the vendor's server is not available", OUTAGE),
)

#: What follows from a code that no row lists.
UNLISTED: Mapping[Family, Row] = MappingProxyType(
    {
        # Non-zero has meant "maybe" before (110), so a number nobody documents is not read as "no".
        Family.RETCODE: _retcode(
            [],
            "the vendor answered with a RetCode that it does not document",
            _unknown(Remedy(breaker=True, alert=True)),
            "choice",
        ),
        # Only ever read beside 17115, which itself says that the message was not sent.
        Family.WHATSAPP: _whatsapp(
            [],
            "WhatsApp refused with a code that is not listed",
            _refused(Remedy(breaker=True, alert=True)),
            "choice",
        ),
        Family.HTTP: _http([], "the vendor's server gave no answer that can be read", MAYBE, "choice"),
    }
)

_BY_CODE: Mapping[tuple[Family, int], Row] = MappingProxyType(
    {(row.family, code): row for row in TABLE for code in row.codes}
)


def find_row(family: Family, code: int) -> Row | None:
    """The row that lists ``code``, or None."""
    return _BY_CODE.get((family, code))


def outcome_of(family: Family, code: int, retry_after_ms: int | None = None) -> Outcome:
    """What follows from ``code``, listed or not."""
    return (find_row(family, code) or UNLISTED[family]).outcome(code, retry_after_ms)


# -- a WhatsApp code in the vendor's words ---------------------------------------------------------------

#: RetCode whose ``Message`` may hold a WhatsApp code.
SEND_FAILED = 17115
#: Smaller numbers are also the gateway's own RetCodes: they count only in Meta's spelling, ``(#190)``.
_FIRST_UNMISTAKABLE = 300

_IN_BRACKETS = re.compile(r"\((#?)([0-9]{1,7})\)")
_WHOLE_WORD = re.compile(r"(?<![\w.,+-])[0-9]{3,7}(?!\w|[.,]\d)")


def whatsapp_code_in(message: str) -> int | None:
    """The WhatsApp code that ``message`` names, or None.

    Neither its presence nor its form is documented, so three are read, surest first: a bracketed code that is
    listed, a listed code as a whole word, a bracketed code that is not listed.
    """
    bracketed = [
        int(digits)
        for mark, digits in _IN_BRACKETS.findall(message)
        if mark or int(digits) >= _FIRST_UNMISTAKABLE
    ]
    words = (int(found) for found in _WHOLE_WORD.findall(message))
    listed = [code for code in bracketed if find_row(Family.WHATSAPP, code)]
    listed += [code for code in words if code >= _FIRST_UNMISTAKABLE and find_row(Family.WHATSAPP, code)]
    return next(iter(listed or bracketed), None)


# -- for people ------------------------------------------------------------------------------------------


def table_rows() -> list[tuple[str, str, str, str, str]]:
    """The whole table as (family, codes, meaning, what follows, source), for the documentation."""
    return [
        (str(row.family), _codes_text(row.codes), row.meaning, _follows(row), row.source)
        for row in (*TABLE, *UNLISTED.values())
    ]


def _codes_text(codes: tuple[int, ...]) -> str:
    """``200-299, 131005``; the row of the unlisted is ``any other``."""
    runs: list[list[int]] = []
    for code in sorted(codes):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    texts = (str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return ", ".join(texts) or "any other"


def _follows(row: Row) -> str:
    outcome = row.make("", row.meaning, None)
    return "; ".join([_name(outcome), *_asks(getattr(outcome, "remedy", Remedy()))])


def _name(outcome: Outcome) -> str:
    match outcome:
        case Throttled(scope=scope):
            return f"not sent, throttled ({scope})"
        case Unknown():
            return "unknown: it may have gone out, never sent again by itself"
        case Refused() | NotSent():
            return {
                Retry.NEVER: "failed",
                Retry.BACKOFF: "not sent, tried again with backoff",
                Retry.FEW: "not sent, tried again at most twice",
                Retry.FREE: "not sent, stays queued at no cost",
            }[outcome.remedy.retry]
        case _:
            return "accepted"


def _asks(remedy: Remedy) -> Iterable[str]:
    if remedy.never_otp:
        yield "a one-time code not at all"
    if remedy.min_wait_ms:
        yield f"not before {remedy.min_wait_ms // SECOND_MS} s"
    if remedy.pair_backoff:
        yield "this recipient after 4^X s, X from 0"
    if remedy.slow:
        yield f"slow the {remedy.slow}"
    if remedy.pause and remedy.pause_after == 1:
        yield f"pause the {remedy.pause}"
    elif remedy.pause:
        yield f"pause the {remedy.pause} after {remedy.pause_after} in a row"
    if remedy.suppress:
        yield _suppress_text(remedy.suppress)
    if remedy.breaker:
        yield "counts towards the circuit breaker"
    if remedy.alert:
        yield "alert"


def _suppress_text(suppress: Suppress) -> str:
    what = "everything" if suppress.scope == "all" else suppress.scope
    whom = "this country" if suppress.country else "this recipient"
    return (
        f"suppress {what} to {whom}"
        + (f" for {suppress.for_ms // 3_600_000} h" if suppress.for_ms else "")
        + (f" once seen on {suppress.after_days} different days" if suppress.after_days > 1 else "")
    )
