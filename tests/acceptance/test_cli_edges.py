"""The command line at its edges: what scripts, spreadsheets and people in trouble rely on."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from bulksend.ledger.encryption import Cipher
from tests.acceptance.many_commands import Cli

SENDER = "8615000579987"
pytestmark = pytest.mark.timeout(300)

#: ``messages find --json``, whole: what programs may rely on.
FOUND = {
    "id", "campaign_id", "row", "key", "kind", "sender", "to", "type", "status", "attempts", "message_id",
    "request_id", "ret_code", "error", "due_at", "expires_at", "queued_at", "sent_at", "accepted_at",
    "delivered_at", "read_at", "ended_at", "purpose", "superseded_by",
}  # fmt: skip


def send_words(folder: Path, rows: str) -> list[str]:
    """The words of a ``send`` of those rows."""
    (folder / "people.csv").write_text("to,name,key\n" + rows, encoding="utf-8")
    (folder / "content.json").write_text('{"body": "Hello {{name}}"}')
    words = ["send", "people.csv", "--sender", SENDER, "--type", "text"]
    return [*words, "--content", "content.json", "--kind", "marketing"]


def one(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert done.returncode == code, done.stderr
    (line,) = done.stdout.splitlines()
    value: dict[str, Any] = json.loads(line)
    return value


def test_no_cell_that_leaves_becomes_a_formula_and_json_is_whole(cli: Cli, tmp_path: Path) -> None:
    formula = "=HYPERLINK(1)"
    sent = one(cli(*send_words(tmp_path, f"447700900001,Ann,{formula}\n447700900002,Bob,@x\n"), "--json"))
    listed = cli("messages", "find", "--campaign", "people", "--csv")
    assert {row["key"] for row in csv.DictReader(io.StringIO(listed.stdout))} == {"'=HYPERLINK(1)", "'@x"}

    assert cli("export", "people", "-o", "out.csv", "--full").returncode == 0
    exported = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert [row["key"] for row in exported] == ["'=HYPERLINK(1)", "'@x"]

    found = [json.loads(line) for line in cli("messages", "find", "--json").stdout.splitlines()]
    assert [row.keys() for row in found] == [FOUND, FOUND]
    assert {row["key"] for row in found} == {formula, "@x"}
    assert {row["campaign_id"] for row in found} == {sent["campaign_id"]}
    assert all(row["queued_at"].endswith("+00:00") for row in found)

    to_stdout = cli("export", "people", "-o", "-")
    assert [row["to"] for row in csv.DictReader(io.StringIO(to_stdout.stdout))] == [
        "4477*****001",
        "4477*****002",
    ]
    assert "447700900001" not in to_stdout.stdout + to_stdout.stderr


def test_an_audit_that_finds_a_broken_promise_ends_with_1_and_names_the_message(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli(*send_words(tmp_path, "447700900001,Ann,\n")).returncode == 0
    assert one(cli("audit", "--json"))["holds"] is True
    with sqlite3.connect(tmp_path / "bulksend.db") as ledger:
        (id,) = ledger.execute("SELECT id FROM messages").fetchone()
        ledger.execute("UPDATE messages SET status = 'accepted'")
    report = one(cli("audit", "--json"), 1)
    assert report["holds"] is False
    assert id in json.dumps(report["findings"])
    for_people = cli("audit")
    assert for_people.returncode == 1
    assert "BROKEN" in for_people.stderr
    assert id in for_people.stderr


def metrics_in(path: Path) -> dict[str, float]:
    """What a scrape of that file gets: metric, or metric and label -> value."""
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_audit_leaves_its_verdict_for_prometheus(cli: Cli, tmp_path: Path) -> None:
    assert cli(*send_words(tmp_path, "447700900001,Ann,\n447700900002,Bob,\n")).returncode == 0
    file = tmp_path / "bulksend.prom"
    began = time.time()
    assert one(cli("audit", "--metrics", str(file), "--json"))["holds"] is True
    assert file.stat().st_mode & 0o777 == 0o644, "node_exporter reads it as another user"
    told = metrics_in(file)
    assert told["bulksend_audit_holds"] == 1
    assert told["bulksend_audit_checked nothing lost"] == 2
    assert told["bulksend_audit_messages queued"] == 2
    assert began <= told["bulksend_audit_finished_timestamp_seconds"] <= time.time()

    with sqlite3.connect(tmp_path / "bulksend.db") as ledger:
        ledger.execute("UPDATE messages SET status = 'accepted'")
    assert cli("audit", "--metrics", str(file)).returncode == 1
    told = metrics_in(file)
    assert told["bulksend_audit_holds"] == 0
    assert told["bulksend_audit_broken acceptance kept"] == 2
    assert told["bulksend_audit_broken nothing lost"] == 0
    # Nobody's number rests in a file that any scraper reads.
    assert "44770090000" not in file.read_text(encoding="utf-8")


def test_an_audit_whose_result_cannot_be_written_is_refused_before_it_starts(
    cli: Cli, tmp_path: Path
) -> None:
    nowhere = cli("audit", "--metrics", str(tmp_path / "no" / "bulksend.prom"))
    assert (nowhere.returncode, "there is no folder" in nowhere.stderr) == (2, True)
    a_part = cli("audit", "--campaign", "x", "--metrics", str(tmp_path / "bulksend.prom"))
    assert (a_part.returncode, "leave out --campaign" in a_part.stderr) == (2, True)


def test_an_unknown_message_is_settled_with_a_reason_and_its_act_is_on_record(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli(*send_words(tmp_path, "447700900001,Ann,\n")).returncode == 0
    id = json.loads(cli("messages", "find", "--json").stdout)["id"]
    waiting = cli("messages", "resolve", id, "--as", "failed", "--why", "no")
    assert waiting.returncode == 2
    with sqlite3.connect(tmp_path / "bulksend.db") as ledger:
        ledger.execute("UPDATE messages SET status = 'unknown'")
    assert one(cli("messages", "resolve", id, "--as", "failed", "--why", "not billed", "--json")) == {
        "id": id,
        "status": "failed",
    }
    (act,) = one(cli("messages", "show", id, "--json"))["acts"]
    assert (act["actor"], act["why"]) == ("ann", "not billed")
    assert act.keys() == {"at", "actor", "act", "why", "before", "after"}
    assert (act["before"], act["after"]) == ({"status": "unknown"}, {"status": "failed"})
    assert "status: unknown to failed" in cli("messages", "show", id).stdout


def test_colour_is_for_a_terminal_and_only_where_nothing_forbids_it(cli: Cli, tmp_path: Path) -> None:
    words = send_words(tmp_path, "447700900001,Ann,\n,Nobody,\n")
    coloured = re.compile(r"\x1b\[(?:[0-9]+;)*[34][0-9]")
    for columns, environ, expected in (
        (80, {}, True),
        (80, {"NO_COLOR": "1"}, False),
        (None, {}, False),
        (None, {"FORCE_COLOR": "1"}, False),
    ):
        done = cli(*words, columns=columns, **environ)
        assert done.returncode == 0
        assert bool(coloured.search(done.stdout + done.stderr)) is expected


def test_a_key_and_a_schema_are_made(cli: Cli) -> None:
    key = cli("keys", "new-encryption-key")
    assert key.returncode == 0
    assert Cipher.from_text(key.stdout.strip()).can_encrypt
    assert one(cli("migrate", "--json")).keys() == {"ledger", "revision"}


@pytest.mark.parametrize(
    "words", [("send",), ("frobnicate",), ("campaigns", "show"), ("messages", "find", "--limit", "0")]
)
def test_words_that_make_no_command_end_with_2_and_nothing_on_stdout(
    cli: Cli, words: tuple[str, ...]
) -> None:
    done = cli(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_an_unreachable_postgresql_is_named_with_its_remedy_and_nothing_is_on_stdout(
    cli: Cli, tmp_path: Path
) -> None:
    environ = {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/x"}
    done = cli(*send_words(tmp_path, "447700900001,Ann,\n"), "--json", **environ)
    assert (done.returncode, done.stdout) == (3, "")
    assert "the ledger at postgresql" in done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "docker compose up -d postgres" in done.stderr
    assert "hush" not in done.stderr


def test_a_send_needs_no_redis_the_relay_tells_it_later(cli: Cli, tmp_path: Path) -> None:
    words = send_words(tmp_path, "447700900001,Ann,\n")
    assert one(cli(*words, "--json", REDIS_URL="redis://127.0.0.1:1/0"))["messages"] == 1


def wrong(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    """What doctor found wrong: about -> (what, the remedy)."""
    report = one(done, 1)
    assert report["well"] is False
    return {f["about"]: (f["found"], f["remedy"]) for f in report["findings"] if not f["well"]}


def test_doctor_names_each_thing_that_is_broken_and_its_remedy(
    cli: Cli, valkey_url: str, valkey: redis.Redis
) -> None:
    found = wrong(
        cli(
            "doctor",
            "--json",
            DATABASE_URL="postgresql://u:hush@127.0.0.1:1/x",
            REDIS_URL="redis://:hush@127.0.0.1:1/0",
            BULKSEND_ENCRYPTION_KEY="c2hvcnQ=",
            USPEEDO_BASE_URL="http://127.0.0.1:1/api",
            USPEEDO_ACCESSKEY_ID="id",
            USPEEDO_ACCESSKEY_SECRET="hush",
            USPEEDO_ACCOUNT_ID="56002345",
        )
    )
    assert found.keys() == {"ledger", "Redis", "encryption key", "vendor"}
    assert "127.0.0.1:1" in found["ledger"][0]
    assert "DATABASE_URL" in found["ledger"][1]
    assert "127.0.0.1:1" in found["Redis"][0]
    assert "docker compose up -d valkey" in found["Redis"][1]
    assert found["encryption key"][1] == "bulksend keys new-encryption-key"
    assert "USPEEDO_BASE_URL" in found["vendor"][1]
    assert "hush" not in json.dumps(found)

    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = wrong(cli("doctor", "--json", REDIS_URL=valkey_url))
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")
    assert "CONFIG SET maxmemory-policy noeviction" in found["Redis memory"][1]
    assert found["relay"][1] == "start bulksend relay"
    assert "bulksend worker" in found["workers"][1]
    assert "USPEEDO_ACCESSKEY_ID" in found["credentials"][0]


def test_many_unknown_messages_are_listed_with_their_traces_and_settled_at_once(
    cli: Cli, tmp_path: Path
) -> None:
    rows = "".join(f"4477009000{n:02d},N{n},\n" for n in range(5))
    assert cli(*send_words(tmp_path, rows)).returncode == 0
    with sqlite3.connect(tmp_path / "bulksend.db") as ledger:
        ids = [id for (id,) in ledger.execute("SELECT id FROM messages ORDER BY id")]
        ledger.execute("UPDATE messages SET status = 'unknown', attempts = 1, ended_at = 1")
        for number, id in enumerate(ids):
            lost = number == 4
            ledger.execute(
                "INSERT INTO attempts (id, message_pk, n, owner, worker, sender, started_at, outcome, bytes_sent,"
                " reply_began, error) VALUES (?, ?, 1, 'lease', 'host:1', '8615000579987', 1, 'unknown', 1, 0, ?)",
                (id, id, "its worker was lost" if lost else "ReadTimeoutError"),
            )
    listed = [json.loads(line) for line in cli("messages", "unknown", "--json").stdout.splitlines()]
    assert [row["trace"] for row in listed] == ["worker_lost", *["no_answer"] * 4]
    assert all(row["meaning"] for row in listed)
    for_people = cli("messages", "unknown", "--limit", "2")
    assert "1 worker_lost" in for_people.stderr
    assert "--before" in for_people.stderr
    # A program's file that is cut off says so, too; a whole one does not.
    for form in ("--json", "--csv"):
        assert f"--before {ids[3]}" in cli("messages", "unknown", "--limit", "2", form).stderr
        assert cli("messages", "unknown", form).stderr == ""
    # A rehearsal changes nothing and says which.
    rehearsed = cli(
        "messages", "resolve", "--trace", "no_answer", "--as", "failed", "--why", "w", "--dry-run"
    )
    assert sorted(rehearsed.stdout.split()) == ids[:4]
    done = one(
        cli("messages", "resolve", "--trace", "no_answer", "--as", "failed", "--why", "not billed", "--json")
    )
    assert (sorted(done["resolved"]), done["refused"]) == (ids[:4], [])
    # By ids, some of which are settled already: those are named, the rest goes on.
    mixed = cli("messages", "resolve", ids[0], ids[4], "--as", "accepted", "--why", "billed")
    assert mixed.returncode == 1
    assert ids[0] in mixed.stderr
    assert json.loads(cli("messages", "find", "--status", "accepted", "--json").stdout)["id"] == ids[4]
    # To say it again is no error; a word that settles nothing is bad usage, and nothing is changed.
    again = one(cli("messages", "resolve", *ids[:2], "--as", "failed", "--why", "not billed", "--json"))
    assert (again["resolved"], sorted(again["resolved_before"]), again["refused"]) == ([], ids[:2], [])
    assert cli("messages", "resolve", ids[0], "--as", "failed", "--why", "not billed").returncode == 0
    for wrong in (["--as", "delivered", "--why", "w"], ["--as", "failed", "--why", " "]):
        refused = cli("messages", "resolve", "--since", "2026-01-01T00:00:00Z", *wrong)
        assert (refused.returncode, wrong[0 if "delivered" in wrong else 2] in refused.stderr) == (2, True)
    assert cli("messages", "resolve", "--as", "failed", "--why", "w").returncode == 2
    assert cli("messages", "unknown", "--trace", "nonsense").returncode == 2
    assert "No message is unknown" in cli("messages", "unknown").stderr
