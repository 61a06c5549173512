"""Numbers as people write them, from the command line: whose they are, and who is not written to."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.migrate import migrate
from producer import Producer
from producer.publisher import NoPublisher
from tests.acceptance.many_commands import Cli

SENDER = "8615000579987"
SEND = [
    "send", "people.csv", "--sender", SENDER, "--type", "text", "--content", "c.json", "--kind", "marketing", "--json",
]  # fmt: skip
pytestmark = pytest.mark.timeout(300)


def people(folder: Path, *numbers: str) -> None:
    (folder / "c.json").write_text('{"body": "Hello"}')
    with (folder / "people.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["to"], *([number] for number in numbers)])


def one(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def sent_to(cli: Cli, *words: str) -> list[str]:
    return [json.loads(line)["to"] for line in cli("messages", "find", *words, "--json").stdout.splitlines()]


def test_national_numbers_are_refused_until_their_region_is_said(cli: Cli, tmp_path: Path) -> None:
    """Case 03: they were accepted as numbers of Norway, Singapore and Vietnam."""
    people(tmp_path, "(478) 555-0142", "478-555-0143", "(650) 555-0132", "8 (495) 555-01-23", "447700900123")
    report = one(cli(*SEND, "--dry-run"))
    assert report["messages"] == 1
    assert [row["row"] for row in report["refused"]] == [2, 3, 4, 5]
    assert all("--region GB" in row["why"] for row in report["refused"])
    done = cli("suppressions", "add", "(478) 555-0142", "--reason", "STOP")
    assert done.returncode == 2
    assert one(
        cli("suppressions", "add", "(478) 555-0142", "--reason", "STOP", "--region", "US", "--json")
    ) == {
        "subject": "14785550142",
        "scope": "marketing",
    }


def test_two_endings_in_a_cell_are_refused(cli: Cli, tmp_path: Path) -> None:
    """Case 21."""
    people(tmp_path, "+49 30 23125 000/01", "447700900123")
    report = one(cli(*SEND))
    assert (report["messages"], [row["row"] for row in report["refused"]]) == (1, [2])
    assert sent_to(cli) == ["447700900123"]


def test_an_opt_out_covers_both_forms_of_a_number(cli: Cli, tmp_path: Path) -> None:
    """Case 04: Brazil's ninth digit, Argentina's 9, Mexico's 1."""
    for number in ("+55 31 8555 0124", "+54 11 5555 0124", "+521 55 5555 0124"):
        assert cli("suppressions", "add", number, "--reason", "opted out").returncode == 0
    people(
        tmp_path,
        "+55 31 98555-0124", "+54 9 11 5555 0124", "+52 55 5555 0124",
        "+55 31 98555-0123", "+55 31 8555-0123", "+54 11 5555 0123", "+54 9 11 5555 0123",
    )  # fmt: skip
    rehearsed = one(cli(*SEND, "--dry-run"))
    report = one(cli(*SEND))
    for counts in (rehearsed, report):
        assert (counts["duplicates"], counts["suppressed"], counts["refused"]) == (2, 3, [])
    assert sent_to(cli, "--status", "queued") == ["541155550123", "5531985550123"]
    assert sent_to(cli, "--phone", "+55 31 8555-0123") == ["5531985550123"]
    assert sent_to(cli, "--phone", "+54 9 11 5555 0123") == ["541155550123"]
    masked = cli("export", "people", "-o", "-").stdout
    assert {row["key"][-3:] for row in csv.DictReader(io.StringIO(masked))} == {"123", "124"}
    assert "55501" not in masked
    assert one(cli("suppressions", "remove", "+55 31 98555-0124", "--why", "START", "--json"))["removed"] == 1


def test_an_import_that_leaves_rows_out_ends_with_1(cli: Cli, tmp_path: Path) -> None:
    """Case 17: people who opted out were not covered, and the exit code was 0."""
    (tmp_path / "sup.csv").write_text("phone,reason\n+44 7700 900150,no\n07700 900151,no\n447700900153x,no\n")
    done = cli("suppressions", "import", "sup.csv")
    assert done.returncode == 1
    assert "2 rows refused" in done.stderr
    assert one(cli("suppressions", "import", "sup.csv", "--json"), 1) | {"refused": []} == {
        "rows": 3, "people": 1, "added": 0, "before": 1, "refused": [], "notes": [],
    }  # fmt: skip
    (tmp_path / "sup.csv").write_text(
        "phone\n07700 900151\n+44 7700 900151\n+55 31 98555-0124\n+55 31 8555-0124\n"
    )
    done = cli("suppressions", "import", "sup.csv", "--region", "GB", "--json")
    assert one(done) == {"rows": 4, "people": 2, "added": 2, "before": 0, "refused": [], "notes": []}


