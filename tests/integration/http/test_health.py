"""A process says whether it runs and whether it can work."""

from __future__ import annotations

from typing import Any

from tests.integration.http.conftest import ON_ONE_DATABASE


@ON_ONE_DATABASE
def test_health_needs_no_key(api: Any) -> None:
    assert api.get("/healthz", role=None).json() == {"status": "ok"}
    assert api.get("/readyz", role=None).json() == {"status": "ok"}


@ON_ONE_DATABASE
def test_every_answer_has_a_request_id_and_a_callers_own_is_returned(api: Any) -> None:
    assert len(api.get("/healthz", role=None).headers["X-Request-Id"]) == 36
    own = api.get("/healthz", role=None, headers={"X-Request-Id": "from-me.1"})
    assert own.headers["X-Request-Id"] == "from-me.1"
    unsafe = api.get("/healthz", role=None, headers={"X-Request-Id": "a b"})
    assert unsafe.headers["X-Request-Id"] != "a b"


@ON_ONE_DATABASE
def test_the_documentation_loads_nothing_from_elsewhere(api: Any) -> None:
    page = api.get("/docs", role=None).text
    assert "http" not in page.replace("the HTTP API", "")
    for file in ("swagger-ui/swagger-ui-bundle.js", "swagger-ui/swagger-ui.css", "docs.js"):
        assert f"/static/{file}" in page
        assert api.get(f"/static/{file}", role=None).status_code == 200


@ON_ONE_DATABASE
def test_an_unknown_path_is_a_problem_with_its_request_id(api: Any) -> None:
    answer = api.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    for each in (answer, api.client.put("/v1/stats")):
        assert "/docs" in each.json()["detail"]
