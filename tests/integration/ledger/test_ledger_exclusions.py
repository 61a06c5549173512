"""Whom a campaign leaves out: by a cap over all campaigns, by another campaign's people, for want of consent."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from bulksend.errors import CampaignNotFound
from bulksend.ledger import campaign_control, campaigns, consents, exclusions, intake, suppressions
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.message_rows import NewMessage, prepare, with_rows
from bulksend.ledger.schema import messages
from bulksend.messaging import MessageType, OnUnknown, compile_content
from bulksend.messaging.exclusions import Cap, Consent, Exclusions, PeopleOf
from bulksend.messaging.outcome import Accepted, Refused
from bulksend.messaging.states import Kind, Status
from producer.intake import Intake
from producer.intake_report import IntakeReport
from producer.publisher import NoPublisher

DAY = 86_400_000
ADA, BOB, EVE = "447700900001", "447700900002", "447700900003"
OLDER, NEWER = "551185550124", "5511985550124"
"""Two forms of one person's number."""
CAP = Cap(2, 7 * DAY)


def to(desk: Any, phone: str, row: int = 1, **changes: Any) -> NewMessage:
    return desk.new_message(row, recipient=phone, key=changes.pop("key", phone), **changes)  # type: ignore[no-any-return]


def blast(
    desk: Any,
    *phones: str,
    days: float = 0,
    kind: Kind = Kind.MARKETING,
    exclusions: Exclusions | None = None,
) -> Campaign:
    """A campaign to these people, due in ``days``."""
    due_at = desk.now() + int(days * DAY)
    kept = None if exclusions is None else exclusions.to_json()
    campaign: Campaign = desk.campaign(kind, due_at=due_at, exclusions=kept)
    desk.take(campaign, *(to(desk, phone, row, due_at=due_at) for row, phone in enumerate(phones, 1)))
    desk.write(campaigns.finish_intake, campaign.id)
    return campaign


def rows(desk: Any, campaign: Campaign) -> list[Any]:
    """id, recipient and error of each message, in the order of the file."""
    columns = messages.c.id, messages.c.recipient, messages.c.error
    of = select(*columns).where(messages.c.campaign_id == campaign.id).order_by(messages.c.row)
    with desk.database.read() as tx:
        return [(str(id), phone, error or "") for id, phone, error in tx.execute(of)]


def ids(desk: Any, campaign: Campaign) -> list[str]:
    return [id for id, _, _ in rows(desk, campaign)]


def errors(desk: Any, campaign: Campaign) -> dict[str, str]:
    """Why people were left out, by their number; empty: they were not."""
    return {phone: error for _, phone, error in rows(desk, campaign)}


def left_out(desk: Any, campaign: Campaign) -> dict[str, str]:
    """The rule that left each of the people out."""
    return {phone: error.partition(":")[0] for phone, error in errors(desk, campaign).items() if error}


def cancel(desk: Any, campaign: Campaign) -> None:
    campaign_control.cancel(desk.database, campaign.id, actor="ada", why="a test")


def test_a_cap_counts_what_all_campaigns_send_to_a_person(desk: Any) -> None:
    blast(desk, ADA, OLDER)
    blast(desk, ADA, NEWER, BOB)
    third = blast(desk, ADA, BOB, NEWER, exclusions=Exclusions(cap=CAP))
    assert left_out(desk, third) == {ADA: "cap", NEWER: "cap"}
    assert errors(desk, third)[ADA] == (
        "cap: this person gets 2 marketing messages in 7d already, sent or waiting"
    )
    assert desk.read(exclusions.left_out_by_rule, third.id) == {"cap": 2}
    # Who was left out has not had it.
    assert left_out(desk, blast(desk, ADA, exclusions=Exclusions(cap=Cap(3, 7 * DAY)))) == {}


