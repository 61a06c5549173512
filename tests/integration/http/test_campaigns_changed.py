"""A campaign is seen, changed and stopped over HTTP; what cannot be done is said with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bulksend.ledger import campaign_settings, campaign_timeline, counters
from bulksend.messaging.units import NEVER_MS
from bulksend.operations.access import Role
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.integration.http.test_campaigns_posted import OPTIONS, SENDER, rows

QUIET_HOURS = Path(__file__).resolve().parents[3] / "examples" / "quiet-hours.csv"
LATER = "2031-03-01T08:00:00.000+00:00"


def post(api: Any, count: int = 3, **options: Any) -> str:
    answer = api.post("/v1/campaigns", {**OPTIONS, "rows": rows(count), **options})
    assert answer.status_code == 202, answer.text
    assert answer.json()["upload"]["state"] == "done"
    return str(answer.json()["campaign_id"])


def sql(api: Any, statement: str, **values: object) -> None:
    with api.ledger.write() as tx:
        tx.execute(text(statement), values)


def due_times(api: Any, id: str) -> set[tuple[int, int | None]]:
    query = text("SELECT DISTINCT due_at, expires_at FROM messages WHERE campaign_id = :id")
    with api.ledger.read() as tx:
        return {(row.due_at, row.expires_at) for row in tx.execute(query, {"id": id})}


def test_campaigns_are_listed_in_pages_newest_first_and_by_filters(api: Any) -> None:
    ids = [post(api, name=f"c{n}", content={"body": f"{n} {{{{name}}}}"}) for n in range(3)]
    page = api.get("/v1/campaigns?limit=2").json()
    assert [each["campaign_id"] for each in page["items"]] == [ids[2], ids[1]]
    rest = api.get(f"/v1/campaigns?limit=2&after={page['next']}").json()
    assert [each["campaign_id"] for each in rest["items"]] == [ids[0]]
    assert rest["next"] is None
    assert [each["name"] for each in api.get("/v1/campaigns?name=c1").json()["items"]] == ["c1"]
    assert api.get("/v1/campaigns?status=paused").json()["items"] == []
    assert len(api.get(f"/v1/campaigns?kind=marketing&sender={SENDER}").json()["items"]) == 3
    for wrong in ("limit=1001", "status=odd", "kind=spam", "after=x", "sender=abc"):
        assert api.get(f"/v1/campaigns?{wrong}").status_code == 422, wrong


def test_show_over_http_is_what_the_command_prints(api: Any) -> None:
    from bulksend.operations import campaigns

    id = post(api)
    shown = campaigns.show(api.services.settings, api.ledger, id)
    assert api.get(f"/v1/campaigns/{id}").json() == shown
    assert api.get("/v1/campaigns/spring").json()["campaign_id"] == id
    assert api.get("/v1/campaigns/nothing").status_code == 404


def test_the_campaign_of_single_sends_has_no_due_time(api: Any) -> None:
    single = {name: OPTIONS[name] for name in ("sender", "kind", "type", "content")}
    sent = api.post("/v1/messages", {**single, "to": "447700900123", "variables": {"name": "Ada"}})
    id = api.get(f"/v1/messages/{sent.json()['id']}").json()["campaign_id"]
    assert api.get(f"/v1/campaigns/{id}").json()["due_at"] is None


def test_a_rate_and_a_name_change_while_it_runs_and_are_on_record(api: Any) -> None:
    id = post(api, rate=40)
    answer = api.request(
        "PATCH", f"/v1/campaigns/{id}", json={"rate": "10/s", "name": "autumn", "why": "slower"}
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["rate_limit"], answer.json()["name"], answer.json()["changed"]) == (
        10,
        "autumn",
        True,
    )
    act = api.get(f"/v1/campaigns/{id}").json()["acts"][-1]
    assert (act["act"], act["why"]) == ("set", "slower")
    assert act["before"] == {"rate": 40.0, "name": "spring"}
    assert act["after"] == {"rate": 10.0, "name": "autumn"}
    again = api.request("PATCH", f"/v1/campaigns/{id}", json={"rate": 10})
    assert again.json()["changed"] is False
    removed = api.request("PATCH", f"/v1/campaigns/{id}", json={"rate": "none"})
    assert removed.json()["rate_limit"] is None
    for wrong in ({"rate": 0}, {"rate": "fast"}, {"colour": 1}, {"name": ""}, {"send_at": "soon"}):
        assert api.request("PATCH", f"/v1/campaigns/{id}", json=wrong).status_code == 422, wrong


def test_a_new_due_time_moves_the_messages_and_their_end(api: Any) -> None:
    later = rows(1, first=50)[0] | {"send_at": "2032-01-01T00:00:00Z"}
    id = post(api, rows=[*rows(5), later], send_at=LATER, ttl_seconds=3600)
    before = due_times(api, id)
    moved = api.request("PATCH", f"/v1/campaigns/{id}", json={"send_at": "2030-03-01T08:00:00Z"})
    assert moved.status_code == 200, moved.text
    assert moved.json()["due_at"] == "2030-03-01T08:00:00.000+00:00"
    (due, _), (own, own_end) = sorted(before)
    after = due_times(api, id)
    assert after == {(1_898_582_400_000, 1_898_586_000_000), (own, own_end)}
    assert due not in {each for each, _ in after}


def test_a_new_due_time_without_an_offset_is_in_the_zone_of_the_campaign(api: Any) -> None:
    id = post(api, send_at="2031-03-01T09:00:00", timezone="Europe/Paris")
    moved = api.request("PATCH", f"/v1/campaigns/{id}", json={"send_at": "2030-03-01T09:00:00"})
    assert moved.json()["due_at"] == "2030-03-01T08:00:00.000+00:00", moved.text


def test_the_relay_moves_what_a_change_left_behind(api: Any) -> None:
    id = post(api, count=7, send_at=LATER)
    sql(api, "UPDATE campaigns SET moved_from = due_at, due_at = due_at + 1000 WHERE id = :id", id=id)
    moved = []
    for _ in range(3):
        with api.ledger.write() as tx:
            moved.append(campaign_settings.move_rest(tx, limit=5))
    assert moved == [5, 2, 0]
    assert len(due_times(api, id)) == 1


@pytest.mark.parametrize("more_settings", [{"BULKSEND_QUIET_HOURS": str(QUIET_HOURS)}], indirect=True)
def test_a_new_due_time_moves_what_quiet_hours_made_due_later_as_well(api: Any) -> None:
    """London's are from 21:00 to 08:00."""
    evening, morning = "2031-03-01T22:00:00Z", 1_930_204_800_000
    own = rows(1, first=50)[0] | {"send_at": "2031-03-01T23:00:00Z"}
    id = post(api, rows=[*rows(3), own], send_at=evening, ttl_seconds=3600)
    assert due_times(api, id) == {(morning, morning + 3_600_000)}
    (found,) = api.get(f"/v1/messages?phone={rows(1)[0]['to']}").json()["items"]
    why = api.get(f"/v1/messages/{found['id']}/why").json()
    assert (why["gate"], why["earliest"]) == ("quiet_hours", "2031-03-02T08:00:00.000+00:00")
    api.request("PATCH", f"/v1/campaigns/{id}", json={"send_at": "2031-03-01T12:00:00Z"})
    noon = morning - 20 * 3_600_000
    assert due_times(api, id) == {(noon, noon + 3_600_000), (morning, morning + 3_600_000)}

    later = post(api, rows=rows(3, first=60), name="later", send_at=evening)
    api.request("PATCH", f"/v1/campaigns/{later}", json={"send_at": "2031-03-05T12:00:00Z"})
    assert due_times(api, later) == {(morning + 76 * 3_600_000, None)}


