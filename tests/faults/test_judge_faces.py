"""The judge of the programs' faces catches each way in which something can be lost or doubled, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.faults.hooks import seqs_of
from tests.faults.judge import Kept, Told
from tests.faults.judge_faces import (
    Answered,
    Exported,
    FaceRecords,
    Happened,
    Hook,
    Stored,
    Uploaded,
    figures,
    judge_faces,
)

TO, OTHER = "12015550001", "12015550002"
KEPT = Kept("id-1", TO, "delivered", "m-1", None)
IN_FILE = Kept("id-2", OTHER, "failed", None, None)
ANSWER = Answered("code-1", TO, "id-1")
COUNTS = {"rows": 3, "total": 1, "duplicates": 1, "refused_count": 1}
FILE = Uploaded("file-1", 3, frozenset([OTHER]), 1, 1, "done", COUNTS)
RECEIPT = Stored("m-1", "delivered", "id-1")
ORPHAN = Stored("m-9", "sent", None)
ACCEPTED = Happened(1, "message.accepted", "id-1", "accepted")
DELIVERED = Happened(2, "message.delivered", "id-1", "delivered")
FAILED = Happened(3, "message.failed", "id-2", "failed")
FINISHED = Happened(4, "campaign.finished")
LATE = Happened(5, "message.undelivered", "id-1", "accepted")
EVENTS = (ACCEPTED, DELIVERED, FAILED, FINISHED, LATE)
MESSAGES = Hook("messages", ("message",), frozenset({1, 2, 3, 5}))
ALL = Hook("all", (), frozenset({1, 2, 3, 4}), frozenset({5}))

GOOD = FaceRecords(
    kept=(KEPT, IN_FILE),
    answered=(ANSWER, ANSWER),
    uploads=(FILE,),
    exports=(Exported("export-1", 3, 3),),
    told=(Told("m-1", "delivered"), Told("m-9", "sent")),
    stored=(RECEIPT, ORPHAN),
    unreadable=(2, 3, 3),
    events=EVENTS,
    followed=(1, 2, 3, 4, 5),
    hooks=(MESSAGES, ALL),
)


def hook(**changes: object) -> FaceRecords:
    return replace(GOOD, hooks=(replace(MESSAGES, **changes), ALL))  # type: ignore[arg-type]


def events(*these: Happened) -> FaceRecords:
    return replace(GOOD, events=these, followed=[event.seq for event in these], hooks=())


BAD = {
    "a receipt that is lost": ("P17", replace(GOOD, stored=(ORPHAN,))),
    "a receipt of another status": ("P17", replace(GOOD, stored=(replace(RECEIPT, status="read"), ORPHAN))),
    "a receipt left without its message": (
        "P17",
        replace(GOOD, stored=(replace(RECEIPT, message=None), ORPHAN)),
    ),
    "a receipt with another message": (
        "P17",
        replace(GOOD, stored=(replace(RECEIPT, message="id-2"), ORPHAN)),
    ),
    "an unreadable callback that is lost": ("P17", replace(GOOD, unreadable=(2, 3, 1))),
    "a readable callback set aside": ("P17", replace(GOOD, unreadable=(2, 3, 4))),
    "one key, two ids": ("P18", replace(GOOD, answered=(ANSWER, replace(ANSWER, id="id-8")))),
    "one key, two messages": (
        "P18",
        replace(GOOD, kept=(KEPT, replace(KEPT, id="id-8", status="queued", message_id=None), IN_FILE)),
    ),
    "answered and not there": ("P18", replace(GOOD, answered=(replace(ANSWER, to="12015550003"),))),
    "a good request refused": ("P18", replace(GOOD, refused=("422 invalid_value: …",))),
    "a file not taken in": ("P18", replace(GOOD, uploads=(replace(FILE, state="intake"),))),
    "a file refused": ("P18", replace(GOOD, uploads=(replace(FILE, state="refused"),))),
    "a row of a file lost": ("P18", replace(GOOD, uploads=(replace(FILE, counts=COUNTS | {"total": 0}),))),
    "a person of a file lost": (
        "P18",
        replace(GOOD, uploads=(replace(FILE, people=frozenset(["12015550004"])),)),
    ),
    "an export that never ended": ("P18", replace(GOOD, exports=(Exported("export-1", 3),))),
    "an export with a row twice": ("P18", replace(GOOD, exports=(Exported("export-1", 3, 4),))),
    "a gap in the numbers": ("P19", events(ACCEPTED, replace(DELIVERED, seq=3))),
    "a number twice": ("P19", events(ACCEPTED, replace(DELIVERED, seq=1))),
    "an event not seen": ("P19", replace(GOOD, followed=(1, 2, 4, 5))),
    "an event seen twice": ("P19", replace(GOOD, followed=(1, 2, 2, 3, 4, 5))),
    "the last event not seen": ("P19", replace(GOOD, followed=(1, 2, 3, 4))),
    "a reader turned away": ("P19", replace(GOOD, reader_errors=("410 events_gone",))),
    "a status without its event": ("P19", events(ACCEPTED, replace(FAILED, seq=2))),
    "a message without events": ("P19", events(ACCEPTED, DELIVERED)),
    "a webhook that is lost": ("P20", hook(taken=frozenset({1, 2, 5}))),
    "a webhook of nothing": ("P20", hook(taken=frozenset({0, 1, 2, 3, 5}))),
    "a webhook that is not wanted": ("P20", hook(taken=frozenset({1, 2, 3, 4, 5}))),
    "a wrong signature": ("P20", hook(forged=1)),
    "one id, two bodies": ("P20", hook(changed=1)),
}


def broken(records: FaceRecords) -> set[str]:
    return {finding.promise for finding in judge_faces(records) if finding.broken}


def test_what_is_right_is_left_alone() -> None:
    assert broken(GOOD) == set()
    assert broken(FaceRecords(kept=(KEPT,))) == set()
    assert broken(hook(taken=frozenset({1, 2, 3, 5, 6}))) == set(), "of an event after the list was read"


@pytest.mark.parametrize(("promise", "records"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_found_under_its_promise(promise: str, records: FaceRecords) -> None:
    assert broken(records) == {promise}


def test_what_waits_is_counted_apart_from_what_was_taken() -> None:
    found = figures(GOOD)
    assert (found["webhook_events"], found["webhook_events_shown"]) == (8, 1)
    assert (found["http_messages"], found["http_answers"], found["receipts_of_no_message"]) == (1, 2, 1)


@pytest.mark.parametrize(
    ("body", "seqs"),
    [
        ({"type": "campaign.finished", "data": {"seq": 4}}, (4,)),
        ({"type": "messages.batch", "data": {"items": [{"data": {"seq": 2}}, {"data": {"seq": 3}}]}}, (2, 3)),
    ],
)
def test_a_webhook_names_its_events(body: dict[str, object], seqs: Sequence[int]) -> None:
    assert seqs_of(body) == seqs
