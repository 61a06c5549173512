"""Continuations: a campaign continued with another file, also when killed, repeated or run beside its first intake."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text

from bulksend.errors import InvalidInput, WrongState
from bulksend.ledger import (
    audit,
    campaign_control,
    campaign_settings,
    campaigns,
    erasure,
    leases,
    pauses,
    suppressions,
)
from bulksend.ledger.campaign_creation import SAME_CONTENT_MS, NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.claim import claim
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.erasure import Person
from bulksend.ledger.ids import new_id
from bulksend.ledger.key_file import new_encryption_key
from bulksend.ledger.schema import attempts, messages
from bulksend.ledger.write_ahead import Opening, open_attempts
from bulksend.messaging import Kind, MessageType, OnUnknown, compile_content
from bulksend.messaging.audience import parse_audience
from bulksend.messaging.exclusions import Cap, Exclusions, PeopleOf
from bulksend.messaging.states import HELD, Status
from bulksend.operations.clones import clone_options
from bulksend.operations.export import Export
from bulksend.settings import Settings
from producer.clones import plan_clone, plan_rest
from producer.intake import Intake
from producer.intake_report import Continued, IntakeInterrupted, IntakeReport, SamePeople
from producer.publisher import NoPublisher
from producer.uploads import CampaignOptions
from tests.integration.ledger.conftest import Desk as LedgerDesk
from tests.integration.ledger.conftest import in_between

TEMPLATE = compile_content(MessageType.TEXT, {"body": "Hi {{name}}"})
Row = Mapping[str, object]


class Killed(BaseException):
    """The process is killed between two chunks."""


class Desk:
    """Stores rows in chunks of four."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def intake(self, dies_after: int | None = None) -> Intake:
        def progress(rows: int) -> None:
            if dies_after is not None and rows >= dies_after:
                raise Killed

        return Intake(
            self.database, NoPublisher(), Cipher([b"k" * 32]), chunk=4, batch_size=2, progress=progress
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
            changes.setdefault("due_at", read_clock(tx))
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


def test_a_killed_intake_continues_with_the_corrected_file(desk: Desk) -> None:
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
def test_an_intake_that_is_killed_many_times_stores_each_person_once(
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


def test_an_intake_stops_when_another_file_continues_its_campaign(desk: Desk) -> None:
    """The first intake still runs when its campaign is continued, and must not add to its counts."""
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


def test_a_continuation_reopens_a_finished_campaign_and_leaves_a_paused_one_paused(desk: Desk) -> None:
    id = desk.take("old", rows_of(0, 2)).campaign_id
    with desk.database.write() as tx:
        tx.execute(text("UPDATE campaigns SET status = 'finished', ended_at = 1"))
    desk.take("new", rows_of(0, 3), into=id)
    assert (desk.campaign(id).status.value, desk.campaign(id).ended_at) == ("running", None)
    with desk.database.write() as tx:
        pauses.pause_campaign(tx, id, actor="ann", why="wait")
    desk.take("more", rows_of(0, 4), into=id)
    assert desk.campaign(id).status.value == "paused"
    assert len(desk.people()) == 4


def test_a_continuation_leaves_out_recipients_of_a_third_campaign(desk: Desk) -> None:
    desk.take("a", rows_of(0, 2), name="a")
    desk.take("b", rows_of(2, 4), name="b")
    with pytest.raises(SamePeople, match=r"^4 of 6 rows .*, and 1 more,"):
        desk.take("all", rows_of(0, 6), name="all")
    assert desk.take("all", rows_of(0, 6), into="a", name="a").continued == Continued(6, 2, 4)
    assert desk.people() == [person(n) for n in range(6)]


@pytest.mark.parametrize(
    ("name", "age_ms", "is_stopped"),
    [
        ("spring", SAME_CONTENT_MS * 10, True),
        ("other", SAME_CONTENT_MS - 60_000, True),
        ("other", SAME_CONTENT_MS + 60_000, False),
    ],
)
def test_a_campaign_of_another_name_counts_for_30_days(
    desk: Desk, name: str, age_ms: int, is_stopped: bool
) -> None:
    desk.take("old", rows_of(0, 2))
    with desk.database.write() as tx:
        tx.execute(text("UPDATE campaigns SET created_at = created_at - :age"), {"age": age_ms})
    if is_stopped:
        with pytest.raises(SamePeople):
            desk.take("new", rows_of(1, 3), name=name)
    else:
        assert desk.take("new", rows_of(1, 3), name=name).messages == 2


@pytest.mark.parametrize("ended", ["failed", "expired", "suppressed", "cancelled"])
def test_a_message_that_ended_unsent_does_not_count_as_sent_before(desk: Desk, ended: str) -> None:
    desk.take("old", rows_of(0, 1))
    with desk.database.write() as tx:
        tx.execute(text("UPDATE messages SET status = :status, ended_at = 1"), {"status": ended})
    assert desk.take("new", [*rows_of(0, 1), *rows_of(5, 6)]).messages == 2


def test_messages_with_different_chosen_keys_are_different(desk: Desk) -> None:
    def keyed(*keys: str) -> list[Row]:
        return [{"to": person(1), "name": "A", "key": key} for key in keys]

    desk.take("old", keyed("order-1", "order-2"))
    assert desk.take("new", keyed("order-3")).messages == 1
    with pytest.raises(SamePeople, match=r"^1 of 2 rows"):
        desk.take("newer", keyed("order-2", "order-4"))
    # A row without a chosen key has the person's key, whatever keys the other rows have.
    with pytest.raises(SamePeople, match=r"^1 of 1 row "):
        desk.take("newest", rows_of(1, 2))


@pytest.mark.parametrize("is_continued", [False, True])
def test_the_last_of_several_codes_for_a_number_is_stored_across_chunks(
    desk: Desk, is_continued: bool
) -> None:
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
        cipher = Cipher([b"k" * 32])
        found = {
            row.recipient: cipher.decrypt(bytes(row.payload), str(row.id))["v"]["name"]  # type: ignore[index]
            for row in tx.execute(select(messages.c.id, messages.c.recipient, messages.c.payload))
        }
    assert found[person(0)] == "third"
    assert found[person(9)] == "second"
    assert found[person(5)] == "first 5"
    assert len(found) == 10 + is_continued
    assert desk.holds()


def test_a_file_may_have_a_code_for_each_purpose_of_a_person(desk: Desk) -> None:
    purposes = ["login", "payment", "login", ""]
    rows: list[Row] = [{"to": person(1), "name": str(n), "purpose": p} for n, p in enumerate(purposes)]
    report = desk.take("codes", rows, kind=Kind.OTP)
    assert (report.messages, report.superseded) == (3, 1)
    with desk.database.read() as tx:
        found = tx.execute(select(messages.c.row, messages.c.purpose).order_by(messages.c.row)).all()
    assert [tuple(row) for row in found] == [(2, "payment"), (3, "login"), (4, None)]


def test_an_expired_code_does_not_count_as_sent_before(desk: Desk) -> None:
    desk.take("old", rows_of(0, 1), kind=Kind.OTP)
    with pytest.raises(SamePeople):
        desk.take("new", rows_of(0, 1), kind=Kind.OTP)
    with desk.database.write() as tx:
        tx.execute(text("UPDATE messages SET expires_at = 1"))
    assert desk.take("new", rows_of(0, 1), kind=Kind.OTP).messages == 1


def test_a_suppressed_recipient_of_a_continuation_is_counted(desk: Desk) -> None:
    id = desk.take("old", rows_of(0, 1)).campaign_id
    with desk.database.write() as tx:
        suppressions.add(
            tx,
            {person(1): None},
            scope="marketing",
            reason="STOP",
            source="operator",
            actor="ann",
            until=None,
        )
    done = desk.take("new", rows_of(0, 3), into=id)
    assert (done.messages, done.suppressed) == (3, 1)
    assert desk.holds()


@pytest.mark.parametrize("kind", [Kind.MARKETING, Kind.UTILITY])
def test_two_forms_of_a_number_count_as_sent_before(desk: Desk, kind: Kind) -> None:
    older, newer = "551187654321", "5511987654321"
    id = desk.take("old", [{"to": older, "name": "A"}], kind=kind).campaign_id
    with pytest.raises(SamePeople):
        desk.take("new", [{"to": newer, "name": "A"}], kind=kind)
    assert desk.take("new", [{"to": newer, "name": "A"}], kind=kind, into=id).messages == 1


# -- the rest of a cancelled campaign -------------------------------------------------------------------------------


def id_of(tx: Connection, n: int) -> str:
    """The id of the person's message."""
    return str(tx.execute(select(messages.c.id).where(messages.c.recipient == person(n))).scalar_one())


def claimed(tx: Connection, n: int) -> tuple[str, Opening]:
    """A lease that has claimed the person's message, and the attempt that it may open."""
    lease, _ = leases.take(tx, "w", 60_000)
    (message,) = claim(tx, [id_of(tx, n)], lease=lease, account="default")
    return lease, Opening(message, new_id())


def end_as(desk: Desk, n: int, status: str, outcome: str | None = None) -> None:
    """Give the person's message this status, and one attempt with this outcome where one is given."""
    with desk.database.write() as tx:
        if status in HELD:
            lease, opening = claimed(tx, n)
            if status == Status.SENDING:
                assert open_attempts(tx, [opening], lease=lease, account="default").attempts
            return
        id = id_of(tx, n)
        values = {"status": status, "ended_at": None if status == "queued" else 1}
        tx.execute(messages.update().where(messages.c.id == id).values(values))
        if outcome is not None:
            tx.execute(messages.update().where(messages.c.id == id).values(attempts=1))
            attempt = {
                "id": new_id(),
                "message_pk": id,
                "n": 1,
                "owner": new_id(),
                "worker": "w",
                "sender": "1",
            }
            tx.execute(attempts.insert().values(attempt | {"started_at": 1, "outcome": outcome}))


def cancel(desk: Desk, id: str, at_once: int = 1000) -> None:
    campaign_control.cancel(desk.database, id, actor="ann", why="a wrong word", at_once=at_once)


#: (status, outcome of its attempt), and whether the rest of a cancelled campaign includes the person.
ENDINGS = [
    ("accepted", "accepted", False),
    ("delivered", "accepted", False),
    ("unknown", "unknown", False),
    ("sending", None, False),
    ("failed", "accepted", False),
    ("failed", "unknown", False),
    ("failed", "refused", True),
    ("expired", None, True),
    ("suppressed", None, True),
    ("cancelled", None, True),
    ("queued", None, True),
    ("claimed", None, True),
    ("retry", "not_sent", True),
    ("retry", "unknown", False),
]


@pytest.mark.parametrize("kind", [Kind.MARKETING, Kind.UTILITY])
@pytest.mark.parametrize("at_once", [1000, 0])
def test_the_rest_of_a_cancelled_campaign_has_only_messages_that_were_not_sent(
    desk: Desk, kind: Kind, at_once: int
) -> None:
    """With ``at_once`` 0 the cancel ends no message itself, and the relay has not ended any yet."""
    many = len(ENDINGS)
    other = desk.take("other", rows_of(50, 51), name="other").campaign_id
    exclusions = Exclusions(exclude=(PeopleOf(other),)).to_json()
    options = {"rate": 5.0, "ttl_ms": 3_600_000, "exclusions": exclusions}
    first = desk.take("old", rows_of(0, many), kind=kind, **options).campaign_id
    for n, (status, outcome, _) in enumerate(ENDINGS):
        end_as(desk, n, status, outcome)
    cancel(desk, first, at_once)
    # Another value of a variable makes another message, but not another person.
    rows = [{"to": person(n), "name": "B"} for n in range(many + 1)]
    for _ in range(2):
        done = desk.take("new", rows, kind=kind, into="spring")
    rest = desk.campaign(done.campaign_id)
    assert (rest.name, rest.rate, rest.ttl_ms, rest.exclusions, rest.status.value) == (
        "spring (rest)",
        5.0,
        3_600_000,
        exclusions,
        "running",
    )
    assert rest.id != first
    with desk.database.read() as tx:
        found = tx.execute(select(messages.c.recipient).where(messages.c.campaign_id == rest.id)).scalars()
        sent = sorted(found)
    wanted = [person(n) for n, (_, _, takes) in enumerate(ENDINGS) if takes] + [person(many)]
    assert sent == wanted
    assert done.continued == Continued(many + 1, 0, many + 1)
    assert [note for note in done.notes if "still sends or ends them: 1 message." in note]


@pytest.mark.parametrize("at_once", [1000, 0])
def test_the_rest_of_a_cancelled_campaign_comes_from_the_ledger_without_its_file(
    desk: Desk, at_once: int
) -> None:
    many = len(ENDINGS)
    keyed: Row = {"to": person(many), "name": "A", "key": "order-7"}
    first = desk.take("old", [*rows_of(0, many), keyed], rate=5.0, ttl_ms=3_600_000).campaign_id
    for n, (status, outcome, _) in enumerate(ENDINGS):
        end_as(desk, n, status, outcome)
    cancel(desk, first, at_once)
    of = Settings.from_env({"BULKSEND_ENCRYPTION_KEY": new_encryption_key()})

    def send_the_rest(dies_after: int | None = None) -> str:
        plan = plan_rest(desk.database, first, of=of, created_by="ann")
        return plan.run(desk.intake(dies_after)).campaign_id

    with pytest.raises(Killed):
        send_the_rest(dies_after=4)
    rest = desk.campaign(send_the_rest())
    assert (rest.name, rest.rate, rest.ttl_ms, rest.status.value) == (
        *("spring (rest)", 5.0, 3_600_000, "running"),
    )
    with desk.database.read() as tx:
        columns = messages.c.recipient, messages.c.key
        found = tx.execute(select(*columns).where(messages.c.campaign_id == rest.id)).all()
    wanted = [(person(n), person(n)) for n, (_, _, takes) in enumerate(ENDINGS) if takes]
    assert sorted(map(tuple, found)) == [*wanted, (person(many), "order-7")]
    assert send_the_rest() == rest.id
    assert desk.campaign(rest.id).messages == len(found)


def test_a_rest_waits_behind_a_canary_as_its_campaign_did(desk: Desk) -> None:
    first = desk.take("old", rows_of(0, 3), canary="1%").campaign_id
    cancel(desk, first)
    rest = desk.campaign(desk.take("new", rows_of(0, 3), into=first).campaign_id)
    assert (rest.canary, rest.canary_state, rest.held_after is None) == ("1%", "pending", False)
    cancel(desk, rest.id)
    given = {"canary": "200", "given": {"canary": "canary"}}
    own = desk.campaign(desk.take("last", rows_of(0, 3), into=rest.id, **given).campaign_id)
    assert (own.canary, own.canary_state) == ("200", "pending")


def test_the_rest_of_a_campaign_without_a_schedule_is_sent(desk: Desk) -> None:
    with desk.database.read() as tx:
        later = read_clock(tx) + 3_600_000
    first = desk.take("old", rows_of(0, 3), due_at=later).campaign_id
    campaign_settings.unschedule(desk.database, first, actor="ann", why="not yet")
    cancel(desk, first)
    rest = desk.campaign(desk.take("new", rows_of(0, 3), into=first).campaign_id)
    assert (rest.is_unscheduled, rest.due_at < later) == (False, True)


def rest_of(desk: Desk, id: str) -> list[tuple[str, int, int | None]]:
    """Recipient, due time and end of the messages of the rest from the ledger."""
    plan = plan_rest(desk.database, id, of=Settings.from_env({}), created_by="ann")
    report = plan.run(desk.intake())
    assert report.refused == []
    m = messages.c
    own = select(m.recipient, m.due_at, m.expires_at).where(m.campaign_id == report.campaign_id)
    with desk.database.read() as tx:
        return sorted(tuple(row) for row in tx.execute(own))


def test_rows_of_a_rest_keep_their_times_to_live_and_are_not_sent_before_their_time(desk: Desk) -> None:
    rows: list[Row] = [
        {"to": person(1), "name": "A", "send_at": "2040-03-01T10:00:00Z", "ttl": "2h"},
        {"to": person(2), "name": "A"},
    ]
    first = desk.take("old", rows, ttl_ms=3_600_000).campaign_id
    cancel(desk, first)
    (one, at, end), (two, now, soon) = rest_of(desk, first)
    assert (one, at, end) == (person(1), 2_214_208_800_000, 2_214_208_800_000 + 7_200_000)
    assert (two, soon is not None and soon - now) == (person(2), 3_600_000)
    assert now < at


def test_a_rest_goes_out_at_the_local_time_in_the_rows_own_zones_also_after_its_day(desk: Desk) -> None:
    rows: list[Row] = [{"to": "12025550100", "name": "A", "timezone": "Asia/Tokyo"}]
    first = desk.take("old", rows, local_time="2040-03-01 09:00").campaign_id
    cancel(desk, first)
    ((_, at, _),) = rest_of(desk, first)
    assert at == 2_214_172_800_000, "09:00 in Tokyo"
    second = desk.take("past", rows_of(1, 2), local_time="2040-03-01 09:00", name="past").campaign_id
    with desk.database.write() as tx:
        tx.execute(text("UPDATE campaigns SET local_time = '2020-03-01 09:00' WHERE name = 'past'"))
    cancel(desk, second)
    ((_, at, _),) = rest_of(desk, second)
    with desk.database.read() as tx:
        assert 0 <= at - read_clock(tx) + 60_000 <= 86_460_000


def test_a_forgotten_person_is_in_no_rest_and_in_no_audience(desk: Desk) -> None:
    first = desk.take("old", rows_of(1, 3)).campaign_id
    cancel(desk, first)
    with desk.database.write() as tx:
        erasure.erase_rows(tx, Person.of(tx, person(1)), Cipher([b"k" * 32]))
    with desk.database.read() as tx:
        people = Export(tx, first, Cipher([])).audience(parse_audience("unsent"))
        assert [row["to"] for row in people] == [person(2)]
    assert [to for to, _, _ in rest_of(desk, first)] == [person(2)]


def test_only_a_cancelled_campaign_leaves_a_rest(desk: Desk) -> None:
    first = desk.take("old", rows_of(0, 2)).campaign_id
    with pytest.raises(WrongState, match="is running: only a cancelled campaign leaves a rest"):
        plan_rest(desk.database, first, of=Settings.from_env({}), created_by="ann")


def test_a_clone_has_the_content_and_options_of_its_campaign(desk: Desk, tmp_path: Path) -> None:
    other = desk.take("other", rows_of(50, 51), name="other").campaign_id
    exclusions = Exclusions(cap=Cap(2, 3_600_000), exclude=(PeopleOf(other, unsent=True),)).to_json()
    own = {
        **{"ttl_ms": 3_600_000, "rate": 5.0, "on_unknown": OnUnknown.RESEND, "timezone": "Europe/London"},
        **{"exclusions": exclusions, "local_time": "09:00", "canary": "1%", "max_failed": 0.05, "weight": 2},
    }
    made = desk.take("old", rows_of(0, 2), **own)
    with desk.database.read() as tx:
        options = clone_options(tx, made.campaign_id)
    of_its_own = {"name", "key", "send_at", "region", "map", "encoding", "sheet", "again", "into"}
    of_its_own |= {"default_cap", "media", "only", "require_consent"}
    assert set(options) == {each.name for each in fields(CampaignOptions)} - of_its_own
    (tmp_path / "more.csv").write_text(f"to,name\n{person(5)},Eve\n")
    plan = plan_clone(
        desk.database, made.campaign_id, tmp_path / "more.csv", of=Settings.from_env({}), created_by="ann"
    )
    clone = desk.campaign(plan.run(desk.intake()).campaign_id)
    old = desk.campaign(made.campaign_id)
    assert (clone.name, clone.messages) == ("more", 1)
    same = ("sender", "kind", "type", "content", *own)
    assert [getattr(clone, name) for name in same] == [getattr(old, name) for name in same]
    assert desk.holds()


def test_the_rest_may_have_a_corrected_content(desk: Desk) -> None:
    id = desk.take("old", rows_of(0, 3)).campaign_id
    end_as(desk, 0, "accepted", "accepted")
    cancel(desk, id)
    corrected = TEMPLATE.to_json().replace("}}", "}}!")
    assert corrected != TEMPLATE.to_json()
    for took in (2, 0):
        done = desk.take("old", rows_of(0, 3), into=id, content=corrected)
        assert done.continued == Continued(3, took, 3 - took)
    assert "the rest has another content than the messages sent before" in done.notes
    assert desk.campaign(done.campaign_id).content == corrected
    with pytest.raises(InvalidInput, match="has another content"):
        desk.take("old", rows_of(0, 3), into=id)
    assert desk.people() == [person(0), person(1), person(1), person(2), person(2)]


def test_the_rest_of_a_rest_leaves_out_every_sent_message(desk: Desk) -> None:
    ids = []
    for n in range(3):
        done = desk.take(f"file {n}", rows_of(0, 4), into="spring" if n else None, kind=Kind.UTILITY)
        ids.append(done.campaign_id)
        with desk.database.write() as tx:
            tx.execute(
                messages.update()
                .where(messages.c.campaign_id == done.campaign_id, messages.c.recipient == person(n))
                .values(status="accepted", ended_at=1)
            )
        cancel(desk, done.campaign_id)
    assert len(set(ids)) == 3
    # Each of the three names leads to the same rest. A changed variable does not make a new recipient.
    rows = [{"to": person(n), "name": "B"} for n in range(4)]
    took = [desk.take("last", rows, into=id, kind=Kind.UTILITY) for id in ids]
    assert len({each.campaign_id for each in took} | set(ids)) == 4
    assert [each.continued for each in took] == [Continued(4, 1, 3), Continued(4, 0, 4), Continued(4, 0, 4)]


def test_the_rest_leaves_out_messages_that_a_worker_sends(postgres_ledger_url: str) -> None:
    """The write-ahead is not committed when the campaign is cancelled: the cancel waits for it.

    Not on SQLite, which has one writer at a time.
    """
    desk = Desk(Database(postgres_ledger_url))
    id = desk.take("old", rows_of(0, 2)).campaign_id
    with desk.database.write() as tx:
        lease, opening = claimed(tx, 0)

    def write_ahead(tx: Connection) -> None:
        assert open_attempts(tx, [opening], lease=lease, account="default").attempts

    def stop() -> Any:
        return campaign_control.cancel(desk.database, id, actor="ann", why="a wrong word")

    stopped = in_between(LedgerDesk(desk.database), write_ahead, stop)
    assert (stopped.waiting + stopped.held, stopped.sending) == (1, 1)
    done = desk.take("new", rows_of(0, 2), into=id)
    assert done.continued == Continued(2, 1, 1)
    assert desk.people() == [person(0), person(1), person(1)]
    desk.database.close()


def test_a_continuation_stops_when_its_campaign_is_cancelled(desk: Desk) -> None:
    id = desk.take("old", rows_of(0, 2)).campaign_id
    rows = rows_of(0, 12)

    def read(after: int) -> Iterator[tuple[int, Row]]:
        for number, row in list(enumerate(rows, start=1))[after:]:
            if number == 7:
                cancel(desk, id)
            yield number, row

    with pytest.raises(IntakeInterrupted, match=r"was cancelled during its intake.*`into='"):
        desk.intake().run(desk.new("new"), TEMPLATE, read, into=id)  # type: ignore[arg-type]
    desk.take("new", rows, into=id)
    with desk.database.read() as tx:
        states = tx.execute(select(messages.c.recipient, messages.c.status)).all()
    assert sorted(to for to, status in states if status == "queued") == [person(n) for n in range(12)]


def test_two_concurrent_commands_store_the_rest_once(desk: Desk) -> None:
    id = desk.take("old", rows_of(0, 3)).campaign_id
    cancel(desk, id)

    def take(_: int) -> None:
        with contextlib.suppress(InvalidInput):
            desk.take("new", rows_of(0, 30), into=id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4)))
    done = desk.take("new", rows_of(0, 30), into=id)
    assert desk.campaign(done.campaign_id).messages == 30
    assert len(desk.people()) == 33