def test_a_cap_counts_single_sends_and_no_other_kinds(desk: Any) -> None:
    for kind in (Kind.UTILITY, Kind.OTP):
        for _ in range(3):
            blast(desk, ADA, kind=kind)
    assert left_out(desk, blast(desk, ADA, exclusions=Exclusions(cap=CAP))) == {}
    desk.send(desk.new_send(recipient=ADA), kind=Kind.MARKETING)
    assert left_out(desk, blast(desk, ADA, exclusions=Exclusions(cap=CAP))) == {ADA: "cap"}


def test_a_cap_looks_at_the_days_to_come_as_at_those_before(desk: Any) -> None:
    blast(desk, ADA, days=8)
    blast(desk, ADA, days=9)
    for days, rule in ((0.0, {}), (3.0, {ADA: "cap"}), (14.5, {ADA: "cap"}), (17.0, {})):
        campaign = blast(desk, ADA, days=days, exclusions=Exclusions(cap=CAP))
        assert left_out(desk, campaign) == rule, days
        cancel(desk, campaign)


def test_what_surely_did_not_reach_a_person_does_not_count(desk: Any) -> None:
    lease = desk.lease()
    for _ in range(2):
        cancel(desk, blast(desk, ADA))
        (opening,) = desk.sent(lease, ids(desk, blast(desk, ADA)))
        desk.settle(opening, Refused("131026", "no"), status=Status.FAILED)
    assert left_out(desk, blast(desk, ADA, exclusions=Exclusions(cap=CAP))) == {}


def test_a_sent_message_counts_when_it_was_sent(desk: Any) -> None:
    for _ in range(2):
        first = blast(desk, ADA)
        desk.accepted(ids(desk, first))
    desk.sql(
        "UPDATE messages SET due_at = due_at - :far, sent_at = sent_at - :near", far=30 * DAY, near=6 * DAY
    )
    assert left_out(desk, blast(desk, ADA, exclusions=Exclusions(cap=CAP))) == {ADA: "cap"}
    desk.sql("UPDATE messages SET sent_at = sent_at - :day", day=DAY)
    assert left_out(desk, blast(desk, ADA, exclusions=Exclusions(cap=CAP))) == {}


def test_a_person_of_several_rows_gets_as_many_as_the_cap_allows(desk: Any) -> None:
    campaign = desk.campaign(exclusions=Exclusions(cap=CAP).to_json())
    several = [to(desk, ADA, row, key=f"k{row}", explicit_key=True) for row in range(1, 5)]
    desk.take(campaign, *several[:3])
    desk.take(campaign, several[3])
    assert [bool(error) for _, _, error in rows(desk, campaign)] == [False, False, True, True]
    # A row that is there twice is a duplicate, and nothing of a cap.
    again = desk.campaign(exclusions=Exclusions(cap=Cap(1, DAY)).to_json())
    taken = desk.take(again, to(desk, BOB), to(desk, BOB, 2))
    assert (taken.messages, taken.duplicates, taken.suppressed) == (1, 1, 0)


@pytest.mark.parametrize("phones", [(ADA, ADA, ADA), (NEWER, OLDER, NEWER)])
def test_the_rows_of_a_person_count_with_what_it_had_before(desk: Any, phones: tuple[str, ...]) -> None:
    for before in range(4):
        if before:
            blast(desk, phones[before % 2])
        campaign = desk.campaign(exclusions=Exclusions(cap=Cap(3, 7 * DAY)).to_json())
        planned = [to(desk, phone, n, key=f"k{n}", explicit_key=True) for n, phone in enumerate(phones, 1)]
        desk.take(campaign, *planned, to(desk, BOB, 4))
        got = [not error for _, _, error in rows(desk, campaign)]
        assert got == [*(n < 3 - before for n in range(3)), True], before
        cancel(desk, campaign)


def test_a_person_who_got_it_under_one_form_of_its_number_is_reached(desk: Any) -> None:
    first = desk.campaign()
    planned = [
        to(desk, phone, row, key=phone, explicit_key=True) for row, phone in enumerate((OLDER, NEWER), 1)
    ]
    desk.take(first, *planned)
    (opening,) = desk.sent(desk.lease(), ids(desk, first)[:1])
    desk.settle(opening, Refused("131026", "no"), status=Status.FAILED)
    for phone in (OLDER, NEWER):
        for people, rules in (
            (PeopleOf(first.id), {phone: "exclude"}),
            (PeopleOf(first.id, unsent=True), {}),
        ):
            assert left_out(desk, blast(desk, phone, exclusions=Exclusions(exclude=(people,)))) == rules


