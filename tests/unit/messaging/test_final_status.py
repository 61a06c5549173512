"""The ending of a message, from the fates of all its attempts in any order."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.messaging.final_status import EffectiveOutcome, effective_outcome, final_status
from bulksend.messaging.states import UNSENT, Status

FATES = st.lists(st.sampled_from(EffectiveOutcome), max_size=6)
OTHERWISE = st.sampled_from(sorted(UNSENT | {Status.UNKNOWN}))


@given(st.lists(st.sampled_from(EffectiveOutcome), max_size=5), OTHERWISE)
def test_the_order_in_which_attempts_came_or_came_to_light_changes_nothing(
    outcomes: list[EffectiveOutcome], otherwise: Status
) -> None:
    assert len({final_status(order, otherwise) for order in permutations(outcomes)}) == 1


@given(FATES, OTHERWISE)
def test_what_may_have_gone_out_is_never_said_not_to_have_been_sent(
    outcomes: list[EffectiveOutcome], otherwise: Status
) -> None:
    end = final_status(outcomes, otherwise)
    if EffectiveOutcome.ACCEPTED in outcomes:
        assert end is Status.ACCEPTED
    elif EffectiveOutcome.UNKNOWN in outcomes:
        assert end is Status.UNKNOWN
    else:
        assert end is (Status.FAILED if EffectiveOutcome.UNDELIVERED in outcomes else otherwise)


@pytest.mark.parametrize(
    ("outcome", "says", "expected"),
    [
        ("accepted", {}, EffectiveOutcome.ACCEPTED),
        ("accepted", {"undelivered": True}, EffectiveOutcome.UNDELIVERED),
        ("accepted", {"said_failed": True}, EffectiveOutcome.ACCEPTED),
        ("unknown", {}, EffectiveOutcome.UNKNOWN),
        ("unknown", {"undelivered": True}, EffectiveOutcome.UNDELIVERED),
        ("unknown", {"said_failed": True}, EffectiveOutcome.NOT_SENT),
        (None, {}, EffectiveOutcome.UNKNOWN),
        ("refused", {}, EffectiveOutcome.NOT_SENT),
        ("not_sent", {}, EffectiveOutcome.NOT_SENT),
        ("throttled", {}, EffectiveOutcome.NOT_SENT),
    ],
)
def test_the_vendors_word_outranks_a_persons_and_a_persons_clears_a_doubt(
    outcome: str | None, says: dict[str, bool], expected: EffectiveOutcome
) -> None:
    assert effective_outcome(outcome, **says) is expected
