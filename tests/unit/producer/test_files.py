"""A file and a content become texts to send and notes; the tests compare the text that is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulksend.errors import InvalidInput
from bulksend.messaging import PlannedMessage, Planner, PlanningContext
from bulksend.messaging.argument_naming import as_cli_option
from bulksend.messaging.plan import RefusedRow
from producer.files import FilePlan, plan_file
from tests.unit.producer.workbooks import parts_of, row, row_of_texts, save, sheet_xml, styles_of, text

NOW = 1_900_000_000_000
BODY = "Hello {{name}}, pay {{price}}."
HEADER = row_of_texts("to", "name", "price")
CSV = "to,name,price\n+44 7700 900123,Ann,5\n"


def plan(folder: Path, file: str | Path, body: str = BODY, **options: Any) -> FilePlan:
    """The plan of a file, given as the text of a CSV or by its path."""
    path = folder / "list.csv" if isinstance(file, str) else file
    if isinstance(file, str):
        path.write_text(file, encoding="utf-8", newline="")
    content = folder / "content.json"
    content.write_text(json.dumps({"body": body}), encoding="utf-8")
    usual: dict[str, Any] = {"content": content, "kind": "marketing", "now_ms": NOW}
    return plan_file(
        path,
        sender="8615000579987",
        type="text",
        created_by="test",
        naming=as_cli_option,
        **(usual | options),
    )


def read(planned: FilePlan) -> tuple[list[str], list[str], list[str]]:
    """The bodies that the vendor gets, why rows are refused, and the notes."""
    planner = Planner(
        PlanningContext(
            kind=planned.kind,
            sender=planned.sender,
            template=planned.template,
            due_at_ms=NOW,
            ttl_ms=None,
            now_ms=NOW,
            asked_at_ms=NOW,
        )
    )
    bodies, refused = [], []
    for read in planned.rows(0):
        made = read if isinstance(read, RefusedRow) else planner.plan(*read)
        if isinstance(made, PlannedMessage):
            bodies.append(json.loads(planned.template.render(made.variables))["body"])
        else:
            refused.append(f"{made.row} {made.field} {made.why}")
    return bodies, refused, [*planned.notes, *planned.skipped_notes, *planner.quality.sentences()]


def sheet(
    folder: Path, *rows: str, styles: str = "", before: str = "", after: str = "", header: str = HEADER
) -> Path:
    return save(
        folder / "list.xlsx",
        parts_of(sheet_xml(header + "".join(rows), before=before, after=after), styles=styles),
    )


def person(n: int, price: str, attributes: str = "") -> str:
    return row(text(f"+44 7700 9001{n:02}"), text("Ann"), price, attributes=attributes)


def refusal(folder: Path, file: str | Path, body: str = BODY, **options: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        plan(folder, file, body, **options)
    return str(caught.value)


# -- spreadsheets as they look: 06, 07, 26 ---------------------------------------------------------------------------


def test_computed_numbers_are_sent_as_the_sheet_shows_them(tmp_path: Path) -> None:
    """Case 06."""
    cells = [
        "<c><f>1.1*3</f><v>3.3000000000000003</v></c>",
        "<c><f>0.1+0.2</f><v>0.30000000000000004</v></c>",
    ]
    path = sheet(tmp_path, *(person(n, cell) for n, cell in enumerate(cells)))
    assert read(plan(tmp_path, path))[0] == ["Hello Ann, pay 3.3.", "Hello Ann, pay 0.3."]


def test_computed_numbers_of_other_files_lose_the_same_digits(tmp_path: Path) -> None:
    """Case 06: what JavaScript computed. Text stays as it is written."""
    path = tmp_path / "list.jsonl"
    rows = ['{"to": "447700900123", "name": "Ann", "price": 0.30000000000000004}']
    rows += ['{"to": "447700900124", "name": "Ann", "price": "0.30000000000000004"}']
    path.write_text("\n".join(rows), encoding="utf-8")
    assert read(plan(tmp_path, path))[0] == ["Hello Ann, pay 0.3.", "Hello Ann, pay 0.30000000000000004."]


@pytest.mark.parametrize("hidden", [' hidden="1"', ' hidden="true"', ' ht="0" customHeight="1"'])
def test_hidden_rows_are_counted_in_a_note_and_sent(tmp_path: Path, hidden: str) -> None:
    """Case 07."""
    rows = [person(n, "<c><v>5</v></c>", hidden if n < 2 else "") for n in range(5)]
    bodies, _, notes = read(plan(tmp_path, sheet(tmp_path, *rows)))
    assert len(bodies) == 5
    assert "2 of 5 rows are hidden, by a filter or by hand; they are used too" in notes


def test_hidden_columns_and_sheets_are_named(tmp_path: Path) -> None:
    """Case 07: the siblings of a hidden row. A hidden column that no content uses is not told."""
    columns = '<cols><col min="1" max="1"/><col min="2" max="3" hidden="1"/></cols>'
    path = sheet(tmp_path, person(1, "<c><v>5</v></c>"), before=columns)
    notes = read(plan(tmp_path, path, "Hello {{name}}"))[2]
    assert "the column 'name' is hidden; it is used all the same" in notes
    assert not any("price" in note for note in notes)

    parts = parts_of(*[sheet_xml(HEADER + person(1, "<c><v>5</v></c>"))] * 2, names=("People", "Secret"))
    parts["xl/workbook.xml"] = str(parts["xl/workbook.xml"]).replace(
        '"Secret"', '"Secret" state="veryHidden"'
    )
    path = save(tmp_path / "two.xlsx", parts)
    assert "read the sheet 'People', 1 more is hidden (--sheet takes another)" in plan(tmp_path, path).notes
    assert "the sheet 'Secret' is hidden" in plan(tmp_path, path, sheet="Secret").notes


@pytest.mark.parametrize(
    ("code", "value", "sent", "note"),
    [
        (9, "0.1", "0.1", "10% is sent as 0.1"),
        (10, "0.125", "0.125", "12.50% is sent as 0.125"),
        (14, "46082", "2026-03-01", "the date or time in C2 is sent as 2026-03-01"),
        ("dd/mm/yyyy", "46082", "2026-03-01", "the date or time in C2 is sent as 2026-03-01"),
        (20, "0.5", "12:00:00", "the date or time in C2 is sent as 12:00:00"),
        (46, "1.5", "36:00:00", None),
        (2, "5", "5", "5.00 is sent as 5"),
        (3, "1234567", "1234567", "the number in C2 is sent without its format"),
        (7, "5", "5", "$5.00 is sent as 5"),
        ('#,##0.00\\ "kr"', "1234.5", "1234.5", "1,234.50 kr is sent as 1234.5"),
        ("[$€-407]0.00", "9.9", "9.9", "€9.90 is sent as 9.9"),
        ("0.0", "3.14159", "3.14159", "3.1 is sent as 3.14159"),
        ("0.0#", "3.5", "3.5", None),
        ("000000", "123", "123", "C2 is sent without its leading zeros"),
        ("0.00E+00", "12345", "12345", "the number in C2 is sent as 12345"),
        ("# ?/?", "0.5", "0.5", "the number in C2 is sent as 0.5"),
        ("0", "5", "5", None),
        ("General", "5", "5", None),
        ("@", "5", "5", None),
        ("#,##0", "500", "500", None),
    ],
)
def test_cells_that_look_otherwise_than_they_are_sent_are_noted_with_an_example(
    tmp_path: Path, code: str | int, value: str, sent: str, note: str | None
) -> None:
    """Case 26."""
    path = sheet(tmp_path, person(1, f'<c s="1"><v>{value}</v></c>'), styles=styles_of(0, code))
    bodies, _, notes = read(plan(tmp_path, path))
    assert bodies == [f"Hello Ann, pay {sent}."]
    about = [line for line in notes if "not as shown" in line]
    assert [note in line and "format the column as text" in line for line in about] == [True] * bool(note)
    assert all("price" in line for line in about)


def test_booleans_are_noted_and_columns_that_are_not_used_are_not(tmp_path: Path) -> None:
    """Case 26."""
    path = sheet(tmp_path, person(1, '<c t="b"><v>1</v></c>'), person(2, '<c t="b"><v>0</v></c>'))
    bodies, _, notes = read(plan(tmp_path, path))
    assert bodies == ["Hello Ann, pay true.", "Hello Ann, pay false."]
    assert any("2 cells of 'price'" in note and "TRUE is sent as true" in note for note in notes)
    assert plan(tmp_path, path, "Hello {{name}}").notes == ()


def test_an_example_shows_no_code_and_no_number(tmp_path: Path) -> None:
    """Case 26: a note is not a place for what is private."""
    path = sheet(
        tmp_path,
        row('<c s="1"><v>447700900123</v></c>', text("Ann"), '<c s="1"><v>4711</v></c>'),
        styles=styles_of(0, "00000000000000"),
    )
    told = " ".join(plan(tmp_path, path).notes)
    assert "leading zeros" in told
    assert "4711" not in told
    assert "900123" not in told


# -- headers: 19, --map, headings, other sheets ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mark",
    [
        "\u202a{}\u202c",
        "{}\u2060",
        "\u200b{}",
        "\ufeff{}",
        "\u00ad{}",
        "{}\u00a0",
        "\u2066{}\u2069",
        "\u200e{}",
    ],
)
@pytest.mark.parametrize("place", range(3))
def test_marks_that_cannot_be_seen_do_not_change_a_column(tmp_path: Path, mark: str, place: int) -> None:
    """Case 19, in CSV, JSON lines and spreadsheets."""
    names = [mark.format(name) if n == place else name for n, name in enumerate(["to", "name", "price"])]
    cells = ["+44 7700 900123", "Ann", "5"]
    line = json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False)
    (tmp_path / "list.jsonl").write_text(line, encoding="utf-8")
    book = sheet(tmp_path, row_of_texts(*cells), header=row_of_texts(*names))
    for file in (f"{','.join(names)}\n{','.join(cells)}\n", tmp_path / "list.jsonl", book):
        assert read(plan(tmp_path, file))[0] == ["Hello Ann, pay 5."]


@pytest.mark.parametrize(
    "marks", ["\ufeff\ufeff", "\ufeff\ufeff\ufeff", "\u200b", "\ufeff\u200b", "ï»¿", "\ufeffï»¿", "\u202a"]
)
@pytest.mark.parametrize("head", ['"to","name","price"\n', "to,name,price\n", 'sep=,\n"to","name","price"\n'])
def test_further_marks_at_the_beginning_are_left_out_before_parsing(
    tmp_path: Path, marks: str, head: str
) -> None:
    """Case 19: two byte-order marks."""
    bodies, _, _ = read(plan(tmp_path, f'{marks}{head}"+44 7700 900123","Ann","5"\n'))
    assert bodies == ["Hello Ann, pay 5."]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_further_marks_of_utf_16_are_left_out(tmp_path: Path, codec: str) -> None:
    """Case 19."""
    path = tmp_path / "list.csv"
    path.write_bytes(('\ufeff\ufeff"to","name","price"\n' + CSV.partition("\n")[2]).encode(codec))
    assert read(plan(tmp_path, path))[0] == ["Hello Ann, pay 5."]


def test_quotes_behind_a_mark_are_quotes(tmp_path: Path) -> None:
    """Case 19: in the middle of the line too."""
    assert read(plan(tmp_path, 'to,\u200b"name",price\n447700900123,Ann,5\n'))[0] == ["Hello Ann, pay 5."]


def test_columns_that_differ_in_marks_only_are_refused(tmp_path: Path) -> None:
    """Case 19."""
    said = refusal(tmp_path, "to,name,name\u2060,price\n447700900123,Ann,Bob,5\n")
    assert "columns 2 (B) and 3 (C)" in said
    (tmp_path / "list.jsonl").write_text(
        '{"to": "447700900123", "name": "Ann", "name\u2060": "Bob", "price": 5}'
    )
    assert "stands twice" in " ".join(read(plan(tmp_path, tmp_path / "list.jsonl"))[1])


@pytest.mark.parametrize("length", [1, 500])  # the name of a file ends before 500
def test_json_in_place_of_the_name_of_its_file_is_said_and_not_shown(tmp_path: Path, length: int) -> None:
    inline = Path(json.dumps({"body": "4" * length + " is {{name}}"}))
    with pytest.raises(InvalidInput, match=r"^--content takes the name of a file.*content\.json") as raised:
        plan(tmp_path, CSV, content=inline, kind="otp")
    assert "4 is" not in str(raised.value)


def test_a_marked_name_in_the_content_is_the_same_name(tmp_path: Path) -> None:
    """Case 19."""
    assert read(plan(tmp_path, CSV, "Hello {{\u200bname}}{{price\u2060|0}}"))[0] == ["Hello Ann5"]


@pytest.mark.parametrize(
    "heading",
    ["Mobile No.", "mobile_number", "MobileNo", "Phone Number", "PhoneNumber", "Phone #", "Cell Phone", "Tel.",
     "Tel.-Nr.", "WhatsApp No", "Whatsapp-Nummer", "Customer Phone", "Contact Number", "Handynummer", "Téléphone",
     "N° de téléphone",
     "Número de teléfono", "Celular", "No. HP", "手机号码", "電話番号", "Номер телефона", "رقم الهاتف", "मोबाइल नंबर",
     "Số điện thoại", "Phone 1 - Value", "\u200bMobile No.", "GSM"],
)  # fmt: skip
def test_what_address_books_call_the_recipients_column_is_known(tmp_path: Path, heading: str) -> None:
    """D29: "Mobile No." and its kind."""
    planned = plan(tmp_path, f"{heading};name;price\n+44 7700 900123;Ann;5\n")
    assert read(planned)[0] == ["Hello Ann, pay 5."]
    assert any("the recipients are read from the column" in note for note in planned.notes)


@pytest.mark.parametrize(
    "heading", ["Contact", "No.", "Name", "Total", "Mobility", "Telegram", "Recipient", "Landline"]
)
def test_what_may_be_something_else_is_not_taken_for_it(tmp_path: Path, heading: str) -> None:
    """D29."""
    assert "no column holds the recipients" in refusal(
        tmp_path, f"{heading},x,price\n+44 7700 900123,Ann,5\n"
    )


def test_two_columns_of_numbers_are_asked_about(tmp_path: Path) -> None:
    """D29: a guess messages a stranger."""
    file = "Mobile No.,phone,name,price\n+44 7700 900123,+44 20 7946 0000,Ann,5\n"
    said = refusal(tmp_path, file)
    assert "could each hold the recipients" in said
    assert "--map to=" in said
    planned = plan(tmp_path, file, "To {{phone}}", columns=["to=Mobile No."])
    assert read(planned)[0] == ["To +44 20 7946 0000"]


def test_a_column_is_mapped_whatever_it_is_called(tmp_path: Path) -> None:
    """D29: ``--map``, compared as headers are."""
    file = "Nr X,First Name,Preis\n+44 7700 900123,Ann,5\n"
    planned = plan(tmp_path, file, columns=["to=\u200bnr  x", "name = first name", "price=Preis"])
    assert read(planned)[0] == ["Hello Ann, pay 5."]
    assert planned.notes == ()


def test_a_mapping_is_part_of_what_a_file_says(tmp_path: Path) -> None:
    """D29: read otherwise, it is another send; without one the key is what it was."""
    file = "to,a,b,price\n+44 7700 900123,Ann,Bob,5\n"
    keys = {plan(tmp_path, file, columns=[f"name={column}"]).key for column in "ab"}
    assert len(keys) == 2


def test_a_mapped_column_may_be_reserved(tmp_path: Path) -> None:
    """D29."""
    planned = plan(tmp_path, "to,name,price,when\n447700900123,Ann,5,nonsense\n", columns=["send_at=when"])
    assert "send_at" in read(planned)[1][0]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["to=Mobile"], "--map to=Mobile: there is no such column; the columns are: to, name, price"),
        (["Mobile"], "is not NAME=COLUMN"),
        (["to="], "is not NAME=COLUMN"),
        (["=to"], "is not NAME=COLUMN"),
        (["a=name", "A=price"], "'a' is given twice"),
        (["a=name", "b=NAME"], "is given two names"),
        (["price=name"], "have the same name; --map calls both 'price'"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(tmp_path: Path, columns: list[str], said: str) -> None:
    """D29."""
    assert said in refusal(tmp_path, CSV, columns=columns)


def test_names_may_be_exchanged(tmp_path: Path) -> None:
    """D29."""
    planned = plan(tmp_path, CSV, columns=["price=name", "name=price"])
    assert read(planned)[0] == ["Hello 5, pay Ann."]


@pytest.mark.parametrize(
    "first",
    [
        row_of_texts("Our plan"),
        row_of_texts("week", "", "what"),
        HEADER,
        "",
        row_of_texts("plan") + row_of_texts("go"),
    ],
)
def test_an_error_of_the_first_sheet_names_the_sheets_that_have_recipients(
    tmp_path: Path, first: str
) -> None:
    """D29."""
    people = sheet_xml(row_of_texts("Mobile No.", "name", "price") + person(1, "<c><v>5</v></c>"))
    parts = parts_of(
        sheet_xml(first), people, sheet_xml(row_of_texts("x")), names=("Plan", "People", "Notes")
    )
    path = save(tmp_path / "list.xlsx", parts)
    assert "recipients are in 'People': use --sheet People" in refusal(tmp_path, path)
    assert read(plan(tmp_path, path, sheet="People"))[0] == ["Hello Ann, pay 5."]
    assert "Recipients are in" not in refusal(tmp_path, path, sheet="Notes")


# -- rows for nothing: 20, empty rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    [
        "NULL",
        "null",
        "None",
        "undefined",
        "NaN",
        "nan",
        "N/A",
        "#N/A",
        "nil",
        "[object Object]",
        "(null)",
        "\\N",
        "-",
    ],
)
def test_words_for_nothing_are_counted_where_the_content_uses_them(tmp_path: Path, word: str) -> None:
    """Case 20."""
    file = f"to,name,price,unused\n447700900123,{word},5,{word}\n447700900124, {word} ,5,x\n447700900125,Ann,5,x\n"
    bodies, _, notes = read(plan(tmp_path, file))
    assert len(bodies) == 3
    assert f"2 rows have {word} in name, which is sent as it stands" in notes
    assert not any("unused" in note for note in notes)


def test_ordinary_names_are_not_words_for_nothing(tmp_path: Path) -> None:
    """Case 20: Mr Null is a man, but the whole cell says NULL or it is no such word."""
    assert (
        read(plan(tmp_path, "to,name,price\n447700900123,Nullinger,5\n447700900124,Nan Goldin,5\n"))[2] == []
    )


def test_a_replaced_character_is_refused_as_other_broken_text_is(tmp_path: Path) -> None:
    """Case 20: U+FFFD in a cell, a default, a name, a key and the content."""
    bodies, refused, _ = read(
        plan(tmp_path, "to,name,price\n447700900123,Fran\ufffdois,5\n447700900124,Ann,5\n")
    )
    assert bodies == ["Hello Ann, pay 5."]
    assert refused[0].startswith("2 name has a U+FFFD")
    assert "U+FFFD" in refusal(tmp_path, CSV, "Hello \ufffd {{name}}")
    assert "U+FFFD" in refusal(tmp_path, CSV, "Hello {{name|\ufffd}}")
    assert "U+FFFD" in refusal(tmp_path, "to,name,pri\ufffde,price\n447700900123,Ann,5,5\n")
    keyed = read(plan(tmp_path, "to,name,price,key\n447700900123,Ann,5,Fran\ufffdois\n"))
    assert keyed[1][0].startswith("2 key has a U+FFFD")
    unused = read(plan(tmp_path, "to,name,price,other\n447700900123,Ann,5,Fran\ufffdois\n"))
    assert unused[0] == ["Hello Ann, pay 5."]


def test_text_that_was_read_in_another_encoding_is_noted(tmp_path: Path) -> None:
    """Case 20: ``Ã©`` is what UTF-8 looks like to a program that took it for Windows-1252."""
    garbled = "René".encode().decode("cp1252")
    notes = read(plan(tmp_path, f"to,name,price\n447700900123,{garbled},5\n447700900124,SÃO JOSÉ,5\n"))[2]
    assert notes == [
        "1 row has text in name that was read in another encoding ('Ã©'); export the data as UTF-8 again"
    ]


@pytest.mark.parametrize(
    ("file", "count"),
    [
        (CSV + ",,\n" * 200, 200),
        (CSV + " , ,\n" * 3 + "447700900124,Bob,5\n", 3),
        (CSV + "\n\n447700900124,Bob,5\n", 2),
        (CSV + "\n\n\n", 0),
        (CSV + ",,\n\n\n", 1),
        (CSV, 0),
        (CSV + "\n447700900124,Bob,5\n\n", 1),
    ],
)
def test_empty_rows_are_counted(tmp_path: Path, file: str, count: int) -> None:
    """D29. A line end too many at the file's end is no row."""
    notes = read(plan(tmp_path, file))[2]
    wanted = f"{count:,} empty row{' was' if count == 1 else 's were'} left out"
    assert [note for note in notes if "empty" in note] == ([wanted] if count else [])


