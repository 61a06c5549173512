"""What guards the API: headers, body limits, request rate, proxies, other origins, the access log, last resorts."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import structlog
from fastapi import APIRouter, Body, Request
from fastapi.testclient import TestClient
from starlette.types import Message

from bulksend import logs
from bulksend.ledger.key_file import new_encryption_key
from bulksend.messaging.secret_text import compose
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from bulksend.settings import Settings
from ops.http.app import create_app
from ops.http.body_limits import DEFAULT
from ops.http.server import services_of
from ops.http.services import Viewer

NUMBER, CODE = "447700900123", "83121947"
router = APIRouter()


@router.post("/v1/echo/{number}")
def echo(
    number: str, principal: Viewer, body: Annotated[dict[str, Any], Body()], phone: str = ""
) -> dict[str, Any]:
    return {"bytes": len(str(body)), "ip": principal.origin.ip, "request_id": principal.origin.request_id}


@router.post("/v1/read")
async def read(principal: Viewer, request: Request) -> int:
    return len([part async for part in request.stream()])


@router.post("/v1/crash")
def crash(principal: Viewer) -> None:
    raise RuntimeError(f"the code of {NUMBER} is {CODE}")


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Iterator[TestClient]:
    """The application on SQLite, with the settings of ``parametrize``."""
    shutil.copyfile(sqlite_template, tmp_path / "bulksend.db")
    of = Settings.from_env(
        {
            "DATABASE_URL": f"sqlite:///{tmp_path}/bulksend.db",
            "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
            "BULKSEND_SPOOL_DIR": str(tmp_path / "spool"),
            "BULKSEND_UPLOAD_DIR": str(tmp_path / "uploads"),
            "REDIS_URL": "redis://127.0.0.1:1/0",
        }
        | getattr(request, "param", {})
    )
    services = services_of(of)
    with services.database.write() as tx:
        key = api_keys.add(tx, name="shop", role=Role.VIEWER, actor="test")
    app = create_app(services)
    app.include_router(router)
    headers = {"Authorization": f"Bearer {key.key}"}
    with TestClient(app, headers=headers, client=("203.0.113.7", 5000)) as client:
        yield client
    services.close()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged from INFO on."""
    written = io.StringIO()
    logs.configure("INFO", "json", written)
    yield written
    logs.configure("WARNING")


def test_every_answer_tells_browsers_to_run_and_keep_nothing(client: TestClient) -> None:
    for path, status in (("/docs", 200), ("/v1/nothing", 404), ("/healthz", 200)):
        answer = client.get(path)
        assert answer.status_code == status
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Strict-Transport-Security" not in answer.headers
    assert client.get("/v1/nothing").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in client.get("/healthz").headers


def test_no_page_has_a_script_or_style_inside(client: TestClient) -> None:
    page = client.get("/docs").text
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=|javascript:", page) == []