# -- the advice of a refusal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", list(Kind))
@pytest.mark.parametrize("second", list(Kind))
def test_the_advice_in_a_refusal_works(desk: Desk, first: Kind, second: Kind) -> None:
    """``--continue`` is advised only with the campaign's kind, and without options that differ."""
    id = desk.take("old", rows_of(0, 2), kind=first).campaign_id
    given = {"rate": "rate", "name": "name", "key": "key"}
    with pytest.raises(SamePeople) as refused:
        desk.take("new", rows_of(0, 3), kind=second, name="other", rate=1.0, key="k", given=given)
    said = str(refused.value)
    if first is second:
        assert (
            f"`into='{id}'`, without rate, name and key, sends to the recipients who do not have it yet"
            in said
        )
    else:
        assert f"`kind='{first}'` and `into='{id}'`, without rate, name and key, sends to" in said
    assert "`again=True` without the key sends to all" in said
    assert "--" not in said
    assert desk.take("new", rows_of(0, 3), kind=first, into=id).messages == 3


# -- the same rows at the same time -------------------------------------------------------------------------


def test_two_intakes_of_the_same_rows_at_once_store_each_person_once(desk: Desk) -> None:
    """Each looks at all rows before the other has stored one: a file posted twice, each time with a key of its own."""
    rows = rows_of(1, 31)
    both = threading.Barrier(2)

    def take(file: str) -> IntakeReport:
        looked = threading.Event()

        def began(_: Campaign) -> None:
            if not looked.is_set():
                looked.set()
                both.wait(60)

        with desk.database.read() as tx:
            new = desk.new(file, due_at=read_clock(tx))
        intake = replace(desk.intake(), began=began)
        return intake.run(new, TEMPLATE, lambda after: iter(list(enumerate(rows, start=1))[after:]))  # type: ignore[arg-type]

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(take, ["first", "second"]))
    assert desk.people() == [person(n) for n in range(1, 31)]
    assert sum(report.messages for report in done) == 30
    assert [report.rows for report in done] == [30, 30]
    assert {row.why.split(",")[1] for report in done for row in report.refused} == {
        " which was taken in at the same time; nothing is to do"
    }
    assert desk.holds()


def test_again_sends_also_to_those_of_an_intake_at_the_same_time(desk: Desk) -> None:
    desk.take("first", rows_of(1, 4))
    report = desk.take("second", rows_of(1, 4), again=True)
    assert (report.messages, report.refused_count) == (3, 0)
