"""Intake: each row becomes one message or one refused row, also when the intake is repeated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bulksend.errors import InvalidInput
from bulksend.ledger import (
    bulk_parameters,
    campaign_creation,
    campaigns,
    intake,
    message_rows,
    operator_log,
    suppressions,
)
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.intake import IntakeConflict
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import CampaignStatus, Kind

NO_COUNTRY = RefusedRow(2, "to", "***123", "has no country code")


def counts(desk: Any, campaign: campaigns.Campaign) -> tuple[int, int, int, int, int]:
    now = desk.read(campaigns.get, campaign.id)
    return now.rows_read, now.messages, now.duplicates, now.suppressed, now.refused


# -- campaigns by their key ----------------------------------------------------------------------------------


def test_a_used_key_finds_its_campaign(desk: Any) -> None:
    new = desk.new_campaign(key="spring")
    first, made = desk.write(campaign_creation.create_or_find, new)
    again, made_again = desk.write(campaign_creation.create_or_find, new)
    assert (made, made_again) == (True, False)
    assert again == first
    assert first.status is CampaignStatus.INTAKE
    assert [act.act for act in desk.read(operator_log.of, "campaign", first.id)] == ["create"]


def test_a_used_key_with_other_content_is_refused(desk: Any) -> None:
    first = desk.campaign(key="spring", source_hash="one")
    with pytest.raises(InvalidInput, match="again=True") as caught:
        desk.campaign(key="spring", source_hash="two")
    assert first.id in str(caught.value)
    assert desk.read(campaigns.by_key, "spring") == first


def test_direct_sends_of_a_kind_share_a_standing_campaign_that_never_finishes(desk: Any) -> None:
    home = desk.write(campaign_creation.standing_campaign, Kind.OTP)
    assert desk.write(campaign_creation.standing_campaign, Kind.OTP).id == home.id
    assert home.is_direct
    assert home.status is CampaignStatus.RUNNING
    assert desk.write(campaigns.finish_ended) == []


# -- chunks of a file ----------------------------------------------------------------------------------------


def test_each_row_is_counted_as_a_message_or_a_refused_row(desk: Any) -> None:
    campaign = desk.campaign()
    taken = desk.take(campaign, desk.new_message(1), desk.new_message(3), refused=[NO_COUNTRY])
    assert (taken.messages, taken.duplicates, taken.suppressed) == (2, 0, 0)
    assert taken.refused == [NO_COUNTRY]
    assert counts(desk, campaign) == (3, 2, 0, 0, 1)
    assert [dict(r) for r in desk.refused_rows(campaign)] == [
        {"row": 2, "field": "to", "value": "***123", "why": "has no country code"}
    ]
    assert {desk.status(id) for id in taken.ready} == {"queued"}
    assert desk.broken() == {}


def test_only_messages_that_are_due_are_ready(desk: Any) -> None:
    campaign = desk.campaign()
    later = desk.new_message(2, due_at=desk.now() + 3_600_000)
    taken = desk.take(campaign, desk.new_message(1), later)
    assert taken.messages == 2
    assert [desk.row(id)["row"] for id in taken.ready] == [1]


def test_an_interrupted_intake_continues_after_its_last_row(desk: Any) -> None:
    campaign = desk.campaign(key="spring")
    desk.take(campaign, desk.new_message(1), desk.new_message(2))
    resumed = desk.campaign(key="spring")
    assert resumed.rows_read == 2
    desk.take(resumed, desk.new_message(3))
    desk.write(campaigns.finish_intake, campaign.id)
    assert counts(desk, campaign) == (3, 3, 0, 0, 0)
    assert desk.read(campaigns.get, campaign.id).status is CampaignStatus.RUNNING


def test_storing_rows_twice_raises_intake_conflict(desk: Any) -> None:
    campaign = desk.campaign()
    desk.take(campaign, desk.new_message(1), after=0)
    with pytest.raises(IntakeConflict):
        desk.take(campaign, desk.new_message(1), refused=[NO_COUNTRY], after=0)
    assert counts(desk, campaign) == (1, 1, 0, 0, 0)
    assert desk.refused_rows(campaign) == []


def test_rows_after_the_end_of_intake_raise_intake_conflict(desk: Any) -> None:
    campaign = desk.campaign()
    desk.take(campaign, desk.new_message(1))
    desk.write(campaigns.finish_intake, campaign.id)
    with pytest.raises(IntakeConflict):
        desk.take(campaign, desk.new_message(2))


def test_a_chunk_that_fails_stores_nothing(desk: Any) -> None:
    campaign = desk.campaign()
    unstorable = desk.new_message(2, body={"v": {"name": object()}})
    with pytest.raises(TypeError):
        desk.take(campaign, desk.new_message(1), unstorable, refused=[NO_COUNTRY])
    assert counts(desk, campaign) == (0, 0, 0, 0, 0)
    assert desk.scalar("SELECT count(*) FROM messages") == 0
    assert desk.scalar("SELECT count(*) FROM refusals") == 0


def test_a_person_twice_in_a_chunk_is_a_message_and_a_duplicate(desk: Any) -> None:
    campaign = desk.campaign()
    twice = [desk.new_message(row, recipient="447700900123") for row in (1, 2)]
    taken = desk.take(campaign, *twice)
    assert (taken.messages, taken.duplicates) == (1, 1)
    assert desk.row(taken.ready[0])["row"] == 1
    assert desk.broken() == {}


def test_a_person_of_an_earlier_chunk_is_a_duplicate(desk: Any) -> None:
    campaign = desk.campaign()
    desk.take(campaign, desk.new_message(1, recipient="447700900123"))
    other_words = desk.new_message(2, recipient="447700900123", body={"v": {"name": "Bob"}})
    taken = desk.take(campaign, other_words)
    assert (taken.messages, taken.duplicates, taken.refused) == (0, 1, [])
    assert counts(desk, campaign) == (2, 1, 1, 0, 0)


def test_of_rows_made_ahead_those_that_are_new_are_stored_as_they_were_made(desk: Any) -> None:
    campaign = desk.campaign()
    desk.take(campaign, desk.new_message(1))
    planned = [
        desk.new_message(row, recipient=f"4477009{of:05}") for row, of in [(2, 2), (3, 1), (4, 2), (5, 5)]
    ]
    prepared = message_rows.prepare(campaign, planned, desk.cipher)
    made = message_rows.with_rows(campaign, prepared, desk.cipher, 1, {3: "suppressed: asked ahead"})
    with desk.database.write() as tx:
        taken = intake.store_chunk(
            tx, campaign, after_row=1, planned=planned, refused=(), cipher=desk.cipher, prepared=made
        )
    assert counts(desk, campaign) == (5, 3, 2, 1, 0)
    assert taken.ready == [made[0].row.id]
    kept = [desk.row(made[n].row.id) for n in (0, 3)]
    assert [(row["row"], row["queued_at"], row["error"]) for row in kept] == [
        (2, 1, None),
        (5, 1, "suppressed: asked ahead"),
    ]


def test_a_person_of_another_campaign_is_not_a_duplicate(desk: Any) -> None:
    for _ in range(2):
        taken = desk.take(desk.campaign(), desk.new_message(1, recipient="447700900123"))
        assert taken.messages == 1


@pytest.mark.parametrize("apart", [False, True], ids=["in one chunk", "in two chunks"])
@pytest.mark.parametrize(
    "other",
    [{"body": {"v": {"name": "Bob"}}}, {"recipient": "447700900124"}, {"type": "image"}, {"sender": "1"}],
)
def test_a_chosen_key_of_another_message_is_refused_with_its_row(
    desk: Any, apart: bool, other: dict[str, Any]
) -> None:
    campaign = desk.campaign()
    first = desk.new_message(1, recipient="447700900123", key="order-1", explicit_key=True)
    second = desk.new_message(
        **({"row": 2, "recipient": "447700900123", "key": "order-1", "explicit_key": True} | other)
    )
    if apart:
        desk.take(campaign, first)
        taken = desk.take(campaign, second)
    else:
        taken = desk.take(campaign, first, second)
    assert [(r.row, r.field, r.value) for r in taken.refused] == [(2, "key", "order-1")]
    assert "nothing was overwritten" in taken.refused[0].why
    assert taken.duplicates == 0
    assert counts(desk, campaign) == (2, 1, 0, 0, 1)
    assert desk.broken() == {}


@pytest.mark.parametrize("apart", [False, True], ids=["in one chunk", "in two chunks"])
def test_a_chosen_key_with_the_same_content_is_a_duplicate(desk: Any, apart: bool) -> None:
    campaign = desk.campaign()
    same = [
        desk.new_message(row, recipient="447700900123", key="order-1", explicit_key=True) for row in (1, 2)
    ]
    if apart:
        desk.take(campaign, same[0])
        taken = desk.take(campaign, same[1])
    else:
        taken = desk.take(campaign, *same)
    assert (taken.duplicates, taken.refused) == (1, [])


@pytest.mark.parametrize("apart", [False, True], ids=["in one chunk", "in two chunks"])
def test_a_chosen_key_that_equals_another_persons_number_drops_no_row(desk: Any, apart: bool) -> None:
    campaign = desk.campaign()
    odd = desk.new_message(1, recipient="447700900124", key="447700900123", explicit_key=True)
    plain = desk.new_message(2, recipient="447700900123")
    if apart:
        desk.take(campaign, odd)
        taken = desk.take(campaign, plain)
    else:
        taken = desk.take(campaign, odd, plain)
    assert [r.row for r in taken.refused] == [2]


@pytest.mark.parametrize("apart", [False, True], ids=["in one chunk", "in two chunks"])
@pytest.mark.parametrize("explicit", [False, True], ids=["default key", "chosen key"])
def test_a_person_under_both_forms_of_the_number_is_a_duplicate(
    desk: Any, apart: bool, explicit: bool
) -> None:
    """The first of the two is sent, in the form in which it was written."""
    campaign = desk.campaign()
    same = [
        desk.new_message(row, recipient=form, key="5531985550124", explicit_key=explicit)
        for row, form in enumerate(("553185550124", "5531985550124"), start=1)
    ]
    if apart:
        ready = desk.take(campaign, same[0]).ready
        taken = desk.take(campaign, same[1])
    else:
        taken = desk.take(campaign, *same)
        ready = taken.ready
    assert (taken.duplicates, taken.refused) == (1, [])
    assert desk.row(ready[0])["recipient"] == "553185550124"
    assert desk.broken() == {}


def test_a_key_is_found_after_the_encryption_key_was_rotated(desk: Any) -> None:
    campaign = desk.campaign(Kind.OTP)
    code = desk.new_message(1, key="login-1", explicit_key=True)
    desk.take(campaign, code)
    desk.cipher = Cipher([b"n" * 32, b"k" * 32])
    taken = desk.take(campaign, code)
    assert (taken.duplicates, taken.refused) == (1, [])


def test_a_suppressed_recipient_is_counted_and_never_ready(desk: Any) -> None:
    desk.write(
        suppressions.add,
        {"447700900123": None},
        scope="all",
        reason="asked us to stop",
        source="hand",
        actor="ada",
    )
    campaign = desk.campaign(Kind.OTP)
    taken = desk.take(campaign, desk.new_message(1, recipient="447700900123"))
    assert (taken.messages, taken.suppressed, taken.ready) == (1, 1, [])
    assert counts(desk, campaign) == (1, 1, 0, 1, 0)
    row = desk.database.read
    with row() as tx:
        message = tx.exec_driver_sql("SELECT status, error, payload, ended_at FROM messages").one()
    assert message.status == "suppressed"
    assert message.error == "suppressed: asked us to stop"
    assert message.payload is None
    assert message.ended_at is not None
    assert desk.broken() == {}


def test_only_one_time_codes_are_encrypted_by_default(desk: Any) -> None:
    (code,) = desk.take(desk.campaign(Kind.OTP), desk.new_message(1, body={"v": {"code": "493817"}})).ready
    (offer,) = desk.take(desk.campaign(), desk.new_message(1)).ready
    assert b"493817" not in desk.payload(code)
    assert desk.cipher.decrypt(desk.payload(code), code) == {"v": {"code": "493817"}}
    assert b'"Ada"' in desk.payload(offer)


def test_every_payload_is_encrypted_when_that_is_set(desk: Any) -> None:
    campaign = desk.campaign()
    with desk.database.write() as tx:
        taken = intake.store_chunk(
            tx,
            campaign,
            after_row=0,
            planned=[desk.new_message(1)],
            refused=[],
            cipher=desk.cipher,
            encrypts=message_rows.encrypt_all,
        )
    assert b"Ada" not in desk.payload(taken.ready[0])


def test_a_nul_or_half_an_emoji_in_a_row_does_not_stop_the_intake(desk: Any) -> None:
    campaign = desk.campaign()
    nasty = RefusedRow(1, "na\x00me", "a\x00b\ud83d", "has \x00 in it")
    person = desk.new_message(2, body={"v": {"name": "A\x00\ud83d"}})
    taken = desk.take(campaign, person, refused=[nasty])
    assert (taken.messages, len(taken.refused)) == (1, 1)
    (kept,) = desk.refused_rows(campaign)
    assert kept["value"] == "a\ufffdb\ufffd"
    assert desk.cipher.decrypt(desk.payload(taken.ready[0]), taken.ready[0]) == {"v": {"name": "A\x00\ud83d"}}


# -- concurrent intakes --------------------------------------------------------------------------------------------


def all_at_once(n: int, work: Callable[[int], object]) -> list[Any]:
    """What ``work`` returned or raised in each of ``n`` threads that start together."""
    start = threading.Barrier(n)

    def begin(k: int) -> object:
        start.wait(timeout=60)
        try:
            return work(k)
        except IntakeConflict as error:
            return error

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(begin, range(n)))


def test_of_concurrent_intakes_of_the_same_rows_one_stores_them(desk: Any) -> None:
    campaign = desk.campaign()
    rows = [desk.new_message(row) for row in range(1, 21)]
    done = all_at_once(4, lambda _: desk.take(campaign, *rows, after=0))
    assert sum(isinstance(result, IntakeConflict) for result in done) == 3
    assert counts(desk, campaign) == (20, 20, 0, 0, 0)
    assert desk.broken() == {}


def test_concurrent_processes_create_a_campaign_once(desk: Any) -> None:
    new = desk.new_campaign(key="spring")
    done = all_at_once(6, lambda _: desk.write(campaign_creation.create_or_find, new))
    assert len({campaign.id for campaign, _ in done}) == 1
    assert sum(made for _, made in done) == 1


@given(
    texts=st.lists(st.none() | st.text(st.characters(exclude_characters="\x00", codec="utf-8")), min_size=1),
    blobs=st.lists(st.none() | st.binary(), min_size=1),
    numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1),
)
@settings(max_examples=200, deadline=None)
def test_a_column_of_any_values_reaches_postgresql_as_it_is(
    postgres_ledger_url: str, texts: list[str | None], blobs: list[bytes | None], numbers: list[int | None]
) -> None:
    database = Database(postgres_ledger_url)
    with database.read() as tx:
        for values, kind in ((texts, "text"), (blobs, "bytea"), (numbers, "bigint")):
            sql = f"SELECT v FROM unnest(CAST(:column AS {kind}[])) WITH ORDINALITY AS u(v, n) ORDER BY n"  # noqa: S608
            found = list(tx.execute(text(sql), {"column": bulk_parameters.array(values)}).scalars())
            assert found == values
    database.close()
