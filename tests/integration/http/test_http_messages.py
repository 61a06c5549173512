"""Messages over HTTP: sent once each, refused one by one, found, shown, explained and resolved."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, insert, select, text, update

from bulksend.ledger import leases, suppressions
from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import attempts, idempotent_requests, messages, workers
from bulksend.messaging.states import Kind
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.waiting import until

SENDER = "8615000579987"
KEY = {"Idempotency-Key": "order-1"}
JSON = {"Content-Type": "application/json"}


def message(to: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "to": f"4477009{to:05d}",
        "sender": SENDER,
        "kind": "utility",
        "type": "text",
        "content": {"body": "Your order {{order}} is on its way"},
        "variables": {"order": "A1"},
    } | more


def code(to: int = 1, **more: Any) -> dict[str, Any]:
    return message(to, kind="otp", content={"body": "123456 is your code"}, variables=None) | more


def count(api: Any, table: Any = messages) -> int:
    with api.ledger.read() as tx:
        return int(tx.execute(select(func.count()).select_from(table)).scalar_one())


def settle(api: Any, id: str, status: str) -> None:
    with api.ledger.write() as tx:
        tx.execute(update(messages).where(messages.c.id == id).values(status=status))


def test_a_message_is_stored_and_answered_with_its_id(api: Any) -> None:
    answer = api.post("/v1/messages", message(), Role.SENDER)
    assert answer.status_code == 202
    assert answer.json() | {"id": ""} == {"id": "", "status": "queued", "repeated": False}
    shown = api.get(f"/v1/messages/{answer.json()['id']}").json()
    assert (shown["to"], shown["kind"]) == ("447700900001", "utility")
    assert shown["content"] == {"body": "Your order A1 is on its way"}


def test_a_key_is_sent_once_and_belongs_to_one_message(api: Any) -> None:
    first = api.post("/v1/messages", message(key="k")).json()
    again = api.post("/v1/messages", message(key="k")).json()
    assert again == first | {"repeated": True}
    other = api.post("/v1/messages", message(2, key="k"))
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "key")
    assert count(api) == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"to": "12"}, "to"),
    ({"to": SENDER}, "to"),
    ({"to": None}, "to"),
    ({"sender": [1]}, "sender"),
    ({"kind": "spam"}, "kind"),
    ({"kind": ["otp"]}, "kind"),
    ({"type": "fax"}, "type"),
    ({"content": "text"}, "content"),
    ({"variables": {}}, "order"),
    ({"variables": 7}, "variables"),
    ({"ttl_seconds": -1}, "ttl_seconds"),
    ({"ttl_seconds": "10m"}, "ttl_seconds"),
    ({"send_at": "tomorrow"}, "send_at"),
    ({"send_at": "2020-01-01T00:00:00Z"}, "send_at"),
    ({"wait_seconds": 31}, "wait_seconds"),
    ({"key": ""}, "key"),
    ({"purpose": "login"}, "purpose"),
    ({"ttl": 10}, "ttl"),
]


@ON_ONE_DATABASE
def test_a_wrong_field_is_named_and_nothing_is_stored(api: Any) -> None:
    for changes, field in WRONG:
        answer = api.post("/v1/messages", message() | changes, headers=KEY)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert (count(api), count(api, idempotent_requests)) == (0, 0)


@ON_ONE_DATABASE
def test_a_body_that_is_no_request_is_a_problem(api: Any) -> None:
    for body in (b"", b"{", b"[]", b"7", b'{"messages": []}', b'{"messages": 1}', b'{"to": NaN}', b"\xff"):
        answer = api.request("POST", "/v1/messages", content=body, headers=JSON)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json"), body


@ON_ONE_DATABASE
def test_what_no_request_may_have_is_refused_here_too(api: Any) -> None:
    """This endpoint does not go through the framework."""
    body, gzip = json.dumps(message()).encode(), {**JSON, "Content-Encoding": "gzip"}
    twice = [
        ("Idempotency-Key", "a"),
        ("Idempotency-Key", "b"),
        ("Authorization", f"Bearer {api.key(Role.SENDER)}"),
    ]
    answers = {
        "parameter": api.post("/v1/messages?dry_run=1", message()),
        "text/plain": api.request(
            "POST", "/v1/messages", content=body, headers={"Content-Type": "text/plain"}
        ),
        "encoded": api.request("POST", "/v1/messages", content=body, headers=gzip),
        "two keys": api.client.post("/v1/messages", json=message(), headers=twice),
    }
    assert {what: answer.status_code for what, answer in answers.items()} == {
        "parameter": 422,
        "text/plain": 415,
        "encoded": 415,
        "two keys": 422,
    }
    assert "dry_run" in answers["parameter"].json()["detail"]
    assert count(api) == 0


@ON_ONE_DATABASE
def test_a_body_that_is_too_large_is_refused(api: Any) -> None:
    large = b" " * (8 * 1024 * 1024 + 1)
    assert api.request("POST", "/v1/messages", content=large, headers=JSON).status_code == 413
    many = {"messages": [message(n) for n in range(1001)]}
    assert api.post("/v1/messages", many).status_code == 422


def test_one_bad_message_does_not_spoil_its_neighbours(api: Any) -> None:
    many = [message(1, key="a"), message(2, kind="spam"), code(3), "text", message(4, key="a")]
    answer = api.post("/v1/messages", {"messages": many})
    assert answer.status_code == 202
    items = answer.json()["items"]
    assert [item["index"] for item in items] == [0, 1, 2, 3, 4]
    assert ["id" in item for item in items] == [True, False, True, False, False]
    assert [items[n]["error"]["field"] for n in (1, 3, 4)] == ["kind", "message", "key"]
    assert set(items[1]["error"]) == {"code", "field", "why"}
    assert count(api) == 2


@ON_ONE_DATABASE
def test_a_refusal_among_many_masks_numbers_as_a_single_one_does(api: Any) -> None:
    wrong = message(content={"447700900123": "x"})
    alone = api.post("/v1/messages", wrong).json()["errors"][0]
    among = api.post("/v1/messages", {"messages": [wrong]}).json()["items"][0]["error"]
    assert (among["field"], among["why"]) == (alone["field"], alone["why"])
    assert among["field"] == "4477*****123"


def test_a_thousand_messages_are_stored_in_one_request(api: Any) -> None:
    items = api.post("/v1/messages", {"messages": [message(n) for n in range(1000)]}).json()["items"]
    assert len({item["id"] for item in items}) == 1000
    assert count(api) == 1000


def test_a_suppressed_recipient_is_answered_so(api: Any) -> None:
    with api.ledger.write() as tx:
        suppressions.add(tx, {"447700900001": None}, scope="all", reason="asked", source="test", actor="test")
    assert api.post("/v1/messages", message()).json()["status"] == "suppressed"


@ON_ONE_DATABASE
def test_a_key_sends_only_its_kinds_and_from_its_senders(api: Any) -> None:
    with api.ledger.write() as tx:
        made = api_keys.add(
            tx, name="codes", role=Role.SENDER, kinds=[Kind.OTP], senders=[SENDER], actor="test"
        )
    headers = {"Authorization": f"Bearer {made.key}"}
    assert api.post("/v1/messages", code(), None, headers=headers).status_code == 202
    assert api.post("/v1/messages", message(), None, headers=headers).status_code == 403
    from_other = api.post("/v1/messages", code(sender="8615000579988"), None, headers=headers)
    assert (from_other.status_code, from_other.json()["code"]) == (403, "access_denied")
    items = api.post("/v1/messages", {"messages": [message(2), code(3)]}, None, headers=headers).json()[
        "items"
    ]
    assert items[0]["error"]["code"] == "access_denied"
    assert "id" in items[1]
    assert api.post("/v1/messages", message(), Role.VIEWER).status_code == 403


# -- Idempotency-Key ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [code(), {"messages": [code(1), message(2), message(3, kind="spam")]}])
def test_a_repeated_request_is_answered_as_before(api: Any, body: Any) -> None:
    first = api.post("/v1/messages", body, headers=KEY)
    again = api.post("/v1/messages", body, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert count(api) == (1 if "to" in body else 2)


def test_another_body_under_the_key_is_refused(api: Any) -> None:
    api.post("/v1/messages", code(), headers=KEY)
    other = api.post("/v1/messages", code(2), headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert count(api) == 1


def test_messages_are_sent_once_even_when_the_answer_is_forgotten(api: Any) -> None:
    first = api.post("/v1/messages", code(), headers=KEY).json()
    with api.ledger.write() as tx:
        tx.execute(idempotent_requests.delete())
    again = api.post("/v1/messages", code(), headers=KEY)
    assert again.json() == first | {"repeated": True}
    assert count(api) == 1


def test_a_refused_message_leaves_its_idempotency_key_free(api: Any) -> None:
    api.post("/v1/messages", code(key="k"))
    assert api.post("/v1/messages", code(2, key="k"), headers=KEY).status_code == 422
    assert count(api, idempotent_requests) == 0
    assert api.post("/v1/messages", code(2, key="other"), headers=KEY).status_code == 202


def test_requests_of_one_key_at_the_same_time_make_one_message(api: Any) -> None:
    api.key(Role.ADMIN)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: api.post("/v1/messages", code(), headers=KEY), range(24)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert count(api) == 1


def test_many_requests_at_once_are_each_answered(api: Any) -> None:
    api.key(Role.ADMIN)

    def send(n: int) -> Any:
        more = {"headers": {"Idempotency-Key": f"order-{n}"}} if n % 2 else {}
        kind = "spam" if n % 9 == 0 else "utility"
        return api.post("/v1/messages", code(n) if n % 3 else message(n, kind=kind), **more)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, range(90)))
    assert [answer.status_code for answer in answers] == [422 if n % 9 == 0 else 202 for n in range(90)]
    assert count(api) == len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 80


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_a_send_waits_for_no_reader(api: Any, ledger_url: str) -> None:
    """Fifty read a locked table: more than there are threads for requests, and connections."""
    api.key(Role.ADMIN)
    api.key(Role.SENDER)
    locking = Database(ledger_url)
    with ThreadPoolExecutor(50) as pool:
        with locking.write() as tx:
            tx.execute(text("LOCK TABLE webhook_endpoints IN ACCESS EXCLUSIVE MODE"))
            readers = [pool.submit(api.get, "/v1/webhooks") for _ in range(50)]
            blocked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            until(lambda: tx.execute(blocked).scalar_one() >= 15)
            first, again = (
                api.post("/v1/messages", code(wait_seconds=0.1), Role.SENDER, headers=KEY) for _ in range(2)
            )
            assert (first.status_code, again.text) == (202, first.text)
            assert not any(reader.done() for reader in readers)
        assert {reader.result(60).status_code for reader in readers} == {200}
    locking.close()


# -- wait_seconds ------------------------------------------------------------------------------------------------------


def test_a_caller_may_wait_for_the_ending(api: Any) -> None:
    api.key(Role.ADMIN)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.post, "/v1/messages", code(wait_seconds=30))
        deadline = time.monotonic() + 60
        while not count(api) and time.monotonic() < deadline:
            time.sleep(0.01)
        with api.ledger.write() as tx:
            tx.execute(update(messages).values(status="accepted"))
        assert waiting.result(60).json()["status"] == "accepted"


@ON_ONE_DATABASE
def test_a_wait_ends_after_its_time_and_holds_no_thread(api: Any) -> None:
    api.key(Role.ADMIN)
    began = time.monotonic()
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda n: api.post("/v1/messages", code(n, wait_seconds=0.5)), range(60)))
    # Sixty callers in the forty threads of the pool would take turns.
    assert {answer.json()["status"] for answer in answers} == {"queued"}
    assert time.monotonic() - began >= 0.5
    assert not [thread for thread in threading.enumerate() if "AnyIO worker" in thread.name][40:]


# -- codes -------------------------------------------------------------------------------------------------------------


@ON_ONE_DATABASE
def test_a_code_that_would_be_late_is_refused_with_its_wait(api: Any) -> None:
    assert api.post("/v1/messages", code(1, purpose="login")).status_code == 202
    with api.ledger.write() as tx:
        lease, _ = leases.take(tx, "host:1", 60_000)
        leases.reap(tx, lease, rendering=None, begun=None, resend_wait_ms=0)
        tx.execute(update(workers).values(lease_until=workers.c.lease_until - 90_000))
    deadline = time.monotonic() + 60
    while (answer := api.post("/v1/messages", code(2, ttl_seconds=30))).status_code == 202:
        assert time.monotonic() < deadline, "the backlog is read once a second"
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "too_late")
    assert problem["errors"][0]["field"] == "ttl_seconds"
    assert 90 <= problem["wait_seconds"] < 150
    stored = count(api)
    many = {"messages": [code(3, ttl_seconds=30), code(4, ttl_seconds=3600)]}
    late, in_time = api.post("/v1/messages", many).json()["items"]
    assert late["error"]["code"] == "too_late"
    assert late["error"]["wait_seconds"] >= 90
    assert (in_time["status"], count(api)) == ("queued", stored + 1)


# -- find, show, why ---------------------------------------------------------------------------------------------------


def test_messages_are_found_in_pages(api: Any) -> None:
    sent = [api.post("/v1/messages", message(n)).json()["id"] for n in range(5)]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = api.get(f"/v1/messages?limit=2{after and f'&after={after}'}").json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
    assert seen == sent[::-1]
    assert [i["to"] for i in api.get("/v1/messages?phone=%2B447700900003").json()["items"]] == [
        "447700900003"
    ]
    assert api.get("/v1/messages?status=failed").json() == {"items": [], "next": None}
    assert api.get("/v1/messages?campaign=direct:nothing").status_code == 404


@ON_ONE_DATABASE
def test_a_wrong_filter_is_refused(api: Any) -> None:
    for query in ("limit=1001", "limit=0", "after=x", "status=lost", "since=yesterday", "phone=12"):
        assert api.get(f"/v1/messages?{query}").status_code == 422


def test_a_viewer_sees_no_number_and_no_content(api: Any) -> None:
    id = api.post("/v1/messages", message(key="for-447700900001")).json()["id"]
    with api.ledger.write() as tx:
        tx.execute(update(messages).values(error="447700900001 is not on WhatsApp"))
    for path in (f"/v1/messages/{id}", "/v1/messages", f"/v1/messages/{id}/why"):
        answer = api.get(path, Role.VIEWER)
        assert answer.status_code == 200
        assert "447700900001" not in answer.text
        assert "A1" not in answer.text
        assert id in answer.text
    assert "447700900001" in api.get(f"/v1/messages/{id}", Role.SENDER).text


@ON_ONE_DATABASE
def test_a_code_is_never_shown(api: Any) -> None:
    id = api.post("/v1/messages", code()).json()["id"]
    assert "123456" not in api.get(f"/v1/messages/{id}", Role.ADMIN).text


@ON_ONE_DATABASE
def test_why_names_the_gate(api: Any) -> None:
    id = api.post("/v1/messages", message()).json()["id"]
    why = api.get(f"/v1/messages/{id}/why").json()
    # Valkey is empty: the limiter would not let it go either.
    assert why["id"] == id
    assert why["gate"] in ("no_worker", "cold")


@ON_ONE_DATABASE
def test_why_waits_less_than_a_second_for_a_redis_that_says_nothing(api: Any) -> None:
    """In the quickest of some tries: the others may be a loaded machine's."""
    id = api.post("/v1/messages", message()).json()["id"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = api.services.settings.model_copy(
            update={"redis_url": SecretStr(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")}
        )
        api.client.app.state.services = replace(api.services, settings=settings)
        took = 2.0
        for _ in range(10):
            begun = time.monotonic()
            why = api.get(f"/v1/messages/{id}/why").json()
            took = min(took, time.monotonic() - begun)
            assert why["gate"] == "redis"
            if took < 1.9:
                break
    # Half a second by itself; two seconds is what a command waits.
    assert took < 1.9


@ON_ONE_DATABASE
def test_an_unknown_id_is_not_found(api: Any) -> None:
    for path in ["/v1/messages/x", f"/v1/messages/{new_id()}", f"/v1/messages/{new_id()}/why"]:
        assert api.get(path).status_code == 404


# -- resolve -----------------------------------------------------------------------------------------------------------


def unknown_message(api: Any, to: int = 1) -> str:
    id = str(api.post("/v1/messages", message(to)).json()["id"])
    settle(api, id, "unknown")
    with api.ledger.write() as tx:
        tx.execute(
            insert(attempts).values(
                id=new_id(), message_pk=id, n=1, owner=new_id(), worker="w", sender=SENDER, started_at=1,
                outcome="unknown", bytes_sent=True, reply_began=False,
            )
        )  # fmt: skip
    return id


def test_an_unknown_message_is_resolved_on_record(api: Any) -> None:
    id = unknown_message(api)
    assert [item["id"] for item in api.get("/v1/unknown?trace=no_answer").json()["items"]] == [id]
    asked = {"as": "accepted", "why": "the vendor's console shows it"}
    first = api.post(f"/v1/messages/{id}/resolve", asked, Role.OPERATOR, headers=KEY)
    assert first.json() == {"id": id, "status": "accepted"}
    again = api.post(f"/v1/messages/{id}/resolve", asked, Role.OPERATOR, headers=KEY)
    assert again.headers["Idempotent-Replayed"] == "true"
    acts = api.get(f"/v1/messages/{id}").json()["acts"]
    assert [(act["act"], act["why"]) for act in acts] == [("resolve as accepted", asked["why"])]
    assert api.post(f"/v1/messages/{id}/resolve", {"as": "failed", "why": "x"}).status_code == 409
    assert api.post(f"/v1/messages/{new_id()}/resolve", asked).status_code == 404
    assert api.post(f"/v1/messages/{id}/resolve", asked, Role.SENDER).status_code == 403


@ON_ONE_DATABASE
def test_a_key_resolves_only_messages_that_it_may_send(api: Any) -> None:
    with api.ledger.write() as tx:
        made = api_keys.add(tx, name="codes", role=Role.OPERATOR, kinds=[Kind.OTP], actor="test")
    headers, id = {"Authorization": f"Bearer {made.key}"}, unknown_message(api)
    asked = {"as": "resend", "why": "it did not come"}
    alone = api.post(f"/v1/messages/{id}/resolve", asked, None, headers=headers)
    assert (alone.status_code, alone.json()["code"]) == (403, "access_denied")
    among = api.post("/v1/messages/resolve", {**asked, "ids": [id]}, None, headers=headers).json()
    assert ([each["id"] for each in among["refused"]], among["resolved"]) == ([id], [])
    assert api.get(f"/v1/messages/{id}").json()["status"] == "unknown"


def test_unknown_messages_are_resolved_together_after_a_dry_run(api: Any) -> None:
    ids = [unknown_message(api, n) for n in range(3)]
    asked = {"as": "failed", "why": "the vendor never had them", "filter": {"since": "2020-01-01T00:00:00Z"}}
    dry = api.post("/v1/messages/resolve", asked | {"dry_run": True}).json()
    assert (sorted(dry["resolved"]), dry["dry_run"], dry["more"]) == (sorted(ids), True, False)
    assert len(api.get("/v1/unknown").json()["items"]) == 3
    done = api.post("/v1/messages/resolve", asked, headers=KEY).json()
    assert sorted(done["resolved"]) == sorted(ids)
    assert api.post("/v1/messages/resolve", asked, headers=KEY).json() == done
    assert api.get("/v1/unknown").json()["items"] == []
    by_id = api.post(
        "/v1/messages/resolve", {"as": "failed", "why": "again", "ids": [ids[0], new_id()]}
    ).json()
    assert (by_id["resolved_before"], len(by_id["refused"])) == ([ids[0]], 1)


NOTHING_NAMED: list[dict[str, Any]] = [
    {},
    {"filter": {}},
    {"ids": ["x"], "filter": {"since": "2020-01-01"}},
    {"filter": {"fone": "1"}},
]


@ON_ONE_DATABASE
def test_a_resolve_of_nothing_named_is_refused(api: Any) -> None:
    for more in NOTHING_NAMED:
        assert api.post("/v1/messages/resolve", {"as": "failed", "why": "x"} | more).status_code == 422
