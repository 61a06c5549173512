"""The ending of a message, from the fates of all its attempts in any order."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.messaging.endings import Fate, ending, fate
from bulksend.messaging.states import UNSENT, Status

FATES = st.lists(st.sampled_from(Fate), max_size=6)
OTHERWISE = st.sampled_from(sorted(UNSENT | {Status.UNKNOWN}))


@given(st.lists(st.sampled_from(Fate), max_size=5), OTHERWISE)
def test_the_order_in_which_attempts_came_or_came_to_light_changes_nothing(
    fates: list[Fate], otherwise: Status
) -> None:
    assert len({ending(order, otherwise) for order in permutations(fates)}) == 1


@given(FATES, OTHERWISE)
def test_what_may_have_gone_out_is_never_said_not_to_have_been_sent(
    fates: list[Fate], otherwise: Status
) -> None:
    end = ending(fates, otherwise)
    if Fate.ACCEPTED in fates:
        assert end is Status.ACCEPTED
    elif Fate.UNKNOWN in fates:
        assert end is Status.UNKNOWN
    else:
        assert end is (Status.FAILED if Fate.UNDELIVERED in fates else otherwise)


@pytest.mark.parametrize(
    ("outcome", "says", "expected"),
    [
        ("accepted", {}, Fate.ACCEPTED),
        ("accepted", {"undelivered": True}, Fate.UNDELIVERED),
        ("accepted", {"said_failed": True}, Fate.ACCEPTED),
        ("unknown", {}, Fate.UNKNOWN),
        ("unknown", {"undelivered": True}, Fate.UNDELIVERED),
        ("unknown", {"said_failed": True}, Fate.NOT_SENT),
        (None, {}, Fate.UNKNOWN),
        ("refused", {}, Fate.NOT_SENT),
        ("not_sent", {}, Fate.NOT_SENT),
        ("throttled", {}, Fate.NOT_SENT),
    ],
)
def test_the_vendors_word_outranks_a_persons_and_a_persons_clears_a_doubt(
    outcome: str | None, says: dict[str, bool], expected: Fate
) -> None:
    assert fate(outcome, **says) is expected
