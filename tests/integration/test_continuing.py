"""A campaign that is continued with another file: killed half-way, begun again, and beside a first intake."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from bulksend.ledger import audit, campaigns, suppressions
from bulksend.ledger.campaigns import ALIKE_MS, Campaign, NewCampaign
from bulksend.ledger.database import Database, instant
from bulksend.ledger.schema import messages
from bulksend.ledger.sealing import Sealer
from bulksend.messaging import InvalidInput, Kind, MessageType, OnUnknown, compile_content
from producer.intake import Continued, Intake, IntakeReport, SamePeople
from producer.publisher import NoPublisher

TEMPLATE = compile_content(MessageType.TEXT, {"body": "Hi {{name}}"})
Row = Mapping[str, object]


class Killed(BaseException):
    """As if the process had been killed between two chunks."""


class Desk:
    """Takes rows into a ledger, four at a time."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def intake(self, dies_after: int | None = None) -> Intake:
        def progress(rows: int) -> None:
            if dies_after is not None and rows >= dies_after:
                raise Killed

        return Intake(
            self.database, NoPublisher(), Sealer([b"k" * 32]), chunk=4, batch_size=2, progress=progress
        )

    def new(self, file: str, kind: Kind = Kind.MARKETING, **changes: Any) -> NewCampaign:
        values: dict[str, Any] = {
            "key": f"sha256:{file}",
            "name": "spring",
            "kind": kind,
            "sender": "8615000579987",
            "type": "text",
            "content": TEMPLATE.to_json(),
            "source_hash": file.ljust(64, "0"),
            "source_name": file,
            "due_at": 0,
            "ttl_ms": None,
            "rate": None,
            "on_unknown": OnUnknown.HOLD,
            "created_by": "ann",
        }
        return NewCampaign(**(values | changes))

    def take(
        self,
        file: str,
        rows: list[Row],
        *,
        dies_after: int | None = None,
        kind: Kind = Kind.MARKETING,
        into: str | None = None,
        again: bool = False,
        **changes: Any,
    ) -> IntakeReport:
        def read(after: int) -> Iterator[tuple[int, Row]]:
            return iter(list(enumerate(rows, start=1))[after:])

        with self.database.read() as tx:
            changes.setdefault("due_at", instant(tx))
        new = self.new(file, kind, **changes)
        return self.intake(dies_after).run(new, TEMPLATE, read, into=into, again=again)  # type: ignore[arg-type]

    def people(self) -> list[str]:
        with self.database.read() as tx:
            return sorted(tx.execute(select(messages.c.recipient)).scalars())

    def campaign(self, id: str) -> Campaign:
        with self.database.read() as tx:
            return campaigns.get(tx, id)

    def holds(self) -> bool:
        with self.database.read() as tx:
            return audit.audit(tx).holds


@pytest.fixture
def desk(ledger: Database) -> Desk:
    return Desk(ledger)


def person(n: int) -> str:
    return f"44770090{n:04d}"


def rows_of(first: int, last: int) -> list[Row]:
    return [{"to": person(n), "name": "A"} for n in range(first, last)]


BAD: Row = {"to": "12", "name": "A"}


