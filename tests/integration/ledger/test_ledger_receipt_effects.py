"""The code of a failed receipt has the effect that it has in a reply, once, and on record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import redis

from bulksend.errors import LedgerUnreachable
from bulksend.ledger import failed_receipts, operator_log, paces, pauses, receipts, remedies, suppressions
from bulksend.ledger.paces import PaceChange
from bulksend.ledger.receipts import Receipt
from bulksend.limits import Reported, Slowed
from bulksend.messaging.outcome import Accepted, Evidence, Scope, Suppress
from producer.receipt_effects import AT_ONCE, SLOW_FRESH_MS, ReceiptEffects
from tests.integration.ledger.conftest import SENDER, Desk

DAY_MS = 86_400_000


@pytest.fixture
def effects() -> ReceiptEffects:
    return ReceiptEffects("default")


def accepted(desk: Any, n: int = 1) -> list[tuple[str, str]]:
    """(id, MessageId) of messages of a new campaign that the vendor has taken, the first always to the same person."""
    ids = desk.queued(n=n)
    return list(zip(ids, desk.accepted(ids), strict=True))


def failed(desk: Any, message_id: str, code: str, at: int | None = None) -> None:
    desk.receive(Receipt(message_id, "failed", desk.now() if at is None else at, code, "why"))


def suppressed(desk: Any) -> list[tuple[str, str, bool]]:
    return [(s.scope, s.source, s.until is not None) for s in desk.read(suppressions.page)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("#131050", [("marketing", "whatsapp preference", False)]),
        ("131050", [("marketing", "whatsapp preference", False)]),
        ("#131049", [("marketing", "vendor", True)]),
        ("#130403", [("all", "vendor", False)]),
        ("#131026", []),
        ("#130472", []),
        ("MK:0001", []),
        ("190", []),
        ("", []),
    ],
)
def test_a_code_suppresses_as_in_a_reply(
    desk: Any, effects: ReceiptEffects, code: str, expected: list[Any]
) -> None:
    ((_, message_id),) = accepted(desk)
    failed(desk, message_id, code)
    for _ in range(2):
        desk.write(effects.act)
    assert suppressed(desk) == expected


def test_a_receipt_acts_once_and_on_record(desk: Any, effects: ReceiptEffects) -> None:
    sent = accepted(desk, 2)
    for _, message_id in sent:
        failed(desk, message_id, "#131050")
        failed(desk, message_id, "#131050", at=5)  # the vendor repeats itself with another time
    assert desk.write(effects.act) == {"failed_receipts": 4, "suppressed": 2, "paused": 0}
    assert desk.write(effects.act) == {"failed_receipts": 0, "suppressed": 0, "paused": 0}
    for id, _ in sent:
        (act,) = desk.read(operator_log.of, "suppression", desk.row(id)["recipient"])
        assert (act.actor, act.act) == ("receipts", "suppress marketing")


def test_a_receipt_from_before_a_lift_suppresses_nothing(desk: Any, effects: ReceiptEffects) -> None:
    ((id, message_id),) = accepted(desk)
    person, before = desk.row(id)["recipient"], desk.now()
    desk.write(
        suppressions.add, {person: None}, scope="marketing", reason="r", source=suppressions.SWITCH, actor="a"
    )
    desk.write(suppressions.lift_own, person, source=suppressions.SWITCH, actor="receipts", why="resumed")
    failed(desk, message_id, "#131050", at=before)
    assert desk.write(effects.act)["suppressed"] == 0
    assert suppressed(desk) == []


def test_a_cool_down_of_a_day_counts_from_when_its_code_came(desk: Any, effects: ReceiptEffects) -> None:
    ((_, message_id),) = accepted(desk)
    came = desk.now() - DAY_MS // 2
    failed(desk, message_id, "#131049", at=came)
    desk.write(effects.act)
    assert [s.until for s in desk.read(suppressions.page)] == [came + DAY_MS]


def test_undeliverable_on_three_days_of_thirty_suppresses_all(desk: Any, effects: ReceiptEffects) -> None:
    now = desk.now()
    for days, expected in ((40, []), (2, []), (1, []), (1, []), (0, [("all", "vendor", False)])):
        ((_, message_id),) = accepted(desk)
        failed(desk, message_id, "#131026", at=now - days * DAY_MS)
        desk.write(effects.act)
        assert suppressed(desk) == expected


@pytest.mark.parametrize(
    ("code", "paused"),
    [
        ("#131048", ("senders", SENDER)),
        ("#131031", ("accounts", "default")),
        ("#131042", ("accounts", "default")),
        ("#190", ("senders", SENDER)),
    ],
)
def test_a_code_pauses_as_in_a_reply(desk: Any, effects: ReceiptEffects, code: str, paused: Any) -> None:
    ((_, message_id),) = accepted(desk)
    failed(desk, message_id, code)
    assert desk.write(effects.act)["paused"] == 1
    assert getattr(desk.read(pauses.current), paused[0]) == {paused[1]}
    acts = desk.read(operator_log.of, paused[0].removesuffix("s"), paused[1])
    assert [(act.actor, act.act) for act in acts] == [("receipts", "pause")]


def test_a_receipt_from_before_a_resume_pauses_nothing(desk: Any, effects: ReceiptEffects) -> None:
    (_, first), (_, second) = accepted(desk, 2)
    failed(desk, first, "#131048")
    before = desk.now()
    desk.write(effects.act)
    desk.write(pauses.resume_sender, SENDER, actor="ada", why="mended")
    failed(desk, second, "#131048", at=before)
    assert desk.write(effects.act)["paused"] == 0


def test_an_old_receipt_pauses_nothing(desk: Any, effects: ReceiptEffects) -> None:
    ((_, message_id),) = accepted(desk)
    failed(desk, message_id, "#131048", at=desk.now() - 2 * 3_600_000)
    assert desk.write(effects.act)["paused"] == 0


def test_ten_wrong_messages_pause_their_campaign_where_more_fails_than_arrives(
    desk: Any, effects: ReceiptEffects
) -> None:
    sent = accepted(desk, 12)
    for n, (_, message_id) in enumerate(sent[:10], start=1):
        failed(desk, message_id, "#132018")
        assert desk.write(effects.act)["paused"] == (n == 10)
    campaign = str(desk.row(sent[0][0])["campaign_id"])
    assert desk.read(pauses.current).campaigns == {campaign}


def test_a_campaign_of_which_more_arrives_goes_on(desk: Any, effects: ReceiptEffects) -> None:
    sent = accepted(desk, 25)
    for _, message_id in sent[:13]:
        desk.receive(Receipt(message_id, "delivered", desk.now()))
    for _, message_id in sent[13:]:
        failed(desk, message_id, "#132018")
    assert desk.write(effects.act)["paused"] == 0


def test_a_receipt_of_an_unknown_message_acts_when_its_message_is_found(
    desk: Any, effects: ReceiptEffects
) -> None:
    failed(desk, "mid-early", "#131050")
    assert desk.write(effects.act)["failed_receipts"] == 0
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Accepted("mid-early", "rid"), evidence=Evidence(200, 0, message_id="mid-early"))
    desk.write(receipts.Orphans().match)
    assert desk.write(effects.act)["suppressed"] == 1


def test_many_receipts_are_acted_on_a_part_at_a_time(desk: Any, effects: ReceiptEffects) -> None:
    sent = accepted(desk, 3)
    for _, message_id in sent:
        failed(desk, message_id, "#130472")
    assert [len(desk.write(failed_receipts.take, 2)) for _ in range(3)] == [2, 1, 0]
    assert AT_ONCE > 2


def test_a_stop_word_is_lifted_by_a_word_only_while_nothing_else_suppresses(desk: Desk) -> None:
    person = "447700900001"

    def stop(source: str) -> None:
        desk.write(suppressions.add, {person: None}, scope="marketing", reason="r", source=source, actor="a")

    def start() -> int:
        return desk.write(suppressions.lift_own, person, source=suppressions.STOP_WORD, actor="a", why="w")

    stop(suppressions.STOP_WORD)
    assert start() == 1
    stop(suppressions.STOP_WORD)
    desk.write(
        remedies.suppress,
        {person: None},
        Suppress("marketing", by_switch=True),
        code=131050,
        why="opted out",
        actor="a",
    )
    stop(suppressions.STOP_WORD)
    assert start() == 0
    assert suppressed(desk) == [("marketing", "whatsapp preference", False)]


class Told:
    """The limiter's part that is told who sends slower; while ``away``, Redis is."""

    def __init__(self) -> None:
        self.slow: list[tuple[Scope, str]] = []
        self.away = False

    def report(self, *, slow: Iterable[tuple[Scope, str]]) -> Reported:
        if self.away:
            raise redis.ConnectionError("away")
        slow = list(slow)
        self.slow += slow
        return Reported(slowed=tuple(Slowed(scope, id, 1.0, 0.5) for scope, id in slow))


