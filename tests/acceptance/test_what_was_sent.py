"""``messages show`` says what was sent, ``export`` has the file's columns and the refused rows; never a code (D29)."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bulksend.ledger.key_file import new_encryption_key
from tests.acceptance.many_commands import Cli

pytestmark = pytest.mark.timeout(120)
SENDER = "8615000579987"
CODE = "918273"
Send = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def send(cli: Cli, tmp_path: Path) -> Send:
    """Sends those lines of CSV with that text; ``kind`` and settings by name."""

    def run(
        rows: str, body: str, kind: str = "marketing", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "people.csv").write_text(rows, encoding="utf-8")
        (tmp_path / "content.json").write_text(json.dumps({"body": body}))
        words = ("send", "people.csv", "--sender", SENDER, "--type", "text", "--content", "content.json")
        done = cli(*words, "--kind", kind, "--json", **environ)
        assert done.returncode == 0, done.stderr
        return done

    return run


def shown(cli: Cli, **environ: str) -> dict[str, object]:
    """``messages show --json`` of the newest message."""
    found = json.loads(cli("messages", "find", "--limit", "1", "--json").stdout)
    value: dict[str, object] = json.loads(cli("messages", "show", found["id"], "--json", **environ).stdout)
    return value


def exported(cli: Cli, folder: Path, *options: str, **environ: str) -> list[dict[str, str]]:
    done = cli("export", "people", "-o", "out.csv", *options, **environ)
    assert done.returncode == 0, done.stderr
    raw = (folder / "out.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\xef\xbb\xbf") == 1
    return list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))


def test_what_was_sent_is_shown_with_its_variables_filled_in(cli: Cli, send: Send) -> None:
    send("to,name\n447700900001,Zoë\n", "Hello {{name}}, from {{city|London}}")
    assert shown(cli)["content"] == {"body": "Hello Zoë, from London"}
    id = str(shown(cli)["id"])
    for columns in (60, 80, None):
        said = cli("messages", "show", id, columns=columns).stdout
        assert "Hello Zoë, from London" in said
        assert "tries" not in said


def test_of_a_code_nothing_is_shown_or_exported(cli: Cli, send: Send, tmp_path: Path) -> None:
    send(f"to,code\n447700900001,{CODE}\n", "Your code is {{code}}", "otp")
    told = shown(cli)
    assert (told["content"], told["content_why"]) == (None, "a one-time code is not shown")
    outputs = [json.dumps(told), cli("messages", "show", str(told["id"])).stdout]
    outputs += [
        json.dumps(exported(cli, tmp_path, "--full")),
        cli("export", "people", "-o", "-", "--full").stdout,
    ]
    assert cli("export", "people", "-o", "out.jsonl", "--full").returncode == 0
    outputs.append((tmp_path / "out.jsonl").read_text())
    assert not [said for said in outputs if CODE in said]
    assert "code" not in exported(cli, tmp_path, "--full")[0]


def test_a_sealed_content_is_opened_only_with_its_key(cli: Cli, send: Send, tmp_path: Path) -> None:
    key = {"BULKSEND_ENCRYPTION_KEY": new_encryption_key()}
    other = {"BULKSEND_ENCRYPTION_KEY": new_encryption_key()}
    send("to,name\n447700900001,Ann\n", "Hello {{name}}", BULKSEND_ENCRYPT="all", **key)
    assert shown(cli, **key)["content"] == {"body": "Hello Ann"}
    without = shown(cli, **other)
    assert without["content"] is None
    assert "BULKSEND_ENCRYPTION_KEY" in str(without["content_why"])
    assert exported(cli, tmp_path, "--full", **key)[0]["name"] == "Ann"
    assert exported(cli, tmp_path, "--full", **other)[0]["name"] == ""
    assert "encrypted" in cli("export", "people", "-o", "out.csv", "--full", **other).stderr
    # To look makes no key.
    shown(cli)
    assert not list(tmp_path.glob("*.key"))


def test_an_export_has_the_files_columns_and_no_formula(cli: Cli, send: Send, tmp_path: Path) -> None:
    send(
        "to,name,status\n447700900001,=HYPERLINK(1),gold\n447700900002,Bob,\n",
        "Hello {{name}} {{status|silver}}",
    )
    first, second = exported(cli, tmp_path, "--full")
    assert (first["name"], first["status"], first["status (file)"]) == ("'=HYPERLINK(1)", "queued", "gold")
    assert (second["name"], second["status (file)"]) == ("Bob", "")
    assert not {"name", "status (file)"} & exported(cli, tmp_path)[0].keys()
    piped = cli("export", "people", "-o", "-").stdout
    assert piped.startswith("id,")


def test_with_its_file_an_export_has_every_column(cli: Cli, send: Send, tmp_path: Path) -> None:
    rows = "phone,name,customer,note\n+44 7700 900001,Ann,C-17,=1+1\nnobody,x,C-18,\n447700900003,Bob,C-19,late\n"
    send(rows, "Hello {{name}}")
    first, second = exported(cli, tmp_path, "--file", "people.csv")
    assert (first["customer"], first["note"], first["name"]) == ("C-17", "'=1+1", "Ann")
    assert (second["customer"], second["note"], second["to"]) == ("C-19", "late", "447700900003")
    (tmp_path / "other.csv").write_text(rows.replace("447700900003", "447700900004"))
    other = cli("export", "people", "-o", "out2.csv", "--file", "other.csv")
    assert (other.returncode, "row 4 of other.csv" in other.stderr) == (2, True)
    assert not (tmp_path / "out2.csv").exists()
    short = cli("export", "people", "-o", "out2.csv", "--file", "short.csv")
    assert short.returncode == 2


def test_the_file_of_codes_is_not_exported(cli: Cli, send: Send) -> None:
    send(f"to,code\n447700900001,{CODE}\n", "Your code is {{code}}", "otp")
    done = cli("export", "people", "-o", "-", "--file", "people.csv")
    assert done.returncode == 2
    assert CODE not in done.stdout + done.stderr


def test_the_refused_rows_are_exported_all_of_them(cli: Cli, send: Send, tmp_path: Path) -> None:
    bad = "".join(f"{n},x\n" for n in range(1, 1201))
    send(f"to,name\n447700900001,Ann\n{bad}", "Hello {{name}}")
    rows = exported(cli, tmp_path, "--refused")
    assert len(rows) == 1200
    assert list(rows[0]) == ["row", "field", "value", "why"]
    assert rows[-1]["row"] == "1202"
    assert "--refused" in cli("campaigns", "show", "people").stderr
    send("to,name\n447700900001,Ann\n", "Good bye {{name}}")
    newest = json.loads(cli("campaigns", "list", "--json").stdout.splitlines()[0])["campaign_id"]
    assert cli("export", newest, "--refused", "-o", "none.csv").returncode == 0
    assert (tmp_path / "none.csv").read_text("utf-8-sig") == "row,field,value,why\n"


def test_a_file_that_cannot_be_written_is_named(cli: Cli, send: Send, tmp_path: Path) -> None:
    send("to,name\n447700900001,Ann\n", "Hello {{name}}")
    done = cli("export", "people", "-o", "nowhere/out.csv")
    assert done.returncode == 2
    assert "nowhere/out.csv" in done.stderr
    assert "Traceback" not in done.stderr
