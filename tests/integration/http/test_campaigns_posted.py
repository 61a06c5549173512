"""Campaigns over HTTP: rows or a file become messages once, and what is wrong is said before anything changes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bulksend import failpoints
from bulksend.ledger import campaigns, uploads
from bulksend.ledger.ids import new_id
from bulksend.messaging import Kind
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from producer.files import plan_file
from producer.uploads import UploadIntake
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.waiting import until

SENDER = "8615000579987"
OPTIONS: dict[str, Any] = {
    "name": "spring",
    "sender": SENDER,
    "kind": "marketing",
    "type": "text",
    "content": {"body": "Hello {{name}}"},
}


def rows(count: int, first: int = 0) -> list[dict[str, str]]:
    return [{"to": f"44770090{n:04d}", "name": f"N{n}"} for n in range(first, first + count)]


def csv(count: int, first: int = 0) -> bytes:
    return ("to,name\n" + "".join(f"{row['to']},{row['name']}\n" for row in rows(count, first))).encode()


def post_file(api: Any, data: bytes, file_name: str = "people.csv", **options: Any) -> Any:
    headers = options.pop("headers", {})
    campaign = json.dumps({**OPTIONS, **options})
    return api.request(
        "POST",
        "/v1/campaigns",
        data={"campaign": campaign},
        files={"file": (file_name, data)},
        headers=headers,
    )


def test_rows_as_json_become_messages_and_the_bad_ones_are_listed(api: Any) -> None:
    answer = api.post("/v1/campaigns", {**OPTIONS, "rows": [*rows(3), {"to": "12", "name": "x"}, *rows(1)]})
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert (said["status"], said["rows"], said["messages"], said["duplicates"]) == ("running", 5, 3, 1)
    assert said["refused_count"] == 1
    assert said["refused"][0]["row"] == 4
    assert answer.headers["Location"] == f"/v1/campaigns/{said['campaign_id']}"
    shown = api.get(answer.headers["Location"]).json()
    assert shown["total"] == 3
    assert shown["upload"]["state"] == "done"


def test_a_campaign_leaves_people_out_and_says_by_which_rule(api: Any) -> None:
    """Also where it was posted before, and in a dry run."""
    consent = {"consent_source": "form", "consent_at": "2026-01-01T00:00:00Z"}
    first = api.post("/v1/campaigns", {**OPTIONS, "rows": [row | consent for row in rows(3)]}).json()
    second = {
        **OPTIONS,
        "name": "summer",
        "content": {"body": "Hi {{name}}"},
        "cap": "1/7d",
        "exclude": ["spring:unsent"],
        "require_consent": True,
        "rows": rows(5),
    }
    forecast = api.post("/v1/campaigns", {**second, "dry_run": True}).json()
    posted = [api.post("/v1/campaigns", second).json() for _ in range(2)]
    for said in (forecast, *posted):
        assert (said["messages"], said["suppressed"], said["suppressed_by"]) == (3, 3, {"cap": 3}), said
        assert [(row["row"], row["field"]) for row in said["refused"]] == [
            (4, "consent_at"),
            (5, "consent_at"),
        ]
    shown = api.get(f"/v1/campaigns/{posted[0]['campaign_id']}").json()
    assert shown["exclusions"] == {
        "cap": "1/7d",
        "exclude": [f"{first['campaign_id']}:unsent"],
        "only": [],
        "require_consent": True,
    }
    other = api.post("/v1/campaigns", {**second, "cap": "2/7d"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused"), other.text
    unknown = api.post("/v1/campaigns", {**second, "only": ["autumn"]})
    assert (unknown.status_code, "autumn" in unknown.text) == (404, True)
    kept = api.get("/v1/consents", Role.VIEWER, params={"limit": 2}).json()
    assert [item["to"] for item in kept["items"]] == ["4477*****000", "4477*****001"]
    rest = api.get("/v1/consents", params={"after": kept["next"]}).json()
    assert [(item["to"], item["consent_source"]) for item in rest["items"]] == [("447700900002", "form")]
    assert api.get("/v1/consents", params={"phone": "+44 7700 900002"}).json()["items"] == rest["items"]


def test_a_file_is_taken_in_and_then_deleted(api: Any) -> None:
    answer = post_file(api, csv(50))
    assert answer.status_code == 202, answer.text
    assert answer.json()["messages"] == 50
    assert list(api.services.uploads.store.folder.iterdir()) == []


def test_a_clone_has_the_options_of_its_campaign_and_rows_of_its_own(api: Any) -> None:
    options = {**OPTIONS, "rate": "5/s", "ttl_seconds": 60.0}
    first = api.post("/v1/campaigns", {**options, "rows": rows(1)}).json()["campaign_id"]
    path = f"/v1/campaigns/{first}/clone"
    answer = api.post(path, {"name": "more", "rate": "6/s", "rows": rows(2, first=5)})
    assert answer.status_code == 202, answer.text
    assert answer.json()["messages"] == 2
    with api.ledger.read() as tx:
        old, clone = campaigns.get(tx, first), campaigns.get(tx, answer.json()["campaign_id"])
    assert (clone.name, clone.rate, clone.ttl_ms, clone.content) == ("more", 6.0, 60_000, old.content)
    by_file = api.request("POST", path, data={"campaign": "{}"}, files={"file": ("p.csv", csv(3, first=9))})
    assert by_file.json()["messages"] == 3
    refused = api.post(path, {"name": "more", "content": {"body": "x"}, "rows": rows(1)})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "content")
    assert api.post("/v1/campaigns/none/clone", {"name": "more", "rows": rows(1)}).status_code == 404
    assert folder(api) == []


def folder(api: Any) -> list[str]:
    """What is left in the upload folder."""
    root = api.services.uploads.store.folder
    return sorted(path.name for path in root.glob("*")) if root.exists() else []


def count(api: Any, table: str) -> int:
    with api.ledger.read() as tx:
        return int(tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608


def wait_for(api: Any, id: str, state: str) -> Any:
    """The campaign once its upload is in that state."""

    def look() -> Any:
        shown = api.get(f"/v1/campaigns/{id}").json()
        return shown if shown["upload"]["state"] == state else None

    return until(look)


def test_a_repeated_request_finds_its_campaign_and_sends_nothing_twice(api: Any) -> None:
    key = {"Idempotency-Key": "spring-1"}
    first = post_file(api, csv(20), headers=key)
    again = post_file(api, csv(20), headers=key)
    assert again.status_code == 202
    assert again.json()["campaign_id"] == first.json()["campaign_id"]
    assert again.json()["repeated"] is True
    assert again.headers["Idempotent-Replayed"] == "true"
    assert count(api, "messages") == 20
    for other in (post_file(api, csv(21), headers=key), post_file(api, csv(20), headers=key, rate=7.0)):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert first.json()["campaign_id"] in other.json()["detail"]
    assert (count(api, "messages"), folder(api)) == (20, [])


@ON_ONE_DATABASE
def test_two_callers_may_use_the_same_idempotency_key(api: Any) -> None:
    key = {"Idempotency-Key": "1"}
    mine = post_file(api, csv(3), headers=key)
    theirs = api.request(
        "POST",
        "/v1/campaigns",
        Role.SENDER,
        data={"campaign": json.dumps({**OPTIONS, "content": {"body": "Other {{name}}"}})},
        files={"file": ("people.csv", csv(3))},
        headers=key,
    )
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["campaign_id"] != theirs.json()["campaign_id"]


def test_the_same_rows_without_a_key_are_found_by_their_content(api: Any) -> None:
    assert post_file(api, csv(5)).json()["repeated"] is False
    assert post_file(api, csv(5), name="spring").json()["repeated"] is True
    assert count(api, "messages") == 5


def test_people_who_have_the_message_are_a_conflict_with_its_remedy(api: Any) -> None:
    post_file(api, csv(5))
    again = post_file(api, csv(8), headers={"Idempotency-Key": "second"})
    assert (again.status_code, again.json()["code"]) == (409, "same_people")
    assert '"again": true' in again.json()["detail"]
    assert (count(api, "campaigns"), count(api, "messages"), folder(api)) == (1, 5, [])
    meant = post_file(api, csv(8), again=True)
    assert meant.status_code == 422
    assert "Idempotency-Key" in meant.json()["detail"]
    for _ in range(2):
        meant = post_file(api, csv(8), again=True, headers={"Idempotency-Key": "third"})
        assert meant.status_code == 202, meant.text
    assert count(api, "messages") == 13


def test_more_rows_go_into_a_campaign_that_does_not_have_them(api: Any) -> None:
    first = post_file(api, csv(5)).json()["campaign_id"]
    more = post_file(api, csv(8), into=first, name=None)
    assert more.status_code == 202, more.text
    assert more.json()["campaign_id"] == first
    assert more.json()["continued"] == {"rows": 8, "messages": 3, "already": 5}
    assert more.json()["messages"] == 8


@ON_ONE_DATABASE
def test_a_dry_run_counts_and_changes_nothing(api: Any) -> None:
    answer = post_file(api, csv(4) + b"12,x\n", dry_run=True)
    assert answer.status_code == 202
    said = answer.json()
    assert (said["dry_run"], said["rows"], said["messages"], said["refused_count"]) == (True, 5, 4, 1)
    assert (count(api, "campaigns"), count(api, "uploads"), folder(api)) == (0, 0, [])


@ON_ONE_DATABASE
def test_columns_are_mapped_as_on_the_command_line(api: Any) -> None:
    data = csv(3).replace(b"to,name", b"Mobile No.,First")
    refused = post_file(api, data)
    assert refused.status_code == 422
    assert post_file(api, data, map={"to": "Mobile No.", "name": "First"}).json()["messages"] == 3


WRONG: list[tuple[dict[str, Any], str, bytes, str]] = [
    ({"content": {"body": "Hi {{first_name}}"}}, "people.csv", csv(2), '"map": {"first_name": "…"}'),
    ({"content": {"body": ""}}, "people.csv", csv(2), "body: is empty"),
    ({"kind": "spam"}, "people.csv", csv(2), "kind"),
    ({"type": "poem"}, "people.csv", csv(2), "type"),
    ({"sender": "12"}, "people.csv", csv(2), "sender"),
    ({"rate": "fast"}, "people.csv", csv(2), "rate"),
    ({"send_at": "2001-01-01T00:00:00Z"}, "people.csv", csv(2), "send_at"),
    ({"timezone": "Mars"}, "people.csv", csv(2), "timezone"),
    ({"region": "XX"}, "people.csv", csv(2), "region"),
    ({"encoding": "no-such"}, "people.csv", csv(2), "encoding"),
    ({"sheet": "May"}, "people.csv", csv(2), "sheet"),
    ({"key": "k", "again": True}, "people.csv", csv(2), "key and again exclude each other"),
    ({"into": "nothing"}, "people.csv", csv(2), "nothing"),
    ({}, "people.pdf", csv(2), "does not tell the format"),
    ({}, "people.csv", b"name\nAnn\n", "to"),
    ({}, "people.csv", b"to,name\n", "no rows"),
    ({}, "people.csv", b"", "is empty"),
    ({}, "people.xlsx", b"PK\x03\x04 no workbook", "people.xlsx"),
    ({}, "people.jsonl", b"[1]\n", "people.jsonl"),
    ({"ttl_seconds": 0}, "people.csv", csv(2), "ttl_seconds"),
    ({"colour": 1}, "people.csv", csv(2), "colour"),
    ({"content": "text"}, "people.csv", csv(2), "content"),
]


@ON_ONE_DATABASE
def test_what_is_wrong_is_refused_before_anything_is_stored(api: Any) -> None:
    for options, name, data, says in WRONG:
        answer = post_file(api, data, name, **options)
        assert answer.status_code in (404, 422), answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert says in problem["detail"] + json.dumps(problem["errors"]), problem
        assert str(api.services.uploads.store.folder) not in answer.text
        assert folder(api) == [], says
    assert (count(api, "campaigns"), count(api, "uploads")) == (0, 0)


FIELDS = (
    "name",
    "sender",
    "kind",
    "type",
    "key",
    "send_at",
    "rate",
    "on_unknown",
    "timezone",
    "region",
    "encoding",
    "cap",
)
ODD = ("\0", "a\ud800", " ", "x" * 5_000)


def test_odd_text_in_any_field_is_no_error_of_the_server(api: Any) -> None:
    odd: list[dict[str, Any]] = [{field: value} for field in (*FIELDS, "sheet", "into") for value in ODD]
    odd += [{"map": {value: value}} for value in ODD]
    odd += [{field: [value]} for field in ("exclude", "only") for value in ODD]
    odd += [{"content": {value: value}} for value in ODD]
    odd += [{"ttl_seconds": value} for value in (-1, 1e300, 10**400, 1e-9, True, "5")]
    odd += [{"rate": value} for value in (-1, 1e300, 1e-300, True, 0)]
    for options in odd:
        # Half of a character is written as an escape.
        body = json.dumps({**OPTIONS, "rows": rows(1), "dry_run": True, **options}).encode()
        answer = api.request(
            "POST", "/v1/campaigns", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (202, 404, 422), (options, answer.text)
        assert folder(api) == []
    for value in ("%00", "%ED%A0%80", "x" * 3000):
        assert api.get(f"/v1/campaigns/{value}").status_code == 404
        assert api.get(f"/v1/campaigns?name={value}").json()["items"] == []


BODIES: list[tuple[dict[str, str], bytes, str]] = [
    ({"Content-Type": "application/json"}, b"{", "is not JSON"),
    ({"Content-Type": "application/json"}, b"[]", "must be a JSON object"),
    ({"Content-Type": "application/json"}, b'{"rows": []}', "rows"),
    ({"Content-Type": "application/json"}, b'{"rows": [NaN]}', "number that JSON does not have"),
    ({"Content-Type": "application/json"}, b"\xff", "UTF-8"),
    ({"Content-Type": "text/csv"}, b"to\n1\n", "must be application/json"),
    ({"Content-Type": "multipart/form-data"}, b"x", "no boundary"),
    ({"Content-Type": "multipart/form-data; boundary=b"}, b"nonsense", "is not multipart/form-data"),
    (
        {"Content-Type": "multipart/form-data; boundary=b"},
        b'--b\r\nContent-Disposition: form-data; name="campaign"\r\n\r\n{}\r\n--b--\r\n',
        "file: is missing",
    ),
    (
        {"Content-Type": "multipart/form-data; boundary=b"},
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nto\r\n',
        "ends in the middle",
    ),
    (
        {"Content-Type": "multipart/form-data; boundary=b"},
        b'--b\r\nContent-Disposition: form-data; name="extra"\r\n\r\n{}\r\n--b--\r\n',
        "extra: is not a part",
    ),
]


@ON_ONE_DATABASE
def test_a_body_of_another_form_is_refused_and_leaves_nothing(api: Any) -> None:
    for headers, body, says in BODIES:
        answer = api.request("POST", "/v1/campaigns", content=body, headers=headers)
        assert answer.status_code == (415 if "csv" in headers["Content-Type"] else 422), answer.text
        assert says in answer.json()["detail"], answer.text
        assert folder(api) == []


@ON_ONE_DATABASE
def test_a_key_sends_only_its_kinds_and_senders_and_a_viewer_nothing(api: Any) -> None:
    assert api.post("/v1/campaigns", {**OPTIONS, "rows": rows(1)}, Role.VIEWER).status_code == 403
    with api.ledger.write() as tx:
        codes = api_keys.add(tx, name="codes", role=Role.SENDER, kinds=[Kind.OTP], actor="test").key
    denied = api.post(
        "/v1/campaigns", {**OPTIONS, "rows": rows(1)}, headers={"Authorization": f"Bearer {codes}"}
    )
    assert (denied.status_code, denied.json()["code"]) == (403, "access_denied")
    assert (count(api, "uploads"), folder(api)) == (0, [])


@ON_ONE_DATABASE
def test_a_file_above_the_limit_is_refused_with_the_limits_name(api: Any) -> None:
    store = api.services.uploads.store
    store.max_bytes = 2_000
    for headers in ({}, {"Content-Length": str(50 << 20)}):
        answer = post_file(api, csv(200), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert "BULKSEND_UPLOAD_MAX_MB" in answer.json()["detail"]
    assert folder(api) == []


@ON_ONE_DATABASE
def test_a_full_disk_is_said_and_nothing_is_left_behind(api: Any) -> None:
    failpoints.arm("upload_written:nospace")
    try:
        answer = post_file(api, csv(200))
    finally:
        failpoints.arm(None)
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert "BULKSEND_UPLOAD_DIR" in answer.json()["detail"]
    assert (count(api, "uploads"), folder(api)) == (0, [])


@ON_ONE_DATABASE
def test_only_this_user_may_read_a_stored_file(api: Any) -> None:
    store = api.services.uploads.store
    incoming = store.begin("an-id", "../../etc/pass wd\0.csv")
    incoming.write(b"to\n447700900001\n")
    file = incoming.finish()
    assert file.path.parent.parent == store.folder
    assert file.path.name == "pass wd_.csv"
    modes = [path.stat().st_mode & 0o777 for path in (store.folder, file.path.parent, file.path)]
    assert modes == [0o700, 0o700, 0o600]
    assert file.sha256 == hashlib.sha256(b"to\n447700900001\n").hexdigest()


def test_an_intake_that_stopped_goes_on_where_it_was_and_nothing_is_twice(api: Any) -> None:
    """The first intake stores some chunks and stops, as at SIGTERM; the next one takes in the rest."""
    api.services.upload_intake.stop()
    small = replace(api.services.uploads, intake=replace(api.services.uploads.intake, chunk=50))
    answer = post_file(api, csv(900))
    id = answer.json()["campaign_id"]
    assert answer.json()["status"] == "intake"
    first = UploadIntake(small)
    failpoints.arm("after_chunk:sleep=0.2:3")
    try:
        first.start()
        until(lambda: rows_read(api, id) >= 100)
        first.stop()
    finally:
        failpoints.arm(None)
    stopped_at = rows_read(api, id)
    assert stopped_at < 900
    second = UploadIntake(small)
    second.start()
    shown = wait_for(api, id, "done")
    second.stop()
    assert (shown["rows"], shown["total"]) == (900, 900)
    assert count(api, "messages") == 900
    assert folder(api) == []


def test_a_file_found_wrong_only_later_is_refused_where_its_campaign_is_seen(api: Any) -> None:
    """Whether people have the message is known when all rows are read; a large file is answered before that."""
    post_file(api, csv(5))
    api.services.upload_intake.stop()
    answer = post_file(api, csv(8), headers={"Idempotency-Key": "later"})
    assert (answer.status_code, answer.json()["status"]) == (202, "intake")
    id = answer.json()["campaign_id"]
    assert api.get(answer.headers["Location"]).json()["status"] == "intake"
    intake = UploadIntake(api.services.uploads)
    intake.start()
    shown = wait_for(api, id, "refused")
    intake.stop()
    assert (shown["status"], shown["upload"]["error"]["code"]) == ("refused", "same_people")
    assert count(api, "campaigns") == 1


def test_a_file_that_cannot_be_read_any_more_ends_its_empty_campaign(api: Any) -> None:
    api.services.upload_intake.stop()
    id = post_file(api, csv(3)).json()["campaign_id"]
    api.services.uploads.store.path(id, "people.csv").write_bytes(b"name\nAnn\n")
    intake = UploadIntake(api.services.uploads)
    intake.start()
    shown = wait_for(api, id, "refused")
    intake.stop()
    until(lambda: api.get(f"/v1/campaigns/{id}").json()["status"] == "cancelled")
    assert shown["upload"]["error"]["code"] == "invalid_input"


@ON_ONE_DATABASE
def test_a_file_over_http_is_refused_row_by_row_as_on_the_command_line(api: Any, tmp_path: Path) -> None:
    bad = [
        "0812 3456 789",
        "4.477E+11",
        "call me",
        "+44 7700 900009 x12",
        SENDER,
        "112",
        "1" * 16,
        "",
        "6.28e11",
    ]
    data = b"to,name\n" + "".join(f"{number},Ann\n" for number in [*bad, "447700900001"]).encode()
    (tmp_path / "people.csv").write_bytes(data)
    plan = plan_file(
        tmp_path / "people.csv",
        sender=SENDER,
        type="text",
        content=json.dumps({"body": "By command: {{name}}"}).encode(),
        kind="marketing",
        created_by="t",
    )
    by_command = [row._asdict() for row in plan.run(api.services.uploads.intake).refused]
    assert len(by_command) == len(bad)
    assert post_file(api, data).json()["refused"] == by_command


def test_a_file_that_another_process_has_is_left_alone_until_its_lease_lapses(api: Any) -> None:
    api.services.upload_intake.stop()
    id = post_file(api, csv(3)).json()["campaign_id"]
    with api.ledger.write() as tx:
        assert uploads.claim(tx, id, new_id(), 60_000)
        assert uploads.waiting(tx) == []
        assert not uploads.claim(tx, id, new_id(), 60_000)
        tx.execute(text("UPDATE uploads SET lease_until = 1"))
        assert [each.id for each in uploads.waiting(tx)] == [id]


def rows_read(api: Any, id: str) -> int:
    with api.ledger.read() as tx:
        return campaigns.get(tx, id).rows_read
