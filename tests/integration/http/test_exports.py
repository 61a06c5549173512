"""Exports over HTTP: requested, written in the background, fetched."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from openpyxl import load_workbook

from bulksend.ledger import operator_log
from bulksend.ledger.receipts import Receipt
from bulksend.messaging import RefusedRow
from bulksend.messaging.outcome import Refused
from bulksend.messaging.states import Kind, Status
from bulksend.operations.access import Role
from tests.acceptance.many_commands import Shell
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.integration.ledger.conftest import Desk

NUMBER = "447700900001"


@pytest.fixture
def desk(api: Any) -> Desk:
    return Desk(api.ledger)


def ended(api: Any, made: Any, role: Role = Role.ADMIN) -> dict[str, Any]:
    """The export once it ended."""
    assert made.status_code == 202, made.text
    deadline = time.monotonic() + 60
    while True:
        shown = api.get(f"/v1/exports/{made.json()['id']}", role).json()
        if shown["status"] in ("done", "failed"):
            return dict(shown)
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)


def test_a_campaign_is_exported_masked_unless_asked_otherwise(api: Any, desk: Desk) -> None:
    ids = desk.queued(n=3)
    made = api.post("/v1/exports", {"campaign": "spring"})
    assert made.json()["status"] == "queued"
    shown = ended(api, made)
    assert shown["progress"] == {"rows": 3, "of": 3}
    answer = api.get(shown["url"])
    assert answer.headers["ETag"] == f'"{shown["sha256"]}"'
    assert hashlib.sha256(answer.content).hexdigest() == shown["sha256"]
    assert answer.headers["Content-Disposition"] == f'attachment; filename="export-{shown["id"]}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["id"] for row in rows] == sorted(ids)
    assert NUMBER not in answer.text

    full = ended(api, api.post("/v1/exports", {"campaign": "spring", "masked": False, "format": "jsonl"}))
    assert NUMBER in api.get(full["url"]).text
    campaign = str(desk.row(ids[0])["campaign_id"])
    acts = [(act.act, act.why) for act in desk.read(operator_log.of, "campaign", campaign)]
    assert acts[-2:] == [("export", "csv, numbers masked"), ("export", "jsonl, numbers in full")]


@ON_ONE_DATABASE
def test_workbooks_and_parquet_files_can_be_read_back(api: Any, desk: Desk, tmp_path: Path) -> None:
    desk.queued(n=2)
    for format in ("xlsx", "parquet"):
        asked = {"campaign": "spring", "masked": False, "format": format}
        shown = ended(api, api.post("/v1/exports", asked))
        (tmp_path / f"out.{format}").write_bytes(api.get(shown["url"]).content)
    header, first, second = load_workbook(tmp_path / "out.xlsx").active.iter_rows(values_only=True)
    rows = [dict(zip(header, row, strict=True)) for row in (first, second)]
    assert rows[0]["to"] == NUMBER
    assert rows[0]["row"] == 1
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert table[0]["to"] == NUMBER
    assert table[0]["queued_at"].isoformat(timespec="milliseconds") == rows[0]["queued_at"]
    assert [row["name"] for row in table] == [row["name"] for row in rows] == ["Ada", "Ada"]


@ON_ONE_DATABASE
@pytest.mark.parametrize("format", ["csv", "jsonl", "xlsx", "parquet"])
def test_the_command_line_and_the_api_write_the_same_bytes(
    api: Any, desk: Desk, tmp_path: Path, shell: Shell, format: str
) -> None:
    campaign = desk.campaign()
    formulas = enumerate(["=HYPERLINK(1)", "+1", "-1", "@x", "plain", "Zoë"], 1)
    desk.take(campaign, *(desk.new_message(n, body={"v": {"name": name}}) for n, name in formulas))
    environ = os.environ | {
        "DATABASE_URL": api.services.settings.database_url_text(),
        "BULKSEND_ENCRYPTION_KEY": api.services.settings.encryption_key_text(),
    }
    for masked, options in ((True, []), (False, ["--full"])):
        asked = {"campaign": campaign.id, "masked": masked, "format": format}
        over_http = api.get(ended(api, api.post("/v1/exports", asked))["url"]).content
        file = tmp_path / f"out.{format}"
        done = shell.run(["export", campaign.id, "-o", str(file), *options], environ, tmp_path)
        assert done.returncode == 0, done.stderr
        assert file.read_bytes() == over_http
        # The other formats are packed.
        if masked or format in ("csv", "jsonl"):
            assert (NUMBER.encode() in over_http) is not masked
    acts = [(act.act, act.why) for act in desk.read(operator_log.of, "campaign", campaign.id)]
    in_full = [("export", f"{format}, numbers in full")] * 2
    assert acts[-4:] == [("export", f"{format}, numbers masked")] * 2 + in_full


def test_an_audience_is_a_file_of_the_people_with_the_columns_of_the_content(api: Any, desk: Desk) -> None:
    campaign = desk.campaign()
    names = ["Ann", "=Bob", "Cy", "Di"]
    planned = [desk.new_message(n, body={"v": {"name": name}}) for n, name in enumerate(names, 1)]
    ids = desk.take(campaign, *planned).ready
    lease = desk.lease()
    _, delivered = desk.accepted(ids[:2], lease)
    desk.receive(Receipt(delivered, "delivered", 5))
    failing, waits = ids[2:]
    (opening,) = desk.sent(lease, [failing])
    evidence = Refused("131049", "not delivered to keep the ecosystem healthy")
    desk.settle(opening, evidence, status=Status.FAILED)
    desk.sql("UPDATE attempts SET whatsapp_code = 131049 WHERE message_pk = :id", id=failing)
    assert desk.status(waits) == "queued"

    def people(audience: str) -> list[dict[str, str]]:
        asked = {"campaign": campaign.id, "audience": audience, "format": "jsonl", "masked": False}
        text = api.get(ended(api, api.post("/v1/exports", asked))["url"]).text
        return [json.loads(line) for line in text.splitlines()]

    rows = [{"to": NUMBER[:-1] + str(n), "name": name} for n, name in enumerate(names, 1)]
    assert people("all") == rows
    assert people("undelivered") == [rows[0], rows[2]]
    assert people("unread") == [rows[1]]
    assert people("unsent") == people("code=131049") == [rows[2]]
    assert people("code=131026") == []


def test_messages_of_any_campaign_are_exported_by_filters(api: Any, desk: Desk) -> None:
    desk.queued(n=2)
    (code,) = desk.queued(Kind.OTP, name="codes")
    shown = ended(api, api.post("/v1/exports", {"status": "queued", "format": "jsonl"}))
    assert len(api.get(shown["url"]).text.splitlines()) == 3
    narrow = {"campaign": "codes", "status": "queued", "format": "jsonl"}
    shown = ended(api, api.post("/v1/exports", narrow))
    assert code in api.get(shown["url"]).text
    assert shown["progress"]["rows"] == 1


def test_refused_rows_are_exported(api: Any, desk: Desk) -> None:
    desk.take(desk.campaign(), refused=[RefusedRow(2, "to", "44***", "is too short")])
    shown = ended(
        api, api.post("/v1/exports", {"campaign": "spring", "refused": True}, role=Role.VIEWER), Role.VIEWER
    )
    assert api.get(shown["url"], Role.VIEWER).text.splitlines()[1] == "2,to,44***,is too short"


@ON_ONE_DATABASE
def test_a_download_goes_on_where_it_stopped_and_a_wish_that_is_no_range_is_ignored(
    api: Any, desk: Desk
) -> None:
    desk.queued()
    url = ended(api, api.post("/v1/exports", {"campaign": "spring"}))["url"]
    whole = api.get(url).content

    def part(of: str, **more: str) -> Any:
        return api.get(url, headers={"Range": of, **more})

    for of, content in (("bytes=7-", whole[7:]), ("bytes=0-0", whole[:1]), ("bytes=-5", whole[-5:])):
        assert (part(of).status_code, part(of).content) == (206, content), of
    for of in ("bytes=5-1", "bytes=x", "lines=1-2", "bytes=1-2,9-", "bytes=-0", "5"):
        assert (part(of).status_code, part(of).content) == (200, whole), of
    refused = part(f"bytes={len(whole)}-")
    assert (refused.status_code, refused.json()["code"]) == (416, "requested_range_not_satisfiable")
    assert refused.headers["Content-Range"] == f"bytes */{len(whole)}"
    assert part(f"bytes={len(whole)}-", **{"If-Range": '"other"'}).content == whole
    same = part(f"bytes={len(whole)}-", **{"If-Range": part("5").headers["ETag"]})
    assert same.status_code == 416


@ON_ONE_DATABASE
def test_only_its_requester_and_admins_may_fetch_an_export(api: Any, desk: Desk) -> None:
    desk.queued()
    made = api.post("/v1/exports", {"campaign": "spring"}, role=Role.VIEWER)
    shown = ended(api, made, Role.VIEWER)
    assert api.get(shown["url"], Role.VIEWER).status_code == 200
    assert api.get(shown["url"], Role.ADMIN).status_code == 200
    for path in (shown["url"], f"/v1/exports/{shown['id']}"):
        assert api.get(path, Role.OPERATOR).status_code == 403


def test_exports_are_listed_newest_first_for_their_requester_and_for_admins(api: Any, desk: Desk) -> None:
    desk.queued()
    roles = (Role.VIEWER, Role.ADMIN, Role.VIEWER)
    ids = [ended(api, api.post("/v1/exports", {"campaign": "spring"}, role), role)["id"] for role in roles]

    def listed(role: Role, limit: int) -> list[str]:
        found, after = [], ""
        while after is not None:
            page = api.get(f"/v1/exports?limit={limit}{after}", role).json()
            found += [item["id"] for item in page["items"]]
            after = page["next"] and f"&after={page['next']}"
        return found

    assert listed(Role.ADMIN, 1) == listed(Role.ADMIN, 100) == ids[::-1]
    assert listed(Role.VIEWER, 1) == [ids[2], ids[0]]
    assert listed(Role.OPERATOR, 1) == []
    assert api.get("/v1/exports?after=none").status_code == 422
    desk.sql(f"UPDATE jobs SET expires_at = 1 WHERE id = '{ids[1]}'")  # noqa: S608 - an id of ours
    assert listed(Role.ADMIN, 2) == [ids[2], ids[0]]


@ON_ONE_DATABASE
def test_a_viewer_gets_no_numbers_in_full(api: Any, desk: Desk) -> None:
    desk.queued()
    asked = {"campaign": "spring", "masked": False}
    assert api.post("/v1/exports", asked, role=Role.VIEWER).status_code == 403


@ON_ONE_DATABASE
@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"campaign": "none"}, 404, "none"),
        ({"campaign": "spring", "format": "pdf"}, 422, "format"),
        ({"refused": True}, 422, "refused"),
        (
            {"campaign": "spring", "audience": "nobody", "format": "jsonl", "masked": False},
            422,
            "undelivered",
        ),
        ({"campaign": "spring", "audience": "all", "masked": False}, 422, "jsonl or xlsx"),
        ({"campaign": "spring", "audience": "all", "format": "jsonl"}, 422, "masked"),
        ({"status": "gone"}, 422, "status"),
        ({"since": "yesterday"}, 422, "since"),
        ({"campain": "spring"}, 422, "campain"),
    ],
)
def test_an_export_that_cannot_be_written_is_refused_at_once(
    api: Any, asked: dict[str, Any], status: int, says: str
) -> None:
    answer = api.post("/v1/exports", asked)
    assert answer.status_code == status
    assert says in answer.text


@ON_ONE_DATABASE
def test_a_file_is_gone_when_its_time_is_over(api: Any, desk: Desk) -> None:
    desk.queued()
    shown = ended(api, api.post("/v1/exports", {"campaign": "spring"}))
    (file,) = Path(api.services.settings.export_dir).iterdir()
    (file.parent / f"{shown['id']}.0190.csv.part").write_text("of a run that died")
    api.services.exports.tidy()
    assert list(file.parent.iterdir()) == [file]
    desk.sql("UPDATE jobs SET expires_at = 1")
    assert api.get(shown["url"]).status_code == 404
    api.services.exports.tidy()
    assert list(file.parent.iterdir()) == []
    assert api.get(f"/v1/exports/{shown['id']}").status_code == 404
