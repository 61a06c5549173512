"""The table of the vendor's codes: what each means and what follows from it (docs/vendor.md#error-codes).

The meanings come from the sources that docs/vendor.md#sources lists. What follows is our choice, by one rule: **a
message counts as not sent only where the vendor's envelope has a code for which a source says so**
(``CodeRow.not_sent``). Every other answer is ``Unknown``, unless the operator vouches for its code
(``BULKSEND_NOT_SENT_CODES``, never for one-time codes): docs/decisions/0003. Where a person must fix something first,
the row pauses and uses ``Retry.FREE``: the message waits, spends no try and is sent after the fix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Set
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
from bulksend.messaging.sentences import Sentence, joined, say

SECOND_MS = 1000
DAY_MS = 24 * 60 * 60 * SECOND_MS

#: This many of the same answers in a row pause the campaign.
IN_A_ROW = 10
#: 17115 without a WhatsApp code may have any reason, so it takes more of them to pause the campaign.
MANY_IN_A_ROW = 50

MakeOutcome = Callable[[str, str, int | None], Outcome]
"""(code as shown, why, the vendor's Retry-After in ms or None) -> outcome."""


class Family(StrEnum):
    """Three lists of numbers that overlap: RetCode 200 is an outage, HTTP 200 is not."""

    RETCODE = "RetCode"
    WHATSAPP = "WhatsApp code"
    HTTP = "HTTP status"


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One line of the table. A row without codes stands for every code that its family does not list."""

    family: Family
    codes: tuple[int, ...]
    meaning: Sentence
    make: MakeOutcome
    """The outcome if nothing was sent."""
    source: str
    """The source of the meaning."""
    not_sent: str = ""
    """The source that says that nothing was sent; empty where there is none."""

    def outcome(self, code: int, retry_after_ms: int | None = None, *, vouched: bool = False) -> Outcome:
        """The outcome of ``code``; ``vouched``: it means "not sent" by the operator's word."""
        text = code_text(self.family, code)
        outcome = self.make(text, say("{why} ({code})", why=self.meaning, code=text), retry_after_ms)
        if isinstance(outcome, Refused | Throttled) and not (self.not_sent or vouched):
            return _as_unknown(outcome)
        return outcome


def _as_unknown(outcome: Refused | Throttled) -> Unknown:
    """A proxy may have passed the request on before it answered. The remedy for other messages stays."""
    kept = replace(outcome.remedy, retry=Retry.NEVER, never_otp=False, min_wait_ms=0, breaker=True)
    return Unknown(joined([outcome.why, _MAYBE]), outcome.code, kept)


_MAYBE = say("it may have gone out")


def code_text(family: Family, code: int) -> str:
    """``17125``, ``#131049`` as Meta writes its own, ``HTTP 403``: each family looks different."""
    prefix = {Family.RETCODE: "", Family.WHATSAPP: "#", Family.HTTP: "HTTP "}[family]
    return f"{prefix}{code}"


def _refused(remedy: Remedy) -> MakeOutcome:
    def make(code: str, why: str, retry_after_ms: int | None) -> Outcome:
        wait = max(remedy.min_wait_ms, retry_after_ms or 0) if remedy.retry is not Retry.NEVER else 0
        return Refused(code, why, replace(remedy, min_wait_ms=wait))

    return make


def _throttled(scope: Scope, remedy: Remedy) -> MakeOutcome:
    return lambda code, why, retry_after_ms: Throttled(code, why, scope, retry_after_ms, remedy)


def _unknown(remedy: Remedy) -> MakeOutcome:
    return lambda code, why, _: Unknown(joined([why, _MAYBE]), code, remedy)


# -- what follows from a code -----------------------------------------------------------------------------

#: This message fails; others go on.
FAIL = _refused(Remedy())
#: As FAIL; many in a row pause the campaign, whose content is probably wrong.
FAIL_THEN_PAUSE = _refused(Remedy(pause=Scope.CAMPAIGN, pause_after=IN_A_ROW))
#: Send it later, as often as the policy allows.
RETRY = _refused(Remedy(retry=Retry.BACKOFF))
#: Send it later, at most twice.
RETRY_TWICE = _refused(Remedy(retry=Retry.FEW))
#: The vendor could not send it and gives no reason. A one-time code is not sent again.
RETRY_UNEXPLAINED = _refused(
    Remedy(retry=Retry.FEW, never_otp=True, pause=Scope.CAMPAIGN, pause_after=MANY_IN_A_ROW)
)
#: The vendor is down and says so.
OUTAGE = _refused(Remedy(retry=Retry.BACKOFF, breaker=True))
#: It may have gone out.
MAY_BE_SENT = _unknown(Remedy(breaker=True))


def _pause_until_fixed(scope: Scope) -> MakeOutcome:
    """Nothing in this scope can succeed until a person fixes something: keep it queued, pause, alert."""
    return _refused(Remedy(retry=Retry.FREE, pause=scope, alert=True))


def _retry_after(seconds: int) -> MakeOutcome:
    return _refused(Remedy(retry=Retry.BACKOFF, min_wait_ms=seconds * SECOND_MS))


def _slow_down(scope: Scope) -> MakeOutcome:
    return _throttled(scope, Remedy(retry=Retry.FREE, slow=scope))


def _suppress(suppress: Suppress) -> MakeOutcome:
    return _refused(Remedy(suppress=suppress))


PAUSE_CAMPAIGN, PAUSE_SENDER, PAUSE_ACCOUNT = (
    _pause_until_fixed(Scope.CAMPAIGN),
    _pause_until_fixed(Scope.SENDER),
    _pause_until_fixed(Scope.ACCOUNT),
)

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


def _retcode(
    codes: Iterable[int], meaning: str, make: MakeOutcome, source: str, not_sent: str = ""
) -> CodeRow:
    return CodeRow(Family.RETCODE, tuple(codes), Sentence(meaning), make, source, not_sent)


def _whatsapp(
    codes: Iterable[int], meaning: str, make: MakeOutcome, source: str = "M1; action: choice"
) -> CodeRow:
    # Only read beside RetCode 17115.
    return CodeRow(Family.WHATSAPP, tuple(codes), Sentence(meaning), make, source, FAILED)


def _http(
    codes: Iterable[int], meaning: str, make: MakeOutcome, source: str = "RFC 9110; action: choice"
) -> CodeRow:
    # No envelope: a proxy may have answered, before or after it passed the POST on.
    return CodeRow(Family.HTTP, tuple(codes), Sentence(meaning), make, source)


V1, V6, V7 = "V1; action: choice", "V6; action: choice", "V7; action: choice"
#: These codes mean that the gateway refused the request, so no Action began.
REFUSED_BY_GATEWAY, REFUSED_BY_GATEWAY_V7 = (
    "V6: its meaning is a refusal of the request",
    "V7: its meaning is a refusal of the request",
)
#: These mean that the request names something that cannot be sent, or a sender that cannot send.
NOTHING_TO_SEND = "V1: its meaning is that there is nothing to send from, or nothing to send"
#: This one means that the send failed.
FAILED = "V1: the meaning of 17115 is 'send message failed'"

TABLE: tuple[CodeRow, ...] = (
    # -- RetCode: the gateway ----------------------------------------------------------------------------
    _retcode([0], "accepted, but without a usable MessageId", MAY_BE_SENT, V1),
    _retcode([110], "the vendor's API timed out", MAY_BE_SENT, V6),
    _retcode([130], "the vendor's gateway or its sign-in service is at fault", OUTAGE, V6),
    _retcode([150], "the vendor's service is unavailable", OUTAGE, V6),
    _retcode([151], "the vendor's gateway cache is at fault", OUTAGE, V7),
    _retcode([200], "the vendor's common service is unavailable", OUTAGE, V7),
    _retcode(
        [153], "the vendor's gateway says we call too often", _slow_down(Scope.SENDER), V6, REFUSED_BY_GATEWAY
    ),
    _retcode([160], "the request names no Action", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    _retcode(
        [161], "no such Action; try the other value of USPEEDO_ACTION", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY
    ),
    _retcode([180], "the request names no API version", PAUSE_ACCOUNT, V7, REFUSED_BY_GATEWAY_V7),
    _retcode([170], "the request carries no signature", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    _retcode(
        [171],
        "wrong signature; check this machine's clock first, then the secret",
        PAUSE_ACCOUNT,
        V6,
        REFUSED_BY_GATEWAY,
    ),
    _retcode([172], "the account does not exist", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    _retcode([174], "the access key does not exist", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    _retcode([173], "the account is restricted", PAUSE_ACCOUNT, V7, REFUSED_BY_GATEWAY_V7),
    _retcode([290], "the project is not authorised", PAUSE_ACCOUNT, V7, REFUSED_BY_GATEWAY_V7),
    _retcode(
        [291], "the access key has no permission for this Action", PAUSE_ACCOUNT, V7, REFUSED_BY_GATEWAY_V7
    ),
    _retcode([292], "the project does not exist", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    _retcode([293], "no permission for this zone", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    _retcode([294], "this machine's address is refused", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    _retcode([295], "the account has a security lock", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    _retcode([299], "the permission check failed", PAUSE_ACCOUNT, V6, REFUSED_BY_GATEWAY),
    # -- RetCode: WhatsApp -------------------------------------------------------------------------------
    _retcode([17100], "the account has no valid WhatsApp channel", PAUSE_SENDER, V1, NOTHING_TO_SEND),
    _retcode([17102], "the channel account was not found", PAUSE_SENDER, V1, NOTHING_TO_SEND),
    _retcode([17110], "the uploaded file is bad", FAIL, V1, NOTHING_TO_SEND),
    _retcode(
        [17115],
        "the vendor could not send the message and names no WhatsApp code",
        RETRY_UNEXPLAINED,
        V1,
        FAILED,
    ),
    _retcode(
        [17125],
        "the account has no money left; top it up",
        PAUSE_ACCOUNT,
        "T (Go example); action: choice",
        "T: it comes before the Content is looked at",
    ),
    # Failures on the way to a send, or of other Actions: how far the send had come is not documented.
    _retcode([17104], "the channel account could not be read", PAUSE_SENDER, V1),
    _retcode([17105], "the phone list could not be read", RETRY, V1),
    _retcode([17108], "the templates could not be read", RETRY, V1),
    _retcode([17113], "the media could not be read", RETRY, V1),
    _retcode([17116], "the template could not be read", RETRY, V1),
    _retcode([17122], "the message summary could not be read", RETRY, V1),
    _retcode([17111], "the template file could not be uploaded", RETRY_TWICE, V1),
    _retcode([17112], "the media could not be uploaded", RETRY_TWICE, V1),
    _retcode([17117], "the file could not be uploaded", RETRY_TWICE, V1),
    _retcode([17114], "the media could not be deleted", RETRY, V1),
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
        [17124, *(code for code in range(17100, 17200) if code not in _LISTED_171XX)],
        "the vendor reports a WhatsApp failure that it does not document",
        _refused(Remedy(alert=True, pause=Scope.CAMPAIGN, pause_after=IN_A_ROW)),
        "choice",
    ),
    # -- WhatsApp codes: too fast ------------------------------------------------------------------------
    _whatsapp([130429], "the sender's throughput is reached", _slow_down(Scope.SENDER)),
    _whatsapp(
        [131056],
        "too many messages from this sender to this recipient",
        _throttled(Scope.PAIR, Remedy(retry=Retry.FREE, pair_backoff=True)),
        "M1, M10; action: choice",
    ),
    _whatsapp(
        [4, 80007], "the rate limit of the app or business account is reached", _slow_down(Scope.ACCOUNT)
    ),
    # -- WhatsApp codes: temporary -----------------------------------------------------------------------
    _whatsapp([131057], "the business account is in maintenance or being upgraded", _retry_after(60)),
    _whatsapp([134101], "the template is still being synchronised", _retry_after(600)),
    _whatsapp([1, 2, 131000, 131016, 133004], "temporary or unknown fault at WhatsApp", RETRY_UNEXPLAINED),
    # -- WhatsApp codes: this recipient ------------------------------------------------------------------
    _whatsapp(
        [131049],
        "WhatsApp held it back to keep people engaged: this recipient gets too much marketing",
        _suppress(Suppress("marketing", for_ms=DAY_MS)),
    ),
    _whatsapp([130472], "the recipient is part of a WhatsApp experiment", FAIL),
    _whatsapp(
        [131050], "the recipient opted out of marketing", _suppress(Suppress("marketing", by_switch=True))
    ),
    _whatsapp([130403], "we blocked this recipient", _suppress(Suppress("all"))),
    _whatsapp(
        [131026],
        "undeliverable: not on WhatsApp, or an old app, or its terms not accepted",
        _suppress(Suppress("all", after_days=3)),
    ),
    _whatsapp([131021], "sender and recipient are the same number", FAIL),
    _whatsapp([131047], "the 24 hour window is closed; use a template", FAIL),
    _whatsapp(
        [130497],
        "messages to this recipient's country are not allowed",
        _suppress(Suppress("all", country=True)),
    ),
    # -- WhatsApp codes: this content --------------------------------------------------------------------
    _whatsapp(
        [131051, 131008, 131009, 100, 135000],
        "WhatsApp calls the request wrong: type, missing or wrong parameter",
        FAIL_THEN_PAUSE,
    ),
    _whatsapp(
        [131001, 131002, 131006],
        "WhatsApp calls the request wrong: message too long, wrong kind of recipient, or no such thing",
        FAIL_THEN_PAUSE,
        "M1, older copies; action: choice",
    ),
    _whatsapp([131043], "WhatsApp had no time left to send it in", FAIL, "M1, older copies; action: choice"),
    _whatsapp([131053], "WhatsApp could not fetch or take the media", FAIL),
    _whatsapp(
        [131052],
        "WhatsApp could not fetch inbound media, which says nothing about a send",
        RETRY_UNEXPLAINED,
        "M1; action: as 17115 without a code, choice",
    ),
    _whatsapp(
        [132000, 132005, 132012, 132018],
        "the template's parameters are wrong in number, length or form",
        FAIL_THEN_PAUSE,
        "M1, M9; action: choice",
    ),
    _whatsapp([132001], "the template does not exist in this language", PAUSE_CAMPAIGN),
    _whatsapp([132007], "the template breaks a policy", PAUSE_CAMPAIGN),
    _whatsapp([132015], "the template is paused for its quality", PAUSE_CAMPAIGN, "M1, M12; action: choice"),
    _whatsapp(
        [132016],
        "the template is disabled for good",
        _refused(Remedy(pause=Scope.CAMPAIGN, alert=True)),
        "M1, M12; action: choice",
    ),
    _whatsapp([132068, 132069], "the template's flow is blocked or throttled", PAUSE_CAMPAIGN),
    _whatsapp(
        (code for code in range(132000, 133000) if code not in _LISTED_132XXX),
        "WhatsApp refuses the template",
        PAUSE_CAMPAIGN,
        "choice",
    ),
    _whatsapp(
        [131055, 134100, 134102, 131063], "this category of template needs another API", PAUSE_CAMPAIGN
    ),
    # -- WhatsApp codes: the sender or the account -------------------------------------------------------
    _whatsapp([131048], "WhatsApp limits this sender for spam", PAUSE_SENDER),
    _whatsapp([131037, 131045, 33], "the sender's number cannot be used", PAUSE_SENDER),
    _whatsapp(
        [131030],
        "the sender is a test number, which reaches only the people on its list; use a registered number, or put "
        "them on the list in Meta's console",
        PAUSE_SENDER,
    ),
    _whatsapp(
        [*range(133000, 133004), 133005, 133006, 133008, 133009, 133010, 133015, 133016, 136025],
        "the sender's number is not registered with WhatsApp as it should be; see its state in the vendor's console",
        PAUSE_SENDER,
    ),
    _whatsapp([133007], "WhatsApp blocks the sender's account", PAUSE_SENDER),
    _whatsapp(
        [0, 3, 10, 190, *range(200, 300), 131005],
        "the vendor's own sign-in or permission at WhatsApp fails; open a ticket with the vendor",
        PAUSE_SENDER,
    ),
    _whatsapp([131064], "WhatsApp limits the account for wrong template categories", PAUSE_ACCOUNT),
    _whatsapp([131031, 368], "WhatsApp restricts the account", PAUSE_ACCOUNT),
    _whatsapp([131042, 134011], "payment or terms at WhatsApp are not in order", PAUSE_ACCOUNT),
    # -- HTTP status, where the reply holds no RetCode that is listed ------------------------------------
    _http(
        range(300, 400),
        "the vendor's address redirects; check USPEEDO_BASE_URL",
        _refused(Remedy(pause=Scope.ACCOUNT, alert=True)),
    ),
    _http([400, 404, 405, 413, 415, 422], "the vendor's server calls the request wrong", FAIL_THEN_PAUSE),
    _http([401, 403], "the vendor's server does not let us in", PAUSE_ACCOUNT),
    _http(
        [425, 429],
        "the vendor's server says we call too often",
        _throttled(Scope.ACCOUNT, Remedy(retry=Retry.FREE, slow=Scope.ACCOUNT)),
    ),
    _http([408, 500, 502, 504], "the vendor's server failed", MAY_BE_SENT),
    _http([503], "the vendor's server is not available", OUTAGE),
)

#: The rows of codes that the table does not list.
UNLISTED: Mapping[Family, CodeRow] = MappingProxyType(
    {
        # Some codes other than 0 mean "maybe" (110), so an undocumented one is not read as "no".
        Family.RETCODE: _retcode(
            [],
            "the vendor answered with a RetCode that it does not document",
            _refused(Remedy(retry=Retry.BACKOFF, breaker=True, alert=True)),
            "choice",
        ),
        Family.WHATSAPP: _whatsapp(
            [],
            "WhatsApp refused with a code that is not listed",
            _refused(Remedy(alert=True, pause=Scope.CAMPAIGN, pause_after=IN_A_ROW)),
            "choice",
        ),
        Family.HTTP: _http([], "the vendor's server gave no answer that can be read", OUTAGE, "choice"),
    }
)

_BY_CODE: Mapping[tuple[Family, int], CodeRow] = MappingProxyType(
    {(row.family, code): row for row in TABLE for code in row.codes}
)


def find_row(family: Family, code: int) -> CodeRow | None:
    """The row that lists ``code``, or None."""
    return _BY_CODE.get((family, code))


def outcome_of(
    family: Family, code: int, retry_after_ms: int | None = None, *, vouched: Set[int] = frozenset()
) -> Outcome:
    """The outcome of ``code``, listed or not. ``vouched``: codes that mean "not sent" by the operator's word."""
    row = find_row(family, code) or UNLISTED[family]
    # A number below 300 is meant as a RetCode: no such HTTP status is a refusal.
    is_vouched = code in vouched and (family is not Family.HTTP or code >= 300)
    return row.outcome(code, retry_after_ms, vouched=is_vouched)


# -- a WhatsApp code in the vendor's Message ---------------------------------------------------------------

#: RetCode whose ``Message`` may hold a WhatsApp code.
SEND_FAILED = 17115
#: Smaller numbers may be RetCodes of the gateway: they count only in Meta's spelling, ``(#190)``.
_FIRST_UNMISTAKABLE = 300

_QUOTES = "'\"`´‘’‚‛“”„‟«»‹›「」『』《》〈〉()（）<>\\[\\]{}"
#: At the beginning, or after a colon or a dash that follows text without quotation marks or brackets.
_META = re.compile(rf"([^{_QUOTES}]*[:：;,，.。|–—-])?\s*[(（]#([0-9]{{1,7}})[)）]")
#: The text before the code must name a failure, and must not name a value, which may come from a row.
_FAILURE_WORDS = re.compile("fail|error|exception|refused|rejected|失败|错误|异常|拒绝", re.IGNORECASE)
_VALUE_WORDS = re.compile("param|value|variable|field|content|text|body|参数|变量|字段|内容", re.IGNORECASE)
_WHOLE_WORD = re.compile(r"(?<![\w.,+-])[0-9]{3,7}(?!\w|[.,]\d)")


def whatsapp_code_in(message: str) -> int | None:
    """The code in ``message`` in Meta's own spelling, ``(#131031) …``; None where there is none.

    A Message may quote a value of the request, which can hold any text. So a code does not count inside quotation marks
    or brackets, in the middle of a sentence, or after text that names no failure.
    """
    found = _META.match(message)
    if found is None:
        return None
    before = found[1] or ""
    if before and (_VALUE_WORDS.search(before) or not _FAILURE_WORDS.search(before)):
        return None
    return int(found[2])


def outcome_of_message(message: str) -> Refused | None:
    """The outcome of a listed code that stands as a word in ``message``: it fails this message and nothing else.

    None where no word is such a code, or where its message may be sent again: then 17115 itself decides.
    """
    for word in _WHOLE_WORD.findall(message):
        row = find_row(Family.WHATSAPP, int(word)) if int(word) >= _FIRST_UNMISTAKABLE else None
        outcome = row.outcome(int(word)) if row else None
        if isinstance(outcome, Refused) and outcome.remedy.retry is Retry.NEVER:
            plain = outcome_of(Family.RETCODE, SEND_FAILED)
            assert isinstance(plain, Refused)
            ends = replace(plain.remedy, retry=Retry.NEVER, never_otp=False)
            return replace(plain, why=outcome.why, remedy=ends)
    return None


# -- for the documentation ------------------------------------------------------------------------------------------


def table_rows() -> list[tuple[str, str, str, str, str]]:
    """The whole table as (family, codes, meaning, what follows, source)."""
    return [
        (str(row.family), _codes_text(row.codes), row.meaning, _consequence(row), row.source)
        for row in (*TABLE, *UNLISTED.values())
    ]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A code that stands in an error of the ledger: what it means, and what follows from it."""

    code: str
    meaning: str
    consequence: str


#: The code at the end of an outcome's reason, as ``CodeRow.outcome`` writes it.
_CODE_IN_ERROR = re.compile(r"\((#|HTTP )?([0-9]{1,9})\)(?:;|$)")
#: Begins the error of a message that failed by a receipt.
RECEIPT = "receipt: "
_FAMILIES = {None: Family.RETCODE, "#": Family.WHATSAPP, "HTTP ": Family.HTTP}


def explain(error: str) -> Explanation | None:
    """The explanation of a message's error; None where the error has no code."""
    found = _CODE_IN_ERROR.search(error)
    if found is None:
        return None
    return explain_code(_FAMILIES[found[1]], int(found[2]))


def explain_receipt(error: str) -> Explanation | None:
    """The explanation of an error that a receipt brought, ``receipt: 131026 …``; None without a listed code.

    What follows from the code is that of an answer: a message that the vendor took is not tried again.
    """
    code = error.removeprefix(RECEIPT).partition(" ")[0]
    if not error.startswith(RECEIPT) or not (code.isascii() and code.isdecimal() and len(code) <= 9):
        return None
    return explain_code(Family.WHATSAPP, int(code)) if find_row(Family.WHATSAPP, int(code)) else None


def explain_code(family: Family, code: int) -> Explanation:
    """What a code of the vendor means, listed or not, and what follows from it."""
    row = find_row(family, code) or UNLISTED[family]
    return Explanation(code_text(family, code), row.meaning, _consequence(row))


def _codes_text(codes: tuple[int, ...]) -> str:
    """``200-299, 131005``; ``any other`` for the row of unlisted codes."""
    runs: list[list[int]] = []
    for code in sorted(codes):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    texts = (str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return ", ".join(texts) or "any other"


def _consequence(row: CodeRow) -> str:
    outcome = row.outcome(row.codes[0] if row.codes else 0)
    return joined([_outcome_text(outcome), *_remedy_texts(getattr(outcome, "remedy", Remedy()))])


def _outcome_text(outcome: Outcome) -> str:
    match outcome:
        case Throttled(scope=scope):
            return say("not sent, throttled ({scope})", scope=_named(scope))
        case Unknown():
            return say("unknown: it may have gone out, never sent again by itself")
        case Refused() | NotSent():
            return {
                Retry.NEVER: say("failed"),
                Retry.BACKOFF: say("not sent, tried again with backoff"),
                Retry.FEW: say("not sent, tried again at most twice"),
                Retry.FREE: say("not sent, stays queued at no cost"),
            }[outcome.remedy.retry]
        case _:
            return say("accepted")


def _named(scope: Scope) -> Sentence:
    return {
        Scope.PAIR: say("pair"),
        Scope.CAMPAIGN: say("campaign"),
        Scope.SENDER: say("sender"),
        Scope.ACCOUNT: say("account"),
    }[scope]


def _remedy_texts(remedy: Remedy) -> Iterable[str]:
    if remedy.never_otp:
        yield say("a one-time code not at all")
    if remedy.min_wait_ms:
        yield say("not before {seconds} s", seconds=remedy.min_wait_ms // SECOND_MS)
    if remedy.pair_backoff:
        yield say("this recipient after 4^X s, X from 0")
    if remedy.slow:
        yield say("slow the {scope}", scope=_named(remedy.slow))
    if remedy.pause and remedy.pause_after == 1:
        yield say("pause the {scope}", scope=_named(remedy.pause))
    elif remedy.pause:
        yield say(
            "pause the {scope} after {count} in a row", scope=_named(remedy.pause), count=remedy.pause_after
        )
    if remedy.suppress:
        yield _suppress_text(remedy.suppress)
    if remedy.breaker:
        yield say("counts towards the circuit breaker")
    if remedy.alert:
        yield say("alert")


def _suppress_text(suppress: Suppress) -> str:
    what = say("everything") if suppress.scope == "all" else say("marketing")
    whom = say("this country") if suppress.country else say("this recipient")
    if suppress.for_ms:
        hours = suppress.for_ms // 3_600_000
        return say("suppress {what} to {whom} for {hours} h", what=what, whom=whom, hours=hours)
    if suppress.after_days > 1:
        days = suppress.after_days
        return say(
            "suppress {what} to {whom} once seen on {days} different days", what=what, whom=whom, days=days
        )
    return say("suppress {what} to {whom}", what=what, whom=whom)
