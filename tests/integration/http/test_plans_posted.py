"""Plans over HTTP: what a campaign would do is frozen with its file, shown, tried, and applied as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulksend.ledger import operator_log, suppressions
from bulksend.messaging import Kind
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.integration.http.test_campaigns_posted import OPTIONS, count, csv, folder, rows


def post_plan(api: Any, data: bytes, *, headers: dict[str, str] | None = None, **options: Any) -> Any:
    return api.request(
        "POST",
        "/v1/plans",
        data={"campaign": json.dumps({**OPTIONS, **options})},
        files={"file": ("people.csv", data)},
        headers=headers or {},
    )


def test_a_plan_is_shown_and_applied_once(api: Any) -> None:
    posted = post_plan(api, csv(20))
    assert posted.status_code == 201, posted.text
    made = posted.json()
    assert (made["to_send"], made["status"], len(made["samples"])) == (20, "open", 3)
    assert (count(api, "campaigns"), count(api, "messages")) == (0, 0)
    assert api.get(posted.headers["Location"]).json() == made
    (listed,) = api.get("/v1/plans").json()["items"]
    assert listed == {name: made[name] for name in listed}
    applied = api.post(f"/v1/plans/{made['plan_id']}/apply")
    assert applied.status_code == 202, applied.text
    assert (applied.json()["messages"], applied.json()["repeated"]) == (20, False)
    again = api.post(f"/v1/plans/{made['plan_id']}/apply")
    assert (again.json()["campaign_id"], again.json()["repeated"]) == (applied.json()["campaign_id"], True)
    assert again.headers["Idempotent-Replayed"] == "true"
    shown = api.get(f"/v1/plans/{made['plan_id']}").json()
    assert (shown["status"], shown["campaign_id"]) == ("applied", applied.json()["campaign_id"])
    assert (count(api, "messages"), folder(api)) == (20, [])


def test_what_changed_is_a_problem_with_each_fact(api: Any) -> None:
    made = api.post("/v1/plans", {**OPTIONS, "rows": rows(3)}).json()
    with api.ledger.write() as tx:
        suppressions.add(
            tx, {rows(1)[0]["to"]: None}, scope="marketing", reason="STOP", source="test", actor="test"
        )
    refused = api.post(f"/v1/plans/{made['plan_id']}/apply")
    assert (refused.status_code, refused.json()["code"]) == (409, "plan_changed")
    told = {each["field"]: (each["value"], each["why"]) for each in refused.json()["errors"]}
    assert told["counts.suppressed"] == ("1", "was 0 when the plan was made")
    assert count(api, "campaigns") == 0


def test_the_same_request_makes_one_plan(api: Any) -> None:
    key = {"Idempotency-Key": "plan-1"}
    first, again = post_plan(api, csv(5), headers=key), post_plan(api, csv(5), headers=key)
    assert (again.status_code, again.json()["plan_id"]) == (201, first.json()["plan_id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    for other in (post_plan(api, csv(6), headers=key), post_plan(api, csv(5), headers=key, rate=7.0)):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (count(api, "plans"), folder(api)) == (1, [first.json()["plan_id"]])


def test_rows_are_previewed_and_one_is_sent_as_a_test(api: Any) -> None:
    made = post_plan(api, csv(5)).json()
    place = f"/v1/plans/{made['plan_id']}"
    shown = api.get(f"{place}/preview?rows=2").json()
    assert [each["body"] for each in shown["items"]] == ["Hello N0", "Hello N1"]
    key = {"Idempotency-Key": "try-1"}
    sent = [api.post(f"{place}/test", {"to": "447700900111", "row": 3}, headers=key).json() for _ in range(2)]
    assert sent[0] == sent[1] | {"status": sent[0]["status"]}
    assert (sent[0]["row"], sent[0]["test"]) == (3, True)
    message = api.get(f"/v1/messages/{sent[0]['id']}").json()
    assert (message["to"], message["test"], message["content"]) == (
        "447700900111",
        True,
        {"body": "Hello N1"},
    )
    # The campaign has none of it.
    assert api.post(f"{place}/apply").json()["messages"] == 5


@ON_ONE_DATABASE
def test_what_is_wrong_is_said_and_leaves_no_file(api: Any) -> None:
    for options in ({"sender": "12"}, {"dry_run": True}, {"again": "x"}, {"content": {}}):
        answer = post_plan(api, csv(2), **options)
        assert answer.status_code == 422, answer.text
        assert folder(api) == []
    nothing = post_plan(api, b"to,name\n12,x\n")
    assert (nothing.status_code, "no row" in nothing.json()["detail"]) == (422, True)
    assert api.get("/v1/plans/447700900001").status_code == 404
    assert (count(api, "plans"), folder(api)) == (0, [])


@ON_ONE_DATABASE
def test_a_plan_ends_with_its_reason_when_a_person_in_its_file_is_forgotten(api: Any) -> None:
    made, other = post_plan(api, csv(5)).json(), post_plan(api, b"to,name\n447700900999,Bo\n").json()
    person = rows(1)[0]["to"]
    answer = api.post("/v1/persons/forget", {"phone": person, "why": "asked us to"})
    assert answer.json()["erased"]["uploads"] == 1, answer.text
    place = f"/v1/plans/{made['plan_id']}"
    shown = api.get(place).json()
    assert (shown["status"], shown["samples"]) == ("ended", [])
    assert shown["ended_why"] == "its file was deleted, since a person in it was forgotten"
    for refused in (api.get(f"{place}/preview"), api.post(f"{place}/apply")):
        assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
        assert shown["ended_why"] in refused.json()["detail"]
    with api.ledger.read() as tx:
        (act,) = [act for act in operator_log.of(tx, "plan", made["plan_id"]) if act.act == "end"]
    assert act.why == shown["ended_why"]
    assert api.get(f"/v1/plans/{other['plan_id']}").json()["status"] == "open"


@ON_ONE_DATABASE
def test_a_viewer_sees_no_sample_and_a_key_plans_only_its_kinds(api: Any) -> None:
    made = post_plan(api, csv(2)).json()
    place = f"/v1/plans/{made['plan_id']}"
    assert api.get(place, Role.VIEWER).json()["samples"] == []
    with api.ledger.write() as tx:
        codes = api_keys.add(tx, name="codes", role=Role.SENDER, kinds=[Kind.OTP], actor="test").key
    for path in (f"{place}/apply", f"{place}/test"):
        denied = api.post(path, {"to": "447700900111"}, headers={"Authorization": f"Bearer {codes}"})
        assert (denied.status_code, denied.json()["code"]) == (403, "access_denied")


@ON_ONE_DATABASE
@pytest.mark.parametrize("more_settings", [{"BULKSEND_PLAN_HOURS": "0.0000001"}], indirect=True)
def test_an_expired_plan_is_not_applied_and_says_so(api: Any) -> None:
    made = post_plan(api, csv(2)).json()
    refused = api.post(f"/v1/plans/{made['plan_id']}/apply")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert "expired" in refused.json()["detail"]
