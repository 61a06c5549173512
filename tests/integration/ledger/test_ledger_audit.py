"""The audit: it holds for all that the ledger's own acts do, and names every breach that is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bulksend.ledger import audit, campaigns, counters, plans
from bulksend.ledger.ids import LOWEST
from bulksend.ledger.receipts import Receipt
from bulksend.messaging.outcome import Accepted, NotSent, Unknown
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import Kind, OnUnknown, Status


def accepted(desk: Any, **of: Any) -> str:
    ids = desk.queued(**of)
    desk.accepted(ids)
    return str(ids[0])


def sending(desk: Any, **of: Any) -> str:
    (id,) = desk.queued(**of)
    desk.sent(desk.lease(), [id])
    return str(id)


def spoil(desk: Any, table: str, change: str, id: str, **values: object) -> None:
    """Change a message, its attempts or a campaign behind the ledger's back; ``change`` is SQL of columns."""
    key = "message_pk" if table == "attempts" else "id"
    desk.sql(f"UPDATE {table} SET {change} WHERE CAST({key} AS text) = :id", id=id, **values)  # noqa: S608


def a_row_counted_that_came_to_nothing(desk: Any) -> str:
    id = accepted(desk)
    campaign = desk.row(id)["campaign_id"]
    spoil(desk, "campaigns", "rows_read = rows_read + 1", campaign)
    return str(campaign)


def a_message_gone(desk: Any) -> str:
    (id,) = desk.queued()
    campaign = desk.row(id)["campaign_id"]
    desk.sql("DELETE FROM messages WHERE CAST(id AS text) = :id", id=id)
    return str(campaign)


def a_refusal_without_its_reason(desk: Any) -> str:
    campaign = desk.campaign()
    desk.take(campaign, refused=[RefusedRow(1, "to", "", "is empty")])
    desk.sql("DELETE FROM refusals")
    return str(campaign.id)


def a_row_more_than_its_plan_said(desk: Any) -> str:
    of = desk.read(campaigns.get, str(desk.row(accepted(desk))["campaign_id"]))
    plan = desk.new_plan(
        campaign_key=of.key,
        source_hash=of.source_hash,
        rows_planned=of.rows_read - 1,
        messages_planned=of.messages,
    )
    made = desk.write(plans.add, plan, lives_ms=60_000)
    desk.write(plans.applied, made, of.id, actor="ann")
    spoil(desk, "campaigns", "intake_done_at = created_at", of.id)
    return str(of.id)


def counted_wrongly(column: str) -> Callable[[Any], str]:
    def plant(desk: Any) -> str:
        campaign = str(desk.row(accepted(desk))["campaign_id"])
        change = f"UPDATE campaign_counts SET {column} = {column} + 1"  # noqa: S608 - a column of ours
        desk.sql(f"{change} WHERE CAST(campaign_id AS text) = :id AND status = 'accepted'", id=campaign)
        return campaign

    return plant


def counted_though_nobody_is_there(desk: Any) -> str:
    campaign = str(desk.row(accepted(desk))["campaign_id"])
    desk.sql(
        """INSERT INTO campaign_counts (campaign_id, status, part, messages, attempts)
           SELECT id, 'read', 0, 1, 0 FROM campaigns WHERE CAST(id AS text) = :id""",
        id=campaign,
    )
    return campaign


def an_attempt_gone(desk: Any) -> str:
    id = accepted(desk)
    desk.sql("DELETE FROM attempts WHERE CAST(message_pk AS text) = :id", id=id)
    desk.receive(Receipt(f"mid-{id}", "sent", 1))
    return id


def a_gap_in_the_numbers(desk: Any) -> str:
    id = accepted(desk)
    spoil(desk, "attempts", "n = 2", id)
    return id


def sent_again_after(outcome: str) -> Callable[[Any], str]:
    def plant(desk: Any) -> str:
        id = accepted(desk)
        spoil(desk, "messages", "status = 'queued'", id)
        spoil(desk, "attempts", "outcome = :outcome", id, outcome=outcome)
        desk.accepted([id])
        return id

    return plant


