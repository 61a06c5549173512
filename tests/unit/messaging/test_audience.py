"""An audience is some of the people of a campaign, by what became of their messages."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging.audience import Audience, parse_audience
from bulksend.messaging.states import HELD, WAITING, Status


def test_undelivered_is_neither_what_may_still_arrive_nor_what_is_in_doubt() -> None:
    statuses = parse_audience("undelivered").statuses
    assert not statuses & (
        WAITING | HELD | {Status.UNKNOWN, Status.DELIVERED, Status.READ, Status.SUPPRESSED}
    )
    assert {Status.ACCEPTED, Status.FAILED} <= statuses


def test_unread_is_what_was_delivered_and_not_read() -> None:
    assert parse_audience(" Unread ").statuses == {Status.DELIVERED}


def test_a_code_is_of_messages_that_failed_with_it() -> None:
    assert parse_audience("code=131049") == Audience(frozenset({Status.FAILED}), 131049)


@pytest.mark.parametrize("text", ["", "nobody", "code=", "code=x", "code=1234567890", "failed"])
def test_another_word_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(InvalidValue, match="all, undelivered, unread, unsent, or code=NUMBER"):
        parse_audience(text)
