"""Search: filters in keyset pages, which use an index on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, insert, select

from bulksend.errors import InvalidInput
from bulksend.ledger import (
    campaign_control,
    campaigns,
    code_readings,
    due,
    leases,
    look_up,
    progress,
    receipts,
    search,
    suppressions,
)
from bulksend.ledger.claim import claim
from bulksend.ledger.database import Database
from bulksend.ledger.ids import lowest_at, new_id
from bulksend.ledger.migrate import migrate
from bulksend.ledger.release import Release, end_claimed, release
from bulksend.ledger.schema import attempts, messages, workers
from bulksend.ledger.schema import campaigns as campaigns_table
from bulksend.ledger.schema import receipts as receipts_table
from bulksend.ledger.search import Query
from bulksend.ledger.settle import Settlement, settle
from bulksend.messaging.outcome import Accepted, Evidence, NotSent, Outcome
from bulksend.messaging.states import Kind, Status
from tests.integration.ledger.conftest import SENDER


def found(desk: Any, limit: int = 100, **query: Any) -> list[str]:
    return [str(row["id"]) for row in desk.read(search.find, Query(**query), limit=limit)]


# -- filters and pages ---------------------------------------------------------------------------------------------


def test_without_filters_the_newest_come_first(desk: Any) -> None:
    ids = desk.queued(n=5)
    assert found(desk) == ids[::-1]
    assert found(desk, limit=2) == ids[:2:-1]


def test_messages_are_found_by_phone(desk: Any) -> None:
    ids = desk.queued(n=3) + desk.queued(n=3)
    assert found(desk, phone="447700900002") == [ids[4], ids[1]]
    assert found(desk, phone="447700900009") == []


def test_messages_are_found_by_any_form_of_a_phone(desk: Any) -> None:
    campaign = desk.campaign()
    forms = ["553185550124", "5531985550124"]
    planned = [desk.new_message(n, recipient=form, key=f"k{n}") for n, form in enumerate(forms, 1)]
    ready = desk.take(campaign, *planned).ready
    for form in forms:
        assert found(desk, phone=form) == ready[::-1]


def test_messages_are_found_by_message_id(desk: Any) -> None:
    ids = desk.queued(n=3)
    message_ids = desk.accepted(ids)
    assert found(desk, message_id=message_ids[1]) == [f"{message_ids[1].removeprefix('mid-')}"]
    assert found(desk, message_id="mid-x") == []


def test_messages_are_found_by_a_message_id_of_any_attempt(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.settle(opening, NotSent("x"), evidence=Evidence(message_id="mid-1"))
    (opening,) = desk.sent(lease, [id])
    desk.settle(opening, Accepted("mid-2", "rid-2"))
    assert found(desk, message_id="mid-1") == found(desk, message_id="mid-2") == [id]


def test_a_request_id_is_found_in_capitals_and_without(desk: Any) -> None:
    lower, upper = desk.queued(n=2)
    for id, request_id in ((lower, "6f35-de"), (upper, "7A-BC")):
        (opening,) = desk.sent(desk.lease(), [id])
        desk.settle(opening, NotSent("x"), evidence=Evidence(request_id=request_id))
    for text, id in (("6f35-de", lower), ("6F35-DE", lower), ("7A-BC", upper), ("7a-bc", upper)):
        assert found(desk, request_id=text) == [id], text


def test_messages_are_found_by_a_request_id_of_any_attempt(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    for request_id in ("rid-1", "rid-2"):
        (opening,) = desk.sent(lease, [id])
        desk.settle(opening, NotSent("x"), evidence=Evidence(request_id=request_id))
    assert found(desk, request_id="rid-1") == [id]
    assert found(desk, request_id="rid-2") == [id]
    assert found(desk, request_id="rid-3") == []


def test_messages_are_found_by_campaign_and_status(desk: Any) -> None:
    ids = desk.queued(n=4)
    desk.queued(n=2)
    campaign = desk.row(ids[0])["campaign_id"]
    desk.accepted(ids[1:3])
    assert found(desk, campaign_id=campaign) == ids[::-1]
    assert found(desk, campaign_id=campaign, status="accepted") == [ids[2], ids[1]]
    assert found(desk, status="accepted") == [ids[2], ids[1]]
    assert found(desk, campaign_id=new_id()) == []


def test_messages_are_found_by_time_of_intake(desk: Any) -> None:
    (made,), new = desk.queued(), desk.queued()
    campaign, earlier = desk.row(made)["campaign_id"], desk.now() - 3_600_000
    old = lowest_at(earlier)
    desk.sql(
        "UPDATE messages SET queued_at = :at, id = CAST(:old AS uuid) WHERE CAST(id AS text) = :id"
        if not desk.database.is_sqlite
        else "UPDATE messages SET queued_at = :at, id = :old WHERE id = :id",
        at=earlier,
        old=old,
        id=made,
    )
    desk.sql("UPDATE campaigns SET created_at = :at", at=earlier)
    assert found(desk, since=earlier + 1) == new
    assert found(desk, until=earlier) == [old]
    assert found(desk, since=earlier, until=desk.now()) == [*new, old]
    assert found(desk, campaign_id=campaign, since=earlier + 1) == []
    assert found(desk, status="queued", until=earlier) == [old]
    assert found(desk, since=0, until=2**50) == [*new, old]


def test_ids_from_before_they_followed_the_ledgers_clock_may_be_hours_off(desk: Any) -> None:
    (id,) = desk.queued()
    upgraded, earlier = desk.now(), desk.now() - 3_600_000
    desk.sql("UPDATE messages SET queued_at = :at", at=earlier)
    desk.sql("DELETE FROM installation")
    assert found(desk, until=earlier) == [id]
    desk.sql(
        "INSERT INTO installation (name, value) VALUES ('ids_near_since', :since)",
        since=str(upgraded).encode(),
    )
    assert found(desk, until=earlier) == [id]
    assert found(desk, since=earlier, until=earlier) == [id]


def test_a_time_range_is_a_range_of_ids_within_half_a_second(desk: Any) -> None:
    """Messages outside of the range are not read."""
    desk.sql("DELETE FROM installation")
    desk.sql("INSERT INTO installation (name, value) VALUES ('ids_near_since', :since)", since=b"0")
    with desk.database.read() as tx:
        asked = [str(c.right.value) for c in search.conditions(tx, Query(since=10**12, until=10**12 + 1000))]
    assert [UUID(text).int >> 80 for text in asked if len(text) == 36] == [10**12 - 500, 10**12 + 1501]


def test_the_newest_messages_in_a_status_of_many_campaigns_come_in_pages(desk: Any) -> None:
    """More campaigns than one query reads, some with many messages, some at the same time."""
    for n in range(230):
        desk.queued(n=1 + n % 2)
    for n in range(1, 7):
        desk.send(desk.new_send(key=str(900 + n)), kind=Kind.MARKETING)
        desk.queued(n=2)
    desk.sql("UPDATE messages SET row = CAST(key AS integer) WHERE row = 0")
    desk.sql("UPDATE messages SET status = 'failed', ended_at = 1 WHERE row % 2 = 1")
    for query in (
        *(Query(status=status) for status in ("failed", "queued", "read")),
        Query(kind=Kind.MARKETING, sender=SENDER),
    ):
        status = [] if query.status is None else [messages.c.status == query.status]
        with desk.database.read() as tx:
            wanted = list(
                tx.execute(select(messages.c.id).where(*status).order_by(messages.c.id.desc())).scalars()
            )
        for page_size in (3, 25, 100):
            seen: list[str] = []
            while page := desk.read(search.find, query, limit=page_size, before=seen[-1] if seen else None):
                seen += [str(row["id"]) for row in page]
            assert seen == [str(id) for id in wanted]


def test_a_page_of_every_status_asks_as_many_statements_as_one_of_one_status(desk: Any) -> None:
    for status in ("delivered", "failed", "read"):
        desk.queued(n=2)
        desk.sql("UPDATE messages SET status = :status WHERE status = 'queued'", status=status)
    asked: list[str] = []
    event.listen(desk.database.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    counts = []
    for query in (Query(status="failed"), Query(kind=Kind.MARKETING, sender=SENDER)):
        asked.clear()
        assert desk.read(search.find, query, limit=2)
        counts.append(len([sql for sql in asked if sql.startswith("SELECT ")]))
    assert counts[0] == counts[1]


def test_filters_combine(desk: Any) -> None:
    ids = desk.queued(n=3)
    campaign = desk.row(ids[0])["campaign_id"]
    desk.queued(n=3)
    assert found(desk, phone="447700900002", campaign_id=campaign) == [ids[1]]
    assert found(desk, phone="447700900002", campaign_id=campaign, status="read") == []


@pytest.mark.parametrize("by", ["nothing", "campaign", "status", "since"])
def test_pages_have_each_message_once_while_more_come_in(desk: Any, by: str) -> None:
    ids = desk.queued(n=7)
    campaign = desk.row(ids[0])["campaign_id"]
    query = {
        "nothing": Query(),
        "campaign": Query(campaign_id=campaign),
        "status": Query(campaign_id=campaign, status="queued"),
        "since": Query(campaign_id=campaign, since=0),
    }[by]
    seen: list[str] = []
    while page := desk.read(search.find, query, limit=3, before=seen[-1] if seen else None):
        seen += [str(row["id"]) for row in page]
        desk.queued(n=1)
    assert seen == ids[::-1]


def test_an_export_has_each_message_of_a_campaign_in_the_order_of_its_rows(desk: Any) -> None:
    ids = desk.queued(n=7)
    desk.queued(n=2)
    desk.accepted(ids[2:4])
    campaign = desk.row(ids[0])["campaign_id"]
    with desk.database.read() as tx:
        for page in (2, 7, 100):
            assert [row["row"] for row in search.export(tx, campaign, page=page)] == [1, 2, 3, 4, 5, 6, 7]


def test_found_messages_have_no_content(desk: Any) -> None:
    desk.queued()
    (row,) = desk.read(search.find, Query(), limit=1)
    assert not {"payload", "fingerprint", "owner"} & set(row)


def test_a_page_after_a_malformed_id_is_refused(desk: Any) -> None:
    desk.queued()
    with pytest.raises(InvalidInput, match="--before"):
        desk.read(search.find, Query(), limit=1, before="447700900001")


# -- query plans -------------------------------------------------------------------------------------------

CAMPAIGNS, EACH, COPIES = 40, 25, 50
#: As in a ledger in use: most messages have ended, few wait, very few are claimed.
STATUSES = (
    ["delivered"] * 80 + ["read"] * 10 + ["accepted"] * 4 + ["failed"] * 3 + ["queued", "retry", "sending"]
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def grown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A ledger with so much in it that a database uses indexes where there are any."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{Path(tmp_path_factory.mktemp('grown')) / 'ledger.db'}")
    else:
        databases = request.getfixturevalue("postgres_databases")
        url = databases.new()
        database = Database(url)
    migrate(database)
    fill(database)
    yield database
    database.close()
    if request.param == "postgresql":
        databases.drop(url)


def fill(database: Database) -> None:
    taken = [new_id() for _ in range(20)]
    made = [new_id() for _ in range(CAMPAIGNS)]
    rows = [_message(made[n // EACH], n, taken) for n in range(CAMPAIGNS * EACH)]
    of_workers = [{"id": id, "name": "w", "started_at": 1, "lease_until": 2} for id in taken]
    with database.write() as tx:
        tx.execute(insert(workers), of_workers)
        tx.execute(insert(campaigns_table), [_campaign(id, n) for n, id in enumerate(made)])
        tx.execute(insert(messages), rows)
        tx.execute(insert(attempts), [_attempt(row, taken[0]) for row in rows])
        tx.execute(insert(receipts_table), [_receipt(row) for row in rows[::2]])
        if not database.is_sqlite:
            copy_within(tx)


def copy_within(tx: Connection) -> None:
    """PostgreSQL plans by the size of its tables: it reads a small one without an index."""
    for table, changed in (
        (
            messages,
            {
                "id": "gen_random_uuid()",
                "key": "m.key || '-' || g",
                "message_id": "m.message_id || '-' || g",
                "recipient": "m.recipient || g",
            },
        ),
        (attempts, {"id": "gen_random_uuid()", "n": "m.n + g", "outcome": "'not_sent'"}),
        (receipts_table, {"id": "gen_random_uuid()", "at": "m.at + g"}),
    ):
        columns = ", ".join(f'"{column.name}"' for column in table.c)
        values = ", ".join(changed.get(column.name, f'm."{column.name}"') for column in table.c)
        tx.exec_driver_sql(
            f"INSERT INTO {table.name} ({columns}) "  # noqa: S608 - names of our own tables
            f"SELECT {values} FROM {table.name} m, generate_series(1, {COPIES}) g"
        )
    tx.exec_driver_sql("ANALYZE")


def _campaign(id: str, n: int) -> dict[str, object]:
    texts = dict.fromkeys(
        ("name", "sender", "type", "content", "source_hash", "source_name", "created_by"), "x"
    )
    numbers = dict.fromkeys(
        ("due_at", "created_at", "rows_read", "messages", "duplicates", "suppressed", "refused"), 0
    )
    status = "cancelled" if n % 20 == 0 else "running" if n % 10 == 1 else "finished"
    return (
        {"id": id, "key": f"k{n}", "kind": "marketing", "status": status, "on_unknown": "hold"}
        | texts
        | numbers
    )


def _message(campaign: str, n: int, owners: list[str]) -> dict[str, object]:
    status = STATUSES[n * 37 % 100]
    numbers = dict.fromkeys(("row", "attempts", "tries", "waits", "strikes"), 1)
    return {
        "id": new_id(),
        "campaign_id": campaign,
        "key": str(n),
        "kind": "marketing",
        "sender": "x",
        "recipient": f"4477{n:08}",
        "type": "text",
        "fingerprint": b"x",
        "status": status,
        "due_at": n,
        "expires_at": n if n % 3 else None,
        "owner": owners[n % 20] if status == "sending" else None,
        "attempt_id": new_id(),
        "message_id": f"mid-{n}",
        "request_id": f"rid-{n}",
        "queued_at": n,
    } | numbers


def _attempt(row: dict[str, object], owner: str) -> dict[str, object]:
    return {
        "id": row["attempt_id"],
        "message_pk": row["id"],
        "n": 1,
        "owner": owner,
        "worker": "w",
        "sender": "x",
        "started_at": 1,
        "outcome": None if row["status"] == "sending" else "accepted",
        "request_id": row["request_id"],
    }


def _receipt(row: dict[str, object]) -> dict[str, object]:
    named = {"id": new_id(), "message_id": row["message_id"], "message_pk": row["id"], "status": "delivered"}
    return named | {"at": 1, "received_at": 1, "code": "", "why": ""}


Plans = Callable[..., str]


@pytest.fixture
def plans(grown: Database, plans_in: Callable[[Database], Plans]) -> Plans:
    return plans_in(grown)


BIG = ("messages", "attempts", "receipts")
ALIASES = {"m": "messages", "a": "attempts", "u": "attempts", "r": "receipts"}


def assert_reads_no_table_whole(plan: str) -> None:
    for line in plan.splitlines():
        assert not any(f"Seq Scan on {table}" in line for table in BIG), plan
        words = line.split()
        if "SCAN" in words and "INDEX" not in words:
            scanned = words[words.index("SCAN") + 1]
            assert ALIASES.get(scanned, scanned) not in BIG, plan


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        (Query(), {"pk_messages", "autoindex_messages"}),
        (Query(phone="447700000002"), {"ix_messages_recipient_id"}),
        (Query(message_id="mid-1"), {"ix_messages_message_id"}),
        (Query(request_id="rid-1"), {"ix_attempts_request_id"}),
        (Query(campaign_id="one"), {"ix_messages_campaign_id_status_id"}),
        (Query(campaign_id="one", since=1, until=2**45), {"ix_messages_campaign_id_status_id"}),
        (Query(campaign_id="one", status="failed"), {"ix_messages_campaign_id_status_id"}),
        (Query(status="failed"), {"ix_messages_campaign_id_status_id"}),
        (Query(status="failed", since=1, until=2**45), {"ix_messages_campaign_id_status_id"}),
        (Query(status="failed", kind="otp"), {"ix_messages_campaign_id_status_id"}),
        (Query(kind="otp", sender="15550100100"), {"ix_messages_campaign_id_status_id"}),
        (Query(since=1, until=2**45), {"pk_messages", "autoindex_messages"}),
    ],
    ids=lambda value: (
        "-".join(k for k in Query.__slots__ if getattr(value, k)) if isinstance(value, Query) else ""
    ),
)
@pytest.mark.parametrize("page", ["first", "next"])
def test_every_search_uses_an_index(
    plans: Plans, grown: Database, query: Query, indexes: set[str], page: str
) -> None:
    if query.campaign_id is not None:
        query = replace(query, campaign_id=a_campaign(grown))
    plan = plans(search.find, query, limit=10, before=None if page == "first" else new_id())
    assert any(index in plan for index in indexes), plan
    assert_reads_no_table_whole(plan)


def test_a_look_up_and_the_codes_of_late_use_an_index(plans: Plans, grown: Database) -> None:
    campaign = a_campaign(grown)
    for work, arguments in (
        (look_up.messages_of, (new_id(), 10)),
        (look_up.messages_of, ("mid-1", 10)),
        (code_readings.waited, ([campaign], 1)),
        (code_readings.undelivered, ([campaign], 1, 2**45)),
        (code_readings.waiting, ()),
    ):
        assert_reads_no_table_whole(plans(work, *arguments))


def a_campaign(grown: Database) -> str:
    with grown.read() as tx:
        return campaigns.newest(tx, 1)[0].id


def test_a_page_of_a_campaign_sorts_only_a_page_of_each_status(plans: Plans, grown: Database) -> None:
    campaign = a_campaign(grown)
    for plan in (
        plans(search.find, Query(campaign_id=campaign), limit=10),
        plans(lambda tx: next(search.export(tx, campaign, page=10))),
    ):
        if grown.is_sqlite:
            in_order = "SEARCH messages USING COVERING INDEX ix_messages_campaign_id_status_id"
            assert plan.count(in_order) == len(Status), plan
        else:
            assert "Merge Append" in plan, plan
            # The rows of the page are read by their keys.
            assert "Bitmap Index Scan on ix_messages" not in plan, plan
        assert_reads_no_table_whole(plan)


LEASE, ID = new_id(), new_id()
ACTS: dict[str, tuple[Callable[..., object], str]] = {
    "claim": (lambda tx: claim(tx, [ID], lease=LEASE, account="default"), "messages"),
    "give back": (
        lambda tx: release(tx, [Release(ID, 0, None, None)], lease=LEASE),
        "messages",
    ),
    "end": (lambda tx: end_claimed(tx, [(ID, "why")], Status.FAILED, LEASE), "attempts"),
    "rescue": (lambda tx: leases.rescue(tx, resend_wait_ms=0), "in_flight"),
    "due": (lambda tx: due.due_messages(tx, ID, 10), "ix_messages_due"),
    "due after": (lambda tx: due.due_messages(tx, ID, 10, after=(1, ID)), "ix_messages_due"),
    "waiting": (lambda tx: due.count_waiting_up_to(tx, ID, (1, ID), 10), "ix_messages_due"),
    "next due": (lambda tx: due.next_due_at(tx, ID), "ix_messages_due"),
    "expire": (lambda tx: due.expire(tx, 10), "ix_messages_expiring"),
    "stragglers": (lambda tx: campaign_control.end_cancelled(tx, 10), "campaign_counts"),
    "receive": (
        lambda tx: receipts.take(tx, [receipts.Receipt("mid-1", "read", 1)]),
        "ix_messages_message_id",
    ),
    "reasons": (lambda tx: progress.failure_reasons(tx, ID), "ix_messages_campaign_id_status_id"),
    "paces": (
        lambda tx: progress.send_rates(tx, campaigns.newest(tx, 1), 1000),
        "ix_attempts_sender_started_at",
    ),
    "finish": (lambda tx: campaigns.finish_ended(tx), "campaign_counts"),
    "days": (lambda tx: suppressions.days_with_code(tx, ["1"], 1), "ix_messages_recipient_id"),
    "orphans": (lambda tx: receipts.Orphans().match(tx), "receipts"),
}


@pytest.mark.parametrize("act", ACTS)
def test_every_statement_of_the_hot_path_uses_an_index(plans: Plans, act: str) -> None:
    work, index = ACTS[act]
    plan = plans(work)
    assert index in plan, plan
    assert_reads_no_table_whole(plan)


@pytest.mark.parametrize(
    "outcome", [Accepted("mid", "rid"), NotSent("ConnectError")], ids=["accepted", "not sent"]
)
def test_settling_uses_the_keys_of_attempts_and_messages(plans: Plans, outcome: Outcome) -> None:
    settlement = Settlement(ID, new_id(), outcome, Evidence(), 1.0, Status.RETRY, 0, 1, 0, "")
    assert_reads_no_table_whole(plans(settle, [settlement] * 3))