def sent_again_while_open(desk: Any) -> str:
    id = accepted(desk)
    spoil(desk, "attempts", "outcome = NULL", id)
    spoil(desk, "messages", "status = 'queued', ended_at = NULL", id)
    desk.accepted([id])
    assert desk.outcomes(id) == [None, "accepted"]
    return id


def a_code_sent_again_after_doubt(desk: Any) -> str:
    id = accepted(desk, kind=Kind.OTP, on_unknown=OnUnknown.RESEND)
    spoil(desk, "attempts", "outcome = 'unknown'", id)
    spoil(desk, "messages", "status = 'queued', ended_at = NULL", id)
    desk.accepted([id])
    return id


def resent_though_the_answer_was_there(desk: Any) -> str:
    """The campaign's wish covers doubt, not an acceptance that was known when the next attempt was opened."""
    id = accepted(desk, on_unknown=OnUnknown.RESEND)
    spoil(desk, "attempts", "started_at = started_at - 9, finished_at = finished_at - 9", id)
    spoil(desk, "messages", "status = 'queued'", id)
    desk.accepted([id])
    return id


def an_attempt_without_an_outcome(desk: Any) -> str:
    id = accepted(desk)
    spoil(desk, "attempts", "outcome = NULL", id)
    return id


def accepted_without_an_attempt_that_says_so(desk: Any) -> str:
    id = accepted(desk)
    spoil(desk, "attempts", "outcome = 'refused'", id)
    return id


def accepted_without_its_message_id(desk: Any) -> str:
    id = accepted(desk)
    spoil(desk, "messages", "message_id = NULL", id)
    return id


def said_to_be(status: str, outcome: str) -> Callable[[Any], str]:
    def plant(desk: Any) -> str:
        id = accepted(desk)
        spoil(desk, "attempts", "outcome = :outcome", id, outcome=outcome)
        spoil(desk, "messages", "status = :status", id, status=status)
        return id

    return plant


def expired_though_a_receipt_says_that_it_failed(desk: Any) -> str:
    id = accepted(desk)
    desk.receive(Receipt(f"mid-{id}", "failed", 1))
    assert desk.audit().holds
    spoil(desk, "messages", "status = 'expired'", id)
    return id


def ended_without_an_end(desk: Any) -> str:
    id = accepted(desk)
    spoil(desk, "messages", "ended_at = NULL", id)
    return id


def waiting_after_its_end(desk: Any) -> str:
    (id,) = desk.queued()
    spoil(desk, "messages", "ended_at = 1", id)
    return str(id)


def waiting_in_a_finished_campaign(desk: Any) -> str:
    (id,) = desk.queued()
    spoil(desk, "campaigns", "status = 'finished'", desk.row(id)["campaign_id"])
    return str(id)


def posted_late(desk: Any) -> str:
    id = accepted(desk, life_ms=60_000)
    spoil(desk, "messages", "expires_at = sent_at - 7", id)
    return id


def a_code_left_behind(desk: Any) -> str:
    id = accepted(desk, kind=Kind.OTP)
    spoil(desk, "messages", "payload = :left", id, left=b"\x00{}")
    return id


def held_by_the_dead(desk: Any) -> str:
    (id,) = desk.queued()
    lease = desk.lease()
    desk.claim(lease, [id])
    desk.lapse(lease, ms_ago=61_000)
    return str(id)


def held_by_no_lease(desk: Any) -> str:
    id = sending(desk)
    desk.sql("DELETE FROM workers WHERE id = (SELECT owner FROM in_flight)")
    return id


def deleted_while_unknown(desk: Any) -> str:
    campaign = desk.row(accepted(desk))["campaign_id"]
    with desk.database.write() as tx:
        counters.keep_deleted(tx, [(str(campaign), "unknown", 1)])
    return str(campaign)


