"""The address of receipts: every body is stored before its answer, also while the ledger is away."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bulksend.errors import LedgerUnreachable
from bulksend.ledger import raw_receipts
from bulksend.ledger.raw_receipts import Callback
from bulksend.ledger.receipt_spool import ReceiptSpool
from bulksend.operations import receipt_tokens
from bulksend.operations.access import Role
from bulksend.operations.callbacks import CallbackRules
from bulksend.operations.receipt_tokens import TokenRing, read_tokens
from bulksend.operations.receipts import read_callbacks
from ops.http.receipts_in import MOST_BYTES, REMEMBERED_S, ReceiptsIn, _Tokens
from tests.integration.http.conftest import ON_ONE_DATABASE

OK = {"code": 0, "message": "ok"}


@pytest.fixture
def token(api: Any) -> str:
    with api.ledger.write() as tx:
        return receipt_tokens.add(tx, name="vendor", actor="test").token


def stored(api: Any) -> list[Callback]:
    with api.ledger.read() as tx:
        groups = raw_receipts.unread(tx, bodies=1000)
    return [callback for group in groups for callback in raw_receipts.unpack(group, api.services.cipher)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a":1}', "application/json"),
        (b"\xff\xfe not json", "text/plain"),
        (b"", "application/x-www-form-urlencoded"),
        (gzip.compress(b"{}", mtime=0), "application/json"),
    ],
)
def test_any_body_is_stored_as_it_came(api: Any, token: str, body: bytes, kind: str) -> None:
    answer = api.post(f"/v1/receipts/{token}", role=None, content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()) == (200, OK)
    (callback,) = stored(api)
    assert (callback.body, callback.headers["content-type"]) == (body, kind)
    assert token.startswith(f"bsr_{callback.token}_")


def test_what_is_stored_is_encrypted(api: Any, token: str) -> None:
    api.post(f"/v1/receipts/{token}", role=None, content=b"private words " * 20)
    with api.ledger.read() as tx:
        (group,) = raw_receipts.unread(tx, bodies=1)
    assert b"private words" not in group.data
    assert group.data[:1] == b"\x01"


def test_an_unknown_token_is_not_found_and_stores_nothing(api: Any, token: str) -> None:
    for path in (token[:-1] + "x", "nonsense", "", f"{token}/more"):
        answer = api.post(f"/v1/receipts/{path}", role=None, content=b"{}")
        assert answer.status_code == 404
        assert token not in answer.text
    assert stored(api) == []


def test_a_revoked_token_is_refused_and_a_new_one_is_known(api: Any, token: str) -> None:
    assert api.post(f"/v1/receipts/{token}", role=None, content=b"1").status_code == 200
    with api.ledger.write() as tx:
        new = receipt_tokens.add(tx, name="new", actor="test").token
    receipt_tokens.revoke_token(api.ledger, token.split("_")[1], actor="test", why="rotated")
    deadline = time.monotonic() + 60
    while api.post(f"/v1/receipts/{token}", role=None, content=b"2").status_code == 200:
        assert time.monotonic() < deadline
    assert api.post(f"/v1/receipts/{new}", role=None, content=b"3").status_code == 200


def test_tokens_are_as_old_as_the_begin_of_their_read() -> None:
    """A revoked one is refused within a second of the ledger's own time for a read."""
    now, reads = [0.0], []

    def read() -> TokenRing:
        reads.append(now[0])
        now[0] += 0.75 * REMEMBERED_S
        return TokenRing()

    async def ask() -> None:
        tokens = _Tokens(read, lambda: now[0])
        await tokens.current()
        now[0] += 0.25 * REMEMBERED_S
        await tokens.current()

    asyncio.run(ask())
    assert reads == [0.0, REMEMBERED_S]
    assert 2 * REMEMBERED_S <= 1