def test_a_header_of_a_proxy_that_is_not_trusted_is_ignored(client: TestClient) -> None:
    forged = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}
    answer = client.post("/v1/echo/1", json={}, headers=forged)
    assert answer.json()["ip"] == "203.0.113.7"
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("client", [{"BULKSEND_TRUSTED_PROXIES": "203.0.113.0/24, 10.0.0.9"}], indirect=True)
def test_a_trusted_proxy_says_who_asks_and_whether_by_https(client: TestClient) -> None:
    headers = {"X-Forwarded-For": "6.6.6.6, 198.51.100.1, 10.0.0.9", "X-Forwarded-Proto": "https"}
    answer = client.post("/v1/echo/1", json={}, headers=headers)
    assert answer.json()["ip"] == "198.51.100.1", "the first from the right that is no proxy of ours"
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_above_the_limit_is_refused_with_the_limit(client: TestClient, declared: bool) -> None:
    body = json.dumps({"text": "x" * DEFAULT}).encode()
    content: Any = body if declared else iter([body[:1000], body[1000:]])
    answer = client.post("/v1/echo/1", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert f"{DEFAULT:,}" in answer.json()["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert client.post("/v1/echo/1", json={"text": "x" * (DEFAULT - 1000)}).status_code == 200


@pytest.mark.parametrize("client", [{"BULKSEND_REQUESTS_PER_SECOND": "3"}], indirect=True)
def test_a_key_that_asks_too_often_is_told_when_to_come_back(client: TestClient) -> None:
    answers = [client.post("/v1/echo/1", json={}) for _ in range(20)]
    assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["Retry-After"] == "1"
    assert refused[0].json()["code"] == "too_many_requests"
    assert "BULKSEND_REQUESTS_PER_SECOND" in refused[0].json()["detail"]
    assert client.get("/healthz").status_code == 200, "health has no key and no limit"


@pytest.mark.parametrize("client", [{"BULKSEND_REQUESTS_PER_SECOND": "3"}], indirect=True)
def test_an_address_that_tries_keys_is_slowed_down_and_a_known_key_is_not(client: TestClient) -> None:
    assert client.get("/v1/me").status_code == 200

    def guess(n: int) -> int:
        key = compose("bsk", f"{n:09}", bytes(32))
        return client.get("/v1/me", headers={"Authorization": f"Bearer {key}"}).status_code

    statuses = [guess(n) for n in range(20)]
    assert set(statuses) == {401, 429}
    assert client.get("/v1/me").status_code == 200


def test_a_body_that_cannot_be_read_is_a_problem_and_an_address_with_a_slash_is_none(
    client: TestClient,
) -> None:
    for body in (b'{"text": "\xe9"}', b'{"text": 1' + b"0" * 5_000 + b"}"):
        answer = client.post("/v1/echo/1", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")
    # No redirect, which would take the key along.
    assert client.get("/v1/me/", follow_redirects=False).status_code == 404


def test_no_other_origin_may_use_the_api_unless_it_is_named(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"Origin": "https://shop.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("client", [{"BULKSEND_CORS_ORIGINS": "https://shop.example"}], indirect=True)
def test_a_named_origin_may_send_its_key_and_any_other_may_not(client: TestClient) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = client.options("/v1/echo/1", headers={"Origin": "https://shop.example", **asked})
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (
        200,
        "https://shop.example",
    )
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    other = client.options("/v1/echo/1", headers={"Origin": "https://evil.example", **asked})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_the_access_log_has_the_route_and_the_key_and_nothing_private(
    log: io.StringIO, client: TestClient
) -> None:
    path = f"/v1/echo/{NUMBER}?phone={NUMBER}"
    answer = client.post(path, json={"code": CODE}, headers={"X-Request-Id": "mine-1"})
    assert answer.json()["request_id"] == "mine-1"
    client.get(f"/v1/{NUMBER}")
    lines = [json.loads(line) for line in log.getvalue().splitlines() if "http_request" in line]
    first, second = lines
    assert (first["method"], first["route"], first["status"]) == ("POST", "/v1/echo/{number}", 200)
    assert (first["request_id"], len(first["key"])) == ("mine-1", 9)
    assert first["ms"] >= 0
    assert (second["route"], second["status"], second["key"]) == ("none", 404, None)
    assert NUMBER not in log.getvalue()
    assert CODE not in log.getvalue()


def test_a_line_of_the_access_log_is_what_the_log_makes_of_any_event(log: io.StringIO) -> None:
    fields = {"request_id": f"r-{NUMBER}", "route": "/v1/\x07messages", "status": 202, "ms": 1.5, "key": None}
    logs.InfoLines("ops.http.access_log", "http_request").write(fields)
    structlog.get_logger("ops.http.access_log").info("http_request", **fields)
    quick, usual = log.getvalue().splitlines()
    assert "4477*****123" in quick
    assert re.sub(r'"timestamp": "[^"]+Z"', "", quick) == re.sub(r'"timestamp": "[^"]+Z"', "", usual)
    logs.configure("WARNING", "json", log)
    logs.InfoLines("ops.http.access_log", "http_request").write(fields)
    assert len(log.getvalue().splitlines()) == 2, "the level counts"


def test_an_error_that_nothing_expects_is_a_problem_and_its_text_is_in_no_log(
    log: io.StringIO, client: TestClient
) -> None:
    answer = client.post("/v1/crash")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert "Content-Security-Policy" in answer.headers
    assert CODE not in answer.text + log.getvalue()
    (crashed,) = [json.loads(line) for line in log.getvalue().splitlines() if "request_crashed" in line]
    assert (crashed["error"], crashed["at"].split(":")[0]) == ("RuntimeError", "test_security.crash")


def test_a_caller_who_leaves_before_the_body_is_whole_is_no_error_of_ours(
    log: io.StringIO, client: TestClient
) -> None:
    heard = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(heard)

    async def send(message: Message) -> None:
        raise AssertionError(f"answered {message}")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/read",
        "query_string": b"",
        "scheme": "http",
        "headers": [
            (b"authorization", client.headers["Authorization"].encode()),
            (b"content-type", b"application/json"),
            (b"content-length", b"10"),
        ],
        "client": ("203.0.113.7", 5000),
    }
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    (line,) = [json.loads(line) for line in log.getvalue().splitlines() if "request_id" in line]
    assert (line["event"], line["route"], line["status"]) == ("http_request", "/v1/read", 499)