@pytest.mark.parametrize(
    ("code", "slower"),
    [
        ("#130429", [(Scope.SENDER, SENDER)]),
        ("#4", [(Scope.ACCOUNT, "default")]),
        ("#80007", [(Scope.ACCOUNT, "default")]),
        ("#131026", []),
    ],
)
def test_a_code_of_throttling_slows_down_as_in_a_reply(desk: Any, code: str, slower: list[Any]) -> None:
    told = Told()
    effects = ReceiptEffects("default", lambda: told)
    sent = accepted(desk, 2)
    for _, message_id in sent:
        failed(desk, message_id, code)
    desk.write(effects.act)
    for _ in range(2):
        effects.slow_down()
    assert told.slow == slower
    assert desk.read(pauses.current).senders == set()


def test_a_slow_down_is_recorded_once_also_when_the_ledger_was_away(desk: Any) -> None:
    away = [True]

    def record(changes: Sequence[PaceChange]) -> None:
        if away[0]:
            raise LedgerUnreachable("away")
        desk.write(paces.record, changes, actor="receipts")

    effects = ReceiptEffects("default", Told, record)
    ((_, message_id),) = accepted(desk)
    failed(desk, message_id, "#130429")
    desk.write(effects.act)
    with pytest.raises(LedgerUnreachable):
        effects.slow_down()
    away[0] = False
    for _ in range(2):
        effects.slow_down()
    (act,) = desk.read(paces.newest, [SENDER], "default")
    assert (act.actor, act.act, act.subject) == ("receipts", "slow", SENDER)
    assert (act.before, act.after) == ({"pace": 1.0}, {"pace": 0.5})
    assert "#130429" in act.why


def test_an_old_receipt_slows_nothing_down(desk: Any) -> None:
    told = Told()
    effects = ReceiptEffects("default", lambda: told)
    ((_, message_id),) = accepted(desk)
    failed(desk, message_id, "#130429", at=desk.now() - SLOW_FRESH_MS - 1)
    desk.write(effects.act)
    assert effects.slow_down() == {"slowed": 0}
    assert told.slow == []


def test_what_redis_does_not_take_is_told_when_it_is_back(desk: Any) -> None:
    told = Told()
    told.away = True
    effects = ReceiptEffects("default", lambda: told)
    ((_, message_id),) = accepted(desk)
    failed(desk, message_id, "#130429")
    desk.write(effects.act)
    with pytest.raises(redis.ConnectionError):
        effects.slow_down()
    told.away = False
    assert effects.slow_down() == {"slowed": 1}
    assert told.slow == [(Scope.SENDER, SENDER)]
