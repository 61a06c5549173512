"""Alerts: what needs a person now, judged by pure rules over what was read.

Each rule is a condition of an alert in deploy/prometheus-rules.yml, with the same threshold, which a test compares.
Prometheus judges by the time that a condition holds and by rates over minutes; these rules judge what is now, and
what happened of late by the newest rows. docs/operations.md says where the two differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bulksend.messaging.masking import mask_digits
from bulksend.messaging.states import Kind
from bulksend.operations.doctor_rules import RECEIPT_DUE_MS, SKEW_WARN_S, ReceiptState, has_stopped

#: The waits of codes that were POSTed within this time count, and the codes that expired within that time.
CODES_MS, EXPIRED_MS = 5 * 60_000, 10 * 60_000
#: The POSTs of a sender within this time count, where there are more than this number.
POSTS_MS, FEW_POSTS = 10 * 60_000, 100
#: Callbacks that were set aside within this time count.
UNREADABLE_MS = 60 * 60_000


class State(StrEnum):
    """What a rule says now."""

    FIRES = "fires"
    WELL = "well"
    NOT_JUDGED = "not_judged"


class Severity(StrEnum):
    """How urgent it is; the same as in the rules of Prometheus."""

    CRITICAL = "critical"
    WARNING = "warning"


class Unit(StrEnum):
    """What a value is. ``YES``: 1 or 0."""

    COUNT = "count"
    SECONDS = "seconds"
    SHARE = "share"
    BYTES = "bytes"
    YES = "yes"


@dataclass(frozen=True, slots=True)
class RecentPosts:
    """Of a sender's newest POSTs: how many have a result, and how many of them the vendor refused."""

    answered: int = 0
    refused: int = 0
    newest_at: int | None = None


#: Expired codes of a campaign and unreadable callbacks are counted up to here.
COUNTED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What was read of ledger, Redis, limiter and this machine. None: not known, or there is none."""

    audit_broken: int | None = None
    audit_age_s: float | None = None
    codes_unknown: int = 0
    code_wait_s: float | None = None
    """The p99 of codes that were POSTed of late."""
    codes_expired: int = 0
    oldest_due_s: Mapping[str, float] = field(default_factory=dict)
    """By kind; of what nothing pauses."""
    sends: bool = False
    """Whether any sender has begun a POST in the last seconds."""
    posts: Mapping[str, RecentPosts] = field(default_factory=dict)
    """By sender."""
    account_pause: str | None = None
    """Why the account is paused."""
    sender_pauses: Mapping[str, str] = field(default_factory=dict)
    """Why, of each sender that is paused."""
    workers: int = 0
    relay_leads: bool | None = None
    redis_answers: bool | None = None
    redis_problem: str = ""
    receipts: ReceiptState = field(default_factory=ReceiptState)
    unreadable: int = 0
    quota_used: float | None = None
    red_senders: Sequence[str] = ()
    templates_not_approved: int = 0
    disk_free: float = float("inf")
    spooled: int = 0
    clock_skew_s: float = 0.0
    endpoints_disabled: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """A value for a rule. ``subject``: a sender or a kind. ``detail``: words of a person or of a server.

    Without ``decides`` the rule does not fire, whatever the value is.
    """

    value: float | None
    subject: str = ""
    detail: str = ""
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition: it fires for a value above ``threshold``, or with ``below`` under it."""

    name: str
    alert: str
    """Of the rules of Prometheus."""
    severity: Severity
    unit: Unit
    threshold: float
    measure: Callable[[Readings], Iterable[Measured]]
    below: bool = False
    most: float = float("inf")
    """Counting ends there: such a value may be larger."""

    def fires(self, of: Measured) -> bool:
        """Whether this value needs a person."""
        if of.value is None or not of.decides:
            return False
        return of.value < self.threshold if self.below else of.value > self.threshold


@dataclass(frozen=True, slots=True)
class Alert:
    """What a rule says now. ``value`` is None where it is not judged, or where there is nothing to measure."""

    rule: Rule
    state: State
    value: float | None = None
    subject: str = ""
    detail: str = ""

    def masked(self) -> Alert:
        """The same for a reader who sees no numbers: words of a person may name one."""
        return replace(self, detail=mask_digits(self.detail))


def judge(of: Readings) -> list[Alert]:
    """What each rule says: all subjects for which it fires, or else the nearest to that."""
    return [alert for rule in RULES for alert in _judged(rule, [*rule.measure(of)])]


def firing(alerts: Iterable[Alert]) -> list[Alert]:
    """Those that fire, the critical ones first."""
    found = [each for each in alerts if each.state is State.FIRES]
    return sorted(found, key=lambda each: each.rule.severity is not Severity.CRITICAL)


def fingerprint(alerts: Iterable[Alert]) -> str:
    """Another text when another rule fires, or for another subject. Values change by the second: they do not count."""
    return " ".join(sorted(f"{each.rule.name}:{each.subject}" for each in firing(alerts)))


def _judged(rule: Rule, measured: Sequence[Measured]) -> Iterator[Alert]:
    fire = [each for each in measured if rule.fires(each)]
    if fire:
        yield from (Alert(rule, State.FIRES, each.value, each.subject, each.detail) for each in fire)
        return
    if measured and all(each.value is None for each in measured):
        yield Alert(rule, State.NOT_JUDGED)
        return
    # A value that does not decide would seem to be beyond the threshold.
    known = [each.value for each in measured if each.value is not None and each.decides]
    yield Alert(rule, State.WELL, (min if rule.below else max)(known, default=None))


