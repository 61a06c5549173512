"""The decision that follows an attempt: a pure function of outcome, message, policy, now and dice.

| outcome             | the message                                                              | costs a try |
|---------------------|--------------------------------------------------------------------------|-------------|
| Accepted            | accepted                                                                 | no          |
| Unknown             | unknown; a retry where the campaign asked for it, once, and never an OTP | yes         |
| Throttled           | retry, when told or after our own backoff                                | no          |
| Refused, NotSent    | as its remedy says: failed, retry after backoff, or queued for free      | not if free |

A message that would be due after its time to live has expired, unless it may have gone out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bulksend.messaging.backoff import backoff_ms, pair_backoff_ms
from bulksend.messaging.outcome import (
    Accepted,
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
from bulksend.messaging.sentences import joined, say
from bulksend.messaging.states import Kind, OnUnknown, Status


class AttemptedMessage(NamedTuple):
    """The message before this attempt, as far as the decision needs it."""

    kind: Kind
    tries: int
    """Attempts that counted."""
    waits: int
    """Attempts that did not count: throttled, or stopped by something other than the message."""
    expires_at_ms: int | None
    on_unknown: OnUnknown


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how long a message is tried. Lengths in milliseconds."""

    max_tries: int = 5
    few_tries: int = 3
    """Of ``Retry.FEW``: the first and at most two more (docs/vendor.md#error-codes: 17111, 17115)."""
    base_ms: int = 2_000
    cap_ms: int = 600_000
    resend_wait_ms: int = 600_000
    """How long a receipt can settle an unknown message before a campaign's ``resend`` sends it again."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause a campaign, sender or account after ``after`` attempts in a row with this result."""

    scope: Scope
    after: int
    why: str


class Decision(NamedTuple):
    """The message's new status, and everything else that follows.

    ``due_at_ms`` is set exactly when the message waits again. ``outage``: True is evidence of an outage, False of a
    healthy vendor, None of neither.
    """

    status: Status
    due_at_ms: int | None
    tries: int
    waits: int
    error: str = ""
    pause: Pause | None = None
    slow: Scope | None = None
    outage: bool | None = None
    suppress: Suppress | None = None
    alert: bool = False
    pair_wait_ms: int | None = None
    """How long this sender leaves the recipient alone, because the vendor said that it gets too many messages."""


def decide(outcome: Outcome, subject: AttemptedMessage, policy: Policy, now_ms: int, dice: float) -> Decision:
    """The decision. ``dice`` is uniform in [0, 1)."""
    match outcome:
        case Accepted():
            return Decision(Status.ACCEPTED, None, subject.tries, subject.waits, outage=False)
        case Unknown():
            decision = _unknown(outcome, subject, policy, now_ms)
        case Throttled():
            decision = _in_time(_throttled(outcome, subject, policy, now_ms, dice), subject)
        case Refused() | NotSent():
            decision = _in_time(_not_sent(outcome, subject, policy, now_ms, dice), subject)
    return _with_remedy(decision, outcome.remedy, outcome.why)


def _unknown(outcome: Unknown, subject: AttemptedMessage, policy: Policy, now_ms: int) -> Decision:
    """The message may have gone out. It is sent again only when the campaign asks for it, once, never a one-time code.

    Once: only after the first counted try. In time: when the wait for a receipt outlasts the time to live, the message
    is not sent again and stays unknown, never expired.
    """
    tries = subject.tries + 1
    due_at_ms = now_ms + policy.resend_wait_ms
    resend = (
        subject.on_unknown is OnUnknown.RESEND
        and subject.kind is not Kind.OTP
        and subject.tries == 0
        and tries < policy.max_tries
        and (subject.expires_at_ms is None or due_at_ms < subject.expires_at_ms)
    )
    if resend:
        return Decision(Status.RETRY, due_at_ms, tries, subject.waits, outcome.why)
    return Decision(Status.UNKNOWN, None, tries, subject.waits, outcome.why)


