"""What follows from an attempt, as a table and as promises that hold for every input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.messaging import (
    MOVES,
    Accepted,
    AttemptedMessage,
    Decision,
    Kind,
    NotSent,
    OnUnknown,
    Outcome,
    Pause,
    Policy,
    Refused,
    Remedy,
    Retry,
    Scope,
    Status,
    Suppress,
    Throttled,
    Unknown,
    decide,
)

NOW = 1_900_000_000_000
POLICY = Policy()
S = Status


def subject(**changes: Any) -> AttemptedMessage:
    given: dict[str, Any] = {
        "kind": Kind.MARKETING,
        "tries": 0,
        "waits": 0,
        "expires_at_ms": None,
        "on_unknown": OnUnknown.HOLD,
    }
    return AttemptedMessage(**(given | changes))


def decided(outcome: Outcome, policy: Policy = POLICY, dice: float = 0.5, **changes: Any) -> Decision:
    return decide(outcome, subject(**changes), policy, NOW, dice)


def refused(retry: Retry = Retry.NEVER, **remedy: Any) -> Refused:
    return Refused("17115", "send message failed", Remedy(retry=retry, **remedy))


def throttled(retry_after_ms: int | None = None, **remedy: Any) -> Throttled:
    return Throttled("153", "throttled", Scope.SENDER, retry_after_ms, Remedy(retry=Retry.FREE, **remedy))


# -- accepted and refused -----------------------------------------------------------------------------------------


def test_accepted_is_accepted_and_shows_that_the_vendor_is_well() -> None:
    assert decided(Accepted("m", "r"), tries=2, waits=3) == Decision(S.ACCEPTED, None, 2, 3, outage=False)


def test_refused_for_good_has_failed_with_the_vendors_reason() -> None:
    assert decided(refused()) == Decision(S.FAILED, None, 1, 0, "send message failed", outage=False)


@pytest.mark.parametrize(("tries", "wait_ms"), [(0, 1_000), (1, 2_000), (2, 4_000), (3, 8_000)])
def test_a_retry_backs_off_exponentially_and_counts_as_a_try(tries: int, wait_ms: int) -> None:
    decision = decided(refused(Retry.BACKOFF), tries=tries)
    assert (decision.status, decision.due_at_ms, decision.tries) == (S.RETRY, NOW + wait_ms, tries + 1)


def test_no_retry_comes_sooner_than_its_remedy_says() -> None:
    assert decided(refused(Retry.BACKOFF, min_wait_ms=60_000), dice=0.0).due_at_ms == NOW + 60_000
    assert decided(refused(Retry.BACKOFF, min_wait_ms=1), dice=0.5).due_at_ms == NOW + 1_000


def test_when_its_tries_are_spent_a_message_has_failed() -> None:
    decision = decided(refused(Retry.BACKOFF), tries=4)
    assert (decision.status, decision.tries) == (S.FAILED, 5)
    assert decision.error == "send message failed; its 5 tries are spent"
    assert decided(refused(Retry.BACKOFF), Policy(max_tries=1)).error.endswith("its only try is spent")


def test_few_means_the_first_and_at_most_two_more() -> None:
    assert [decided(refused(Retry.FEW), tries=n).status for n in range(4)] == [
        S.RETRY,
        S.RETRY,
        S.FAILED,
        S.FAILED,
    ]
    assert decided(refused(Retry.FEW), tries=2).error.endswith("its 3 tries are spent")
    assert decided(refused(Retry.FEW), Policy(max_tries=2), tries=1).status is S.FAILED


def test_what_was_not_its_own_fault_goes_back_to_the_queue_for_free() -> None:
    decision = decided(refused(Retry.FREE, pause=Scope.ACCOUNT, alert=True), tries=4, waits=2)
    assert decision == Decision(
        S.QUEUED,
        NOW,
        4,
        3,
        "send message failed",
        pause=Pause(Scope.ACCOUNT, 1, "send message failed"),
        outage=False,
        alert=True,
    )


def test_what_is_free_backs_off_where_no_pause_stops_it_at_once() -> None:
    assert decided(refused(Retry.FREE), waits=3).due_at_ms == NOW + 8_000
    assert (
        decided(refused(Retry.FREE, pause=Scope.CAMPAIGN, pause_after=10), waits=3).due_at_ms == NOW + 8_000
    )
    assert decided(refused(Retry.FREE, pause=Scope.CAMPAIGN, min_wait_ms=9_000)).due_at_ms == NOW + 9_000


def test_not_sent_is_tried_again_and_is_evidence_of_an_outage() -> None:
    decision = decided(NotSent("connection refused"))
    assert (decision.status, decision.outage) == (S.RETRY, True)


def test_not_sent_by_our_own_fault_tells_nothing_of_the_vendor() -> None:
    decision = decided(NotSent("no such header", Remedy()))
    assert (decision.status, decision.outage) == (S.FAILED, None)


# -- throttled ----------------------------------------------------------------------------------------------------


def test_throttled_waits_for_free_and_slows_down_its_scope() -> None:
    decision = decided(throttled(slow=Scope.SENDER), tries=4, waits=1)
    assert decision == Decision(S.RETRY, NOW + 2_000, 4, 2, "throttled", slow=Scope.SENDER, outage=False)


@pytest.mark.parametrize("pair", [False, True])
def test_retry_after_wins_over_every_backoff_of_ours(pair: bool) -> None:
    assert decided(throttled(7_000, pair_backoff=pair), waits=9).due_at_ms == NOW + 7_000
    assert decided(throttled(7_000, min_wait_ms=60_000)).due_at_ms == NOW + 60_000


@pytest.mark.parametrize(("waits", "seconds"), [(0, 1), (1, 4), (2, 16), (9, 3600)])
def test_a_pair_that_was_too_fast_waits_four_to_the_x_seconds(waits: int, seconds: int) -> None:
    assert decided(throttled(pair_backoff=True), waits=waits, dice=0.0).due_at_ms == NOW + seconds * 1000


# -- unknown ------------------------------------------------------------------------------------------------------


def test_unknown_stays_unknown_by_itself() -> None:
    decision = decided(Unknown("read timed out"))
    assert decision == Decision(S.UNKNOWN, None, 1, 0, "read timed out", outage=True)


@pytest.mark.parametrize("kind", [Kind.MARKETING, Kind.UTILITY])
def test_unknown_is_sent_again_once_where_the_campaign_asked_for_it(kind: Kind) -> None:
    first = decided(Unknown("read timed out"), kind=kind, on_unknown=OnUnknown.RESEND)
    assert (first.status, first.due_at_ms, first.tries) == (S.RETRY, NOW + 600_000, 1)
    second = decided(Unknown("read timed out"), kind=kind, on_unknown=OnUnknown.RESEND, tries=first.tries)
    assert (second.status, second.due_at_ms) == (S.UNKNOWN, None)


def test_unknown_stays_unknown_where_only_one_try_is_allowed() -> None:
    decision = decided(Unknown("reset"), Policy(max_tries=1), on_unknown=OnUnknown.RESEND)
    assert decision.status is S.UNKNOWN


def test_unknown_never_becomes_expired() -> None:
    decision = decided(Unknown("reset"), on_unknown=OnUnknown.RESEND, expires_at_ms=NOW + 1)
    assert (decision.status, decision.due_at_ms) == (S.UNKNOWN, None)


# -- time to live -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [refused(Retry.BACKOFF), refused(Retry.FEW), refused(Retry.FREE), throttled(), NotSent("refused")],
)
def test_a_retry_that_would_come_too_late_has_expired(outcome: Outcome) -> None:
    late = decided(outcome, expires_at_ms=NOW + 1_000)
    assert (late.status, late.due_at_ms) == (S.EXPIRED, None)
    assert late.error.endswith("; its time to live ends before the next try")
    assert decided(outcome, expires_at_ms=NOW + 1_001).due_at_ms == NOW + 1_000


def test_what_a_remedy_asks_for_beyond_the_message_is_passed_on_also_when_it_expired() -> None:
    stop = Suppress("marketing", for_ms=86_400_000)
    outcome = refused(
        Retry.BACKOFF, pause=Scope.CAMPAIGN, pause_after=10, suppress=stop, slow=Scope.ACCOUNT, alert=True
    )
    decision = decided(outcome, expires_at_ms=NOW)
    assert decision.status is S.EXPIRED
    assert decision.pause == Pause(Scope.CAMPAIGN, 10, "send message failed")
    assert (decision.suppress, decision.slow, decision.alert) == (stop, Scope.ACCOUNT, True)


def test_a_refusal_that_tells_of_an_outage_is_evidence_of_one() -> None:
    assert decided(refused(Retry.BACKOFF, breaker=True)).outage is True


# -- promises -----------------------------------------------------------------------------------------------------

remedies = st.builds(
    Remedy,
    retry=st.sampled_from(Retry),
    min_wait_ms=st.integers(0, 10**6),
    pair_backoff=st.booleans(),
    pause=st.none() | st.sampled_from(Scope),
    pause_after=st.integers(1, 50),
    slow=st.none() | st.sampled_from(Scope),
    breaker=st.booleans(),
    suppress=st.none() | st.just(Suppress("all")),
    alert=st.booleans(),
)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Accepted, st.just("m"), st.just("r")),
    st.builds(Refused, st.just("1"), st.just("why"), remedies),
    st.builds(NotSent, st.just("why"), remedies),
    st.builds(
        Throttled,
        st.just("1"),
        st.just("why"),
        st.sampled_from(Scope),
        st.none() | st.integers(0, 10**7),
        remedies,
    ),
    st.builds(Unknown, st.just("why"), st.just(""), remedies),
)
policies = st.builds(
    Policy,
    max_tries=st.integers(1, 10),
    few_tries=st.integers(1, 5),
    base_ms=st.integers(1, 10**5),
    cap_ms=st.integers(1, 10**7),
    resend_wait_ms=st.integers(0, 10**6),
)
chances = st.floats(0, 1, exclude_max=True)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Outcome, AttemptedMessage, Policy, float]:
    policy = draw(policies)
    about = AttemptedMessage(
        kind=draw(st.sampled_from(Kind)),
        tries=draw(st.integers(0, policy.max_tries - 1)),
        waits=draw(st.integers(0, 1000)),
        expires_at_ms=draw(st.none() | st.integers(NOW - 1000, NOW + 10**7)),
        on_unknown=draw(st.sampled_from(OnUnknown)),
    )
    return draw(outcomes), about, policy, draw(chances)


@given(cases())
def test_every_decision_keeps_the_promises(case: tuple[Outcome, AttemptedMessage, Policy, float]) -> None:
    outcome, about, policy, dice = case
    decision = decide(outcome, about, policy, NOW, dice)
    waits_again = decision.status in (S.QUEUED, S.RETRY)
    assert decision.status in MOVES[S.QUEUED] | {S.QUEUED}
    assert (decision.due_at_ms is not None) == waits_again
    assert about.tries <= decision.tries <= min(about.tries + 1, policy.max_tries)
    assert about.waits <= decision.waits <= about.waits + 1
    if waits_again:
        assert decision.due_at_ms is not None
        assert decision.due_at_ms >= NOW
        assert about.expires_at_ms is None or decision.due_at_ms < about.expires_at_ms
        assert decision.tries < policy.max_tries
    if isinstance(outcome, Unknown):
        assert decision.status in (S.UNKNOWN, S.RETRY)
        assert not waits_again or (about.kind is not Kind.OTP and about.on_unknown is OnUnknown.RESEND)
    elif decision.status is S.UNKNOWN:
        pytest.fail("only what may have gone out is unknown")
    if isinstance(outcome, Throttled):
        assert decision.tries == about.tries
    assert decide(outcome, about, policy, NOW, dice) == decision


@given(
    policies,
    st.sampled_from([Kind.MARKETING, Kind.UTILITY]),
    st.lists(st.tuples(outcomes, chances), min_size=30, max_size=30),
)
def test_no_life_of_a_message_has_more_tries_than_allowed_or_a_second_resend(
    policy: Policy, kind: Kind, life: list[tuple[Outcome, float]]
) -> None:
    tries = waits = resends = posts = 0
    for outcome, dice in life:
        posts += 1
        decision = decide(
            outcome, AttemptedMessage(kind, tries, waits, None, OnUnknown.RESEND), policy, NOW, dice
        )
        counted = decision.tries - tries
        assert counted in (0, 1)
        assert counted or decision.waits == waits + 1 or isinstance(outcome, Accepted)
        tries, waits = decision.tries, decision.waits
        resends += isinstance(outcome, Unknown) and decision.status is S.RETRY
        if decision.due_at_ms is None:
            break
    assert tries <= policy.max_tries
    assert resends <= 1
    assert posts <= tries + waits + 1