def test_a_file_of_empty_rows_only_says_how_many(tmp_path: Path) -> None:
    """D29."""
    assert "has a header and 200 empty rows" in refusal(tmp_path, "to,name,price\n" + ",,\n" * 200)


def test_empty_rows_of_sheets_and_json_are_counted(tmp_path: Path) -> None:
    """D29."""
    path = sheet(
        tmp_path, person(1, "<c><v>5</v></c>"), "<row/>" * 4, person(2, "<c><v>5</v></c>"), "<row/>" * 9
    )
    assert "4 empty rows were left out" in read(plan(tmp_path, path))[2]
    line = '{"to": "4477009001%d", "name": "Ann", "price": 5}\n'
    (tmp_path / "list.jsonl").write_text(line % 23 + "\n \n" + line % 24 + "\n")
    assert "2 empty rows were left out" in read(plan(tmp_path, tmp_path / "list.jsonl"))[2]


# -- contents: 08, 25 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    ["{name}", "{ name }", "｛｛name｝｝", "｛name｝", "((name))", "[[name]]", "[name]", "%name%", "%%name%%",
     "${name}", "#{name}", "%{name}", "<name>", "<<name>>", "‹name›", "«name»", "{% name %}", "<%= name %>", "{$name}",
     "*|NAME|*", "{Name}", "{name|friend}", "#name#", "$name$", "【name】", "{{name}} and {name}"],
)  # fmt: skip
def test_a_columns_name_in_other_brackets_is_noted(tmp_path: Path, written: str) -> None:
    """Case 08."""
    _, _, notes = read(plan(tmp_path, CSV, f"Hello {written}, pay {{{{price}}}}"))
    told = written.removeprefix("{{name}} and ")
    assert notes == [f"{told} is sent as it stands; write {{{{name}}}} to fill in the column"]