def test_a_suppressed_person_is_left_out_by_that_and_counts_for_no_cap(desk: Any) -> None:
    named = {"scope": "marketing", "reason": "asked", "source": "hand", "actor": "ada"}
    desk.write(suppressions.add, {ADA: None}, **named)
    other = blast(desk, ADA, BOB)
    campaign = blast(desk, ADA, BOB, exclusions=Exclusions(cap=Cap(1, DAY), exclude=(PeopleOf(other.id),)))
    assert errors(desk, campaign)[ADA] == "suppressed: asked"
    assert desk.read(exclusions.left_out_by_rule, campaign.id) == {"suppressed": 1, "exclude": 1}


def test_a_cool_down_that_ends_before_a_message_is_due_does_not_stop_it(desk: Any) -> None:
    named = {"scope": "marketing", "reason": "131049", "source": "vendor", "actor": "worker"}
    desk.write(suppressions.add, {ADA: None}, **named, until=desk.now() + DAY)
    assert left_out(desk, blast(desk, ADA, days=0.5)) == {ADA: "suppressed"}
    assert left_out(desk, blast(desk, ADA, days=1.5)) == {}


def test_a_campaign_leaves_out_those_whom_another_one_reaches_or_does_not(desk: Any) -> None:
    first = blast(desk, ADA, OLDER, EVE)
    lease = desk.lease()
    ada, brazil, _eve = ids(desk, first)
    desk.accepted([ada], lease)
    (opening,) = desk.sent(lease, [brazil])
    desk.settle(opening, Refused("131026", "no"), status=Status.FAILED)
    reached, not_reached = PeopleOf(first.id), PeopleOf(first.id, unsent=True)
    for wanted, rules in (
        (Exclusions(exclude=(reached,)), {ADA: "exclude", EVE: "exclude"}),
        (Exclusions(exclude=(not_reached,)), {NEWER: "exclude"}),
        (Exclusions(exclude=(reached, not_reached)), {ADA: "exclude", EVE: "exclude", NEWER: "exclude"}),
        (Exclusions(only=(reached,)), {NEWER: "only", BOB: "only"}),
        (Exclusions(only=(not_reached,)), {ADA: "only", EVE: "only", BOB: "only"}),
        (Exclusions(only=(reached, not_reached), exclude=(reached,)),
         {BOB: "only", ADA: "exclude", EVE: "exclude"}),
    ):  # fmt: skip
        campaign = blast(desk, ADA, NEWER, EVE, BOB, exclusions=wanted)
        assert left_out(desk, campaign) == rules, wanted


def test_exclusions_name_campaigns_by_id_once_they_are_kept(desk: Any) -> None:
    first = blast(desk, ADA)
    new = desk.new_campaign(exclusions=Exclusions(exclude=(PeopleOf("spring"),)).to_json())
    kept = desk.read(exclusions.resolved, new)
    assert Exclusions.from_json(kept.exclusions).exclude == (PeopleOf(first.id),)
    assert desk.read(exclusions.resolved, kept) == kept
    unknown = desk.new_campaign(exclusions=Exclusions(only=(PeopleOf("autumn"),)).to_json())
    with pytest.raises(CampaignNotFound, match="autumn"):
        desk.read(exclusions.resolved, unknown)
    ending = desk.new_campaign(exclusions=Exclusions(only=(PeopleOf("spring:undelivered"),)).to_json())
    with pytest.raises(CampaignNotFound, match="behind a campaign may stand :unsent alone"):
        desk.read(exclusions.resolved, ending)