def test_an_import_tells_of_its_sheet_what_a_send_tells(cli: Cli, tmp_path: Path) -> None:
    """Case 17: which sheet was read, hidden and empty rows, and the ways on that its errors name."""
    book = openpyxl.Workbook()
    people = book.worksheets[0]
    people.title = "March"
    for cells in (["phone"], ["+44 7700 900150"], [None], ["+44 7700 900151"]):
        people.append(cells)
    people.row_dimensions[4].hidden = True
    book.create_sheet("April").append(["phone"])
    book["April"].append(["+44 7700 900152"])
    book.save(tmp_path / "sup.xlsx")
    notes = [
        "read the sheet 'March', the first of 2 (--sheet takes another)",
        "1 of 2 rows is hidden, by a filter or by hand; it is used too",
        "1 empty row was left out",
    ]
    done = cli("suppressions", "import", "sup.xlsx")
    assert "2 newly suppressed, 0 suppressed before" in done.stderr
    assert all(note in " ".join(done.stderr.split()) for note in notes)
    assert one(cli("suppressions", "import", "sup.xlsx", "--json"))["notes"] == notes
    done = cli("suppressions", "import", "sup.xlsx", "--sheet", "April")
    assert "1 newly suppressed" in done.stderr
    book["March"]["A1"].value = "plan"
    book.save(tmp_path / "sup.xlsx")
    done = cli("suppressions", "import", "sup.xlsx")
    assert done.returncode == 2
    assert "recipients are in 'April': use --sheet April" in " ".join(done.stderr.split())
    (tmp_path / "sup.csv").write_text("phone,name\n+44 7700 900153,Zoë\n+44 7700 900154,Zoë\n", "cp1252")
    assert "--encoding cp1252" in cli("suppressions", "import", "sup.csv").stderr
    assert cli("suppressions", "import", "sup.csv", "--encoding", "cp1252").returncode == 0


def test_a_list_from_a_database_has_decimals(cli: Cli, tmp_path: Path) -> None:
    """Case 27: NUMERIC comes as Decimal."""
    database = Database(f"sqlite:///{tmp_path / 'bulksend.db'}")
    migrate(database)
    producer = Producer(database, NoPublisher(), Cipher([]))
    rows = [{"to": Decimal("447700900123"), "name": Decimal("19.90")}, {"to": Decimal("0.5"), "name": "x"}]
    report = producer.submit(
        name="numeric", sender=SENDER, kind="marketing", type="text", content={"body": "{{name}}"}, rows=rows
    )
    producer.close()
    assert (report.messages, [row.row for row in report.refused]) == (1, [2])
    assert sent_to(cli) == ["447700900123"]


def test_a_mistyped_sender_is_asked_about(cli: Cli, tmp_path: Path) -> None:
    """Two digits swapped: nothing is sent, nor is the sender registered, before a person says that it is right."""
    people(tmp_path, "447700900123")
    assert cli("senders", "add", SENDER).returncode == 0
    swapped = SENDER[:-2] + SENDER[-1] + SENDER[-2]
    words = [swapped if word == SENDER else word for word in SEND]
    for line in ([*words, "--dry-run"], words):
        done = cli(*line)
        assert done.returncode == 2
        assert f"--sender: is not on record, and is one digit away from {SENDER}" in done.stderr
        assert f"bulksend senders add {swapped}" in done.stderr
    assert sent_to(cli) == []
    assert SENDER in cli("senders", "list").stdout
    assert swapped not in cli("senders", "list").stdout
    assert cli("senders", "add", swapped).returncode == 0
    assert one(cli(*words))["messages"] == 1


def test_the_column_of_an_import_can_be_named_as_its_refusal_says(cli: Cli, tmp_path: Path) -> None:
    """Case 17: the refusal advised ``--map``, which only ``send`` had."""
    (tmp_path / "sup.csv").write_text("Contact,Note\n+44 7700 900142,left\n")
    refused = cli("suppressions", "import", "sup.csv")
    assert refused.returncode == 2
    assert "--map to=" in refused.stderr
    done = cli("suppressions", "import", "sup.csv", "--map", "to=Contact", "--json")
    assert one(done)["people"] == 1
