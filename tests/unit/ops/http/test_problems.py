"""What a problem says of an error, and what it keeps to itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request

from bulksend.errors import BulksendError, CampaignNotFound, InvalidValue, LedgerUnfit, LedgerUnreachable
from ops.http.app import ROUTERS
from ops.http.problems import ENDPOINTS, of_error, without_numbers
from tests.acceptance.many_commands import commands


def said(error: BulksendError) -> dict[str, Any]:
    request = Request({"type": "http", "headers": [], "state": {"request_id": "r-1"}})
    answer = of_error(request, error)
    return {**json.loads(bytes(answer.body)), "status": answer.status_code}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LedgerUnreachable("the ledger at postgresql://db.internal:5432/x does not answer"), 503),
        (LedgerUnfit("the ledger at sqlite:////srv/private/ledger.db is not UTF-8"), 500),
    ],
)
def test_a_caller_is_not_told_where_our_servers_are(error: BulksendError, status: int) -> None:
    found = said(error)
    assert (found["status"], found["request_id"]) == (status, "r-1")
    assert "ledger at" not in found["detail"]
    assert "request" in found["detail"]


def test_a_wrong_value_is_named_with_its_field_and_a_number_in_it_is_masked() -> None:
    found = said(InvalidValue("after", "447700900123", "is not the next of a page"))
    assert found["errors"] == [
        {"field": "after", "row": None, "value": "4477*****123", "why": "is not the next of a page"}
    ]


def test_a_remedy_names_the_endpoint_beside_the_command_that_does_the_same() -> None:
    found = said(CampaignNotFound("there is no campaign 'x'; `bulksend campaigns list` shows them"))
    assert found["detail"].endswith("`bulksend campaigns list` or GET /v1/campaigns shows them")
    found = said(InvalidValue("sender", "", "is not there; `bulksend senders add 8615` registers it"))
    assert found["errors"][0]["why"].endswith("`bulksend senders add 8615` registers it")


def test_each_command_and_endpoint_of_a_remedy_exists() -> None:
    assert {tuple(command.split()) for command in ENDPOINTS} <= set(commands())
    routed = FastAPI()
    for router in ROUTERS:
        routed.include_router(router)
    offered = {
        f"{method.upper()} {path}"
        for path, methods in routed.openapi()["paths"].items()
        for method in methods
    }
    assert set(ENDPOINTS.values()) <= offered


def test_the_number_of_an_example_stays_and_those_of_persons_do_not() -> None:
    said = "is empty; write it with its country code, like +44 7700 900123"
    assert without_numbers(said) == said
    assert without_numbers(f"+44 7700 900124 {said}") == f"+44 7*******124 {said}"