def test_a_cap_holds_at_the_last_look_where_times_moved(desk: Any) -> None:
    """Planned for next week, and sent today after all."""
    first = blast(desk, ADA, NEWER)
    later = blast(desk, ADA, OLDER, BOB, days=8, exclusions=Exclusions(cap=Cap(1, 7 * DAY)))
    assert left_out(desk, later) == {}
    desk.accepted(ids(desk, first))
    desk.sql("UPDATE messages SET due_at = :now WHERE status = 'queued'", now=desk.now() - 1)
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, ids(desk, later)))
    opened = desk.open(lease, openings, caps={later.id: Cap(1, 7 * DAY)})
    attempts = {opening.message.recipient for opening in openings if opening.attempt_id in opened.attempts}
    assert attempts == {BOB}
    assert left_out(desk, later) == {ADA: "cap", OLDER: "cap"}
    assert desk.broken() == {}


def test_a_message_does_not_count_for_its_own_cap(desk: Any) -> None:
    campaign = blast(desk, ADA, exclusions=Exclusions(cap=Cap(1, DAY)))
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, ids(desk, campaign)))
    caps = {campaign.id: Cap(1, DAY)}
    assert desk.open(lease, openings, caps=caps).attempts == {openings[0].attempt_id}
    # The same write-ahead once more: only the answer to its COMMIT was lost.
    assert desk.open(lease, openings, caps=caps).attempts == {openings[0].attempt_id}
    desk.settle(openings[0], Accepted("mid", "rid"))


def test_of_two_campaigns_that_are_taken_in_at_once_one_reaches_a_person(desk: Any) -> None:
    one, other = (desk.campaign(exclusions=Exclusions(cap=Cap(1, DAY)).to_json()) for _ in range(2))
    taking = threading.Thread(target=desk.take, args=(other, to(desk, ADA)))
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with desk.database.write() as tx:
        intake.store_chunk(tx, one, after_row=0, planned=[to(desk, ADA)], refused=(), cipher=desk.cipher)
        taking.start()
        # SQLite has one writer anyway.
        while not desk.database.is_sqlite and taking.is_alive() and not desk.scalar(waits):
            time.sleep(0.01)
    taking.join()
    assert (left_out(desk, one), left_out(desk, other)) == ({}, {ADA: "cap"})


def test_what_was_asked_ahead_holds_until_another_campaign_stores_under_a_cap(desk: Any) -> None:
    one, other = (desk.campaign(exclusions=Exclusions(cap=Cap(1, DAY)).to_json()) for _ in range(2))

    def ahead(message: NewMessage) -> exclusions.LeftOut:
        found: exclusions.LeftOut = desk.read(exclusions.ask_ahead, one, [message])
        return found

    def store(message: NewMessage, left_out: exclusions.LeftOut) -> None:
        prepared = prepare(one, [message], desk.cipher)
        desk.write(
            intake.store_chunk,
            one,
            after_row=message.row - 1,
            planned=[message],
            refused=(),
            cipher=desk.cipher,
            prepared=with_rows(one, prepared, desk.cipher, left_out.now, left_out.found),
            turn=left_out.turn,
        )

    desk.take(one, to(desk, BOB))
    # Its own chunks change nothing.
    asked = ahead(to(desk, ADA, 3))
    store(to(desk, OLDER, 2), ahead(to(desk, OLDER, 2)))
    store(to(desk, ADA, 3), asked._replace(found={0: "cap: asked ahead"}))
    asked = ahead(to(desk, EVE, 4))
    desk.take(other, to(desk, EVE))
    store(to(desk, EVE, 4), asked)
    assert errors(desk, one) == {
        BOB: "",
        OLDER: "",
        ADA: "cap: asked ahead",
        EVE: exclusions.cap_error(Cap(1, DAY)),
    }
    assert left_out(desk, other) == {}


def test_only_with_one_message_a_person_is_a_cap_asked_ahead(desk: Any) -> None:
    """By keys of the producer's, the chunk that is stored meanwhile may be of the same people."""
    chosen = to(desk, ADA, key="order 1", explicit_key=True)
    capped = desk.campaign(exclusions=Exclusions(cap=CAP).to_json())
    assert desk.read(exclusions.ask_ahead, capped, [to(desk, BOB), chosen]) is None
    assert desk.read(exclusions.ask_ahead, desk.campaign(), [to(desk, BOB), chosen])[:2] == ({}, None)


