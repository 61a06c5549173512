"""Every command that prints a table is readable at 60, 80 and 120 columns, and plain where it is piped (D25)."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from rich.cells import cell_len
from sqlalchemy import insert

from bulksend.ledger import jobs, paces, stats
from bulksend.ledger.database import Database
from bulksend.ledger.schema import templates
from bulksend.ledger.stats import MEASURES
from bulksend.messaging.outcome import Scope
from bulksend.operations import exports
from tests.acceptance.conftest import cli_in
from tests.acceptance.many_commands import Cli, Shell, commands

SENDER = "8615000579987"
NAME = "Spring sale for everyone who bought shoes in Amsterdam in May"
ERROR = (
    "131047: Re-engagement message: more than 24 hours have passed since the recipient last replied to the "
    "sender's number; use an approved template instead"
)
WAMID = "wamid.HBgMNDQ3NzAwOTAwMTIzFQIAERgSM0E1RkQ4QjJBMTY5NzU5RkE2AA=="
REQUEST = "0f2a9c3e-5b7d-4e21-9a44-8c1d2e3f4a5b"
COLOUR = re.compile(r"\x1b\[[\d;]*m")
RAW = re.compile(r"\d\.\d{4,}")
pytestmark = pytest.mark.timeout(300)

#: Every command that prints a table or a list of names and values. CAMPAIGN, ID, WEBHOOK: those of the ledger.
COMMANDS = {
    "campaigns list": "campaigns list",
    "campaigns show": "campaigns show CAMPAIGN",
    "campaigns breakdown": "campaigns breakdown CAMPAIGN",
    "messages find": "messages find",
    "messages show": "messages show ID",
    "messages why": "messages why ID",
    "messages unknown": "messages unknown",
    "suppressions list": "suppressions list",
    "suppressions import": "suppressions import bad.csv",
    "senders list": "senders list",
    "senders show": f"senders show {SENDER}",
    "account show": "account show",
    "templates list": "templates list",
    "exports list": "exports list",
    "holds list": "holds list",
    "events": "events",
    "stats": "stats --by hour,kind,sender,code",
    "keys list": "keys list",
    "users list": "users list",
    "tokens list": "tokens list",
    "receipts list": "receipts list --state orphan",
    "webhooks list": "webhooks list",
    "webhooks deliveries": "webhooks deliveries WEBHOOK",
    "settings": "settings",
    "audit": "audit",
    "doctor": "doctor",
    "send --dry-run": f"send bad.csv --sender {SENDER} --type text --content content.json --kind marketing --dry-run",
    "plans list": "plans list",
    "plans show": "plans show PLAN",
    "plan": f"plan bad.csv --sender {SENDER} --type text --content content.json --kind marketing --key plan",
}


#: Those that print no table: sentences, JSON, a file, a screen (test_watching.py), or what their own tests look at.
NO_TABLE = {
    *(
        ("demo",),
        ("up",),
        ("worker",),
        ("relay",),
        ("serve",),
        ("intake",),
        ("simulate",),
        ("migrate",),
        ("restored",),
        ("export",),
    ),
    ("messages", "resolve"),
    ("notifier",),
    *(("users", act) for act in ("add", "link", "reset", "disable", "enable")),
    *(("tokens", act) for act in ("add", "revoke")),
    ("receipts", "reparse"),
    *(("keys", act) for act in ("add", "revoke", "new-encryption-key")),
    *(
        ("campaigns", act)
        for act in ("watch", "pause", "resume", "unschedule", "cancel", "retry", "set", "report", "clone")
    ),
    *(("webhooks", act) for act in ("add", "enable", "disable", "remove", "replay", "rotate", "test")),
    *(("suppressions", act) for act in ("add", "remove", "export")),
    ("consent", "report"),
    ("forget",),
    *(("holds", act) for act in ("add", "remove")),
    *(("senders", act) for act in ("add", "set", "pause", "resume")),
    *(("account", act) for act in ("pause", "resume")),
    *(("templates", act) for act in ("show", "sync", "preview")),
    *(("media", act) for act in ("upload", "list", "delete")),
    *(("apply",), ("rehearse",)),
}


def test_every_command_that_prints_a_table_is_looked_at() -> None:
    looked_at = {tuple(name.split()[: 1 if name.startswith("send ") else 2]) for name in COMMANDS}
    assert set(commands()) - NO_TABLE == looked_at


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    """With the ledger that all tests read."""
    made = tmp_path_factory.mktemp("tables")
    shutil.copyfile(sqlite_template, made / "bulksend.db")
    return made


@pytest.fixture(scope="module")
def cli(folder: Path, shell: Shell) -> Cli:
    return cli_in(folder, shell)


@pytest.fixture(scope="module")
def ids(cli: Cli, folder: Path) -> dict[str, str]:
    """A ledger with long values in it; the ids by what stands for them above."""
    (folder / "people.csv").write_text("to,name\n447700900001,Ann\n447700900002,Bob\n12,\n", encoding="utf-8")
    (folder / "bad.csv").write_text("to,name\n" + "0044 77 letters,Ann\n" * 3 + "447700900009,Zoe\n")
    (folder / "content.json").write_text('{"body": "Hello {{name}}, our spring sale begins"}')
    sent = cli(
        *("send", "people.csv", "--sender", SENDER, "--type", "text", "--content", "content.json"),
        *("--kind", "marketing", "--name", NAME, "--timezone", "Europe/London", "--json"),
    )
    assert sent.returncode == 0, sent.stderr
    assert cli("suppressions", "add", "447700900777", "--reason", ERROR[:150]).returncode == 0
    assert cli("holds", "add", "--phone", "447700900777", "--why", ERROR).returncode == 0
    assert cli("senders", "set", SENDER, "--name", NAME).returncode == 0
    assert cli("senders", "pause", SENDER, "--why", ERROR).returncode == 0
    assert cli("keys", "add", "--name", NAME, "--role", "sender", "--senders", SENDER).returncode == 0
    assert cli("users", "add", "ann@shop.example", "--role", "operator").returncode == 0
    assert cli("tokens", "add", "--name", NAME, "--ips", "203.0.113.0/24,198.51.100.7").returncode == 0
    added = cli("webhooks", "add", "https://hooks.shop.example/bulksend", "--json")
    webhook = json.loads(added.stdout)["id"]
    with sqlite3.connect(folder / "bulksend.db") as ledger:
        found = [id for (id,) in ledger.execute("SELECT id FROM messages ORDER BY id")]
        ledger.execute(
            "UPDATE messages SET status = 'unknown', attempts = 1, message_id = ?, request_id = ?, error = ?,"
            " due_at = 1899795600000, queued_at = 1899795600000",
            (WAMID, REQUEST, ERROR),
        )
        for id in found:
            ledger.execute(
                "INSERT INTO attempts (id, message_pk, n, owner, worker, sender, started_at, outcome, http_status,"
                " ret_code, request_id, bytes_sent, reply_began, latency_ms, error) VALUES (?, ?, 1, 'lease', 'host:1',"
                " ?, 1899795600000, 'unknown', 200, 131047, ?, 1, 0, 167.95431642593215, ?)",
                (id, id, SENDER, REQUEST, ERROR),
            )
        ledger.execute("UPDATE senders SET status = 'CONNECTED', quality = 'GREEN', tier = 'TIER_100K'")
        ledger.execute(
            "INSERT INTO webhook_deliveries (id, endpoint_id, type, first_seq, last_seq, status, attempts, next_at,"
            " created_at, tried_at, http_status, error) VALUES (?, ?, 'message.undelivered', 1, 1, 'pending', 3,"
            " 1899795600000, 1899795600000, 1899795600000, 503, ?)",
            (found[0], webhook, ERROR[:120]),
        )
    hour = dict.fromkeys(MEASURES, 0) | {
        "accepted": 12_345,
        "failed": 67,
        "latency_ms": 98_765,
        "answered": 123,
    }
    hour |= {"hour": int(time.time()) // 3600 * 3_600_000, "kind": "marketing", "sender": SENDER}
    template = {
        "name": "spring_sale_for_everyone",
        "language": "en_GB",
        "status": "REJECTED",
        "category": "MARKETING",
    }
    template |= {"quality": "YELLOW", "rejected_reason": ERROR, "changed_at": 1_899_795_600_000}
    with closing(Database(f"sqlite:///{folder}/bulksend.db")) as database, database.write() as tx:
        stats.add(tx, [{**hour, "country": "GB", "code": "131047"}])
        tx.execute(insert(templates).values(template))
        export = {"format": "parquet", "campaign": None, "query": {}, "refused": False, "masked": True}
        slower = paces.PaceChange.of_rate(Scope.SENDER, SENDER, 1.0, 0.5, ERROR)
        paces.record(tx, [slower], actor="host:1")
        job = jobs.add(tx, exports.KIND, export, requested_by="k", actor="ann")
        claimed = jobs.claim(tx, exports.KIND, 60_000)
        assert claimed is not None
        assert claimed.id == job
        assert jobs.fail(tx, claimed, ERROR)
    planned = cli(*COMMANDS["plan"].split(), "--name", NAME, "--json")
    return {
        **{"CAMPAIGN": json.loads(sent.stdout)["campaign_id"], "ID": found[0], "WEBHOOK": webhook},
        "PLAN": json.loads(planned.stdout)["plan_id"],
    }


def words_of(line: str, ids: dict[str, str]) -> list[str]:
    return [ids.get(word, word) for word in line.split()]


def test_on_a_terminal_every_table_fits_and_breaks_no_word_and_no_raw_float_is_shown(
    cli: Cli, ids: dict[str, str]
) -> None:
    for name, line in COMMANDS.items():
        wide = words_in(cli(*words_of(line, ids), columns=4000).stdout)
        for width in (60, 80, 120):
            narrow = cli(*words_of(line, ids), columns=width).stdout
            too_long = [each for each in re.sub(COLOUR, "", narrow).splitlines() if cell_len(each) > width]
            assert not too_long, f"{name} at {width}:\n{narrow}"
            broken = {word for word in words_in(narrow) - wide if len(word) < 30 and word not in WAMID}
            assert not broken, f"{name} at {width}: {broken}\n{narrow}"
            assert not RAW.search(narrow), name


def words_in(said: str) -> set[str]:
    """All words but those of rules, of times, which pass, and of the note about columns."""
    bare = re.sub(r"not shown at this width:[^()]*\(--json\s+has\s+all\)|─+", "", re.sub(COLOUR, "", said))
    return set(re.sub(r"\d\d:\d\d:\d\d", "", bare).split())


def test_ids_are_whole_at_80_and_60(cli: Cli, ids: dict[str, str]) -> None:
    for width in (60, 80):
        for line in ("messages find", "messages unknown", "messages show ID", "campaigns list"):
            said = cli(*words_of(line, ids), columns=width).stdout
            assert ids["CAMPAIGN" if line == "campaigns list" else "ID"] in said, said
    shown = cli("messages", "show", ids["ID"], columns=80).stdout
    assert WAMID in shown
    assert REQUEST in shown


def test_times_are_those_of_the_campaigns_zone_which_is_said_once(cli: Cli, ids: dict[str, str]) -> None:
    for words in (["messages", "show", ids["ID"]], ["campaigns", "show", ids["CAMPAIGN"]]):
        said = cli(*words, columns=80, BULKSEND_TIMEZONE="Asia/Tokyo").stdout
        assert len(re.findall(r"times:? +Europe/London", re.sub(COLOUR, "", said))) == 1, said
        assert "+00:00" not in said
    found = cli("messages", "find", columns=120, BULKSEND_TIMEZONE="Asia/Tokyo").stdout
    assert "2030-03-15 18:00:00" in found
    assert found.count("Asia/Tokyo") == 1


def test_what_is_piped_is_a_row_a_line_without_padding_colour_boxes_or_raw_floats(
    cli: Cli, ids: dict[str, str]
) -> None:
    for name, line in COMMANDS.items():
        done = cli(*words_of(line, ids), FORCE_COLOR="1")
        assert "\x1b" not in done.stdout, name
        assert not re.search(r"[─━│┃]|\S {2,}| \n", done.stdout), f"{name}:\n{done.stdout}"
        assert not RAW.search(done.stdout), name
    found = [row.split("\t") for row in cli("messages", "find").stdout.splitlines()]
    assert found[0] == ["id", "to", "status", "campaign", "attempts", "message_id", "queued_at", "error"]
    assert [len(row) for row in found] == [8, 8, 8]
    assert (found[-1][0], found[-1][3]) == (ids["ID"], NAME)
    assert found[-1][6].startswith("2030-03-15T09:00:00.000+00:00")
    assert found[-1][7] == ERROR


def test_find_says_when_at_80(cli: Cli, ids: dict[str, str]) -> None:
    """The time was the first to go, after the vendor's id: its day and its hour fit below each other."""
    said = re.sub(COLOUR, "", cli("messages", "find", columns=80).stdout)
    assert "queued at" in said.splitlines()[0]
    assert not re.search(r"not shown at this width:.*queued_at", said)