def sent_before_its_canary_passed(desk: Any) -> str:
    id = accepted(desk)
    desk.sql(
        "UPDATE campaigns SET canary = '1%', canary_state = 'sending', held_after = :lowest"
        " WHERE id = (SELECT campaign_id FROM messages WHERE CAST(id AS text) = :id)",
        lowest=LOWEST,
        id=id,
    )
    return id


def sent_after_its_campaign_was(status: str, column: str) -> Callable[[Any], str]:
    def plant(desk: Any) -> str:
        id = accepted(desk)
        change = f"status = '{status}', {column} = :at"
        spoil(desk, "campaigns", change, desk.row(id)["campaign_id"], at=desk.row(id)["sent_at"] - 10_001)
        return id

    return plant


def forgotten_with_its_content(desk: Any) -> str:
    id = accepted(desk)
    spoil(desk, "messages", "recipient = ''", id)
    return id


def forgotten_and_waiting(desk: Any) -> str:
    (id,) = desk.queued()
    spoil(desk, "messages", "recipient = '', payload = NULL", id)
    return str(id)


def superseded_by(newer: Callable[[Any], str | None]) -> Callable[[Any], str]:
    """A code that is said to be superseded, by what is no newer code that was POSTed."""

    def plant(desk: Any) -> str:
        older: str = desk.send(desk.new_send())[0].id
        by = newer(desk)
        named = "NULL" if by is None else f"'{by}'"
        spoil(
            desk,
            "messages",
            f"status = 'superseded', ended_at = queued_at, payload = NULL, superseded_by = {named}",
            older,
        )
        return older

    return plant


def a_newer_code(desk: Any, **changes: Any) -> str:
    return str(desk.send(desk.new_send(**changes))[0].id)


def sent_for_another_purpose(desk: Any) -> str:
    newer = a_newer_code(desk, purpose="login")
    desk.accepted([newer])
    return newer


BREACHES: list[tuple[str, Callable[[Any], str]]] = [
    ("conservation", a_row_counted_that_came_to_nothing),
    ("nothing lost", a_message_gone),
    ("counts kept", counted_wrongly("messages")),
    ("counts kept", counted_wrongly("attempts")),
    ("counts kept", counted_though_nobody_is_there),
    ("only ended deleted", deleted_while_unknown),
    ("plans kept", a_row_more_than_its_plan_said),
    ("refusals explained", a_refusal_without_its_reason),
    ("one ending", ended_without_an_end),
    ("one ending", waiting_after_its_end),
    ("attempts numbered", an_attempt_gone),
    ("attempts numbered", a_gap_in_the_numbers),
    ("nothing doubled", sent_again_after("accepted")),
    ("nothing doubled", sent_again_after("unknown")),
    ("nothing doubled", sent_again_while_open),
    ("nothing doubled", a_code_sent_again_after_doubt),
    ("nothing doubled", resent_though_the_answer_was_there),
    ("attempts closed", an_attempt_without_an_outcome),
    ("acceptance kept", accepted_without_an_attempt_that_says_so),
    ("acceptance kept", accepted_without_its_message_id),
    *(
        ("nothing rounded", said_to_be(status, outcome))
        for status, outcome in [
            ("expired", "unknown"),
            ("cancelled", "unknown"),
            ("suppressed", "unknown"),
            ("failed", "accepted"),
            ("queued", "accepted"),
        ]
    ),
    ("nothing rounded", expired_though_a_receipt_says_that_it_failed),
    ("nothing forgotten", waiting_in_a_finished_campaign),
    ("never late", posted_late),
    ("canary first", sent_before_its_canary_passed),
    ("pauses kept", sent_after_its_campaign_was("paused", "paused_at")),
    ("pauses kept", sent_after_its_campaign_was("cancelled", "ended_at")),
    ("persons forgotten", forgotten_with_its_content),
    ("persons forgotten", forgotten_and_waiting),
    ("codes wiped", a_code_left_behind),
    ("superseded by a newer", superseded_by(lambda desk: None)),
    ("superseded by a newer", superseded_by(a_newer_code)),
    ("superseded by a newer", superseded_by(sent_for_another_purpose)),
    ("lapsed leases rescued", held_by_the_dead),
    ("lapsed leases rescued", held_by_no_lease),
]


