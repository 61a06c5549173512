"""What happened to a message, in its order."""

from __future__ import annotations

import pytest

from bulksend.operations.message_story import story

QUEUED, DUE = "2030-03-15T09:00:00.000+00:00", "2030-03-15T09:01:00.000+00:00"


@pytest.mark.parametrize(
    ("status", "ended_at", "steps"),
    [
        ("queued", None, ["queued", "due"]),
        ("expired", "2030-03-15T09:00:30.000+00:00", ["queued", "expired"]),
        ("expired", "2030-03-15T09:02:00.000+00:00", ["queued", "due", "expired"]),
    ],
)
def test_a_message_that_ended_before_its_gate_opened_was_not_due_afterwards(
    status: str, ended_at: str | None, steps: list[str]
) -> None:
    shown = {"queued_at": QUEUED, "due_at": DUE, "status": status, "ended_at": ended_at}
    shown |= {"attempts": [], "receipts": [], "acts": []}
    assert [each.what for each in story(shown)] == steps