def test_two_intakes_under_a_cap_at_once_reach_each_person_once(ledger: Database) -> None:
    template = compile_content(MessageType.TEXT, {"body": "Hi"})
    people = [(n, {"to": f"44770090{n:04d}"}) for n in range(1, 201)]
    begin = threading.Barrier(2)

    def started() -> None:
        begin.wait()

    def take(name: str, rows: list[tuple[int, dict[str, str]]]) -> IntakeReport:
        new = NewCampaign(
            key=name, name=name, kind=Kind.MARKETING, sender="8615000579987", type="text", content=template.to_json(),
            source_hash=name, source_name=name, due_at=0, ttl_ms=None, rate=None, on_unknown=OnUnknown.HOLD,
            created_by="ann", exclusions=Exclusions(cap=Cap(1, DAY)).to_json(),
        )  # fmt: skip
        taking = Intake(
            ledger, NoPublisher(), Cipher([b"k" * 32]), chunk=10, began=lambda campaign: started()
        )
        return taking.run(new, template, lambda after: iter(rows[after:]), again=True)  # type: ignore[arg-type]

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(take, "one", people), pool.submit(take, "other", people[::-1])]
        reports = [each.result() for each in both]
    assert [report.messages for report in reports] == [200, 200]
    assert sum(report.suppressed_by.get("cap", 0) for report in reports) == 200
    reached = select(messages.c.recipient).where(messages.c.status == "queued")
    with ledger.read() as tx:
        assert len(set(tx.execute(reached).scalars())) == 200


def test_rows_of_people_who_never_agreed_are_refused(desk: Any) -> None:
    form = Consent("form", desk.now() - DAY)
    first = desk.campaign()
    desk.take(first, to(desk, OLDER, consent=form))
    campaign = desk.campaign(exclusions=Exclusions(require_consent=True).to_json())
    planned = [to(desk, ADA, 1), to(desk, NEWER, 2), to(desk, BOB, 3, consent=form), to(desk, ADA, 4)]
    taken = desk.take(campaign, *planned)
    assert (taken.messages, taken.duplicates, taken.counted) == (2, 1, 4)
    assert [(row["row"], row["field"]) for row in desk.refused_rows(campaign)] == [(1, "consent_at")]
    assert set(errors(desk, campaign)) == {NEWER, BOB}
    assert desk.broken() == {}


def test_consents_are_kept_by_person_and_none_is_overwritten(desk: Any) -> None:
    now = desk.now()
    first, second = desk.campaign(), desk.campaign()
    desk.take(first, to(desk, OLDER, consent=Consent("form", now - DAY)))
    desk.take(second, to(desk, NEWER, consent=Consent("phone call", now - DAY)), to(desk, ADA, 2))
    desk.take(second, to(desk, NEWER, 3, consent=Consent("shop", now)))
    kept = desk.read(consents.page)
    assert [(each.subject, each.at, each.source, each.campaign_id) for each in kept] == [
        (NEWER, now - DAY, "form", first.id),
        (NEWER, now, "shop", second.id),
    ]
    assert all(each.recorded_at >= now and each.suppressed is None for each in kept)
    named = {"scope": "marketing", "reason": "STOP", "source": "stop word", "actor": "ada"}
    desk.write(suppressions.add, {OLDER: None}, **named)
    assert {each.suppressed for each in desk.read(consents.page, subject=OLDER)} == {"marketing"}


def test_all_consents_come_in_pages(desk: Any) -> None:
    at = desk.now() - DAY
    campaign = desk.campaign()
    planned = [to(desk, phone, row, consent=Consent("form", at)) for row, phone in enumerate((ADA, BOB, EVE))]
    desk.take(campaign, *planned)
    with desk.database.read() as tx:
        assert [each.subject for each in consents.every(tx, at_once=2)] == [ADA, BOB, EVE]
        assert [each.subject for each in consents.page(tx, after=ADA, limit=1)] == [BOB]
