"""A request that shows phone numbers in full is on record, once; one that shows them masked is not."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from bulksend.ledger.schema import acts, messages
from bulksend.operations.access import Role

NUMBER = "447700900123"


@pytest.fixture
def message(api: Any) -> str:
    """The id of a message to NUMBER, which is suppressed too."""
    done = api.services.producer.send(
        to=NUMBER, sender="15550100100", kind="utility", type="text", content={"body": "hello"}, key="order 1"
    )
    api.post("/v1/suppressions", {"phone": "447700900999", "reason": "STOP"}, Role.OPERATOR)
    return str(done.id)


def readings(api: Any) -> list[tuple[str, str, str]]:
    with api.ledger.read() as tx:
        rows = tx.execute(select(acts).where(acts.c.scope == "read").order_by(acts.c.id)).mappings().all()
    assert all(row["request_id"] and row["actor"].startswith("a ") for row in rows)
    assert not any(NUMBER in str(dict(row)) for row in rows)
    return [(row["act"], row["subject"], row["why"]) for row in rows]


def test_reading_numbers_is_one_act_a_request(api: Any, message: str) -> None:
    assert NUMBER in api.get(f"/v1/messages/{message}", Role.SENDER).text
    assert NUMBER in api.get("/v1/messages", Role.OPERATOR, params={"phone": NUMBER, "status": "queued"}).text
    assert api.get("/v1/messages", Role.OPERATOR, params={"phone": "447700900124"}).json()["items"] == []
    assert api.get("/v1/suppressions", Role.SENDER).status_code == 200
    assert api.get("/v1/events", Role.SENDER, params={"numbers": 1}).status_code == 200
    assert readings(api)[:3] == [
        ("show message", message, ""),
        ("find messages", "find messages", "1 message by phone, status"),
        ("list suppressions", "list suppressions", "1 of them"),
    ]


def test_reading_masked_numbers_is_no_act(api: Any, message: str) -> None:
    for path in (f"/v1/messages/{message}", "/v1/messages", "/v1/suppressions", "/v1/events"):
        answer = api.get(path, Role.VIEWER)
        assert answer.status_code == 200
        assert NUMBER not in answer.text
    assert readings(api) == []


def test_why_a_message_waits_is_on_record_where_its_answer_shows_a_number(api: Any, message: str) -> None:
    path = f"/v1/messages/{message}/why"
    assert NUMBER not in api.get(path, Role.SENDER).text
    assert readings(api) == []
    with api.ledger.write() as tx:
        tx.execute(update(messages).values(status="failed", error=f"{NUMBER} is not on WhatsApp"))
    assert NUMBER not in api.get(path, Role.VIEWER).text
    assert readings(api) == []
    assert NUMBER in api.get(path, Role.SENDER).text
    assert readings(api) == [("show message", message, "why it waits")]