def test_a_campaign_by_the_recipients_clocks_is_due_at_each_of_them_and_does_not_move(api: Any) -> None:
    abroad = rows(1, first=10)[0] | {"timezone": "America/New_York"}
    satellite = {"to": "881612345678", "name": "Neil"}
    options = {"send_at": "2031-03-01T00:00:00Z", "local_time": "9:00", "ttl_seconds": 60}
    id = post(api, rows=[*rows(2), abroad, satellite], **options)
    nine = 1_930_122_000_000
    assert due_times(api, id) == {
        (nine, nine + 60_000),
        (nine + 5 * 3_600_000, nine + 5 * 3_600_000 + 60_000),
    }
    shown = api.get(f"/v1/campaigns/{id}").json()
    assert shown["local_time"] == "09:00"
    (refused,) = shown["refused"]
    assert (refused["row"], refused["field"]) == (4, "timezone")
    moved = api.request("PATCH", f"/v1/campaigns/{id}", json={"send_at": "2031-04-01T00:00:00Z"})
    assert (moved.status_code, moved.json()["code"]) == (409, "wrong_state")
    wrong = api.post("/v1/campaigns", {**OPTIONS, "rows": rows(1), "local_time": "9am"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "local_time"
    # The key finds the campaign again, and only with the same local time.
    same = {**OPTIONS, "key": "k", "rows": rows(2, first=20), "send_at": "2031-03-01T00:00:00Z"}
    assert api.post("/v1/campaigns", {**same, "local_time": "09:00"}).status_code == 202
    assert api.post("/v1/campaigns", {**same, "local_time": "09:00"}).json()["repeated"]
    assert api.post("/v1/campaigns", {**same, "local_time": "10:00"}).status_code == 422


def test_an_unscheduled_campaign_waits_for_a_time_and_does_not_expire(api: Any) -> None:
    own_time = rows(1, first=50)[0] | {"send_at": "2032-01-01T00:00:00Z"}
    id = post(api, rows=[*rows(5), own_time], send_at=LATER, ttl_seconds=3600)
    before = due_times(api, id)
    answer = api.post(f"/v1/campaigns/{id}/unschedule", {"why": "not yet"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["changed"]) == ("paused", True)
    shown = api.get(f"/v1/campaigns/{id}").json()
    assert (shown["due_at"], shown["status"]) == (None, "paused")
    assert "campaigns set ID --at TIME" in shown["pause_why"]
    assert [act["act"] for act in shown["acts"]][-2:] == ["unschedule", "pause"]
    # A row with a time of its own keeps it; the others are due at no time, and their end is as far.
    (_, usual), own = sorted(before)[0], sorted(before)[1]
    assert usual is not None
    assert due_times(api, id) == {(NEVER_MS, NEVER_MS + 3_600_000), own}
    again = api.post(f"/v1/campaigns/{id}/unschedule")
    assert (again.json()["changed"], again.json()["why_not"]) == (False, "the campaign is not scheduled")
    resumed = api.post(f"/v1/campaigns/{id}/resume")
    assert (resumed.status_code, resumed.json()["code"]) == (409, "wrong_state")
    assert f"campaigns set {id} --at" in resumed.json()["detail"]

    moved = api.request("PATCH", f"/v1/campaigns/{id}", json={"send_at": LATER})
    assert (moved.status_code, moved.json()["status"]) == (200, "running"), moved.text
    assert due_times(api, id) == before


def test_a_campaign_that_has_begun_is_not_unscheduled(api: Any) -> None:
    answer = api.post(f"/v1/campaigns/{post(api)}/unschedule")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")


def test_weight_and_limit_of_failures_are_given_shown_and_changed(api: Any) -> None:
    id = post(api, weight=3, max_failed="20%", canary="1%")
    shown = api.get(f"/v1/campaigns/{id}").json()
    assert (shown["weight"], shown["max_failed"]) == (3, "20%")
    assert (shown["canary"], shown["canary_state"]) == ("1%", "pending")
    assert any(text.startswith("canary: ") for text in shown["stopped_by"])
    changed = api.request("PATCH", f"/v1/campaigns/{id}", json={"weight": 1, "max_failed": "none"})
    assert (changed.json()["weight"], changed.json()["max_failed"]) == (1, "none")
    act = api.get(f"/v1/campaigns/{id}").json()["acts"][-1]
    assert act["before"] == {"weight": 3, "max_failed": "20%"}, "as a person gives them"
    assert act["after"] == {"weight": 1, "max_failed": "none"}
    for wrong in ({"weight": 0}, {"weight": 101}, {"max_failed": "many"}):
        assert api.request("PATCH", f"/v1/campaigns/{id}", json=wrong).status_code == 422, wrong
    refused = api.post("/v1/campaigns", {**OPTIONS, "rows": rows(1), "canary": "7"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "canary")


@ON_ONE_DATABASE
def test_the_due_time_of_a_campaign_that_has_begun_does_not_change(api: Any) -> None:
    answer = api.request("PATCH", f"/v1/campaigns/{post(api)}", json={"send_at": LATER})
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert "has begun" in answer.json()["detail"]


def test_pause_resume_and_cancel_say_what_they_changed_and_what_not(api: Any) -> None:
    id = post(api)
    paused = api.post(f"/v1/campaigns/{id}/pause", {"why": "wrong price"}).json()
    assert (paused["status"], paused["changed"], paused["in_flight"]) == ("paused", True, 0)
    assert paused["effective_at"] > "2026"
    again = api.post(f"/v1/campaigns/{id}/pause").json()
    assert (again["changed"], again["why_not"]) == (False, "the campaign is paused")
    assert api.post(f"/v1/campaigns/{id}/resume").json()["status"] == "running"
    key = {"Idempotency-Key": "stop-1"}
    cancelled = api.post(f"/v1/campaigns/{id}/cancel", headers=key)
    assert (cancelled.json()["status"], cancelled.json()["changed"]) == ("cancelled", 3)
    replayed = api.post(f"/v1/campaigns/{id}/cancel", headers=key)
    assert replayed.json() == cancelled.json()
    assert replayed.headers["Idempotent-Replayed"] == "true"
    retried = api.post(f"/v1/campaigns/{id}/retry")
    assert retried.status_code == 409
    assert "its messages are not sent any more" in retried.json()["detail"]


def test_a_retry_is_previewed_before_it_is_done(api: Any) -> None:
    id = post(api, count=6)
    for status, count in (("failed", 3), ("unknown", 1), ("accepted", 1)):
        some = (
            "(SELECT id FROM messages WHERE campaign_id = :id AND status = 'queued' ORDER BY id LIMIT :count)"
        )
        sql(
            api,
            f"UPDATE messages SET status = :status, ended_at = 1 WHERE id IN {some}",  # noqa: S608
            id=id,
            status=status,
            count=count,
        )
    preview = api.post(f"/v1/campaigns/{id}/retry", {"dry_run": True}).json()
    assert (preview["send"], preview["suppressed"], preview["skip"], preview["leave"]) == (3, 0, 1, 1)
    assert api.post(f"/v1/campaigns/{id}/retry").json()["changed"] == 3
    with api.ledger.read() as tx:
        statuses = counters.of(tx, [id])[id].statuses
    assert statuses == {"accepted": 1, "queued": 4, "unknown": 1}


def test_a_campaign_is_broken_down_and_reported(api: Any) -> None:
    id = post(api, count=4)
    sql(api, "UPDATE messages SET status = 'read', read_at = 1 WHERE campaign_id = :id AND row = 1", id=id)
    failed = "UPDATE messages SET status = 'failed', error = :error, ended_at = 1 WHERE campaign_id = :id AND row = 2"
    sql(api, failed, id=id, error="of 447700900123")
    for role, error in ((Role.VIEWER, "of 4477*****123"), (Role.SENDER, "of 447700900123")):
        found = api.get(f"/v1/campaigns/{id}/breakdown", role).json()
        assert (found["funnel"]["messages"], found["funnel"]["read"], found["funnel"]["failed"]) == (4, 1, 1)
        assert [each["error"] for each in found["failures"]] == [error]
    page = api.get(f"/v1/campaigns/{id}/report", Role.VIEWER)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "447700900123" not in page.text
    assert api.get("/v1/campaigns/none/report").status_code == 404


def test_refused_rows_come_in_pages(api: Any) -> None:
    bad = [{"to": str(n), "name": "x"} for n in range(5)]
    id = post(api, rows=[*rows(1), *bad])
    page = api.get(f"/v1/campaigns/{id}/refusals?limit=3").json()
    assert [each["row"] for each in page["items"]] == [2, 3, 4]
    rest = api.get(f"/v1/campaigns/{id}/refusals?limit=3&after={page['next']}").json()
    assert ([each["row"] for each in rest["items"]], rest["next"]) == ([5, 6], None)
    assert api.get(f"/v1/campaigns/{id}/refusals?after=x").status_code == 422


def test_failures_have_a_sentence_and_what_follows(api: Any) -> None:
    id = post(api)
    failed = "UPDATE messages SET status = 'failed', error = :error WHERE campaign_id = :id"
    sql(api, failed, id=id, error="cannot be delivered (#131026)")
    (found,) = api.get(f"/v1/campaigns/{id}/failures").json()["items"]
    assert (found["count"], found["code"], found["status"]) == (3, "#131026", "failed")
    assert found["sentence"]
    assert found["remedy"].startswith("failed")


def test_the_timeline_has_the_counts_of_each_minute_and_their_change(api: Any) -> None:
    id = post(api, count=4)
    with api.ledger.write() as tx:
        assert campaign_timeline.keep(tx) == 1
        assert campaign_timeline.keep(tx) == 0
    sql(api, "UPDATE campaign_minutes SET minute = minute - 120000")
    sql(api, "UPDATE messages SET status = 'accepted' WHERE campaign_id = :id AND row = 1", id=id)
    with api.ledger.write() as tx:
        assert campaign_timeline.keep(tx) == 1
    path = f"/v1/campaigns/{id}/timeline"
    first, second = api.get(path).json()["items"]
    assert first["statuses"] == first["changes"] == {"queued": 4}
    assert second["statuses"] == {"accepted": 1, "queued": 3}
    assert second["changes"] == {"accepted": 1, "queued": -1}
    page = api.get(f"{path}?limit=1").json()
    assert api.get(f"{path}?limit=1&after={page['next']}").json()["items"] == [second]


@ON_ONE_DATABASE
def test_a_sender_may_not_act_and_an_operator_of_other_kinds_neither(api: Any) -> None:
    from bulksend.messaging import Kind
    from bulksend.operations import api_keys

    id = post(api)
    with api.ledger.write() as tx:
        key = api_keys.add(tx, name="codes", role=Role.OPERATOR, kinds=[Kind.OTP], actor="test").key
    for act in ("pause", "resume", "cancel", "retry"):
        assert api.post(f"/v1/campaigns/{id}/{act}", role=Role.SENDER).status_code == 403, act
        denied = api.post(f"/v1/campaigns/{id}/{act}", headers={"Authorization": f"Bearer {key}"})
        assert (denied.status_code, denied.json()["code"]) == (403, "access_denied"), act