def test_a_killed_intake_whose_file_was_mended_goes_on_with_the_mended_one(desk: Desk) -> None:
    """case 01, second part: 2,466 messages had gone to 1,936 people."""
    with pytest.raises(Killed):
        desk.take("old", [*rows_of(0, 5), BAD, *rows_of(6, 12)], dies_after=6)
    mended = rows_of(0, 12)
    with pytest.raises(SamePeople, match=r"^5 of 12 rows are for people who have this message already"):
        desk.take("new", mended)
    done = desk.take("new", mended, into="spring")
    assert done.continued == Continued(12, 7, 5)
    assert desk.people() == [person(n) for n in range(12)]
    now = desk.campaign(done.campaign_id)
    assert (now.rows_read, now.messages, now.refused, now.status.value) == (12, 12, 0, "running")
    assert now.source_name == "new"
    with pytest.raises(InvalidInput, match="which was continued with new"):
        desk.take("old", [*rows_of(0, 5), BAD, *rows_of(6, 12)])
    assert desk.holds()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    first=st.lists(st.integers(0, 12), max_size=12),
    second=st.lists(st.integers(0, 12), max_size=12),
    deaths=st.lists(st.integers(1, 12), max_size=3),
    bad=st.integers(0, 12),
)
def test_however_often_it_is_killed_each_person_is_there_once(
    desk: Desk, first: list[int], second: list[int], deaths: list[int], bad: int
) -> None:
    with desk.database.write() as tx:
        for table in ("refusals", "messages", "campaign_counts", "campaigns"):
            tx.execute(text(f"DELETE FROM {table}"))  # noqa: S608
    old: list[Row] = [{"to": person(n), "name": "A"} for n in first]
    new: list[Row] = [BAD if n == bad else {"to": person(n), "name": "B"} for n in second]
    begun = desk.take("old", [*old, BAD])
    for death in deaths:
        with contextlib.suppress(Killed):
            desk.take("new", new, into=begun.campaign_id, dies_after=death)
    done = desk.take("new", new, into=begun.campaign_id)
    assert desk.people() == sorted({person(n) for n in first} | {person(n) for n in second if n != bad})
    assert done.refused_count == second.count(bad)
    assert done.continued is not None
    assert (
        done.continued.rows
        == len(new)
        == done.continued.messages + done.continued.already + second.count(bad)
    )
    assert desk.holds()


def test_an_intake_that_another_file_took_over_stops_and_says_so(desk: Desk) -> None:
    """The first run is still at work when its campaign is continued: it must not count on as if nothing were."""
    intake = desk.intake()
    rows = rows_of(0, 12)
    taken_over = False

    def read(after: int) -> Iterator[tuple[int, Row]]:
        nonlocal taken_over
        for number, row in list(enumerate(rows, start=1))[after:]:
            if number == 7 and not taken_over:
                taken_over = True
                desk.take("new", rows_of(20, 22), into="spring")
            yield number, row

    new = desk.new("old")
    with pytest.raises(InvalidInput, match="another command took over the intake"):
        intake.run(new, TEMPLATE, read)  # type: ignore[arg-type]
    assert {person(20), person(21)} <= set(desk.people())
    assert desk.holds()


def test_a_finished_campaign_runs_again_and_a_paused_one_stays_paused(desk: Desk) -> None:
    id = desk.take("old", rows_of(0, 2)).campaign_id
    with desk.database.write() as tx:
        tx.execute(text("UPDATE campaigns SET status = 'finished', ended_at = 1"))
    desk.take("new", rows_of(0, 3), into=id)
    assert (desk.campaign(id).status.value, desk.campaign(id).ended_at) == ("running", None)
    with desk.database.write() as tx:
        campaigns.pause(tx, id, actor="ann", why="wait")
    desk.take("more", rows_of(0, 4), into=id)
    assert desk.campaign(id).status.value == "paused"
    assert len(desk.people()) == 4


def test_who_has_it_of_a_third_campaign_is_left_out_of_a_continuation(desk: Desk) -> None:
    desk.take("a", rows_of(0, 2), name="a")
    desk.take("b", rows_of(2, 4), name="b")
    with pytest.raises(SamePeople, match=r"^4 of 6 rows .*, and 1 more,"):
        desk.take("all", rows_of(0, 6), name="all")
    assert desk.take("all", rows_of(0, 6), into="a", name="a").continued == Continued(6, 2, 4)
    assert desk.people() == [person(n) for n in range(6)]


@pytest.mark.parametrize(
    ("name", "age_ms", "is_stopped"),
    [
        ("spring", ALIKE_MS * 10, True),
        ("other", ALIKE_MS - 60_000, True),
        ("other", ALIKE_MS + 60_000, False),
    ],
)
def test_another_name_counts_for_thirty_days(desk: Desk, name: str, age_ms: int, is_stopped: bool) -> None:
    desk.take("old", rows_of(0, 2))
    with desk.database.write() as tx:
        tx.execute(text("UPDATE campaigns SET created_at = created_at - :age"), {"age": age_ms})
    if is_stopped:
        with pytest.raises(SamePeople):
            desk.take("new", rows_of(1, 3), name=name)
    else:
        assert desk.take("new", rows_of(1, 3), name=name).messages == 2


