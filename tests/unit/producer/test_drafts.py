"""What is kept beside a posted file: a person's choices, and the cells of refused rows."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from bulksend.errors import NotFound
from bulksend.ledger.ids import new_id
from bulksend.messaging.plan import RefusedRow
from producer.files import plan_file
from producer.reading.file_columns import head_of
from producer.uploads import StoredFile, UploadStore
from producer.uploads.drafts import Drafts
from producer.uploads.refused_cells import keep_cells, kept_cells
from producer.uploads.store import ABANDONED_S, DRAFT_S
from tests.unit.producer.workbooks import parts_of, row, row_of_texts, save, sheet_xml


@pytest.fixture
def store(tmp_path: Path) -> UploadStore:
    return UploadStore(tmp_path / "uploads", max_bytes=1 << 20)


def stored(
    store: UploadStore, text: str = "to,name,code\n447700900123,Ann,1234\n12,Ben,5678\n"
) -> StoredFile:
    incoming = store.begin(new_id(), "people.csv")
    incoming.write(text.encode())
    return incoming.finish()


def test_a_draft_is_found_again_until_its_file_is_gone(store: UploadStore) -> None:
    drafts, file = Drafts(store), stored(store)
    made = drafts.begin(file, {"body": "Hi"}, by="ann")
    drafts.keep(replace(made, fields={"body": "Hello"}))
    assert drafts.get(file.id) == replace(made, fields={"body": "Hello"})
    assert drafts.file(made) == file
    kept = [path for path in file.path.parent.iterdir() if path.name.startswith(".")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in kept] == [0o600]
    again = drafts.again(made)
    assert (again.id != made.id, drafts.file(again).path.read_text()) == (True, file.path.read_text())
    store.remove(file.id)
    for lost in (file.id, "../x", "0"):
        with pytest.raises(NotFound):
            drafts.get(lost)
    with pytest.raises(NotFound):
        drafts.keep(made)


def test_work_is_done_by_one_at_a_time_and_ends_with_its_block(store: UploadStore) -> None:
    drafts = Drafts(store)
    draft = drafts.begin(stored(store), {}, by="ann")
    assert not drafts.is_working(draft.id)
    with drafts.working(draft) as is_mine, drafts.working(draft) as is_second:
        assert (is_mine, is_second, drafts.is_working(draft.id)) == (True, False, True)
    assert not drafts.is_working(draft.id)


def test_a_draft_outlives_other_files_that_are_on_no_record(store: UploadStore) -> None:
    plain, drafted = stored(store), stored(store)
    Drafts(store).begin(drafted, {}, by="ann")
    for path in (plain.path, plain.path.parent, drafted.path, drafted.path.parent):
        os.utime(path, (1_000_000, 1_000_000))
    os.utime(drafted.path.with_name(".draft.json"), (1_000_000, 1_000_000))

    def found(after_s: float) -> list[str]:
        return sorted(store.abandoned(complete=True, clock=lambda: 1_000_000 + after_s))

    assert found(ABANDONED_S + 1) == [plain.id]
    assert found(DRAFT_S + 1) == sorted([plain.id, drafted.id])


@pytest.mark.parametrize("kind", ["marketing", "otp"])
def test_the_cells_of_refused_rows_are_kept_and_codes_are_not(store: UploadStore, kind: str) -> None:
    file = stored(store)
    plan = plan_file(
        file.path,
        sender="8615000579987",
        type="text",
        content=b'{"body": "{{code}}"}',
        kind=kind,
        created_by="ann",
    )
    keep_cells(plan, [RefusedRow(3, "to", "*2", "is too short"), RefusedRow(9, "row", "", "is broken")])
    table = kept_cells(file.path)
    first, second = table.rows
    assert (table.header, table.recipient) == (["to", "name", "code"], 0)
    assert list(first.cells) == (["12", "***", "****"] if kind == "otp" else ["12", "Ben", "5678"])
    assert (first.bad, second.cells, second.bad) == (0, [], None)
    assert kept_cells(stored(store).path).rows == ()


def test_numbers_of_a_spreadsheet_are_shown_as_they_are_sent(tmp_path: Path) -> None:
    """A cell 447700900123 is sent as that, and not as 447700900123.0, which no person would confirm."""
    numbers = "".join(f"<c><v>{each}</v></c>" for each in ("447700900123", "25", "0.1"))
    sheet = sheet_xml(row_of_texts("to", "discount", "rate") + row(numbers))
    path = save(tmp_path / "people.xlsx", parts_of(sheet))
    assert [list(each.samples) for each in head_of(path).columns] == [["447700900123"], ["25"], ["0.1"]]
    plan = plan_file(
        path,
        sender="8615000579987",
        type="text",
        content=b'{"body": "{{discount}}"}',
        kind="marketing",
        created_by="ann",
    )
    keep_cells(plan, [RefusedRow(2, "to", "", "is wrong")])
    assert list(kept_cells(path).rows[0].cells) == ["447700900123", "25", "0.1"]


def test_a_look_at_a_file_shows_values_and_what_columns_are_by_their_names(store: UploadStore) -> None:
    head = head_of(
        stored(store, "Mobile,Send at,name\n447700900123,,Ann\n447700900124,,\n447700900125,,Cleo\n").path
    )
    assert [(each.name, each.use, list(each.samples)) for each in head.columns] == [
        ("Mobile", "to", ["447700900123", "447700900124", "447700900125"]),
        ("Send at", "send_at", []),
        ("name", "", ["Ann", "Cleo"]),
    ]
    unclear = head_of(stored(store, "a,ttl\nx,5m\n").path)
    assert unclear.problem == ""
    assert [each.use for each in unclear.columns] == ["", "ttl"]
    broken = head_of(stored(store, "a\ufffd,b\nx,y\n").path)
    assert "export the data" in broken.problem


@pytest.mark.parametrize(
    ("data", "guesses"),
    [
        ("Nr,Business (1),x\n1,+447700900123,a\n2,447700900124,\n3,n/a,\n", ["", "to", ""]),
        ("a,b\n447700900123,447700900124\n", ["", ""]),
        ("Mobile,b\nnone,447700900124\n", ["", ""]),
        ("a,b\n12,\n", ["", ""]),
    ],
)
def test_the_recipients_are_in_the_only_column_of_phone_numbers_where_no_name_says_so(
    store: UploadStore, data: str, guesses: list[str]
) -> None:
    assert [each.guess for each in head_of(stored(store, data).path).columns] == guesses
