"""Deletion by age: contents before rows, rows before totals, in steps, and the audit holds after each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from bulksend.errors import InvalidInput
from bulksend.ledger import campaign_control, campaigns, counters, inbound, legal_holds
from bulksend.ledger.clock import read_clock
from bulksend.ledger.continuation import plan_continuation
from bulksend.ledger.inbound import NewInbound
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.retention import FEWEST, FIRST, MOST, REST_S, Deletion, _Walk
from bulksend.ledger.superseding import HELD, Walk
from bulksend.messaging.outcome import Accepted, Evidence, Unknown
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.retention import DAY_MS, Retention
from bulksend.messaging.states import Kind

POLICY = Retention(
    content=dict.fromkeys(Kind, 10.0),
    rows=dict.fromkeys(Kind, 20.0),
    totals=dict.fromkeys(Kind, 30.0),
    inbound=5,
)


class Steady:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def delete(desk: Any, days: float, policy: Retention = POLICY) -> Counter[str]:
    """All that is due that many days from now; the audit holds after every step."""
    done: Counter[str] = Counter()
    clock = Steady()

    def in_transaction(work: Callable[[Connection], dict[str, int]]) -> dict[str, int]:
        found: dict[str, int] = desk.write(work)
        assert desk.broken() == {}
        clock.now += 0.01
        return found

    deletion = Deletion(policy, clock=clock, now=lambda tx: read_clock(tx) + int(days * DAY_MS))
    for _ in range(5):
        done.update(deletion.run(in_transaction))
        clock.now += REST_S
    return +done


def ended(desk: Any, n: int = 3, **of: Any) -> tuple[str, list[str]]:
    """An ended campaign with accepted messages, of which the first was read, and a refused row."""
    campaign = desk.campaign(**of)
    refused = [RefusedRow(n + 1, "to", "", "is empty")]
    ready = desk.take(campaign, *(desk.new_message(row) for row in range(1, n + 1)), refused=refused).ready
    desk.write(campaigns.finish_intake, campaign.id)
    first, *_ = desk.accepted(ready)
    desk.receive(Receipt(first, "read", 1))
    desk.write(campaigns.finish_ended)
    return campaign.id, ready


def test_contents_go_before_rows_and_rows_before_totals(desk: Any) -> None:
    campaign, ids = ended(desk)
    assert delete(desk, 9) == {}
    assert delete(desk, 11) == {"contents": 3}
    assert [desk.payload(id) for id in ids] == [None] * 3
    assert desk.status(ids[0]) == "read"
    assert delete(desk, 19) == {}
    before = desk.read(counters.of, [campaign])
    assert delete(desk, 21) == {"messages": 3}
    assert desk.read(counters.of, [campaign]) == before
    assert desk.read(counters.deleted, campaign) == 3
    for table in ("messages", "attempts", "receipts"):
        assert desk.scalar(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608
    assert desk.scalar("SELECT count(*) FROM refusals") == 1
    desk.write(counters.merge_parts)
    assert desk.broken() == {}
    assert delete(desk, 31) == {"campaigns": 1}
    for table in ("campaigns", "refusals", "campaign_counts"):
        assert desk.scalar(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608


def test_what_is_open_unknown_or_under_legal_hold_stays(desk: Any) -> None:
    open_campaign = desk.campaign()
    desk.accepted(desk.take(open_campaign, desk.new_message(1)).ready)
    (doubt,) = desk.queued()
    desk.settle(desk.sent(desk.lease("host:2"), [doubt])[0], Unknown("no answer"))
    held, held_ids = ended(desk)
    desk.write(legal_holds.place, legal_holds.CAMPAIGN, held, actor="ada", why="a court asks")
    other, (kept, gone) = ended(desk, 2)
    person = desk.row(kept)["recipient"]
    desk.write(legal_holds.place, legal_holds.PERSON, person, actor="ada", why="a court asks")
    assert delete(desk, 1_000) == {"messages": 1}
    assert desk.read(counters.deleted, other) == 1
    for id in (doubt, kept, *held_ids):
        assert desk.row(id)["id"] is not None
    assert desk.scalar("SELECT count(*) FROM messages WHERE CAST(id AS text) = :id", id=gone) == 0


def test_single_sends_go_and_their_standing_campaign_stays(desk: Any) -> None:
    ids = [result.id for result in desk.send(desk.new_send(), desk.new_send(recipient="447700900124"))]
    desk.accepted(ids)
    assert delete(desk, 1_000) == {"messages": 2}
    assert desk.scalar("SELECT count(*) FROM campaigns") == 1


def test_a_code_outlives_the_one_that_was_sent_in_its_place(desk: Any) -> None:
    """By a legal hold, or for some minutes: the newer one has ended first."""
    older, newer = (desk.send(desk.new_send(purpose="login"))[0].id for _ in range(2))
    lease = desk.lease()
    openings = {each.message.id: each for each in desk.openings(desk.claim(lease, [older, newer]))}
    desk.open(lease, list(openings.values()))
    desk.settle(openings[newer], Accepted("mid", "rid"), evidence=Evidence(200, 0, message_id="mid"))
    assert desk.write(Walk(HELD).settle) == {"superseded": 1, "held": 0, "freed": 0}
    desk.sql("UPDATE messages SET ended_at = ended_at + 86400000 WHERE CAST(id AS text) = :id", id=older)
    assert delete(desk, 20.5) == {"messages": 1}
    assert desk.status(older) == "superseded"


def test_a_campaign_that_lost_rows_takes_no_more(desk: Any) -> None:
    campaign, _ = ended(desk)
    delete(desk, 21)
    with pytest.raises(InvalidInput, match=r"3 messages of campaign .* deleted by their age"):
        desk.read(plan_continuation, campaign, desk.new_campaign())


def test_what_people_wrote_goes_by_an_age_of_its_own(desk: Any) -> None:
    wrote = NewInbound("in-1", "15550100100", "447700900001", "text", "hello", "", (), None, None)
    assert desk.write(inbound.store, wrote, desk.cipher)
    assert delete(desk, 4) == {}
    assert delete(desk, 6) == {"inbound": 1}


def test_a_failed_step_is_done_by_the_next_walk(desk: Any) -> None:
    ended(desk)
    clock = Steady()
    deletion = Deletion(POLICY, clock=clock, now=lambda tx: read_clock(tx) + 21 * DAY_MS)

    def fails(work: Callable[[Connection], dict[str, int]]) -> dict[str, int]:
        with desk.database.write() as tx:
            work(tx)
            raise OSError("the ledger is away")

    with pytest.raises(OSError, match="away"):
        deletion.run(fails)
    assert desk.scalar("SELECT count(*) FROM messages") == 3
    clock.now += REST_S
    assert deletion.run(desk.write)["messages"] == 3


def test_a_walk_over_what_stays_does_not_end_in_one_large_deletion(desk: Any) -> None:
    held, _ = ended(desk, 300)
    desk.write(legal_holds.place, legal_holds.CAMPAIGN, held, actor="ada", why="a court asks")
    ended(desk, 500)
    clock, steps = Steady(), []
    deletion = Deletion(POLICY, clock=clock, now=lambda tx: read_clock(tx) + 21 * DAY_MS)

    def quick(work: Callable[[Connection], dict[str, int]]) -> dict[str, int]:
        steps.append(desk.write(work))
        clock.now += 0.001
        return dict(steps[-1])

    assert deletion.run(quick)["messages"] == 500
    deleted = [step["messages"] for step in steps if step.get("messages")]
    # Each step that was full and quick lets the next one be twice as large.
    assert deleted[:3] == [FEWEST, 2 * FEWEST, 4 * FEWEST]


def test_a_step_looks_at_fewer_rows_when_it_takes_long_and_at_more_when_it_is_quick() -> None:
    walk = _Walk(lambda _tx, _walk: {})
    assert (walk.size, walk.most) == (FIRST, FEWEST)
    walk.measured(1.0, 0)
    assert walk.size == FIRST // 2
    for _ in range(9):
        walk.measured(1.0, 0)
    assert (walk.size, walk.most) == (FEWEST, FEWEST)
    for _ in range(9):
        walk.measured(0.001, 0)
    # What deletes nothing says nothing of how long a deletion takes.
    assert (walk.size, walk.most) == (MOST, FEWEST)
    for _ in range(9):
        walk.measured(0.001, walk.most)
    assert walk.most == MOST


def test_an_audit_finds_what_was_deleted_while_it_was_open(desk: Any) -> None:
    campaign, _ = ended(desk)
    delete(desk, 21)
    desk.sql("UPDATE campaign_counts SET status = 'queued' WHERE part = -1 AND status = 'read'")
    assert list(desk.broken()) == ["only ended deleted"]
    desk.sql("UPDATE campaign_counts SET messages = messages - 1 WHERE part = -1 AND status = 'accepted'")
    assert "nothing lost" in desk.broken()
    assert desk.read(campaigns.get, campaign).messages == 3


def test_a_cancelled_campaign_is_deleted_like_a_finished_one(desk: Any) -> None:
    campaign = desk.campaign()
    desk.take(campaign, desk.new_message(1))
    campaign_control.cancel(desk.database, campaign.id, actor="ada", why="because")
    assert delete(desk, 1_000) == {"messages": 1, "campaigns": 1}