def _one(read: Callable[[Readings], float | None]) -> Callable[[Readings], Iterable[Measured]]:
    return lambda of: [Measured(read(of))]


def _code_wait(of: Readings) -> Iterable[Measured]:
    """Where no code is POSTed, those that wait tell it."""
    waits = (of.code_wait_s, of.oldest_due_s.get(Kind.OTP.value))
    known = [each for each in waits if each is not None]
    return [Measured(max(known))] if known else []


def _oldest_due(of: Readings) -> Iterable[Measured]:
    """The messages of a blast are due at once and wait for their rate: they stall only where nothing is sent."""
    return [
        Measured(age, kind, decides=kind != Kind.MARKETING or not of.sends)
        for kind, age in of.oldest_due_s.items()
    ]


def _refused(of: Readings) -> Iterable[Measured]:
    return [
        Measured(posts.refused / posts.answered, phone, decides=posts.answered > FEW_POSTS)
        for phone, posts in of.posts.items()
        if posts.answered
    ]


def _account_pause(of: Readings) -> Iterable[Measured]:
    return [Measured(of.account_pause is not None, detail=of.account_pause or "")]


def _sender_pauses(of: Readings) -> Iterable[Measured]:
    return [Measured(1, phone, why) for phone, why in of.sender_pauses.items()]


def _redis(of: Readings) -> Iterable[Measured]:
    return [Measured(None if of.redis_answers is None else not of.redis_answers, detail=of.redis_problem)]


def _receipts(of: Readings) -> Iterable[Measured]:
    """Judged where an address for receipts was given out; else `doctor` says that there is none."""
    receipts = of.receipts
    if not receipts.has_token:
        return [Measured(None)]
    silent_ms = receipts.last_callback_ms
    if silent_ms is None:
        silent_ms = receipts.unanswered_ms or 0
    return [Measured(silent_ms / 1000, decides=has_stopped(receipts))]


def _red(of: Readings) -> Iterable[Measured]:
    return [Measured(1, phone) for phone in of.red_senders]


def _quota(of: Readings) -> Iterable[Measured]:
    return [] if of.quota_used is None else [Measured(of.quota_used)]


_CRITICAL, _WARNING = Severity.CRITICAL, Severity.WARNING
_AUDIT, _HOST, _NEAR = "BulksendAuditBroken", "BulksendHostTrouble", "BulksendNearALimit"
_PROCESSES = "BulksendNoWorkerOrRelay"
_COUNT, _SECONDS, _YES = Unit.COUNT, Unit.SECONDS, Unit.YES

RULES: tuple[Rule, ...] = (
    Rule("audit_broken", _AUDIT, _CRITICAL, _COUNT, 0, _one(lambda of: of.audit_broken)),
    Rule("audit_old", _AUDIT, _CRITICAL, _SECONDS, 86_400, _one(lambda of: of.audit_age_s)),
    Rule("codes_unknown", "BulksendCodesUnknown", _WARNING, _COUNT, 0, _one(lambda of: of.codes_unknown)),
    Rule("codes_late", "BulksendCodesLate", _CRITICAL, _SECONDS, 10, _code_wait),
    Rule(
        "codes_expired",
        "BulksendCodesExpired",
        _CRITICAL,
        _COUNT,
        0,
        _one(lambda of: of.codes_expired),
        most=COUNTED,
    ),
    Rule("stalled", "BulksendStalled", _CRITICAL, _SECONDS, 60, _oldest_due),
    Rule("sender_fails", "BulksendSenderFails", _WARNING, Unit.SHARE, 0.05, _refused),
    Rule("account_paused", "BulksendPaused", _WARNING, _YES, 0, _account_pause),
    Rule("sender_paused", "BulksendPaused", _WARNING, _YES, 0, _sender_pauses),
    Rule("no_worker", _PROCESSES, _CRITICAL, _COUNT, 1, _one(lambda of: of.workers), below=True),
    Rule("no_relay", _PROCESSES, _CRITICAL, _COUNT, 1, _one(lambda of: of.relay_leads), below=True),
    Rule("redis_away", "BulksendRedisAway", _CRITICAL, _YES, 0, _redis),
    Rule("receipts_stopped", "BulksendReceiptsStopped", _WARNING, _SECONDS, RECEIPT_DUE_MS / 1000, _receipts),
    Rule(
        "receipts_unreadable",
        "BulksendReceiptsStopped",
        _WARNING,
        _COUNT,
        0,
        _one(lambda of: of.unreadable),
        most=COUNTED,
    ),
    Rule("quota_used", _NEAR, _WARNING, Unit.SHARE, 0.9, _quota),
    Rule("sender_red", _NEAR, _WARNING, _YES, 0, _red),
    Rule("template_not_approved", _NEAR, _WARNING, _COUNT, 0, _one(lambda of: of.templates_not_approved)),
    Rule("disk_full", _HOST, _WARNING, Unit.BYTES, 1e9, _one(lambda of: of.disk_free), below=True),
    Rule("files_wait", _HOST, _WARNING, _COUNT, 0, _one(lambda of: of.spooled)),
    Rule("clock_off", _HOST, _WARNING, _SECONDS, SKEW_WARN_S, _one(lambda of: abs(of.clock_skew_s))),
    Rule("webhook_disabled", _HOST, _WARNING, _COUNT, 0, _one(lambda of: of.endpoints_disabled)),
)