@ON_ONE_DATABASE
def test_before_the_tokens_have_been_read_a_receipt_is_to_be_repeated(api: Any, token: str) -> None:
    """404 is an answer about the token, and nothing in memory can give one yet."""
    now, is_down, statuses = [0.0], [True], []

    def read() -> TokenRing:
        if is_down[0]:
            raise LedgerUnreachable("down")
        return read_tokens(api.ledger)

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    async def ask() -> None:
        receipts = ReceiptsIn(api.services.receipts, read, lambda: now[0])
        scope = {"type": "http", "path": f"/v1/receipts/{token}", "method": "GET", "query_string": b""}
        for _ in range(2):
            await receipts(scope, _no_body, send)
        now[0] += REMEMBERED_S
        is_down[0] = False
        await receipts(scope, _no_body, send)

    asyncio.run(ask())
    assert statuses == [503, 503, 200]


async def _no_body() -> Any:
    raise AssertionError("the body of a GET is not read")


@ON_ONE_DATABASE
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_above_three_megabytes_is_refused(api: Any, token: str, chunked: bool) -> None:
    body = b"x" * (MOST_BYTES + 1)
    content = iter([body[:MOST_BYTES], body[MOST_BYTES:]]) if chunked else body
    assert api.post(f"/v1/receipts/{token}", role=None, content=content).status_code == 413
    assert api.post(f"/v1/receipts/{token}", role=None, content=body[:-1]).status_code == 200
    assert [len(callback.body) for callback in stored(api)] == [MOST_BYTES]


@ON_ONE_DATABASE
def test_metas_check_of_the_address_is_answered_with_its_challenge(api: Any, token: str) -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token}
    right = api.get(f"/v1/receipts/{token}", role=None, params=asked)
    assert (right.status_code, right.text) == (200, "1158201444")
    wrong = api.get(f"/v1/receipts/{token}", role=None, params=asked | {"hub.verify_token": "other"})
    assert wrong.status_code == 403
    assert stored(api) == []


@ON_ONE_DATABASE
def test_another_method_is_not_allowed(api: Any, token: str) -> None:
    assert api.request("DELETE", f"/v1/receipts/{token}", None).status_code == 405


def test_what_cannot_be_read_is_listed_and_read_again(api: Any, token: str) -> None:
    api.post(f"/v1/receipts/{token}", role=None, content=b"nonsense")
    read_callbacks(api.ledger, CallbackRules(api.services.cipher))
    listed = api.get("/v1/receipts", Role.VIEWER, params={"state": "unreadable"}).json()
    assert (len(listed["items"]), listed["next"], "body" in listed["items"][0]) == (1, None, False)
    with_body = {"state": "unreadable", "bodies": "true"}
    assert api.get("/v1/receipts", Role.VIEWER, params=with_body).status_code == 403
    (item,) = api.get("/v1/receipts", Role.OPERATOR, params=with_body).json()["items"]
    assert item["body"] == "nonsense"
    assert api.post("/v1/receipts/reparse", role=Role.SENDER).status_code == 403
    done = api.post("/v1/receipts/reparse", role=Role.OPERATOR)
    assert done.json() == {"read": 0, "unreadable": 1, "more": False}
    assert api.get("/v1/receipts", params={"after": "7"}).status_code == 422


def test_while_the_ledger_does_not_take_them_they_are_answered_all_the_same_and_reach_it_afterwards(
    api: Any, token: str
) -> None:
    assert api.post(f"/v1/receipts/{token}", role=None, content=b"0").status_code == 200
    spool = ReceiptSpool(Path(api.services.settings.spool_dir))
    with api.ledger.write() as tx:
        if not api.ledger.is_sqlite:
            tx.execute(text("LOCK TABLE raw_receipts"))
        for n in (1, 2, 3):
            assert api.post(f"/v1/receipts/{token}", role=None, content=b"%d" % n).json() == OK
        assert not spool.is_empty
    deadline = time.monotonic() + 60
    while not spool.is_empty:
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    assert sorted(callback.body for callback in stored(api)) == [b"0", b"1", b"2", b"3"]
