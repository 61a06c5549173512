"""The roll-up by hour equals a full count, whenever and in however many parts it was made."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from typing import Any

import pytest

from bulksend.ledger import due, event_numbers, receipts, stats
from bulksend.ledger import messages as messages_room
from bulksend.ledger.stats import ENTERED, MEASURES, Rolled
from bulksend.messaging.outcome import Accepted, Evidence, NotSent, Refused, Scope, Throttled, Unknown
from bulksend.messaging.states import Kind
from tests.integration.ledger.conftest import Desk

#: Great Britain, Isle of Man, United States, Canada, Germany, a satellite phone.
NUMBERS = ("447700900001", "447624900001", "12025550123", "14165550123", "4915100000001", "881612345678")
OUTCOMES = (
    Accepted("", "rid"),
    Refused("131026", "not on WhatsApp"),
    NotSent("ConnectError"),
    Throttled("429", "too fast", Scope.SENDER),
    Unknown("ReadTimeout"),
)


def roll(desk: Desk) -> Rolled:
    desk.write(event_numbers.number_committed)
    rolled: Rolled = desk.write(stats.roll_up, lag_ms=0)
    return rolled


def roll_all(desk: Desk) -> None:
    """Until everything up to now is counted."""
    until = desk.now() + 1
    while (done := roll(desk)).events or done.attempts or desk.read(stats.counted_until) < until:
        pass


def by(desk: Desk, *names: str) -> dict[tuple[Any, ...], Counter[str]]:
    rows = desk.read(lambda tx: list(stats.read(tx, names, 0, 2**60, 10_000)))
    return {tuple(row[n] for n in names): Counter({m: row[m] for m in MEASURES if row[m]}) for row in rows}


def statuses(desk: Desk) -> dict[str, str]:
    with desk.database.read() as tx:
        return {str(id): status for id, status in tx.exec_driver_sql("SELECT id, status FROM messages")}


def queued(desk: Desk, dice: random.Random) -> list[str]:
    found = []
    for kind in (Kind.MARKETING, Kind.OTP):
        campaign = desk.campaign(kind, name=kind.value)
        life = {"expires_at": desk.now() + 3_600_000}
        rows = [
            desk.new_message(n, recipient=dice.choice(NUMBERS)[:-2] + f"{n:02}", key=str(n), **life)
            for n in range(1, 16)
        ]
        found += desk.take(campaign, *rows).ready
    return found


def live(desk: Desk, dice: random.Random, lease: str, sending: list[Any]) -> None:
    """One step, which moves each message at most once."""
    now = statuses(desk)
    waiting = [id for id, status in now.items() if status in ("queued", "retry")]
    sent = [id for id, status in now.items() if status in ("accepted", "delivered", "unknown")]
    step = dice.choice(("send", "answer", "answer", "receive", "receive", "expire", "resolve"))
    if step == "send":
        sending += desk.sent(lease, dice.sample(waiting, min(len(waiting), dice.randint(1, 4))))
    elif step == "answer" and sending:
        opening = sending.pop(dice.randrange(len(sending)))
        outcome = dice.choice(OUTCOMES)
        code = 131026 if isinstance(outcome, Refused) else None
        mid = f"mid-{opening.attempt_id}" if isinstance(outcome, Accepted) else None
        evidence = Evidence(200, 0, whatsapp_code=code, message_id=mid or "", bytes_sent=True)
        desk.settle(opening, Accepted(mid, "rid") if mid else outcome, evidence=evidence)
    elif step == "receive" and sent:
        row = desk.row(dice.choice(sent))
        if row["message_id"]:
            word = dice.choice(("delivered", "read", "failed"))
            desk.receive(receipts.Receipt(row["message_id"], word, desk.now(), code="131049"))
    elif step == "expire" and waiting:
        desk.sql("UPDATE messages SET expires_at = 1 WHERE CAST(id AS text) = :id", id=dice.choice(waiting))
        desk.write(due.expire)
    elif step == "resolve":
        unknown = [id for id, status in now.items() if status == "unknown"]
        if unknown:
            as_ = dice.choice(("accepted", "failed"))
            desk.write(messages_room.resolve, dice.choice(unknown), as_=as_, actor="ada", why="asked")


@pytest.mark.parametrize("seed", range(3))
def test_the_sums_equal_a_full_count_after_random_lives(desk: Desk, seed: int) -> None:
    dice = random.Random(seed)
    kinds = {id: str(desk.row(id)["kind"]) for id in queued(desk, dice)}
    entered: Counter[tuple[str, str]] = Counter()
    lease, sending = desk.lease(), []
    before = statuses(desk)
    for step in range(120):
        if step < 100:
            live(desk, dice, lease, sending)
        elif sending:
            desk.settle(sending.pop(), Unknown("ReadTimeout"))
        after = statuses(desk)
        entered += Counter((kinds[id], after[id]) for id in kinds if before[id] != after[id])
        before = after
        if dice.random() < 0.2:
            roll(desk)
    assert not sending
    roll_all(desk)

    found = by(desk, "kind")
    expected = {
        kind: Counter({status: n for (of, status), n in entered.items() if of == kind and status in ENTERED})
        for kind in ("marketing", "otp")
    }
    assert {k[0]: Counter({s: n for s, n in c.items() if s in ENTERED}) for k, c in found.items()} == expected
    with desk.database.read() as tx:
        attempts = tx.exec_driver_sql(
            "SELECT m.kind, a.sender, count(*) FROM attempts a JOIN messages m ON m.id = a.message_pk "
            "GROUP BY m.kind, a.sender"
        ).all()
    assert {key: c["attempts"] for key, c in by(desk, "kind", "sender").items() if c["attempts"]} == {
        (kind, sender): n for kind, sender, n in attempts
    }
    # Whatever they are grouped by, the sums are the same.
    total = sum(found.values(), Counter[str]())
    for names in (("hour",), ("country", "code"), ("hour", "kind", "sender", "country", "code")):
        assert sum(by(desk, *names).values(), Counter[str]()) == total


def test_reasons_and_countries_are_told(desk: Desk) -> None:
    campaign = desk.campaign()
    ids = desk.take(campaign, *(desk.new_message(n, recipient=to) for n, to in enumerate(NUMBERS, 1))).ready
    for opening in desk.sent(desk.lease(), ids):
        refused = Refused("131026", "not on WhatsApp")
        desk.settle(opening, refused, evidence=Evidence(200, 0, whatsapp_code=131026, bytes_sent=True))
    roll_all(desk)
    assert by(desk, "country") == {
        (country,): Counter({"failed": 1, "attempts": 1, "answered": 1, "latency_ms": 12})
        for country in ("GB", "IM", "US", "CA", "DE", "")
    }
    assert {key: c["failed"] for key, c in by(desk, "code").items()} == {("131026",): 6}


def test_an_open_attempt_holds_back_later_ones_and_is_counted_when_it_is_closed(desk: Desk) -> None:
    ids = desk.queued(n=2)
    lease = desk.lease()
    (first,) = desk.sent(lease, ids[:1])
    desk.sql("UPDATE in_flight SET started_at = started_at - 10")
    (second,) = desk.sent(lease, ids[1:])
    desk.settle(second, Accepted("mid-2", "rid"))
    for _ in range(3):
        roll(desk)
    assert by(desk, "kind")[("marketing",)]["attempts"] == 0
    desk.settle(first, Accepted("mid-1", "rid"))
    roll_all(desk)
    assert by(desk, "kind")[("marketing",)]["attempts"] == 2


def test_a_deliverys_delay_is_summed(desk: Desk) -> None:
    (id,) = desk.queued()
    (mid,) = desk.accepted([id])
    desk.sql("UPDATE messages SET accepted_at = accepted_at - 600000")
    # Its receipt was read ten minutes later, as after an outage of the relay.
    desk.receive(receipts.Receipt(mid, "delivered", desk.row(id)["accepted_at"] + 5_000))
    roll_all(desk)
    counts = by(desk, "kind")[("marketing",)]
    assert (counts["delivery_timed"], counts["delivery_ms"]) == (1, 5_000)


def test_what_is_counted_in_many_runs_is_counted_once(desk: Desk) -> None:
    desk.accepted(desk.queued(n=5))
    roll_all(desk)
    before = by(desk, "hour", "kind", "code")
    roll_all(desk)
    assert by(desk, "hour", "kind", "code") == before
    assert sum(c["accepted"] for c in before.values()) == 5


def test_a_time_has_the_same_sums_whichever_rows_have_them(desk: Desk) -> None:
    """Of days, hours and totals those are read that have the fewest rows: of whole days, their edges, parts of one."""
    dice = random.Random(5)
    first = 20_000 * stats.DAY_MS
    rows: list[dict[str, Any]] = [
        dict.fromkeys(MEASURES, 0)
        | {
            "hour": first + hour * stats.HOUR_MS,
            "kind": kind,
            "sender": dice.choice("12"),
            "country": country,
        }
        | {
            "code": dice.choice(("", "131026")),
            "accepted": dice.randint(0, 9),
            "latency_ms": dice.randint(0, 99),
        }
        for hour in range(80)
        for kind in ("otp", "marketing")
        for country in ("GB", "DE", "")
    ]
    for part in (rows[:100], rows[100:300], rows[300:]):
        desk.write(stats.add, part)
    spans = [(0, 80), (5, 77), (24, 48), (24, 25), (23, 25), (3, 20), (30, 30)]
    groups = [("hour",), ("kind",), ("country",), ("code", "sender"), ("kind", "sender"), ("hour", "country")]
    filters: list[dict[str, str]] = [{}, {"country": "GB"}, {"kind": "otp"}, {"kind": "otp", "code": ""}]
    for only, (begin, end), names in product(filters, spans, groups):
        since, until = first + begin * stats.HOUR_MS, first + end * stats.HOUR_MS
        within = [row for row in rows if since <= row["hour"] < until and only.items() <= row.items()]
        every = summed(within, names)
        assert read(desk, names, since, until, only) == every, (names, only, begin, end)
        some = (*names, "accepted", "latency_ms")
        assert read(desk, names, since, until, only, measures=some[len(names) :]) == [
            {name: row[name] for name in some} for row in every
        ]


def read(
    desk: Desk,
    names: tuple[str, ...],
    since: int,
    until: int,
    only: dict[str, str],
    measures: tuple[str, ...] = MEASURES,
) -> list[Any]:
    return desk.read(
        lambda tx: list(stats.read(tx, names, since, until, 10_000, only=only, measures=measures))
    )


def summed(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    sums: dict[tuple[Any, ...], Counter[str]] = {}
    for row in rows:
        place = tuple(row[name] for name in names)
        sums.setdefault(place, Counter()).update({name: row[name] for name in MEASURES})
    return [dict(zip(names, place, strict=True)) | dict(counts) for place, counts in sorted(sums.items())]
