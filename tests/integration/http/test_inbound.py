"""What callbacks brought: messages from people, and what the vendor tells of templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulksend.gateway.receipts import parse
from bulksend.ledger import operator_log
from bulksend.ledger.key_file import key_file
from bulksend.operations.access import Role
from bulksend.operations.callbacks import CallbackRules
from bulksend.settings import Settings
from ops.http.server import services_of
from producer.relay import Relay


def take(api: Any, body: Any) -> None:
    parsed = parse(json.dumps(body).encode())
    rules = CallbackRules.from_settings(api.services.settings, api.services.cipher)
    with api.ledger.write() as tx:
        rules.apply(tx, parsed.inbound, parsed.notices)


def write(api: Any, text: str, id: str) -> None:
    message = {"from": "447700900123", "id": id, "timestamp": "1764400100", "type": "text"}
    message["text"] = {"body": text}
    take(api, {"metadata": {"display_phone_number": "15550100100"}, "messages": [message]})


def tell(api: Any, name: str, event: str) -> None:
    value = {"event": event, "message_template_name": name, "message_template_language": "en"}
    change = {"field": "message_template_status_update", "value": value}
    take(api, {"entry": [{"time": 1764400300, "changes": [change]}]})


def test_messages_come_newest_first_by_pages(api: Any) -> None:
    for n, text in enumerate(["hello", "STOP", "yes"]):
        write(api, text, str(n))
    first = api.get("/v1/inbound?limit=2").json()
    assert [item["text"] for item in first["items"]] == ["yes", "STOP"]
    rest = api.get(f"/v1/inbound?limit=2&after={first['next']}").json()
    assert [item["text"] for item in rest["items"]] == ["hello"]
    assert rest["next"] is None
    item = rest["items"][0]
    assert (item["from"], item["sender"], item["at"]) == (
        "447700900123",
        "15550100100",
        "2025-11-29T07:08:20.000+00:00",
    )


def test_messages_are_filtered(api: Any) -> None:
    write(api, "hello", "1")
    write(api, "stop", "2")
    assert [i["text"] for i in api.get("/v1/inbound?keyword=stop").json()["items"]] == ["stop"]
    assert len(api.get("/v1/inbound?phone=%2B447700900123").json()["items"]) == 2
    assert api.get("/v1/inbound?until=2020-01-01").json()["items"] == []
    for query in ("keyword=other", "phone=x", "since=never", "after=x", "limit=1001"):
        assert api.get(f"/v1/inbound?{query}").status_code == 422
    assert api.get("/v1/inbound?campaign=none").status_code == 404


def test_a_viewer_sees_neither_numbers_nor_texts(api: Any) -> None:
    write(api, "my secret", "1")
    answer = api.get("/v1/inbound", role=Role.VIEWER)
    (item,) = answer.json()["items"]
    assert (item["from"], item["text"]) == ("4477*****123", None)
    assert "secret" not in answer.text


def test_reading_texts_is_an_act(api: Any) -> None:
    for role in (Role.VIEWER, Role.SENDER):
        api.get("/v1/inbound", role=role)
    with api.ledger.read() as tx:
        assert len(operator_log.of(tx, "read", "find inbound")) == 1


def test_templates_are_told_by_pages(api: Any) -> None:
    for name, event in (("spring", "APPROVED"), ("autumn", "PAUSED"), ("summer sale", "REJECTED")):
        tell(api, name, event)
    first = api.get("/v1/templates?limit=2", role=Role.VIEWER).json()
    assert [(t["name"], t["status"]) for t in first["items"]] == [
        ("autumn", "PAUSED"),
        ("spring", "APPROVED"),
    ]
    assert first["items"][0]["status_at"] == "2025-11-29T07:11:40.000+00:00"
    rest = api.get("/v1/templates", params={"after": first["next"]}).json()
    assert [(t["name"], t["language"]) for t in rest["items"]] == [("summer sale", "en")]
    assert rest["next"] is None


@pytest.mark.parametrize("after", ["", "nothing", "\N{SNOWMAN}", "en \x00"])
def test_any_text_after_which_templates_begin_is_answered(api: Any, after: str) -> None:
    assert api.get("/v1/templates", params={"after": after}).status_code == 200


def test_relay_and_serve_of_a_new_ledger_have_its_key_whichever_is_first(
    tmp_path: Path, valkey_url: str
) -> None:
    """What one of them has stored encrypted, the other one reads, before any message was sent."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    of = Settings.from_env(
        {"DATABASE_URL": url, "REDIS_URL": valkey_url, "BULKSEND_SPOOL_DIR": str(tmp_path / "spool")}
    )
    services = services_of(of)
    try:
        assert services.cipher.can_encrypt
    finally:
        services.close()
    file = key_file(url)
    assert file is not None
    file.unlink()
    Relay.from_settings(of)
    assert file.exists()
