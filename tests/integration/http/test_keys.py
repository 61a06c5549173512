"""Keys over HTTP: made and shown once, listed in pages, refused once revoked, on record with their origin."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import operator_log
from bulksend.operations.access import Role
from tests.integration.http.conftest import ON_ONE_DATABASE


def test_a_key_is_made_shown_once_used_and_revoked(api: Any) -> None:
    answer = api.post("/v1/keys", {"name": "shop", "role": "sender", "kinds": ["otp"]})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["Location"] == f"/v1/keys/{made['id']}"
    assert "key" not in api.get(answer.headers["Location"]).json()
    own = {"Authorization": f"Bearer {made['key']}"}
    me = api.get("/v1/me", headers=own).json()
    assert (me["id"], me["role"], me["kinds"], me["sees_numbers"]) == (made["id"], "sender", ["otp"], True)

    revoked = api.request("DELETE", f"/v1/keys/{made['id']}?why=leaked").json()
    assert revoked == {"id": made["id"], "revoked": True, "changed": True}
    assert api.get("/v1/me", headers=own).status_code == 401, "the process that revoked it refuses it at once"
    with api.ledger.read() as tx:
        added, act = operator_log.of(tx, "key", made["id"])
    assert (added.request_id, added.act) == (answer.headers["X-Request-Id"], "add")
    assert (act.act, act.why, act.before, act.after) == (
        "revoke",
        "leaked",
        {"revoked": False},
        {"revoked": True},
    )
    assert act.actor.startswith("a admin (")


def test_a_repeated_request_makes_no_second_key_and_does_not_show_the_first_again(api: Any) -> None:
    body, once = {"name": "shop", "role": "viewer"}, {"Idempotency-Key": "k-1"}
    first, again = (api.post("/v1/keys", body, headers=once) for _ in range(2))
    assert (again.status_code, again.json()["id"], again.json()["key"]) == (201, first.json()["id"], None)
    assert [key["name"] for key in api.get("/v1/keys").json()["items"]] == ["a admin", "shop"]


def test_keys_are_listed_in_pages(api: Any) -> None:
    for role in Role:
        api.key(role)
    names, after = [], None
    for _ in range(10):
        page = api.get("/v1/keys", params={"limit": 3} | ({} if after is None else {"after": after})).json()
        names += [key["name"] for key in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(names) == sorted(f"a {role}" for role in Role)
    assert api.get("/v1/keys", params={"limit": 1001}).status_code == 422
    assert api.get("/v1/keys", params={"after": "nothing"}).status_code == 422


@ON_ONE_DATABASE
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "shop"}, "role"),
        ({"name": "shop", "role": "boss"}, "role"),
        ({"name": "shop", "role": "viewer", "kinds": ["spam"]}, "kinds"),
        ({"name": "shop", "role": "viewer", "expires": "2020-01-01T00:00:00Z"}, "expires"),
        ({"name": "shop", "role": "viewer", "more": 1}, "more"),
    ],
)
def test_a_wrong_field_is_named(api: Any, body: dict[str, Any], field: str) -> None:
    answer = api.post("/v1/keys", body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@ON_ONE_DATABASE
def test_an_admin_of_some_kinds_makes_no_key_and_no_user_that_may_do_more(api: Any) -> None:
    made = api.post("/v1/keys", {"name": "codes", "role": "admin", "kinds": ["otp"]}).json()
    own = {"Authorization": f"Bearer {made['key']}"}
    api.post("/v1/users", {"name": "ann", "role": "admin"})
    for path, body in (
        ("/v1/keys", {"name": "all", "role": "admin"}),
        ("/v1/users", {"name": "all", "role": "admin"}),
        ("/v1/users/ann/reset", {}),
        ("/v1/users/ann/enable", {}),
    ):
        denied = api.post(path, body, headers=own)
        assert (denied.status_code, denied.json()["code"]) == (403, "access_denied"), path
    assert len(api.get("/v1/users").json()["items"]) == 1
