"""Senders and the account over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend import failpoints
from bulksend.ledger import notices, operator_log, senders
from bulksend.ledger.notices import SenderChange
from bulksend.messaging.outcome import Scope
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.integration.ledger.conftest import Desk

PHONE = "8615000579987"


@pytest.fixture
def sender(api: Any) -> str:
    with api.ledger.write() as tx:
        senders.register(tx, PHONE, rate=80.0)
    return f"/v1/senders/{PHONE}"


def test_senders_are_listed_and_changed(api: Any, sender: str) -> None:
    (shown,) = api.get("/v1/senders", Role.VIEWER).json()["items"]
    assert (shown["phone"], shown["rate"], shown["quota"]) == (PHONE, 80.0, None)
    changed = api.request(
        "PATCH", sender, Role.OPERATOR, json={"rate": "40/s", "quota": 2000.0, "name": "shop"}
    )
    assert (changed.json()["rate"], changed.json()["quota"]) == (40.0, 2000)
    changed = api.request("PATCH", sender, Role.OPERATOR, json={"quota": "none", "rate": 20})
    assert (changed.json()["rate"], changed.json()["quota"], changed.json()["name"]) == (20.0, None, "shop")
    assert api.get(sender).json() == changed.json() | {
        **{"slowed": [], "pace": 1.0, "account_quota": None, "account_quota_source": None}
    }


@ON_ONE_DATABASE
def test_a_limit_that_is_none_is_refused(api: Any, sender: str) -> None:
    for asked in ({"rate": 0}, {"rate": "fast"}, {"quota": 0}, {"quota": "many"}, {"quota": 1.5}, {"rat": 1}):
        refused = api.request("PATCH", sender, Role.OPERATOR, json=asked)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, *asked)


def test_a_sender_is_paused_and_resumed_on_record(api: Any, sender: str) -> None:
    paused = api.post(f"{sender}/pause", {"why": "complaints"}, role=Role.OPERATOR)
    assert paused.json() == {"sender": PHONE, "status": "paused", "changed": True}
    assert api.post(f"{sender}/pause", {"why": "again"}).json()["changed"] is False
    assert api.get(sender).json()["pause_why"] == "complaints"
    permits = api.services.limiter()
    assert permits is not None
    assert api.post(f"{sender}/resume", {"why": "solved"}).json()["status"] == "running"
    with api.ledger.read() as tx:
        acts = operator_log.of(tx, Scope.SENDER.value, PHONE)
    assert [(act.act, act.why) for act in acts] == [("pause", "complaints"), ("resume", "solved")]


def test_a_key_of_some_senders_acts_on_no_other_and_not_on_the_account(api: Any, sender: str) -> None:
    with api.ledger.write() as tx:
        senders.register(tx, "8615000579111", rate=80.0)
        made = api_keys.add(tx, name="shop", role=Role.OPERATOR, senders=[PHONE], actor="test")
    headers, why = {"Authorization": f"Bearer {made.key}"}, {"why": "x"}
    assert api.post(f"{sender}/pause", why, None, headers=headers).status_code == 200
    other = "/v1/senders/8615000579111"
    assert api.post(f"{other}/pause", why, None, headers=headers).status_code == 403
    assert api.request("PATCH", other, None, json={"rate": 1}, headers=headers).status_code == 403
    assert api.request("PATCH", sender, None, json={"rate": 1}, headers=headers).status_code == 200
    assert api.request("PATCH", sender, None, json={"quota": 9}, headers=headers).status_code == 403
    assert api.post("/v1/account/resume", why, None, headers=headers).status_code == 403


def test_workers_are_told_of_a_resume_after_its_commit(api: Any, sender: str) -> None:
    api.post(f"{sender}/pause", {"why": "x"})
    headers = {"Idempotency-Key": "resume-1"}
    failpoints.arm("act_done:raise")
    try:
        assert api.post(f"{sender}/resume", {"why": "x"}, headers=headers).status_code == 500
    finally:
        failpoints.arm(None)
    assert [scope for scope, _ in api.services.limiter().paused()] == [Scope.SENDER]
    assert api.post(f"{sender}/resume", {"why": "x"}, headers=headers).json()["changed"]
    assert not api.services.limiter().paused()


@ON_ONE_DATABASE
def test_acts_need_a_reason_an_operator_and_a_sender_on_record(api: Any, sender: str) -> None:
    assert api.post(f"{sender}/pause", {}).status_code == 422
    assert api.post(f"{sender}/pause", {"why": "x"}, role=Role.SENDER).status_code == 403
    assert api.request("PATCH", sender, Role.SENDER, json={"rate": 1}).status_code == 403
    assert api.post("/v1/senders/447700900123/pause", {"why": "x"}).status_code == 404
    assert api.get("/v1/senders/nobody").status_code == 422


def test_the_account_shows_its_pause_its_limits_and_what_is_unknown(api: Any) -> None:
    desk = Desk(api.ledger)
    (id,) = desk.queued()
    desk.sql("UPDATE messages SET status = 'unknown' WHERE id = :id", id=id)
    shown = api.get("/v1/account", Role.VIEWER).json()
    assert (shown["status"], shown["unknown"], shown["limits"]["pair_burst"]) == ("running", 1, 45)
    assert (shown["limits"]["quota"], shown["limits"]["quota_source"]) == (None, None)
    with api.ledger.write() as tx:
        senders.register(tx, PHONE)
        notices.change_sender(tx, SenderChange(PHONE, tier="TIER_2K"), actor="vendor")
    limits = api.get("/v1/account", Role.VIEWER).json()["limits"]
    assert (limits["quota"], limits["quota_source"]) == (2000, f"TIER_2K of sender {PHONE}")
    assert shown["vendor"] == {"address": "https://api.uspeedo.com/api", "simulated": False}
    paused = api.post("/v1/account/pause", {"why": "no money"}, role=Role.OPERATOR)
    assert paused.json() == {"account": "default", "status": "paused", "changed": True}
    shown = api.get("/v1/account").json()
    assert (shown["status"], shown["pause_why"]) == ("paused", "no money")
    assert api.post("/v1/account/resume", {"why": "top-up"}).json()["status"] == "running"
    assert api.post("/v1/account/pause", {"why": "x"}, role=Role.SENDER).status_code == 403