@pytest.mark.parametrize(
    "body",
    ["the name (name) of it", "name", "Hello {{name}}", "«{{name}}» ({{price}})", "{nobody}", "5% name 10%",
     "price: 5 [sic]", "{{ name }} {{name|you}}", "<b>{{name}}</b>"],
)  # fmt: skip
def test_a_text_that_only_holds_the_word_is_not(tmp_path: Path, body: str) -> None:
    """Case 08."""
    assert read(plan(tmp_path, CSV, body))[2] == []


def test_blanks_in_names_do_not_hide_other_brackets(tmp_path: Path) -> None:
    """Case 08: {first_name} and {FirstName} mean the column "First Name"."""
    for written in ("{first_name}", "{FirstName}", "[First Name]"):
        (note,) = plan(tmp_path, "to,First Name\n447700900123,Ann\n", f"Hello {written}").notes
        assert note == f"{written} is sent as it stands; write {{{{first name}}}} to fill in the column"


@pytest.mark.parametrize(
    ("header", "name"), [("to", "to"), ("phone", "phone"), ("phone", "to"), ("Mobile No.", "mobile no.")]
)
def test_the_recipient_can_stand_in_a_content(tmp_path: Path, header: str, name: str) -> None:
    """Case 25: as the file writes it, under the file's name for it or ``to``."""
    bodies, refused, _ = read(
        plan(tmp_path, f"{header},name\n+44 7700 900131,Ivy\n", f"You gave us {{{{{name}}}}}")
    )
    assert (bodies, refused) == (["You gave us +44 7700 900131"], [])


def test_a_reserved_column_can_stand_in_a_content(tmp_path: Path) -> None:
    """Case 25: the siblings of ``to``."""
    file = "to,send_at,ttl,timezone,key\n447700900123,2031-01-01T10:00:00,1h,Europe/Berlin,k1\n"
    bodies, refused, _ = read(plan(tmp_path, file, "{{send_at}} {{ttl}} {{timezone}} {{key}}"))
    assert (bodies, refused) == (["2031-01-01T10:00:00 1h Europe/Berlin k1"], [])


def test_a_variable_that_no_column_has_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    """Case 25: what is missing is still said, with every column that there is."""
    said = refusal(tmp_path, CSV, "Hello {{nome}}")
    assert "uses {{nome}}" in said
    assert "its columns are: name, price, to" in said
    assert '--map nome="…"' in said
