"""A POST with an Idempotency-Key is done once, whatever happens between its act and its answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import func, insert, select, update

from bulksend import failpoints
from bulksend.errors import InvalidInput
from bulksend.ledger import idempotency
from bulksend.ledger.database import Database
from bulksend.ledger.schema import accounts, idempotent_requests
from bulksend.operations.access import Role
from ops.http.idempotency import Once
from ops.http.services import Sender
from tests.integration.http.conftest import ON_ONE_DATABASE

KEY = {"Idempotency-Key": "order-1"}
router = APIRouter()
#: Where the act of ``/slow`` waits.
entered, go_on = threading.Event(), threading.Event()


class Asked(BaseModel):
    id: str
    allowed: bool = True


@router.post("/v1/accounts")
def add_two(asked: Asked, _: Sender, once: Once, attempt: int = 1) -> Response:
    """An act of two transactions."""

    def act(database: Database) -> dict[str, Any]:
        with database.write() as tx:
            tx.execute(insert(accounts).values(id=asked.id))
        with database.read() as tx:
            if (n := tx.execute(select(func.count()).select_from(accounts)).scalar_one()) > 8:
                raise InvalidInput("too many")
        database.retrying(lambda tx: tx.execute(insert(accounts).values(id=f"{asked.id}'s")))
        return {"id": asked.id, "n": n, "key": "a secret"}

    return once.answer(act, status=201, location="/v1/accounts/{id}", secret=("key",))


@router.post("/v1/slow")
def slow(_: Sender, once: Once) -> Response:
    """An act that waits for the test."""

    def act(database: Database) -> dict[str, Any]:
        with database.write() as tx:
            tx.execute(insert(accounts).values(id="slow"))
        entered.set()
        go_on.wait(30)
        return {"done": True}

    return once.answer(act)


@pytest.fixture
def app(api: Any) -> Iterator[Any]:
    api.client.app.include_router(router)
    yield api
    failpoints.arm(None)


def count(api: Any) -> int:
    with api.ledger.read() as tx:
        return int(tx.execute(select(func.count()).select_from(accounts)).scalar_one())


def test_a_repeated_request_is_answered_as_before_and_done_once(app: Any) -> None:
    first = app.post("/v1/accounts", {"id": "a"}, headers=KEY)
    again = app.post("/v1/accounts", {"id": "a"}, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == {"id": "a", "n": 1, "key": "a secret"}
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert first.headers["Location"] == again.headers["Location"] == "/v1/accounts/a"
    assert count(app) == 2


def test_a_secret_is_not_stored_and_a_replay_says_so(app: Any) -> None:
    app.post("/v1/accounts", {"id": "a"}, headers=KEY)
    again = app.post("/v1/accounts", {"id": "a"}, headers=KEY).json()
    assert again == {"id": "a", "n": 1, "key": None, "withheld": ["key"]}
    with app.ledger.read() as tx:
        assert "a secret" not in tx.execute(select(idempotent_requests.c.answer)).scalar_one()


def test_a_key_with_another_body_is_refused(app: Any) -> None:
    app.post("/v1/accounts", {"id": "a"}, headers=KEY)
    other = app.post("/v1/accounts", {"id": "b"}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert count(app) == 2


@ON_ONE_DATABASE
def test_a_query_belongs_to_what_is_asked_and_not_to_where_a_key_counts(app: Any) -> None:
    app.post("/v1/accounts", {"id": "a"}, headers=KEY)
    other = app.post("/v1/accounts?attempt=2", {"id": "b"}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert count(app) == 2


@ON_ONE_DATABASE
@pytest.mark.parametrize("type_", ["Application/JSON", "application/vnd.shop+json"])
def test_a_key_counts_for_every_type_of_json(app: Any, type_: str) -> None:
    headers = {**KEY, "Content-Type": type_}
    answers = [
        app.request("POST", "/v1/accounts", content=b'{"id": "a"}', headers=headers).status_code for _ in "ab"
    ]
    assert (answers, count(app)) == ([201, 201], 2)


def test_a_key_counts_for_one_caller_and_one_path(app: Any) -> None:
    app.post("/v1/accounts", {"id": "a"}, headers=KEY)
    assert app.post("/v1/accounts", {"id": "b"}, Role.SENDER, headers=KEY).status_code == 201
    go_on.set()
    assert app.post("/v1/slow", headers=KEY).json() == {"done": True}


def test_without_a_key_each_request_is_done(app: Any) -> None:
    assert app.post("/v1/accounts", {"id": "a"}).json()["n"] == 1
    assert app.post("/v1/accounts", {"id": "b"}).json()["n"] == 3
    with app.ledger.read() as tx:
        assert tx.execute(select(func.count()).select_from(idempotent_requests)).scalar_one() == 0


def test_a_refusal_is_not_kept_and_undoes_the_whole_act(app: Any) -> None:
    with app.ledger.write() as tx:
        tx.execute(insert(accounts), [{"id": f"{n}"} for n in range(8)])
    assert app.post("/v1/accounts", {"id": "a"}, headers=KEY).status_code == 422
    assert count(app) == 8
    with app.ledger.write() as tx:
        tx.execute(accounts.delete())
    assert app.post("/v1/accounts", {"id": "a"}, headers=KEY).status_code == 201


@pytest.mark.parametrize(("step", "done"), [("act_done", 0), ("act_kept", 2)])
def test_an_end_between_act_and_answer_leaves_both_or_neither(app: Any, step: str, done: int) -> None:
    failpoints.arm(f"{step}:raise")
    assert app.post("/v1/accounts", {"id": "a"}, headers=KEY).status_code == 500
    assert count(app) == done
    again = app.post("/v1/accounts", {"id": "a"}, headers=KEY)
    assert (again.status_code, again.json()["n"]) == (201, 1)
    assert ("Idempotent-Replayed" in again.headers) == bool(done)
    assert count(app) == 2


def test_a_request_that_still_runs_is_not_started_again(app: Any) -> None:
    entered.clear()
    go_on.clear()
    app.key(Role.ADMIN)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(app.post, "/v1/slow", headers=KEY)
        assert entered.wait(30)
        if app.ledger.is_sqlite:
            # SQLite's second writer waits for the first one, and finds its answer.
            second = pool.submit(app.post, "/v1/slow", headers=KEY)
            go_on.set()
            assert second.result().headers["Idempotent-Replayed"] == "true"
        else:
            refused = app.post("/v1/slow", headers=KEY)
            go_on.set()
            assert (refused.status_code, refused.headers["Retry-After"]) == (409, "1")
            assert refused.json()["code"] == "request_running"
        assert first.result().json() == {"done": True}
    assert app.post("/v1/slow", headers=KEY).headers["Idempotent-Replayed"] == "true"
    assert count(app) == 1


@ON_ONE_DATABASE
def test_a_malformed_key_is_refused(app: Any) -> None:
    for key in ("", "a" * 256, "tab\there"):
        assert app.post("/v1/accounts", {"id": "a"}, headers={"Idempotency-Key": key}).status_code == 422
    assert count(app) == 0


def test_answers_are_deleted_after_seven_days(app: Any) -> None:
    for n in range(2):
        app.post("/v1/accounts", {"id": f"{n}"}, headers={"Idempotency-Key": f"order-{n}"})
    with app.ledger.write() as tx:
        one = select(func.min(idempotent_requests.c.id)).scalar_subquery()
        old = idempotent_requests.c.at - idempotency.KEPT_MS - 1000
        tx.execute(update(idempotent_requests).where(idempotent_requests.c.id == one).values(at=old))
        assert idempotency.delete_old(tx) == 1
        assert idempotency.delete_old(tx) == 0
