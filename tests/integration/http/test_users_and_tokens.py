"""Users and receipt tokens over HTTP: their secrets are shown once, their acts are on record."""

from __future__ import annotations

from typing import Any

from bulksend.ledger import operator_log
from bulksend.ledger import users as ledger_users
from bulksend.operations import users
from bulksend.operations.passwords import Passwords


def test_a_user_is_added_reset_listed_and_disabled(api: Any) -> None:
    answer = api.post("/v1/users", {"name": "ann", "role": "operator"})
    assert (answer.status_code, answer.headers["Location"]) == (201, "/v1/users/ann")
    token = answer.json()["setup_token"]
    reset = api.post("/v1/users/ann/reset?why=lost").json()["setup_token"]
    assert len({token, reset, None}) == 3
    cheap = Passwords(passes=1, memory_kib=8)
    assert users.set_password(api.ledger, reset, "correct horse battery", passwords=cheap) == "ann"
    (listed,) = api.get("/v1/users").json()["items"]
    assert listed == api.get("/v1/users/ann").json()
    assert (listed["role"], listed["has_password"]) == ("operator", True)
    assert not any("hash" in name or "token" in name for name in listed)
    assert api.request("DELETE", "/v1/users/ann").json() == {"name": "ann", "disabled": True, "changed": True}
    with api.ledger.read() as tx:
        acts = operator_log.of(tx, "user", "ann")
    assert [act.act for act in acts] == ["add", "reset", "set password", "disable"]
    assert acts[0].request_id == answer.headers["X-Request-Id"]
    assert api.post("/v1/users", {"name": "ann/bob", "role": "viewer"}).status_code == 422
    assert api.get("/v1/users/bob").status_code == 404


def test_a_disabled_user_of_an_issuer_is_enabled_and_one_of_a_password_is_not(api: Any) -> None:
    with api.ledger.write() as tx:
        at = {"issuer": "https://login.shop.example", "subject": "s-1"}
        ledger_users.add_of_issuer(tx, name="ann", role="viewer", actor="login.shop.example", why="", **at)
    api.post("/v1/users", {"name": "bob", "role": "viewer"})
    for name in ("ann", "bob"):
        api.request("DELETE", f"/v1/users/{name}?why=left")
    for changed in (True, False):
        answer = api.post("/v1/users/ann/enable?why=back")
        assert answer.json() == {"name": "ann", "disabled": False, "changed": changed}
    assert api.get("/v1/users/ann").json()["disabled_at"] is None
    with api.ledger.read() as tx:
        last = operator_log.of(tx, "user", "ann")[-1]
    assert (last.act, last.why) == ("enable", "back")
    refused = api.post("/v1/users/bob/enable")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert "POST /v1/users adds it again" in refused.json()["detail"]
    assert api.post("/v1/users/eve/enable").status_code == 404


def test_a_repeated_request_shows_no_secret_again(api: Any) -> None:
    for path, body, secret in (
        ("/v1/users", {"name": "ann", "role": "viewer"}, "setup_token"),
        ("/v1/receipt-tokens", {"name": "console"}, "token"),
    ):
        first, again = (api.post(path, body, headers={"Idempotency-Key": path}) for _ in range(2))
        assert first.json()[secret]
        assert (again.status_code, again.json()[secret]) == (201, None)
        assert len(api.get(path).json()["items"]) == 1


def test_a_receipt_token_is_made_used_and_revoked(api: Any) -> None:
    answer = api.post("/v1/receipt-tokens", {"name": "console", "ips": ["203.0.113.0/24", "127.0.0.1"]})
    made = answer.json()
    assert (answer.status_code, made["path"]) == (201, f"/v1/receipts/{made['token']}")
    shown = api.get(answer.headers["Location"]).json()
    assert shown == {name: value for name, value in made.items() if name not in ("token", "path")}
    assert api.get("/v1/receipt-tokens").json() == {"items": [shown], "next": None}
    revoked = api.request("DELETE", f"/v1/receipt-tokens/{made['id']}?why=old").json()
    assert revoked == {"id": made["id"], "revoked": True, "changed": True}
    wrong = api.post("/v1/receipt-tokens", {"name": "console", "ips": ["everywhere"]})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "ips")
    assert api.get("/v1/receipt-tokens/nothing").status_code == 404
