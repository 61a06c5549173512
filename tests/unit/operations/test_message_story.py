"""What happened to a message in its order, and what a search text means."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.operations.look_up import cleaned, shown
from bulksend.operations.message_story import code_of, story


def at(second: float) -> str:
    return f"2026-11-30T10:00:{second:06.3f}+00:00"


def attempt(
    n: int, begin: float, end: float | None, outcome: str | None = "accepted", **codes: int
) -> dict[str, Any]:
    known = {"whatsapp_code": None, "ret_code": None, "http_status": None} | codes
    return {
        "n": n,
        "started_at": at(begin),
        "finished_at": None if end is None else at(end),
        "outcome": outcome,
        "worker": "w",
        "error": None,
    } | known


def receipt(status: str, said: float, came: float, code: str = "") -> dict[str, Any]:
    return {"status": status, "at": at(said), "received_at": at(came), "code": code, "why": ""}


def message(**more: Any) -> dict[str, Any]:
    return {
        "queued_at": at(0),
        "due_at": at(0),
        "status": "delivered",
        "attempts": [],
        "receipts": [],
        "acts": [],
    } | more


def test_steps_stand_in_their_order_with_the_time_between_them() -> None:
    acts = [{"at": at(9), "actor": "ann", "act": "resolve as resend", "why": "looked up"}]
    told = message(
        attempts=[attempt(1, 1, 3, "unknown"), attempt(2, 10, 10.5)],
        receipts=[receipt("delivered", 12, 13)],
        acts=acts,
    )
    steps = story(told)
    assert [(step.what, step.after_seconds) for step in steps] == [
        ("queued", 0),
        ("attempt", 1),
        ("answer", 2),
        ("act", 6),
        ("attempt", 1),
        ("answer", 0.5),
        ("receipt", 1.5),
    ]


def test_the_vendors_clock_puts_no_receipt_before_its_answer_and_no_wait_is_negative() -> None:
    # WhatsApp's times are whole seconds, and its clock may be behind.
    told = message(
        attempts=[attempt(1, 5.1, 5.9)], receipts=[receipt("delivered", 5, 7), receipt("read", 2, 8)]
    )
    steps = story(told)
    assert [step.what for step in steps] == ["queued", "attempt", "answer", "receipt", "receipt"]
    assert min(step.after_seconds for step in steps) == 0
    assert steps[3].at == at(5)


def test_an_ending_and_a_due_time_that_left_nothing_else_behind_are_steps() -> None:
    waits = story(message(status="queued", due_at=at(30)))
    assert [(step.what, step.after_seconds) for step in waits] == [("queued", 0), ("due", 30)]
    expired = story(message(status="expired", ended_at=at(40)))
    assert [step.what for step in expired] == ["queued", "expired"]


def test_a_code_is_explained_by_the_most_telling_list() -> None:
    refused = attempt(1, 1, 2, "refused", whatsapp_code=131026, ret_code=17115, http_status=200)
    known = code_of(refused)
    assert known is not None
    assert known.code == "#131026"
    assert code_of(attempt(1, 1, 2, "accepted", http_status=200)) is None
    assert code_of(attempt(1, 1, None, None)) is None
    (step,) = [each for each in story(message(receipts=[receipt("failed", 1, 2, "131049")])) if each.code]
    assert step.code is not None
    assert step.code.code == "#131049"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("  +44 7700\u00a0900 123 ", "+44 7700 900 123"),
        ("\uff0b\uff14\uff14", "+44"),
        ("\u202a+44\u202c\u200b", "+44"),
        ("x" * 400, "x" * 300),
    ],
)
def test_a_text_is_what_was_meant(given: str, meant: str) -> None:
    assert cleaned(given) == meant


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("+44 7700 900 123", "4477*****123"),
        ("order-447700900123", "order-4477*****123"),
        ("wamid.HB", "wamid.HB"),
        ("12 34", "12 34"),
    ],
)
def test_what_was_looked_for_is_said_without_a_number(given: str, said: str) -> None:
    assert shown(given) == said