def _throttled(
    outcome: Throttled, subject: AttemptedMessage, policy: Policy, now_ms: int, dice: float
) -> Decision:
    """Too fast: wait as long as the vendor says, else by the backoff. Costs no try."""
    if outcome.retry_after_ms is not None:
        wait_ms = outcome.retry_after_ms
    elif outcome.remedy.pair_backoff:
        wait_ms = pair_backoff_ms(subject.waits)
    else:
        wait_ms = _backoff_ms(subject.waits, policy, dice)
    due_at_ms = now_ms + max(wait_ms, outcome.remedy.min_wait_ms)
    waited = due_at_ms - now_ms if outcome.scope is Scope.PAIR else None
    return Decision(
        Status.RETRY,
        due_at_ms,
        subject.tries,
        subject.waits + 1,
        outcome.why,
        outage=False,
        pair_wait_ms=waited,
    )


def _not_sent(
    outcome: Refused | NotSent, subject: AttemptedMessage, policy: Policy, now_ms: int, dice: float
) -> Decision:
    """Certainly not sent: try again later, queue again without costing a try, or fail."""
    remedy = outcome.remedy
    # A vendor that refuses is healthy, unless the remedy says that the refusal shows an outage.
    outage = False if isinstance(outcome, Refused) else None
    if remedy.retry is Retry.FREE:
        due_at_ms = now_ms + _free_wait_ms(remedy, subject, policy, dice)
        return Decision(
            Status.QUEUED, due_at_ms, subject.tries, subject.waits + 1, outcome.why, outage=outage
        )
    tries = subject.tries + 1
    failed = Decision(Status.FAILED, None, tries, subject.waits, outcome.why, outage=outage)
    if remedy.retry is Retry.NEVER or (remedy.never_otp and subject.kind is Kind.OTP):
        return failed
    most = policy.max_tries if remedy.retry is Retry.BACKOFF else min(policy.few_tries, policy.max_tries)
    if tries >= most:
        spent = say("its only try is spent") if most == 1 else say("its {count} tries are spent", count=most)
        return failed._replace(error=joined([outcome.why, spent]))
    wait_ms = max(_backoff_ms(subject.tries, policy, dice), remedy.min_wait_ms)
    return Decision(Status.RETRY, now_ms + wait_ms, tries, subject.waits, outcome.why, outage=outage)


def _free_wait_ms(remedy: Remedy, subject: AttemptedMessage, policy: Policy, dice: float) -> int:
    """No wait when an immediate pause holds the message anyway; else the backoff.

    Without the backoff, a message that costs no try would be refused again and again at full speed.
    """
    if remedy.pause is not None and remedy.pause_after <= 1:
        return remedy.min_wait_ms
    return max(_backoff_ms(subject.waits, policy, dice), remedy.min_wait_ms)


def _backoff_ms(count: int, policy: Policy, dice: float) -> int:
    return backoff_ms(count, base_ms=policy.base_ms, cap_ms=policy.cap_ms, dice=dice)


def _in_time(decision: Decision, subject: AttemptedMessage) -> Decision:
    """Expire a message whose retry would come after its time to live."""
    if decision.due_at_ms is None or subject.expires_at_ms is None:
        return decision
    if decision.due_at_ms < subject.expires_at_ms:
        return decision
    return decision._replace(
        status=Status.EXPIRED,
        due_at_ms=None,
        error=joined([decision.error, say("its time to live ends before the next try")]),
    )


def _with_remedy(decision: Decision, remedy: Remedy, why: str) -> Decision:
    """Add what follows for the campaign, sender, account or recipient."""
    return decision._replace(
        pause=None if remedy.pause is None else Pause(remedy.pause, remedy.pause_after, why),
        slow=remedy.slow,
        suppress=remedy.suppress,
        alert=remedy.alert,
        outage=True if remedy.breaker else decision.outage,
    )
