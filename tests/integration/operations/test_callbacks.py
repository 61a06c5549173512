"""Inbound messages and notices of callbacks: kept once, and what they ask for is done on record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulksend.gateway.receipts import parse
from bulksend.ledger import (
    event_numbers,
    events,
    inbound,
    operator_log,
    raw_receipts,
    remedies,
    senders,
    suppressions,
    templates,
)
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.inbound import Inbound
from bulksend.ledger.raw_receipts import Callback
from bulksend.messaging.outcome import Suppress
from bulksend.messaging.states import Kind
from bulksend.messaging.stop_words import Keyword, StopWords
from bulksend.operations.callbacks import CallbackRules
from bulksend.operations.receipts import read_callbacks, store_callbacks
from tests.integration.ledger.conftest import SENDER, Desk

PERSON = "447700900001"


@pytest.fixture
def desk(ledger: Any) -> Desk:
    return Desk(ledger)


@pytest.fixture
def rules(desk: Desk) -> CallbackRules:
    return CallbackRules(desk.cipher, "default", StopWords(["basta"]))


def take(desk: Desk, rules: CallbackRules, body: Any) -> None:
    parsed = parse(json.dumps(body).encode())
    assert parsed.unreadable == []
    desk.write(rules.apply, parsed.inbound, parsed.notices)


def written(words: str, id: str = "wamid.1", **more: Any) -> dict[str, Any]:
    message = {"from": PERSON, "id": id, "timestamp": "1764400100", "type": "text", "text": {"body": words}}
    return {"metadata": {"display_phone_number": SENDER}, "messages": [message | more]}


def stored(desk: Desk) -> list[Inbound]:
    return desk.read(inbound.page)


def stops(desk: Desk) -> list[tuple[str, str]]:
    return [(s.scope, s.source) for s in desk.read(suppressions.page, subject=PERSON)]


def change(field: str, at: int, **value: Any) -> dict[str, Any]:
    return {"entry": [{"time": at, "changes": [{"field": field, "value": value}]}]}


def template(field: str, at: int, **value: Any) -> dict[str, Any]:
    named = {"message_template_name": "spring", "message_template_language": "en"}
    return change(field, at, **named, **value)


# -- inbound messages -----------------------------------------------------------------------------------------------


def test_a_message_is_kept_once_and_its_text_is_encrypted(desk: Desk, rules: CallbackRules) -> None:
    for _ in range(2):
        take(desk, rules, written("hello there"))
    (found,) = stored(desk)
    assert (found.sender, found.recipient, found.type, found.keyword) == (SENDER, PERSON, "text", None)
    assert found.at == 1764400100000
    assert b"hello" not in found.body
    assert inbound.body_of(found, desk.cipher) == {"text": "hello there", "payload": ""}


def test_without_a_key_the_text_is_kept_in_clear(desk: Desk) -> None:
    take(desk, CallbackRules(Cipher([])), written("hello"))
    (found,) = stored(desk)
    assert b"hello" in found.body


def test_a_reply_counts_for_the_message_that_it_names(desk: Desk, rules: CallbackRules) -> None:
    first, second = desk.queued(), desk.queued()
    (message_id,), _ = desk.accepted(first), desk.accepted(second)
    take(desk, rules, written("yes", context={"id": message_id}))
    campaign = str(desk.row(first[0])["campaign_id"])
    (found,) = stored(desk)
    assert (str(found.message_pk), str(found.campaign_id)) == (first[0], campaign)
    assert desk.read(inbound.replies, campaign) == 1


def test_a_reply_that_names_none_counts_for_the_newest_message_to_its_person(
    desk: Desk, rules: CallbackRules
) -> None:
    ids = [desk.queued()[0] for _ in range(2)]
    for id in ids:
        desk.accepted([id])
    waiting = desk.queued()  # was not sent, so nothing answers it
    take(desk, rules, written("yes"))
    take(desk, rules, written("👍", "wamid.2", type="reaction", reaction={"emoji": "👍"}))
    campaign = str(desk.row(ids[1])["campaign_id"])
    assert {str(found.campaign_id) for found in stored(desk)} == {campaign}
    assert desk.read(inbound.replies, campaign) == 1
    assert desk.read(inbound.replies, str(desk.row(waiting[0])["campaign_id"])) == 0


def test_a_message_long_after_answers_nothing(desk: Desk, rules: CallbackRules) -> None:
    ids = desk.queued()
    desk.accepted(ids)
    desk.sql("UPDATE messages SET accepted_at = 5")
    take(desk, rules, written("yes"))
    assert stored(desk)[0].campaign_id is None


@pytest.mark.parametrize(
    "message",
    [
        {"text": {"body": "Stop!"}},
        {"text": {"body": "退订"}},
        {"text": {"body": "BASTA"}},
        {"type": "button", "button": {"payload": "opt-out", "text": "Leave me"}},
        {"type": "interactive", "interactive": {"button_reply": {"id": "x", "title": "Unsubscribe"}}},
    ],
)
def test_a_stop_word_or_tap_suppresses_marketing(
    desk: Desk, rules: CallbackRules, message: dict[str, Any]
) -> None:
    for _ in range(2):
        take(desk, rules, written("", **message))
    assert stops(desk) == [("marketing", "stop word")]
    assert desk.read(suppressions.reasons_for, [PERSON], Kind.OTP) == {}
    (act,) = desk.read(operator_log.of, "suppression", PERSON)
    assert (act.actor, act.act, act.why) == (
        "receipts",
        "suppress marketing",
        "they wrote or tapped a stop word",
    )


def test_start_resumes_what_stop_stopped_and_nothing_else(desk: Desk, rules: CallbackRules) -> None:
    take(desk, rules, written("stop", "1"))
    take(desk, rules, written("start", "2"))
    assert stops(desk) == []
    desk.write(suppressions.add, {PERSON: None}, scope="marketing", reason="r", source="hand", actor="ada")
    take(desk, rules, written("stop", "3"))
    take(desk, rules, written("start", "4"))
    assert stops(desk) == [("marketing", "hand")]
    assert [found.keyword for found in stored(desk)] == ["start", "stop", "start", "stop"]


def test_whatsapps_own_switch_stops_and_resumes(desk: Desk, rules: CallbackRules) -> None:
    def switched(value: str, at: int) -> dict[str, Any]:
        preference = {"wa_id": PERSON, "category": "marketing_messages", "value": value, "timestamp": at}
        return change("user_preferences", at, user_preferences=[preference])

    for _ in range(2):
        take(desk, rules, switched("stop", 1764400001))
    assert len(desk.read(operator_log.of, "suppression", PERSON)) == 1
    assert stops(desk) == [("marketing", "whatsapp preference")]
    take(desk, rules, written("start"))
    assert stops(desk) == [("marketing", "whatsapp preference")]
    take(desk, rules, switched("stop", 1764400005))
    take(desk, rules, switched("resume", 1764400002))  # came late: the person has stopped again since
    assert stops(desk) == [("marketing", "whatsapp preference")]
    take(desk, rules, switched("resume", 1764400006))
    assert stops(desk) == []


def test_whatsapps_switch_lifts_what_its_code_suppressed(desk: Desk, rules: CallbackRules) -> None:
    wanted = Suppress("marketing", by_switch=True)
    desk.write(
        remedies.suppress, {PERSON: 1764400001000}, wanted, code=131050, why="opted out", actor="receipts"
    )
    take(desk, rules, written("start"))
    assert stops(desk) == [("marketing", "whatsapp preference")]
    preference = {
        "wa_id": PERSON,
        "category": "marketing_messages",
        "value": "resume",
        "timestamp": 1764400002,
    }
    take(desk, rules, change("user_preferences", 1764400002, user_preferences=[preference]))
    assert stops(desk) == []


def test_messages_are_found_by_person_campaign_and_keyword(desk: Desk, rules: CallbackRules) -> None:
    take(desk, rules, written("stop", "1"))
    take(desk, rules, written("hello", "2"))
    newest, oldest = stored(desk)
    assert desk.read(inbound.page, keyword=Keyword.STOP) == [oldest]
    assert desk.read(inbound.page, before=newest.id) == [oldest]
    assert desk.read(inbound.page, phone=PERSON, limit=1) == [newest]
    assert desk.read(inbound.page, phone="447700900999") == []
    assert desk.read(inbound.page, until=1) == []


# -- notices --------------------------------------------------------------------------------------------------------


def the_template(desk: Desk) -> tuple[str | None, str | None, str | None, str | None]:
    (found,) = desk.read(templates.page)
    return found.status, found.category, found.quality, found.rejected_reason


def test_a_template_is_what_its_notices_say_in_any_order(desk: Desk, rules: CallbackRules) -> None:
    status = "message_template_status_update"
    take(desk, rules, template(status, 1764400300, event="APPROVED"))
    take(desk, rules, template(status, 1764400310, event="REJECTED", reason="INVALID_FORMAT"))
    for _ in range(2):
        take(desk, rules, template("message_template_quality_update", 1764400305, new_quality_score="RED"))
    take(desk, rules, template("template_category_update", 1764400306, new_category="MARKETING"))
    take(desk, rules, template(status, 1764400301, event="PAUSED"))
    assert the_template(desk) == ("REJECTED", "MARKETING", "RED", "INVALID_FORMAT")
    acts = desk.read(operator_log.of, "template", "spring en")
    assert [act.after for act in acts] == [
        {"status": "APPROVED"},
        {"status": "REJECTED", "rejected_reason": "INVALID_FORMAT"},
        {"quality": "RED"},
        {"category": "MARKETING"},
    ]
    take(desk, rules, template(status, 1764400320, event="APPROVED"))
    assert the_template(desk) == ("APPROVED", "MARKETING", "RED", None)


def test_a_changed_template_is_an_event(desk: Desk, rules: CallbackRules) -> None:
    for _ in range(2):
        take(desk, rules, template("message_template_status_update", 1764400300, event="PAUSED"))
    desk.write(event_numbers.number_committed)
    found = [event for event in desk.read(events.after, 0, 100) if event.type == "template.changed"]
    assert [event.data["after"] for event in found] == [{"status": "PAUSED"}]


def test_a_sender_is_what_its_newest_notice_says(desk: Desk, rules: CallbackRules) -> None:
    desk.write(senders.register, SENDER)
    field = "phone_number_quality_update"
    take(desk, rules, change(field, 1764400310, display_phone_number=SENDER, event="FLAGGED"))
    take(desk, rules, change(field, 1764400300, display_phone_number=SENDER, event="UNFLAGGED"))
    upgrade = {"display_phone_number": SENDER, "event": "UPGRADE", "current_limit": "TIER_10K"}
    take(desk, rules, change(field, 1764400320, **upgrade))
    found = desk.read(senders.get, SENDER)
    assert (found.status, found.quality, found.tier) == ("FLAGGED", None, "TIER_10K")
    acts = desk.read(operator_log.of, "sender", SENDER)
    assert [act.after for act in acts if act.act == "change"] == [
        {"status": "FLAGGED"},
        {"tier": "TIER_10K"},
    ]


def test_a_notice_about_a_number_that_is_not_ours_changes_nothing(desk: Desk, rules: CallbackRules) -> None:
    field = "phone_number_quality_update"
    take(desk, rules, change(field, 1764400310, display_phone_number="15550109999", event="FLAGGED"))
    assert [sender.phone for sender in desk.read(senders.all_senders)] == []


def test_a_notice_about_the_account_is_on_record_and_its_limit_is_that_of_all_senders(
    desk: Desk, rules: CallbackRules
) -> None:
    desk.write(senders.register, SENDER)
    for _ in range(2):
        take(desk, rules, change("account_update", 1764400300, event="ACCOUNT_RESTRICTION"))
    limit = {"max_daily_conversations_per_business": "TIER_2K"}
    take(desk, rules, change("business_capability_update", 1764400301, **limit))
    acts = desk.read(operator_log.of, "account", "default")
    assert [act.why for act in acts] == [
        "account_update: ACCOUNT_RESTRICTION",
        "business_capability_update",
    ]
    assert desk.read(senders.get, SENDER).tier == "TIER_2K"


# -- from the address to the effect ---------------------------------------------------------------------------------


def test_a_stored_callback_with_all_kinds_of_parts_has_all_its_effects(
    desk: Desk, rules: CallbackRules
) -> None:
    desk.write(senders.register, SENDER)
    ids = desk.queued()
    (message_id,) = desk.accepted(ids)
    value = written("stop", context={"id": message_id})
    value["statuses"] = [{"id": message_id, "status": "read", "timestamp": "1764400001"}]
    body = {"entry": [{"changes": [{"field": "messages", "value": value}]}]}
    status = template("message_template_status_update", 1764400300, event="PAUSED")
    callbacks = [Callback("t", {}, json.dumps(each).encode()) for each in (body, status)]
    store_callbacks(desk.database, [raw_receipts.pack(callbacks, desk.cipher, desk.now())])
    for _ in range(2):
        read_callbacks(desk.database, rules)
    assert desk.status(ids[0]) == "read"
    assert stops(desk) == [("marketing", "stop word")]
    assert the_template(desk)[0] == "PAUSED"
    assert desk.read(inbound.replies, str(desk.row(ids[0])["campaign_id"])) == 1


#: Parts of callbacks with any values in them.
WORDS = st.text(max_size=600) | st.sampled_from(
    ["\x00", "\ud800", "A" * 600, "stop", "447700900123", "\u2028"]
)
PARTS = st.one_of(
    st.fixed_dictionaries(
        {
            "from": WORDS,
            "id": WORDS,
            "type": st.just("text") | WORDS,
            "text": st.fixed_dictionaries({"body": WORDS}),
        }
    ),
    st.fixed_dictionaries(
        {"name": WORDS, "language": WORDS, "status": WORDS, "category": WORDS, "quality": WORDS}
    ),
    st.fixed_dictionaries({"phoneNumber": st.just(SENDER), "qualityRating": WORDS, "messagingLimit": WORDS}),
    st.fixed_dictionaries({"banState": WORDS, "ban_info": st.fixed_dictionaries({"state": WORDS})}),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(PARTS, min_size=5, max_size=10))
def test_parts_with_any_text_are_applied(desk: Desk, rules: CallbackRules, parts: list[Any]) -> None:
    desk.write(senders.register, SENDER)
    parsed = parse(json.dumps({"data": parts}).encode())
    desk.write(rules.apply, parsed.inbound, parsed.notices)
    assert len(parsed.inbound) + len(parsed.notices) + len(parsed.unreadable) == len(parts)