@pytest.mark.parametrize("ended", ["failed", "expired", "suppressed", "cancelled"])
def test_who_never_got_it_may_be_sent_it(desk: Desk, ended: str) -> None:
    desk.take("old", rows_of(0, 1))
    with desk.database.write() as tx:
        tx.execute(text("UPDATE messages SET status = :status, ended_at = 1"), {"status": ended})
    assert desk.take("new", [*rows_of(0, 1), *rows_of(5, 6)]).messages == 2


def test_a_key_of_the_producers_own_tells_messages_apart(desk: Desk) -> None:
    def keyed(*keys: str) -> list[Row]:
        return [{"to": person(1), "name": "A", "key": key} for key in keys]

    desk.take("old", keyed("order-1", "order-2"))
    assert desk.take("new", keyed("order-3")).messages == 1
    with pytest.raises(SamePeople, match=r"^1 of 2 rows"):
        desk.take("newer", keyed("order-2", "order-4"))
    # A row without a key of its own is for the person, whatever the keys of the others.
    with pytest.raises(SamePeople, match=r"^1 of 1 rows"):
        desk.take("newest", rows_of(1, 2))


@pytest.mark.parametrize("is_continued", [False, True])
def test_of_codes_for_one_number_the_last_wins_across_chunks(desk: Desk, is_continued: bool) -> None:
    rows: list[Row] = [{"to": person(n), "name": f"first {n}"} for n in range(10)]
    rows += [
        {"to": person(0), "name": "second"},
        {"to": person(9), "name": "second"},
        {"to": "12", "name": "x"},
    ]
    rows += [{"to": person(0), "name": "third"}]
    into = None
    if is_continued:
        into = desk.take("old", [{"to": person(50), "name": "z"}], kind=Kind.OTP).campaign_id
    with pytest.raises(Killed):
        desk.take("codes", rows, kind=Kind.OTP, dies_after=4, into=into)
    report = desk.take("codes", rows, kind=Kind.OTP, into=into)
    assert report.superseded == 3
    with desk.database.read() as tx:
        sealer = Sealer([b"k" * 32])
        found = {
            row.recipient: sealer.open(bytes(row.payload), str(row.id))["v"]["name"]  # type: ignore[index]
            for row in tx.execute(select(messages.c.id, messages.c.recipient, messages.c.payload))
        }
    assert found[person(0)] == "third"
    assert found[person(9)] == "second"
    assert found[person(5)] == "first 5"
    assert len(found) == 10 + is_continued
    assert desk.holds()


def test_a_code_whose_time_is_over_is_another_code(desk: Desk) -> None:
    desk.take("old", rows_of(0, 1), kind=Kind.OTP)
    with pytest.raises(SamePeople):
        desk.take("new", rows_of(0, 1), kind=Kind.OTP)
    with desk.database.write() as tx:
        tx.execute(text("UPDATE messages SET expires_at = 1"))
    assert desk.take("new", rows_of(0, 1), kind=Kind.OTP).messages == 1


def test_a_suppressed_person_of_a_continuation_is_counted_as_that(desk: Desk) -> None:
    id = desk.take("old", rows_of(0, 1)).campaign_id
    with desk.database.write() as tx:
        suppressions.add(
            tx, person(1), scope="marketing", reason="STOP", source="operator", actor="ann", until=None
        )
    done = desk.take("new", rows_of(0, 3), into=id)
    assert (done.messages, done.suppressed) == (3, 1)
    assert desk.holds()


@pytest.mark.parametrize("kind", [Kind.MARKETING, Kind.UTILITY])
def test_both_forms_of_a_number_are_one_person(desk: Desk, kind: Kind) -> None:
    older, newer = "551187654321", "5511987654321"
    id = desk.take("old", [{"to": older, "name": "A"}], kind=kind).campaign_id
    with pytest.raises(SamePeople):
        desk.take("new", [{"to": newer, "name": "A"}], kind=kind)
    assert desk.take("new", [{"to": newer, "name": "A"}], kind=kind, into=id).messages == 1
