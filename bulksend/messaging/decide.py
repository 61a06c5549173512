"""What follows from an attempt: a pure function of outcome, message, policy, now and dice."""

from __future__ import annotations

from dataclasses import dataclass

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
from bulksend.messaging.states import Kind, OnUnknown, Status


@dataclass(frozen=True, slots=True)
class Subject:
    """What must be known of the message: ``tries`` and ``waits`` before this attempt, its expiry (ms)."""

    kind: Kind
    tries: int
    waits: int
    expires_at_ms: int | None
    on_unknown: OnUnknown


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient we are."""

    max_tries: int = 5
    few_tries: int = 3
    """The first and at most two more (reference, section 4: 17111, 17115)."""
    base_ms: int = 2_000
    cap_ms: int = 600_000
    resend_wait_ms: int = 600_000
    """How long a receipt may still settle an unknown message before a campaign's ``resend`` acts."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop a campaign, sender or account once ``after`` in a row ended like this."""

    scope: Scope
    after: int
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the message goes, and what else follows.

    ``outage``: True is evidence of an outage, False that the vendor is well, None neither.
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


def decide(outcome: Outcome, subject: Subject, policy: Policy, now_ms: int, dice: float) -> Decision:
    """The decision. ``dice`` is uniform in [0, 1)."""
    match outcome:
        case Accepted():
            return Decision(Status.ACCEPTED, None, subject.tries, subject.waits, outage=False)
        case Unknown():
            return _unknown(outcome, subject, policy, now_ms)
        case Throttled():
            return _throttled(outcome, subject, policy, now_ms, dice)
        case Refused() | NotSent():
            return _not_sent(outcome, subject, policy, now_ms, dice)


def _unknown(outcome: Unknown, subject: Subject, policy: Policy, now_ms: int) -> Decision:
    """It may have gone out. Sent again only where the campaign asked for it, once, and never a one-time code."""
    resend = subject.on_unknown is OnUnknown.RESEND and subject.kind is not Kind.OTP and subject.tries == 0
    due_at_ms = now_ms + policy.resend_wait_ms
    if subject.expires_at_ms is not None and due_at_ms >= subject.expires_at_ms:
        resend = False
    return _with_remedy(
        Decision(
            Status.RETRY if resend else Status.UNKNOWN,
            due_at_ms if resend else None,
            subject.tries + 1,
            subject.waits,
            outcome.why,
        ),
        outcome.remedy,
    )


def _throttled(outcome: Throttled, subject: Subject, policy: Policy, now_ms: int, dice: float) -> Decision:
    """Too fast: wait as long as we are told, else by our own backoff. Costs no try."""
    if outcome.retry_after_ms is not None:
        wait_ms = outcome.retry_after_ms
    elif outcome.remedy.pair_backoff:
        wait_ms = pair_backoff_ms(subject.waits)
    else:
        wait_ms = backoff_ms(subject.waits, base_ms=policy.base_ms, cap_ms=policy.cap_ms, dice=dice)
    wait_ms = max(wait_ms, outcome.remedy.min_wait_ms)
    decision = Decision(
        Status.RETRY, now_ms + wait_ms, subject.tries, subject.waits + 1, outcome.why, outage=False
    )
    return _in_time(_with_remedy(decision, outcome.remedy), subject)


def _not_sent(
    outcome: Refused | NotSent, subject: Subject, policy: Policy, now_ms: int, dice: float
) -> Decision:
    """Surely not sent: again, later or for free, or not at all."""
    remedy = outcome.remedy
    # An answer of any kind shows that the vendor is there, unless the table says that it tells of an outage.
    outage = False if isinstance(outcome, Refused) and not remedy.breaker else None
    if remedy.retry is Retry.NEVER:
        failed = Decision(Status.FAILED, None, subject.tries + 1, subject.waits, outcome.why, outage=outage)
        return _with_remedy(failed, remedy)
    if remedy.retry is Retry.FREE:
        free = Decision(
            Status.RETRY,
            now_ms + remedy.min_wait_ms,
            subject.tries,
            subject.waits + 1,
            outcome.why,
            outage=outage,
        )
        return _in_time(_with_remedy(free, remedy), subject)
    most = policy.few_tries if remedy.retry is Retry.FEW else policy.max_tries
    tries = subject.tries + 1
    if tries >= most:
        why = f"{outcome.why}; its {most} tries are spent"
        return _with_remedy(Decision(Status.FAILED, None, tries, subject.waits, why, outage=outage), remedy)
    wait_ms = backoff_ms(subject.tries, base_ms=policy.base_ms, cap_ms=policy.cap_ms, dice=dice)
    later = Decision(
        Status.RETRY,
        now_ms + max(wait_ms, remedy.min_wait_ms),
        tries,
        subject.waits,
        outcome.why,
        outage=outage,
    )
    return _in_time(_with_remedy(later, remedy), subject)


def _in_time(decision: Decision, subject: Subject) -> Decision:
    """A retry that would come after its time to live is none."""
    late = (
        subject.expires_at_ms is not None
        and decision.due_at_ms is not None
        and decision.due_at_ms >= subject.expires_at_ms
    )
    if not late:
        return decision
    return _replaced(
        decision,
        status=Status.EXPIRED,
        due_at_ms=None,
        error=f"{decision.error}; its time to live ends before the next try",
    )


def _with_remedy(decision: Decision, remedy: Remedy) -> Decision:
    pause = None
    if remedy.pause is not None:
        pause = Pause(remedy.pause, remedy.pause_after, decision.error)
    return _replaced(
        decision,
        pause=pause,
        slow=remedy.slow,
        suppress=remedy.suppress,
        alert=remedy.alert,
        outage=True if remedy.breaker else decision.outage,
    )


def _replaced(decision: Decision, **changes: object) -> Decision:
    from dataclasses import replace

    return replace(decision, **changes)  # type: ignore[arg-type]
