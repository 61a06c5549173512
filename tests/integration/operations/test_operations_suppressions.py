"""Operations on suppressions: their JSON, their acts on record, their errors."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidValue
from bulksend.ledger import operator_log
from bulksend.ledger.database import Database
from bulksend.messaging.plan import RefusedRow
from bulksend.operations.suppressions import (
    ReadRow,
    add_suppression,
    every_suppression,
    import_suppressions,
    list_suppressions,
    parse_scope,
    parse_subject,
    remove_suppressions,
)

ADA, BOB = "12025550123", "447700900123"


def acts(ledger: Database, subject: str) -> list[tuple[str, str, str]]:
    """Who did what and why, the oldest first."""
    with ledger.read() as tx:
        return [(act.actor, act.act, act.why) for act in operator_log.of(tx, "suppression", subject)]


def add(ledger: Database, subject: str, scope: str = "marketing", until: int | None = None) -> None:
    add_suppression(ledger, subject, scope=scope, reason="STOP", actor="ann", until=until)


def test_a_suppression_shows_its_reason_source_and_end(ledger: Database) -> None:
    add(ledger, ADA, until=1_900_000_000_000)
    (found,) = list_suppressions(ledger).items
    assert found.pop("added_at")
    assert found == {
        "subject": ADA,
        "scope": "marketing",
        "reason": "STOP",
        "source": "operator",
        "until": "2030-03-17T17:46:40.000+00:00",
    }


def test_adding_and_removing_are_on_record_with_who_and_why(ledger: Database) -> None:
    add(ledger, ADA)
    assert remove_suppressions(ledger, ADA, scope=None, actor="bob", why="START") == 1
    assert remove_suppressions(ledger, ADA, scope=None, actor="bob", why="START") == 0
    assert acts(ledger, ADA) == [
        ("ann", "suppress marketing", "STOP"),
        ("bob", "lift suppression", "START"),
    ]


def test_only_the_scope_that_is_named_is_removed(ledger: Database) -> None:
    add(ledger, ADA)
    add(ledger, ADA, "all")
    assert remove_suppressions(ledger, ADA, scope="all", actor="bob", why="START") == 1
    assert [found["scope"] for found in list_suppressions(ledger, subject=ADA).items] == ["marketing"]


def test_an_import_counts_people_and_refuses_rows_one_by_one(ledger: Database) -> None:
    add(ledger, ADA)
    unreadable = RefusedRow(4, "row", "", "is not valid UTF-8")
    given = [(1, "+1 202 555 0123"), (2, "(202) 555-0123"), (3, "nobody"), (5, BOB)]
    rows = [*(ReadRow(*row) for row in given), unreadable]
    report = import_suppressions(
        ledger,
        rows,
        scope="marketing",
        reason="old list",
        file_name="stops.csv",
        actor="ann",
        default_region="US",
    )
    shown = report.as_json()
    refused = shown.pop("refused")
    assert shown == {"rows": 5, "people": 2, "added": 1, "before": 1}
    assert [(row["row"], row["field"]) for row in refused] == [(3, "to"), (4, "row")]
    assert set(refused[0]) == {"row", "field", "value", "why"}
    assert [found["source"] for found in list_suppressions(ledger, subject=BOB).items] == [
        "file stops.csv by ann"
    ]


def test_an_import_is_on_record_with_its_file(ledger: Database) -> None:
    name = "a long name of a file with the people who opted out in April.csv"
    import_suppressions(
        ledger,
        [ReadRow(1, ADA)],
        scope="all",
        reason="old list",
        file_name=name,
        actor="ann",
        default_region=None,
    )
    assert acts(ledger, name[:40]) == [("ann", "import all", "old list")]


def test_an_export_is_imported_as_it_was(ledger: Database) -> None:
    end = 1_900_000_000_000
    add(ledger, ADA)
    add(ledger, ADA, "all", until=end)
    add(ledger, "country:FR")
    with ledger.read() as tx:
        exported = list(every_suppression(tx))
    before = list_suppressions(ledger).items
    for subject in (ADA, "country:FR"):
        remove_suppressions(ledger, subject, scope=None, actor="bob", why="lost")
    rows = [ReadRow(n, row["to"], row) for n, row in enumerate(exported, 1)]
    bad = [
        ReadRow(4, ADA, {**exported[0], "scope": "some"}),
        ReadRow(5, ADA, {**exported[0], "until": "soon"}),
    ]
    named = {
        "scope": "marketing",
        "reason": "r",
        "file_name": "s.csv",
        "actor": "ann",
        "default_region": None,
    }
    for dry_run in (True, False):
        report = import_suppressions(ledger, [*rows, *bad], dry_run=dry_run, **named)  # type: ignore[arg-type]
        assert (report.rows, report.people, report.added, report.before) == (5, 3, 3, 0)
        assert [(row.row, row.field) for row in report.refused] == [(4, "scope"), (5, "until")]
    for dry_run in (True, False):
        again = import_suppressions(ledger, rows, dry_run=dry_run, **named)  # type: ignore[arg-type]
        assert (again.added, again.before) == (0, 3), (
            "nothing is new in what is there, also not what has an end"
        )
    assert list_suppressions(ledger).items == before


def test_a_page_names_the_number_after_which_the_next_one_starts(ledger: Database) -> None:
    for subject in (ADA, BOB):
        add(ledger, subject)
    add(ledger, ADA, "all")
    first = list_suppressions(ledger, limit=1)
    assert ([found["subject"] for found in first.items], first.next) == ([ADA, ADA], ADA)
    rest = list_suppressions(ledger, limit=2, after=ADA)
    assert ([found["subject"] for found in rest.items], rest.next) == ([BOB], None)


def test_a_subject_is_a_number_or_a_country() -> None:
    assert parse_subject("(202) 555-0123", "US", field="phone") == ADA
    assert parse_subject("Country:gb", None, field="phone") == "country:GB"
    for text in ("country:Atlantis", "nobody", "07700 900123"):
        with pytest.raises(InvalidValue, match=r"^phone: "):
            parse_subject(text, None, field="phone")


def test_a_scope_is_marketing_or_all() -> None:
    assert parse_scope("all", field="scope") == "all"
    with pytest.raises(InvalidValue, match=r"^scope: is not one of marketing, all \(got 'otp'\)"):
        parse_scope("otp", field="scope")
