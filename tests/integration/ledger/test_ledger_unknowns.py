"""What may have gone out: found at once, with what its attempt left behind."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import InvalidInput
from bulksend.ledger import campaign_control, leases, messages, unknowns
from bulksend.ledger.search import Query
from bulksend.ledger.unknowns import MEANING, Trace
from bulksend.messaging.outcome import Evidence, NotSent, Unknown
from bulksend.messaging.states import Kind, OnUnknown, Status

LEFT = {
    Trace.NO_ANSWER: Evidence(bytes_sent=True, reply_began=False, error="ReadTimeoutError"),
    Trace.ANSWER_CUT: Evidence(bytes_sent=True, reply_began=True, error="ConnectionResetError"),
    Trace.ODD_ANSWER: Evidence(bytes_sent=True, reply_began=True, http_status=500),
}


def an_unknown_message(desk: Any, evidence: Evidence, **of: Any) -> str:
    (id,) = desk.queued(**of)
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Unknown("it may have gone out"), evidence=evidence, status=Status.UNKNOWN)
    return str(id)


def found(desk: Any, *traces: Trace, **query: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = desk.read(unknowns.unknown, Query(**query), traces=traces, limit=100)
    return rows


@pytest.mark.parametrize("trace", LEFT)
def test_each_is_listed_with_what_its_attempt_left_behind(desk: Any, trace: Trace) -> None:
    id = an_unknown_message(desk, LEFT[trace])
    (row,) = found(desk)
    assert (str(row["id"]), row["trace"], row["attempt_n"]) == (id, trace.value, 1)
    assert (row["bytes_sent"], row["reply_began"]) == (LEFT[trace].bytes_sent, LEFT[trace].reply_began)
    assert row["worker"]


def test_a_lost_worker_is_told_as_such(desk: Any) -> None:
    ids = desk.queued()
    lease = desk.lease()
    desk.sent(lease, ids)
    desk.write(leases.reap, lease, rendering=None, begun=None, resend_wait_ms=1)
    (row,) = found(desk)
    assert row["trace"] == Trace.WORKER_LOST.value


def test_nothing_but_what_is_unknown_is_listed(desk: Any) -> None:
    desk.queued()
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, NotSent("refused connection"))
    assert found(desk) == []


def test_the_unknown_attempt_is_shown_though_it_is_not_the_newest(desk: Any) -> None:
    id = an_unknown_message(desk, LEFT[Trace.NO_ANSWER])
    desk.write(messages.resolve, id, as_="resend", actor="ada", why="asked for")
    (again,) = desk.sent(desk.lease(), [id])
    desk.settle(again, NotSent("gave up"), status=Status.UNKNOWN)
    (row,) = found(desk)
    assert row["attempt_n"] == 1


def test_traces_campaigns_and_pages_narrow_it_down(desk: Any) -> None:
    ids = [an_unknown_message(desk, LEFT[trace]) for trace in LEFT]
    assert [str(r["id"]) for r in found(desk, Trace.ANSWER_CUT)] == [ids[1]]
    campaign = str(desk.row(ids[2])["campaign_id"])
    assert [str(r["id"]) for r in found(desk, campaign_id=campaign)] == [ids[2]]
    newest = desk.read(unknowns.unknown, Query(), limit=1)
    rest = desk.read(unknowns.unknown, Query(), limit=9, before=str(newest[0]["id"]))
    assert [str(r["id"]) for r in [*newest, *rest]] == sorted(ids, reverse=True)


def test_a_page_looks_at_some_and_says_where_to_go_on(desk: Any) -> None:
    rare = an_unknown_message(desk, LEFT[Trace.ODD_ANSWER])
    for _ in range(5):
        an_unknown_message(desk, LEFT[Trace.NO_ANSWER])
    whole = desk.read(unknowns.page, Query(), traces=[Trace.ODD_ANSWER], limit=2)
    assert ([str(row["id"]) for row in whole[0]], whole[1]) == ([rare], None)
    wanted: dict[str, Any] = {"traces": [Trace.ODD_ANSWER], "limit": 2, "looked_at": 2, "at_once": 2}
    pages, before = [], None
    for _ in range(4):
        rows, before = desk.read(unknowns.page, Query(), before=before, **wanted)
        pages.append([str(row["id"]) for row in rows])
    assert (pages, before) == ([[], [], [rare], []], None)


def test_they_are_found_by_an_index_of_their_own(desk: Any, plans_in: Any) -> None:
    an_unknown_message(desk, LEFT[Trace.NO_ANSWER])
    assert "ix_messages_unknown" in plans_in(desk.database)(unknowns.unknown, Query(), limit=10)


def test_every_trace_has_a_meaning() -> None:
    assert set(MEANING) == set(Trace)


def test_a_check_says_what_a_resolve_would_and_changes_nothing(desk: Any) -> None:
    id = an_unknown_message(desk, LEFT[Trace.NO_ANSWER])
    desk.read(messages.check_resolve, id, as_="failed")
    assert desk.status(id) == "unknown"
    code = an_unknown_message(desk, LEFT[Trace.NO_ANSWER], kind=Kind.OTP)
    with pytest.raises(InvalidInput, match="one-time code"):
        desk.read(messages.check_resolve, code, as_="resend")


@pytest.mark.parametrize(
    ("meanwhile", "ends"), [("nothing", "failed"), ("time", "expired"), ("cancel", "cancelled")]
)
def test_an_unknown_message_that_is_cleared_late_ends_as_it_would_have_without_it(
    desk: Any, meanwhile: str, ends: str
) -> None:
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    (first,) = desk.sent(desk.lease(), [id])
    desk.settle(first, Unknown("ReadTimeout"), evidence=LEFT[Trace.NO_ANSWER], status=Status.RETRY, due_at=0)
    (second,) = desk.sent(desk.lease(), [id])
    desk.settle(second, NotSent("no time left"), status=Status.EXPIRED, due_at=None)
    assert [row["trace"] for row in found(desk)] == [Trace.NO_ANSWER.value]
    if meanwhile == "time":
        desk.sql("UPDATE messages SET expires_at = :now", now=desk.now())
    elif meanwhile == "cancel":
        campaign_control.cancel(desk.database, desk.row(id)["campaign_id"], actor="ada", why="wrong list")
    desk.settle(first, NotSent("ConnectError"))
    assert found(desk) == []
    assert desk.status(id) == ends
    assert desk.row(id)["error"].startswith("no attempt of it was sent: ")
    assert set(desk.broken()) <= {"never late"}


def test_to_say_it_twice_is_no_error_and_to_say_otherwise_is(desk: Any) -> None:
    id = an_unknown_message(desk, LEFT[Trace.NO_ANSWER])
    assert not desk.read(messages.was_resolved_as, id, "failed")
    desk.write(messages.resolve, id, as_="failed", actor="ada", why="not billed")
    assert desk.read(messages.was_resolved_as, id, "failed")
    assert not desk.read(messages.was_resolved_as, id, "accepted")


def test_what_has_outlived_its_time_is_not_sent_again(desk: Any) -> None:
    id = an_unknown_message(desk, LEFT[Trace.NO_ANSWER])
    desk.sql("UPDATE messages SET expires_at = :now", now=desk.now())
    with pytest.raises(InvalidInput, match="time to live"):
        desk.write(messages.resolve, id, as_="resend", actor="ada", why="again")
    desk.write(messages.resolve, id, as_="failed", actor="ada", why="too late anyhow")
    assert desk.status(id) == "failed"
