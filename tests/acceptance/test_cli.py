"""The command line as other programs rely on it: JSON on stdout and nothing else, exit codes, clear sentences."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import insert

from bulksend.ledger import installation
from bulksend.ledger import stats as stats_room
from bulksend.ledger.database import Database
from bulksend.ledger.schema import templates
from bulksend.ledger.stats import MEASURES
from ops.stack import ROOT
from tests.acceptance.many_commands import Cli

SENDER = "8615000579987"


@pytest.fixture
def cli(cli: Cli, tmp_path: Path) -> Cli:
    """Runs ``bulksend …`` where there is a file to send."""
    (tmp_path / "people.csv").write_text(
        "to,name,send_at\n+44 7700 900001,Ann,\n00447700900002,=HYPERLINK(1),\n,Nobody,\n447700900001,Ann again,\n"
        "+44 7700 900003,Zoë,2099-01-01T09:00:00Z\n",
        encoding="utf-8",
    )
    (tmp_path / "content.json").write_text('{"body": "Hello {{name}}"}')
    return cli


SEND = (
    "send",
    "people.csv",
    "--sender",
    SENDER,
    "--type",
    "text",
    "--content",
    "content.json",
    "--kind",
    "marketing",
)


def one(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    value: dict[str, Any] = json.loads(line)
    return value


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(600)
def test_a_campaign_from_its_file_to_its_export(cli: Cli, tmp_path: Path) -> None:
    dry = one(cli(*SEND, "--dry-run", "--json"))
    assert (dry["rows"], dry["messages"], dry["duplicates"], len(dry["refused"])) == (5, 3, 1, 1)
    assert lines(cli("campaigns", "list", "--json")) == []

    sent = one(cli(*SEND, "--json"))
    assert sent.keys() >= {"campaign_id", "rows", "messages", "duplicates", "suppressed", "refused"}
    assert (sent["rows"], sent["messages"], sent["duplicates"], sent["suppressed"]) == (5, 3, 1, 0)
    (refused,) = sent["refused"]
    assert (refused["row"], refused["field"], refused["value"]) == (4, "to", "")
    assert "country code" in refused["why"]

    again = cli(*SEND)
    assert again.returncode == 0
    assert "nothing is sent twice" in again.stderr
    assert one(cli(*SEND, "--again", "--json"))["campaign_id"] != sent["campaign_id"]

    shown = one(cli("campaigns", "show", sent["campaign_id"], "--json"))
    assert (shown["name"], shown["kind"], shown["sender"], shown["total"]) == (
        "people",
        "marketing",
        SENDER,
        3,
    )
    assert shown["statuses"] == {"queued": 3}
    assert shown.keys() >= {"campaign_id", "status", "attempts", "rate", "eta_seconds"}

    found = lines(cli("messages", "find", "--phone", "+44 (0)7700 900001".replace("(0)", ""), "--json"))
    assert {row["to"] for row in found} == {"447700900001"}
    assert found[0].keys() >= {
        *("id", "campaign_id", "to", "status", "attempts", "message_id"),
        *("request_id", "ret_code", "error", "queued_at", "sent_at"),
    }
    whole = one(cli("messages", "show", found[0]["id"], "--json"))
    assert (whole["attempts"], whole["receipts"], whole["acts"]) == ([], [], [])
    assert (whole["content"], whole["content_why"]) == ({"body": "Hello Ann"}, None)
    why = one(cli("messages", "why", found[0]["id"], "--json"))
    assert (why["gate"], why["status"]) == ("no_worker", "queued")

    paused = one(cli("campaigns", "pause", sent["campaign_id"], "--why", "wrong picture", "--json"))
    assert paused["status"] == "paused"
    listed = lines(
        cli("campaigns", "list", "--status", "paused", "--kind", "marketing", "--name", "people", "--json")
    )
    assert [each["campaign_id"] for each in listed] == [sent["campaign_id"]]
    assert lines(cli("campaigns", "list", "--sender", "447700900009", "--json")) == []
    odd = cli("campaigns", "list", "--status", "odd")
    assert (odd.returncode, odd.stderr.startswith("bulksend: --status: ")) == (2, True), odd.stderr
    hold = one(cli("holds", "add", "--campaign", sent["campaign_id"], "--why", "a court asks", "--json"))
    assert (hold["subject"], hold["name"]) == (sent["campaign_id"], "people")
    assert "on the campaign people" in cli("holds", "remove", hold["id"], "--why", "it ended").stderr
    why = one(
        cli(
            "messages",
            "why",
            lines(cli("messages", "find", "--campaign", sent["campaign_id"], "--json"))[0]["id"],
            "--json",
        )
    )
    assert why["gate"] == "campaign_paused"
    assert one(cli("campaigns", "cancel", sent["campaign_id"], "--json"))["changed"] == 3

    assert cli("export", sent["campaign_id"], "-o", "out.csv").returncode == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text("utf-8-sig"))))
    assert [row["to"] for row in rows] == ["4477*****001", "4477*****002", "4477*****003"]
    assert {row["status"] for row in rows} == {"cancelled"}
    assert cli("export", sent["campaign_id"], "-o", "out.jsonl").returncode == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3
    assert cli("export", sent["campaign_id"], "-o", "out.xlsx").returncode == 0
    header, *cells = openpyxl.load_workbook(tmp_path / "out.xlsx").worksheets[0].iter_rows(values_only=True)
    assert [dict(zip(header, row, strict=True))["to"] for row in cells] == [row["to"] for row in rows]
    assert cli("export", sent["campaign_id"], "-o", "out.pdf").returncode == 2
    audit = one(cli("audit", "--json"))
    assert audit["holds"] is True


@pytest.mark.timeout(600)
def test_after_a_campaign_come_its_report_a_retry_an_audience_and_a_clone(cli: Cli, tmp_path: Path) -> None:
    id = one(cli(*SEND, "--json"))["campaign_id"]
    with closing(sqlite3.connect(tmp_path / "bulksend.db")) as ledger, ledger:
        ledger.execute(
            "UPDATE messages SET status = 'failed', ended_at = 1, error = '131049' WHERE recipient = '447700900001'"
        )

    asked = cli("campaigns", "retry", id, columns=100, typed="n\n").stdout
    assert "1 failed message would be sent again" in asked
    assert "Nothing was changed" in asked
    assert one(cli("campaigns", "show", id, "--json"))["statuses"] == {"failed": 1, "queued": 2}

    assert one(cli("campaigns", "breakdown", id, "--json"))["funnel"]["failed"] == 1
    assert cli("campaigns", "report", id, "-o", "report.html").returncode == 0
    assert "Why messages failed" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert cli("campaigns", "report", id, "-o", "report.pdf").returncode == 2

    assert cli("export", id, "--audience", "undelivered", "-o", "again.jsonl").returncode == 0
    reminder = [*SEND[:1], "again.jsonl", *SEND[2:], "--name", "reminder", "--json"]
    assert one(cli(*reminder))["messages"] == 1

    assert "1 failed message queued again" in cli("campaigns", "retry", id, columns=100, typed="y\n").stdout
    (tmp_path / "more.csv").write_text("to,name\n447700900009,Zoe\n")
    assert one(cli("campaigns", "clone", id, "more.csv", "--json"))["messages"] == 1
    assert cli("campaigns", "clone", id, "--rest").returncode == 2
    asked = " ".join(cli("campaigns", "cancel", id, columns=100, typed="n\n").stdout.split())
    assert "would not be sent, and this cannot be undone" in asked
    assert "Nothing was changed" in asked
    assert one(cli("campaigns", "show", id, "--json"))["status"] != "cancelled"
    assert cli("campaigns", "cancel", id).returncode == 0
    # Ann is sent the reminder, which has the same content.
    assert one(cli("campaigns", "clone", id, "--rest", "--json"))["messages"] == 2
    assert one(cli("audit", "--json"))["holds"] is True


@pytest.mark.timeout(600)
def test_people_and_senders(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "stops.csv").write_text("phone\n+44 7700 900002\nnobody\n")
    done = cli("suppressions", "import", "stops.csv", "--reason", "old list", "--json")
    assert done.returncode == 1
    imported = json.loads(done.stdout)
    assert (imported["added"], len(imported["refused"])) == (1, 1)
    assert cli("suppressions", "add", "+447700900001", "--reason", "STOP").returncode == 0
    assert [s["subject"] for s in lines(cli("suppressions", "list", "--json"))] == [
        "447700900001",
        "447700900002",
    ]
    assert one(cli(*SEND, "--json"))["suppressed"] == 2
    assert one(cli("suppressions", "remove", "447700900001", "--why", "START", "--json"))["removed"] == 1

    sender = one(
        cli("senders", "set", SENDER, "--rate", "40/s", "--quota", "2000", "--name", "shop", "--json")
    )
    assert (sender["phone"], sender["rate"], sender["quota"], sender["name"]) == (SENDER, 40.0, 2000, "shop")
    limits = one(cli("account", "show", "--json"))["limits"]
    assert (limits["quota"], limits["quota_source"]) == (2000, f"set at sender {SENDER}")
    assert one(cli("senders", "set", SENDER, "--quota", "none", "--json"))["quota"] is None
    assert one(cli("senders", "pause", SENDER, "--why", "spam", "--json"))["changed"] is True
    assert lines(cli("senders", "list", "--json"))[0]["pause_why"] == "spam"
    assert one(cli("senders", "resume", SENDER, "--why", "fine", "--json"))["changed"] is True
    assert one(cli("account", "pause", "--why", "no money", "--json"))["changed"] is True
    assert one(cli("account", "resume", "--why", "topped up", "--json"))["changed"] is True


@pytest.mark.timeout(600)
def test_events_statistics_templates_and_the_account_are_those_of_the_api(cli: Cli, tmp_path: Path) -> None:
    one(cli(*SEND, "--json", "--name", "spring"))
    cli("campaigns", "pause", "spring", "--why", "wrong text")
    found = lines(cli("events", "--json"))
    assert [(event["id"], event["type"]) for event in found] == [
        ("1", "campaign.started"),
        ("2", "campaign.paused"),
    ]
    assert found[0]["data"]["name"] == "spring"
    later = cli("events", "--json", "--after", "1", "--types", "campaign.paused", "--campaign", "spring")
    assert lines(later) == found[1:]
    assert "--after 2" in later.stderr
    first = cli("events", "--limit", "1")
    assert first.stdout.splitlines()[1].split("\t")[2:] == ["campaign.started", "spring", "3 messages"]
    assert "--after 1" in first.stderr

    shown = one(cli("account", "show", "--json"))
    assert (shown["status"], shown["vendor"]["simulated"]) == ("running", False)
    cli("account", "pause", "--why", "no money")
    assert "no money" in cli("account", "show").stdout
    hour = dict.fromkeys(MEASURES, 0) | {"accepted": 5, "answered": 4, "latency_ms": 1000}
    hour |= {"hour": 1_893_463_200_000, "kind": "otp", "sender": SENDER, "country": "GB", "code": ""}
    with closing(Database(f"sqlite:///{tmp_path}/bulksend.db")) as database, database.write() as tx:
        tx.execute(insert(templates).values(name="sale", language="en", status="APPROVED", changed_at=1))
        stats_room.add(tx, [hour])
        installation.put(tx, "stats_attempts", b"1893463200000")
    assert [(t["name"], t["status"]) for t in lines(cli("templates", "list", "--json"))] == [
        ("sale", "APPROVED")
    ]
    span = ("--since", "2030-01-01T02:30:00Z", "--until", "2030-01-01T02:40:00Z")
    stats = one(cli("stats", "--by", "kind", *span, "--json"))
    assert (stats["from"][11:16], stats["to"][11:16]) == ("02:00", "03:00")
    assert [(item["kind"], item["accepted"]) for item in stats["items"]] == [("otp", 5)]
    said = cli("stats", "--by", "kind", *span)
    assert said.stdout == "kind\taccepted\tlatency_ms\notp\t5\t250\n"
    # Under load attempts are counted later than messages: fewer attempts than accepted messages would look wrong.
    assert "Attempts are counted until 2030-01-01T02:00:00" in said.stderr


def test_a_key_of_a_program_is_printed_once_and_can_be_revoked(cli: Cli, tmp_path: Path) -> None:
    limits = ("--kinds", "otp,utility", "--senders", SENDER, "--expires", "2099-01-01T00:00:00Z")
    made = one(cli("keys", "add", "--name", "shop", "--role", "sender", *limits, "--json"))
    assert made["key"].startswith(f"bsk_{made['id']}_")
    (listed,) = lines(cli("keys", "list", "--json"))
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["role"], listed["kinds"], listed["senders"]) == ("sender", ["otp", "utility"], [SENDER])
    assert (listed["created_by"], listed["expires_at"]) == ("ann", "2099-01-01T00:00:00.000+00:00")
    assert made["key"].rpartition("_")[2] not in (tmp_path / "bulksend.db").read_bytes().decode("latin-1")

    plain = cli("keys", "add", "--name", "tool", "--role", "viewer")
    assert plain.stdout.strip().startswith("bsk_"), "stdout is the key alone, for a script"
    assert "shown only now" in plain.stderr

    assert one(cli("keys", "revoke", made["id"], "--why", "leaked", "--json"))["changed"] is True
    assert one(cli("keys", "revoke", made["id"], "--json"))["changed"] is False
    assert lines(cli("keys", "list", "--json"))[0]["revoked_at"] is not None
    assert cli("keys", "revoke", "nothing").returncode == 2


@pytest.mark.timeout(600)
def test_a_user_and_a_receipt_token_are_added_listed_and_taken_away(cli: Cli) -> None:
    user = one(cli("users", "add", "ann", "--role", "operator", "--json"))
    assert user["setup_token"].startswith("bss_")
    assert one(cli("users", "reset", "ann", "--why", "lost", "--json"))["setup_token"] != user["setup_token"]
    assert one(cli("users", "link", "ann", "--json"))["link_token"].startswith("bsl_")
    (listed,) = lines(cli("users", "list", "--json"))
    assert (listed["name"], listed["role"], listed["has_password"]) == ("ann", "operator", False)
    assert cli("users", "add", "ann", "--role", "viewer").returncode == 2
    assert one(cli("users", "disable", "ann", "--json"))["changed"] is True
    assert "already" in cli("users", "disable", "ann").stderr

    token = one(cli("tokens", "add", "--name", "console", "--ips", "203.0.113.0/24", "--json"))
    second = cli("tokens", "add", "--name", "console")
    assert second.stdout.startswith("/v1/receipts/bsr_"), "stdout is the path alone"
    assert one(cli("tokens", "revoke", token["id"], "--why", "replaced", "--json"))["changed"] is True
    old, new = lines(cli("tokens", "list", "--json"))
    assert (old["id"], old["ips"], old["revoked_at"] is not None) == (token["id"], ["203.0.113.0/24"], True)
    assert (new["ips"], new["revoked_at"]) == ([], None)
    assert cli("tokens", "revoke", "nothing").returncode == 2
    assert cli("users", "disable", "nothing").returncode == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("send", "nowhere.csv", *SEND[2:]), "nowhere.csv"),
        ((*SEND, "--rate", "fast"), "40/s"),
        ((*SEND, "--ttl", "soon"), "10m"),
        ((*SEND, "--at", "tomorrow"), "ISO 8601"),
        ((*SEND, "--kind", "spam"), "otp, utility, marketing"),
        ((*SEND, "--type", "poem"), "template"),
        ((*SEND, "--sender", "12"), "--sender"),
        ((*SEND, "--key", "k", "--again"), "exclude"),
        (("campaigns", "show", "nothing"), "campaigns list"),
        (("messages", "show", "12345"), "messages find"),
        (("messages", "find", "--status", "lost"), "queued"),
        (
            ("messages", "resolve", "00000000-0000-7000-8000-000000000000", "--as", "failed", "--why", "w"),
            "there is no",
        ),
        (("senders", "set", "+447700900009", "--rate", "1/s"), "not on record"),
        (("senders", "add", "+447700900009", "--quota", "many"), "whole number"),
    ],
)
def test_bad_usage_is_one_clear_sentence_and_changes_nothing(
    cli: Cli, words: tuple[str, ...], says: str
) -> None:
    done = cli(*words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_column_that_the_content_needs_and_the_file_lacks_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "content.json").write_text('{"body": "Hello {{surname}}"}')
    done = cli(*SEND)
    assert done.returncode == 2
    assert "surname" in done.stderr
    assert "name" in done.stderr


def test_the_same_key_for_something_else_is_a_conflict(cli: Cli, tmp_path: Path) -> None:
    assert cli(*SEND, "--key", "spring").returncode == 0
    (tmp_path / "content.json").write_text('{"body": "Goodbye {{name}}"}')
    done = cli(*SEND, "--key", "spring")
    assert done.returncode == 2
    assert "nothing was changed" in done.stderr


@pytest.mark.parametrize(
    ("environ", "words", "says"),
    [
        ({"DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, ("audit",), "127.0.0.1:1"),
        ({"REDIS_URL": "redis://:secret@127.0.0.1:1/0"}, ("worker",), "127.0.0.1:1"),
        ({}, ("relay",), "REDIS_URL"),
    ],
)
def test_a_server_that_is_not_there_is_named_without_its_password(
    cli: Cli, environ: dict[str, str], words: tuple[str, ...], says: str
) -> None:
    done = cli(*words, **environ)
    assert done.returncode == 3, done.stderr
    assert says in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_for_a_queue_that_does_not_exist_names_the_queues(cli: Cli, valkey_url: str) -> None:
    """It ended in a traceback of Celery."""
    credentials = {"USPEEDO_ACCESSKEY_ID": "key", "USPEEDO_ACCESSKEY_SECRET": "secret"}
    done = cli("worker", "-Q", "marketin", REDIS_URL=valkey_url, **credentials)
    assert done.returncode == 2, done.stderr
    assert "-Q: 'marketin' is not a queue; the queues are otp, utility, marketing" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_setting_is_told_the_nearest_right_one(cli: Cli) -> None:
    done = cli("settings", BULKSEND_LEASE="60")
    assert done.returncode == 2
    assert "BULKSEND_LEASE_SECONDS" in done.stderr


def test_secrets_are_never_shown(cli: Cli) -> None:
    done = cli("settings", "--json", USPEEDO_ACCESSKEY_SECRET="hush", DATABASE_URL="postgresql://u:hush@h/d")
    assert done.returncode == 0
    assert "hush" not in done.stdout + done.stderr
    assert {json.loads(line)["source"] for line in done.stdout.splitlines()} == {"default", "environment"}


def test_doctor_says_what_is_wrong_and_what_to_do(cli_without_ledger: Cli) -> None:
    done = cli_without_ledger("doctor", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    wrong = {f["about"]: f["remedy"] for f in report["findings"] if not f["well"]}
    assert "bulksend migrate" in wrong["ledger"]
    assert "REDIS_URL" in wrong["Redis"]
    assert wrong["credentials"]


#: What is for servers, for sending and for writing: a look-up answers without it.
NOT_FOR_A_LOOK_UP = {
    *("celery", "kombu", "redis", "opentelemetry.sdk", "httpx", "fastapi", "starlette", "uvicorn", "jinja2"),
    *("alembic", "prometheus_client", "openpyxl", "xlsxwriter"),
}
LOOK_UPS = (
    ("messages", "find", "--phone", "+44 7700 900001"),
    ("messages", "show", "MESSAGE"),
    ("campaigns", "list"),
    ("campaigns", "show", "CAMPAIGN"),
    ("campaigns", "breakdown", "CAMPAIGN"),
    ("stats",),
    ("events",),
    ("senders", "list"),
    ("suppressions", "list"),
)


def test_a_look_up_loads_nothing_of_a_server(cli: Cli, tmp_path: Path) -> None:
    """Many of these take 50 ms or more to load; `python -m bench.startup` measures the whole."""
    campaign = one(cli(*SEND, "--json"))["campaign_id"]
    message = json.loads(cli("messages", "find", "--json").stdout.splitlines()[0])["id"]
    named = {"CAMPAIGN": campaign, "MESSAGE": message}
    program = (
        "import json, sys\nfrom ops.cli.main import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert end.code == 0, words\n"
        "    open('loaded', 'a').write(json.dumps([words, *sys.modules]) + '\\n')\n"
    )
    words = [[named.get(word, word) for word in words] for words in LOOK_UPS]
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": "sqlite:///bulksend.db",
    }
    subprocess.run(
        [sys.executable, "-c", program, json.dumps(words)],
        cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, timeout=60, check=True,
    )  # fmt: skip
    loaded = [json.loads(line) for line in (tmp_path / "loaded").read_text().splitlines()]
    assert len(loaded) == len(LOOK_UPS)
    assert [words for words, *names in loaded if NOT_FOR_A_LOOK_UP & set(names)] == []