@pytest.mark.parametrize(("rule", "plant"), BREACHES)
def test_a_planted_breach_is_named_with_its_offender(
    desk: Any, rule: str, plant: Callable[[Any], str]
) -> None:
    bystander = desk.row(accepted(desk))["campaign_id"]
    assert desk.audit().holds
    offender = plant(desk)
    report = desk.audit()
    assert not report.holds
    broken = desk.broken()
    assert rule in broken, broken
    assert any(line.startswith(offender) for line in broken[rule])
    assert desk.audit(bystander).holds
    # Where there are too many suspects everybody is looked at closely, and it comes to the same.
    assert desk.read(audit.audit, most_suspects=0).findings == report.findings


def test_an_attempt_too_many_does_not_hide_one_that_is_missing_elsewhere(desk: Any) -> None:
    lacks, has = accepted(desk), accepted(desk)
    spoil(desk, "messages", "attempts = 2", lacks)
    spoil(desk, "messages", "attempts = 0", has)
    named = desk.broken()["attempts numbered"]
    assert {line.partition(":")[0] for line in named} == {lacks, has}


def test_every_rule_has_a_breach_that_it_was_seen_to_catch(desk: Any) -> None:
    assert {finding.rule for finding in desk.audit().findings} == {rule for rule, _ in BREACHES}


def test_an_empty_ledger_holds(desk: Any) -> None:
    report = desk.audit()
    assert report.holds
    assert report.counts == {}


def test_it_says_how_much_it_looked_at(desk: Any) -> None:
    desk.accepted(desk.queued(n=3))
    desk.queued(n=2)
    report = desk.audit()
    checked = {finding.rule: finding.checked for finding in report.findings}
    assert report.counts == {"accepted": 3, "queued": 2}
    assert (checked["conservation"], checked["nothing lost"], checked["attempts closed"]) == (2, 5, 3)


def test_of_many_offenders_the_first_are_named_and_all_are_counted(desk: Any) -> None:
    desk.accepted(desk.queued(n=30))
    desk.sql("UPDATE messages SET message_id = NULL")
    (finding,) = [f for f in desk.read(audit.audit, show=5).findings if f.broken]
    assert (finding.broken, len(finding.offenders)) == (30, 5)


@pytest.mark.parametrize(("status", "column"), [("paused", "paused_at"), ("cancelled", "ended_at")])
def test_what_was_on_its_way_when_its_campaign_was_stopped_is_no_breach(
    desk: Any, status: str, column: str
) -> None:
    id = accepted(desk)
    at = desk.row(id)["sent_at"] - 9_000
    spoil(desk, "campaigns", f"status = '{status}', {column} = :at", desk.row(id)["campaign_id"], at=at)
    assert desk.audit().holds


def test_a_rescue_that_is_not_due_yet_is_no_breach(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    desk.claim(lease, [id])
    desk.lapse(lease, ms_ago=30_000)
    assert desk.audit().holds


def test_an_answer_that_came_to_light_after_the_second_attempt_is_no_breach_of_the_campaigns_wish(
    desk: Any,
) -> None:
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    lease = desk.lease()
    (first,) = desk.sent(lease, [id])
    desk.settle(first, Unknown("ReadTimeout"), status=Status.RETRY, due_at=0)
    (second,) = desk.sent(lease, [id])
    desk.sql("UPDATE attempts SET started_at = started_at - 5 WHERE n = 1")
    desk.settle(first, Accepted("mid-1", "rid"))
    desk.settle(second, NotSent("ConnectError"))
    assert desk.status(id) == "accepted"
    assert desk.broken() == {}
