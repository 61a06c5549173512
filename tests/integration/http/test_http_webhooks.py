"""Webhooks over HTTP: for admins, a secret shown once, no query of a URL, nothing done twice."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from bulksend.ledger import webhook_endpoints
from bulksend.operations.access import Role
from bulksend.settings import Settings
from tests.integration.http.conftest import ON_ONE_DATABASE

URL = "https://hooks.example.com/in?token=private"


def added(api: Any, **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/webhooks", {"url": URL, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/webhooks/{made['id']}"
    return made


def test_a_webhook_is_added_shown_changed_and_removed(api: Any) -> None:
    made = added(api, events=["message.*"])
    assert made["secret"].startswith("whsec_")
    path = f"/v1/webhooks/{made['id']}"
    shown = api.get(path).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (shown["url"], shown["events"], shown["status"]) == (
        "https://hooks.example.com/in",
        ["message.*"],
        "active",
    )
    assert api.get("/v1/webhooks").json() == {"items": [shown], "next": None}
    change = {"events": [], "numbers": True, "status": "disabled", "why": "works on it"}
    changed = api.request("PATCH", path, json=change).json()
    assert (changed["events"], changed["numbers"], changed["status"]) == ([], True, "disabled")
    assert changed["status_why"] == "works on it"
    assert api.post(f"{path}/test").status_code == 422
    assert api.request("PATCH", path, json={"status": "active"}).json()["status"] == "active"
    assert api.request("DELETE", path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.get("/v1/webhooks").json()["items"] == []


def test_the_whole_url_and_the_secrets_rest_encrypted(api: Any) -> None:
    made = added(api)
    answer = api.post(f"/v1/webhooks/{made['id']}/secret")
    rotated = answer.json()
    with api.ledger.read() as tx:
        endpoint = webhook_endpoints.get(tx, made["id"])
    assert endpoint is not None
    for private in (b"private", made["secret"].encode(), rotated["secret"].encode()):
        assert private not in endpoint.sealed
    opened = webhook_endpoints.unseal(api.services.cipher, made["id"], endpoint.sealed)
    assert opened.url == URL
    assert opened.signing(0) == [rotated["secret"], made["secret"]]
    assert opened.signing(2**50) == [rotated["secret"]]
    assert rotated["old_secret_until"] is not None


def test_a_repeated_request_adds_one_and_shows_its_secret_once(api: Any) -> None:
    headers = {"Idempotency-Key": "add-1"}
    first = api.post("/v1/webhooks", {"url": URL}, headers=headers).json()
    again = api.post("/v1/webhooks", {"url": URL}, headers=headers)
    assert again.json() == {**first, "secret": None, "withheld": ["secret"]}
    assert len(api.get("/v1/webhooks").json()["items"]) == 1


def test_a_test_is_a_delivery_and_only_what_is_dead_is_replayed(api: Any) -> None:
    made = added(api)
    path = f"/v1/webhooks/{made['id']}"
    answer = api.post(f"{path}/test")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    page = api.get(f"{path}/deliveries?status=pending").json()
    assert page == {"items": [answer.json()], "next": None}
    assert api.get(f"{path}/deliveries?status=dead").json()["items"] == []
    assert api.post(f"{path}/replay", {}).json() == {"replayed": 0}
    assert api.post(f"{path}/replay", {"since": "soon"}).status_code == 422


@ON_ONE_DATABASE
def test_a_request_that_is_not_possible_names_its_field(api: Any) -> None:
    for body, field in (
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://me:hidden@hooks.example.com/"}, "url"),
        ({"url": URL, "events": ["message.sent"]}, "events"),
        ({"url": URL, "secret": "mine"}, "secret"),
        ({}, "url"),
    ):
        answer = api.post("/v1/webhooks", body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), body
        assert "hidden" not in answer.text


@ON_ONE_DATABASE
def test_only_an_admin_manages_webhooks(api: Any) -> None:
    id = added(api)["id"]
    requests = (
        ("GET", ""),
        ("POST", ""),
        ("GET", f"/{id}"),
        ("PATCH", f"/{id}"),
        ("DELETE", f"/{id}"),
        ("POST", f"/{id}/secret"),
        ("POST", f"/{id}/test"),
        ("GET", f"/{id}/deliveries"),
        ("POST", f"/{id}/replay"),
    )
    for role, (method, path) in product((Role.VIEWER, Role.SENDER, Role.OPERATOR), requests):
        body = {"json": {"url": URL}} if method == "POST" else {}
        answer = api.request(method, f"/v1/webhooks{path}", role, **body)
        assert answer.status_code == 403, (role, method, path)


@ON_ONE_DATABASE
def test_an_id_that_does_not_exist_is_not_found(api: Any) -> None:
    ids = (
        *("nothing", "00000000-0000-7000-8000-000000000000", "{00000000-0000-7000-8000-000000000000}"),
        *("urn:uuid:00000000-0000-7000-8000-000000000000", "00000000000070008000000000000000", "%00", "é"),
    )
    requests = (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/secret"))
    for id, (method, path) in product(ids, requests):
        assert api.request(method, f"/v1/webhooks/{id}{path}").status_code == 404, (id, method, path)
    assert api.get("/v1/webhooks?after=nothing").status_code == 422


def test_without_a_key_on_a_server_no_webhook_is_added(postgres_ledger_url: str) -> None:
    from bulksend import bootstrap
    from bulksend.errors import InvalidInput
    from bulksend.operations import webhooks

    of = Settings.from_env({"DATABASE_URL": postgres_ledger_url})
    database = bootstrap.database(of)
    with pytest.raises(InvalidInput, match="set BULKSEND_ENCRYPTION_KEY"):
        webhooks.add(database, bootstrap.cipher(of), URL, allowed=(), actor="ada")
    database.close()
