"""Bad input, by the list of the fault catalogue: what is handed in, and the exact field and sentence of the refusal.

A table a kind of input, numbered as in the catalogue. All rows of a table go in as one campaign between two good
rows, as they would in a real file: each bad one is refused by itself, the good ones go on, and every row is
accounted for. Media are never fetched here, the vendor does that: a link is judged by how it is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.schema import messages as messages_table
from bulksend.messaging import MessageType, compile_content
from bulksend.messaging.argument_naming import as_cli_option
from producer import Producer
from producer.files import FilePlan, plan_file
from producer.intake import Intake
from producer.intake_report import Continued, IntakeReport, SamePeople
from producer.publisher import NoPublisher

SENDER = "8615000579987"
CIPHER = Cipher([bytes(32)])
COUNTRY = "write it with its country code, like +44 7700 900123"
AS_TEXT = "format the column as text and export it again"
BODY = "(it fills body of the content)"
PARAMETER = "(it fills components[0].parameters[0].text of the content)"
TEXT: dict[str, object] = {"body": "Hello {{name}}"}
TEMPLATE: dict[str, object] = {
    "name": "spring_sale",
    "language": {"code": "en", "policy": "deterministic"},
    "components": [{"type": "body", "parameters": [{"type": "text", "text": "{{name}}"}]}],
}


@dataclass(frozen=True, slots=True)
class Bad:
    """A cell, and the refusal of its row."""

    what: str
    cell: object
    field: str
    value: str
    why: str


@pytest.fixture
def database(ledger: Database) -> Database:
    """On SQLite and on PostgreSQL: what one of them takes, such as a NUL, may be the other's error."""
    return ledger


@pytest.fixture
def producer(database: Database) -> Producer:
    return Producer(database, NoPublisher(), CIPHER)


def submit(
    producer: Producer,
    rows: Sequence[Any],
    *,
    name: Any = "spring",
    type: str = "text",
    content: Mapping[str, object] = TEXT,
) -> IntakeReport:
    """Submit, and hold it to its books: each row is a message, a duplicate or a refusal."""
    report = producer.submit(
        name=name, sender=SENDER, kind="marketing", type=type, content=content, rows=rows
    )
    assert report.rows == len(rows) == report.messages + report.duplicates + len(report.refused)
    return report


def submit_between_good_rows(producer: Producer, table: Sequence[Bad], column: str, **options: Any) -> None:
    """The table's cells in ``column``: exactly they are refused, each as the table says."""
    rows = [good(1), *(good(n) | {column: bad.cell} for n, bad in enumerate(table, start=100)), good(2)]
    report = submit(producer, rows, **options)
    assert refused_by(report) == {
        row: (bad.field, bad.value, bad.why) for row, bad in enumerate(table, start=2)
    }
    assert report.messages == 2


def good(n: int) -> dict[str, object]:
    return {"to": f"44770090{n:04d}", "name": "Ann"}


def refused_by(report: IntakeReport) -> dict[int, tuple[str, str, str]]:
    return {r.row: (r.field, r.value, r.why) for r in report.refused}


def count(database: Database) -> int:
    with database.read() as tx:
        return int(tx.execute(select(func.count()).select_from(messages_table)).scalar_one())


# -- numbers: 1 to 18 ----------------------------------------------------------------------------------------------

_SHORT = f"is too short for a phone number; emergency and short numbers have no WhatsApp; {COUNTRY}"
_ODD = f"has characters that phone numbers do not have; {COUNTRY}"
_NATIONAL = (
    f"is a national number without its country code; {COUNTRY}, or name the region of such numbers "
    "(the setting BULKSEND_DEFAULT_REGION=GB, or --region GB of a command)"
)
_SCIENTIFIC = f"was rounded by a spreadsheet, so its last digits are lost; {AS_TEXT}"
BAD_NUMBERS = [
    Bad("1 empty", "", "to", "", f"is empty; {COUNTRY}"),
    Bad("1 blanks", " \t", "to", "", f"is empty; {COUNTRY}"),
    Bad("2 a plus only", "+", "to", "1 character", f"has no digits; {COUNTRY}"),
    Bad("3 letters", "call me", "to", "7 characters", f"has letters; {COUNTRY}"),
    Bad("8 national without its country", "0812 3456 789", "to", "0812****789", _NATIONAL),
    Bad("9 sixteen digits", "1" * 16, "to", "1111*********111", f"is too long for its country; {COUNTRY}"),
    Bad("9 1,000 digits", "1" * 1000, "to", "1,000 characters", f"is too long for a phone number; {COUNTRY}"),
    Bad(
        "11 an extension",
        "+44 7700 900009 x12",
        "to",
        "4477*****009",
        "has an extension, which WhatsApp cannot reach; remove it",
    ),
    Bad(
        "13 6.28e11 of Excel, as a number",
        6.28e11,
        "to",
        "6280*****000",
        f"looks rounded by a spreadsheet, so its last digits are lost; {AS_TEXT}",
    ),
    Bad("13 4.477E+11 of Excel, as text", "4.477E+11", "to", "*477", _SCIENTIFIC),
    Bad(
        "15 our own sender",
        SENDER,
        "to",
        "8615******987",
        "is the sender itself, which WhatsApp refuses (131021); remove the row",
    ),
    Bad(
        "16 premium rate",
        "+44 909 8790000",
        "to",
        "4490*****000",
        "is a premium-rate or service number, which gets no WhatsApp; give the person's own number",
    ),
    Bad("16 emergency", "112", "to", "***", _SHORT),
    Bad("17 a list", ["447700900013"], "to", "", f"is a list, not a phone number; {COUNTRY}"),
    Bad("17 true", True, "to", "", f"is true or false, not a phone number; {COUNTRY}"),
    Bad("18 null", None, "to", "", f"is empty; {COUNTRY}"),
    Bad("22 a lone surrogate", "44770090\ud800", "to", "*****090", _ODD),
    Bad("23 a NUL", "447700900001\0", "to", "4477*****001", _ODD),
]


def test_bad_numbers_are_refused_one_by_one_and_the_rest_goes_on(producer: Producer) -> None:
    submit_between_good_rows(producer, BAD_NUMBERS, "to")


def test_oddly_written_numbers_are_read_as_the_people_they_are(
    producer: Producer, database: Database
) -> None:
    odd = [
        "\u0664\u0664\u0667\u0667\u0660\u0660\u0669\u0660\u0660\u0660\u0660\u0664",  # 4 Arabic-Indic
        "+\uff14\uff14\uff17\uff17\uff10\uff10\uff19\uff10\uff10\uff10\uff10\uff15",  # 5 full-width
        "\u202e+44 7700\u200b 900006\u202c",  # 6 bidi and zero-width marks
        "0044 7700 900007",  # 7
        "+44 (7700)-900.008",  # 10
        447700900011,  # 13
        "'+447700900012",  # 14
    ]
    submit(producer, [{"to": number, "name": "x"} for number in odd])
    with database.read() as tx:
        found = set(tx.execute(select(messages_table.c.recipient)).scalars())
    assert found == {f"4477009000{n:02d}" for n in (4, 5, 6, 7, 8, 11, 12)}


def test_12_one_number_in_five_spellings_is_one_message(producer: Producer) -> None:
    spellings = ["447700900001", "+44 7700 900001", "0044-7700-900001", "+44(7700)900001", 447700900001]
    report = submit(producer, [{"to": number, "name": "x"} for number in spellings])
    assert (report.messages, report.duplicates) == (1, 4)


# -- text and parameters: 19 to 38 ---------------------------------------------------------------------------------

_NEEDED = "is empty, but the content needs it; fill the column, or give a default: {{name|…}}"
_NO_NUMBER = "is not a finite number; fill the cell or clear it"
_LONG = f"may have at most 4,096 characters; shorten it {BODY}"
BAD_TEXTS = [
    Bad("19 empty", "", "name", "", _NEEDED),
    Bad("19 blanks", "   ", "name", "", _NEEDED),
    Bad("18 null", None, "name", "", _NEEDED),
    Bad("20 4,097 characters with Hello", "x" * 4091, "name", "4,091 characters", _LONG),
    Bad("21 1 MB", "x" * 2**20, "name", "1,048,576 characters", _LONG),
    Bad(
        "22 a lone surrogate",
        "a\ud800",
        "name",
        "2 characters",
        f"has half of a character (a lone surrogate); export the data as UTF-8 again {BODY}",
    ),
    Bad("23 a NUL", "a\0b", "name", "3 characters", f"has a NUL character; remove it {BODY}"),
    Bad("31 a million a", "a" * 10**6, "name", "1,000,000 characters", _LONG),
    Bad("36 NaN", float("nan"), "name", "", _NO_NUMBER),
    Bad("36 Infinity", float("inf"), "name", "", _NO_NUMBER),
    Bad("36 10^200", 10**200, "name", "", "is a number of more than 100 digits; give it as text"),
    Bad("17 a list", ["x"], "name", "", "is a list; a cell holds text, a number or a date"),
    Bad("17 an object", {"a": 1}, "name", "", "is a dict; a cell holds text, a number or a date"),
    Bad("24 bytes", b"x", "name", "", "is a bytes; a cell holds text, a number or a date"),
]
_NEWLINE = (
    f"has a newline or tab, which WhatsApp refuses in a template's variable (132018); remove it {PARAMETER}"
)
BAD_PARAMETERS = [
    Bad("35 a tab", "a\tb", "name", "3 characters", _NEWLINE),
    Bad("35 a newline", "a\nb", "name", "3 characters", _NEWLINE),
    Bad("26 CRLF", "a\r\nb", "name", "4 characters", _NEWLINE),
    Bad(
        "35 five spaces",
        "a     b",
        "name",
        "7 characters",
        "has more than 4 spaces in a row, which WhatsApp refuses in a template's variable (132018); "
        f"remove some {PARAMETER}",
    ),
    Bad(
        "31 1,025 characters",
        "a" * 1025,
        "name",
        "1,025 characters",
        f"may have at most 1,024 characters; shorten it {PARAMETER}",
    ),
]


def test_bad_texts_are_refused_one_by_one_and_the_rest_goes_on(producer: Producer) -> None:
    submit_between_good_rows(producer, BAD_TEXTS, "name")


def test_bad_template_variables_are_refused_one_by_one_and_the_rest_goes_on(producer: Producer) -> None:
    submit_between_good_rows(producer, BAD_PARAMETERS, "name", type="template", content=TEMPLATE)


@pytest.mark.parametrize(
    "text",
    [
        "{{7*7}} {% for x in y %} {{''.__class__}} {{name}}",  # 30: what a variable holds is never read for code
        "=HYPERLINK(1)",  # 33: guarded where it is exported
        "<script>alert(1)</script> javascript:alert(1)",  # 34: text to WhatsApp, which renders no HTML
        "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 800,  # 25: 4,000 of 4,096, and nothing is ever cut
    ],
    ids=["30", "33", "34", "25"],
)
def test_text_that_only_looks_dangerous_is_sent_unchanged(
    producer: Producer, database: Database, text: str
) -> None:
    submit(producer, [good(1) | {"name": text}])
    with database.read() as tx:
        (row,) = tx.execute(select(messages_table.c.id, messages_table.c.payload))
    assert CIPHER.decrypt(row.payload, row.id)["v"] == {"name": text}
    rendered = compile_content(MessageType.TEXT, TEXT).render({"name": text})
    assert json.loads(rendered) == {"body": f"Hello {text}"}


_NO_NAME = "has a placeholder that is not a column name; use {{column}} or {{column|default}}"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"body": ""}, "body: is empty; fill it, or omit the field if it is optional"),
        (
            {"body": "x" * 4097},
            "body: may have at most 4,096 characters; shorten it (got '4,097 characters')",
        ),
        (
            {"body": "a\ud800"},
            "body: has half of a character (a lone surrogate); export the data as UTF-8 again",
        ),
        ({"body": "a\0"}, "body: has a NUL character; remove it"),
        ({"body": "{{7*7}}"}, f"body: {_NO_NAME} (got '{{{{7*7}}}}')"),
        ({"body": "{{ 'a'*10**9 }}"}, f"body: {_NO_NAME} (got \"{{{{ 'a'*10**9 }}}}\")"),
        ({"body": "{{''.__class__}}"}, f"body: {_NO_NAME} (got \"{{{{''.__class__}}}}\")"),
        ({"body": ["x"]}, "body: must be a string (got 'a list')"),
        ({"body": "x", "colour": 1}, "colour: is not a field here; the fields are body, preview_url"),
        ({}, "body: is missing; add it"),
        (None, "content: must be a JSON object, like the vendor's Content (got 'null')"),
    ],
)
def test_a_bad_content_is_refused_before_anything_is_stored(
    producer: Producer, database: Database, content: Any, says: str
) -> None:
    _refuse_both_ways(producer, {"content": content}, says)
    assert count(database) == 0


def _refuse_both_ways(producer: Producer, wrong: dict[str, Any], says: str) -> None:
    """``submit`` and ``send`` refuse the same argument by the same sentence."""
    common: dict[str, Any] = {"sender": SENDER, "kind": "utility", "type": "text", "content": {"body": "x"}}
    common |= wrong
    with pytest.raises(InvalidValue) as refused:
        producer.submit(name="n", rows=[good(1)], **common)
    assert str(refused.value) == says
    with pytest.raises(InvalidValue) as refused:
        producer.send(to="447700900001", **common)
    assert str(refused.value) == says


# -- files ---------------------------------------------------------------------------------------------------------


def plan(folder: Path, data: bytes, *, content: bytes | None = None, key: str | None = None) -> FilePlan:
    (folder / "people.csv").write_bytes(data)
    (folder / "content.json").write_bytes(json.dumps(TEXT).encode() if content is None else content)
    return plan_file(
        folder / "people.csv",
        sender=SENDER,
        type="text",
        content=folder / "content.json",
        kind="marketing",
        created_by="t",
        key=key,
        naming=as_cli_option,
    )


def take(planned: FilePlan, database: Database) -> IntakeReport:
    """Take a file in; its books must balance."""
    report = planned.run(Intake(database, NoPublisher(), CIPHER))
    assert report.rows == report.messages + report.duplicates + len(report.refused)
    return report


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"body": "\xff"}', "content: is not UTF-8 (byte 11); save the file as UTF-8"),
        (b'{"body": NaN}', "content: has NaN, which is not a number in JSON"),
        (b'{"body": Infinity}', "content: has Infinity, which is not a number in JSON"),
        (b'{"body": 1e400}', "content: has 1e400, which is too large for a number"),
        (
            b'{"body": "a", "body": "b"}',
            "content: has the key 'body' twice in one object; remove the wrong one",
        ),
        (b"[" * 10_000, "content: is nested more than 32 levels deep; a Content has at most 6"),
        (b'{"body": "a"', "content: is not JSON: Expecting ',' delimiter at line 1, column 13"),
        (b"", "content: is not JSON: Expecting value at line 1, column 1"),
    ],
    ids=["24", "36-nan", "36-infinity", "36-1e400", "37", "38", "cut", "empty"],
)
def test_a_content_file_that_is_not_clean_json_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan(tmp_path, b"to,name\n447700900001,Ann\n", content=content)
    assert str(refused.value) == says


def test_27_28_29_variables_are_found_by_name_whatever_their_order_and_number(
    tmp_path: Path, database: Database
) -> None:
    with pytest.raises(InvalidInput, match=r"the content uses \{\{name\}\}.*its columns are: city"):
        plan(tmp_path, b"to,city\n447700900001,Leeds\n")
    report = take(plan(tmp_path, b"extra,NAME,to\n1,Ann,447700900001\n2,,447700900002\n"), database)
    assert refused_by(report) == {3: ("name", "", _NEEDED)}
    assert report.messages == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "people.csv is empty; its first row must be the names of the columns, such as to,name"),
        (b"to,name\n", "people.csv has a header and no rows"),
        (b"to,name,to\n447700900001,a,b\n", "'to'"),
        (b"To,name,TO\n447700900001,a,b\n", "rename"),
        (b"name,city\nAnn,Leeds\n", "no column holds the recipients; call it `to`"),
        ("to;name\n447700900001;Zoë\n447700900002;José\n".encode("cp1252"), "--encoding cp1252"),
    ],
    ids=["47-empty", "47-header", "50-twice", "50-case", "no-recipients", "49-encoding"],
)
def test_a_file_that_cannot_be_read_as_a_whole_is_refused_as_a_whole(
    tmp_path: Path, database: Database, data: bytes, says: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        take(plan(tmp_path, data), database)
    assert says in str(refused.value)
    assert count(database) == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_49_marks_encodings_and_delimiters_are_found(
    tmp_path: Path, database: Database, delimiter: str
) -> None:
    for n, codec in enumerate(("utf-8", "utf-8-sig", "utf-16")):
        text = f"to{delimiter}name\n44770090000{n}{delimiter}Zoë\n"
        report = take(plan(tmp_path, text.encode(codec)), database)
        assert (report.rows, report.messages, report.repeated) == (1, 1, False)


def test_49_53_ragged_rows_and_a_cut_end_are_refused_by_themselves(
    tmp_path: Path, database: Database
) -> None:
    data = (
        b'to,name\n447700900001,Ann\n447700900002\n447700900003,a,b\n447700900004,"never closed\n'
        b"447700900005,Bob\n447700900006,b\xffd\n447700900007,Cy\n4477009"
    )
    report = take(plan(tmp_path, data), database)
    assert {row: (field, why.split(";")[0]) for row, (field, _, why) in refused_by(report).items()} == {
        3: ("name", "is missing: the row has 1 cell and the header 2"),
        4: ("row", "has 3 cells, the header 2"),
        5: ("name", "opens a quote that is not closed"),
        7: ("name", "has bytes that are not utf-8"),
        9: ("name", "is missing: the row has 1 cell and the header 2"),
    }
    assert (report.rows, report.messages) == (8, 3)


def test_a_mistyped_sender_is_asked_about_by_submit_and_send(producer: Producer) -> None:
    """`8615000579978` where `8615000579987` is on record: nothing is sent before it is registered."""
    submit(producer, [{"to": "447700900001", "name": "Ann"}])
    swapped = SENDER[:-2] + SENDER[-1] + SENDER[-2]
    common: dict[str, Any] = {"sender": swapped, "kind": "marketing", "type": "text"}
    with pytest.raises(InvalidValue, match=f"one digit away from {SENDER}") as refused:
        producer.send(to="447700900002", content={"body": "x"}, **common)
    assert refused.value.field == "sender"
    with pytest.raises(InvalidValue, match=f"senders add {swapped}"):
        producer.submit(name="summer", content=TEXT, rows=[{"to": "447700900002", "name": "Bob"}], **common)


def test_rows_are_read_as_they_come_and_not_copied(producer: Producer) -> None:
    """An iterator is the exception: it can be read only once."""

    class Rows:
        def __iter__(self) -> Iterator[dict[str, object]]:
            return map(good, range(3))

    common: dict[str, Any] = {
        "name": "n",
        "sender": SENDER,
        "kind": "marketing",
        "type": "text",
        "content": TEXT,
    }
    first = producer.submit(rows=Rows(), **common)  # type: ignore[arg-type]
    again = producer.submit(rows=iter(Rows()), **common)
    assert (first.messages, again.campaign_id, again.repeated) == (3, first.campaign_id, True)
    with pytest.raises(InvalidValue, match="rows: are none"):
        producer.submit(rows=iter(()), **common)


def test_48_one_row_many_times_is_one_message(tmp_path: Path, database: Database) -> None:
    report = take(plan(tmp_path, b"to,name\n" + b"447700900001,Ann\n" * 20_000), database)
    assert (report.rows, report.messages, report.duplicates) == (20_000, 1, 19_999)


def test_54_the_same_file_twice_sends_nothing_twice(tmp_path: Path, database: Database) -> None:
    data = b"to,name\n447700900001,Ann\n447700900002,Bob\n"
    first, second = (take(plan(tmp_path, data), database) for _ in range(2))
    assert (first.repeated, second.repeated) == (False, True)
    assert first.campaign_id == second.campaign_id
    assert count(database) == 2


def test_51_a_key_that_stands_for_something_else_is_a_conflict_and_changes_nothing(
    tmp_path: Path, database: Database, producer: Producer
) -> None:
    take(plan(tmp_path, b"to,name\n447700900001,Ann\n", key="spring"), database)
    with pytest.raises(InvalidInput, match="nothing was changed"):
        take(plan(tmp_path, b"to,name\n447700900002,Bob\n", key="spring"), database)
    send: dict[str, Any] = {"to": "447700900003", "sender": SENDER, "kind": "utility", "type": "text"}
    producer.send(**send, content={"body": "one"}, key="k")
    with pytest.raises(InvalidValue, match="belongs to another message") as refused:
        producer.send(**send, content={"body": "two"}, key="k")
    assert refused.value.field == "key"
    assert count(database) == 2


def test_51_two_rows_of_one_key_and_other_words_are_not_two_messages(producer: Producer) -> None:
    keys = ["a", "a", "k" * 201, "a\0"]
    found = refused_by(submit(producer, [good(n) | {"key": key} for n, key in enumerate(keys)]))
    assert found.keys() == {2, 3, 4}
    assert {field for field, _, _ in found.values()} == {"key"}
    assert found[3][2] == "may have at most 200 characters; shorten it"
    assert found[4][2] == "has control characters; remove them"


def test_47_no_rows_are_refused(producer: Producer, database: Database) -> None:
    with pytest.raises(InvalidValue, match="rows: are none; give at least one"):
        submit(producer, [])
    assert count(database) == 0


def test_17_rows_that_are_no_rows_are_refused_one_by_one(producer: Producer) -> None:
    twice = {"TO": "447700900001", "to": "447700900002"}
    report = submit(producer, [None, 7, "447700900001", [], {}, twice, good(1)])
    found = refused_by(report)
    wanted = 'must be an object, like {"to": "447700900123"}'
    kinds = ("null", "an int", "a str", "a list")
    assert [found[n] for n in range(1, 5)] == [("row", kind, wanted) for kind in kinds]
    assert found[5][2].startswith("no column holds the recipients")
    assert found[6][2] == "the columns 'TO' and 'to' have the same name; rename one of them"
    assert report.messages == 1


# -- media: 39 to 46 -----------------------------------------------------------------------------------------------

_ADDRESS = "names its host by an IP address; use a public host name"
BAD_LINKS = [
    ("http://169.254.169.254/", _ADDRESS),
    ("file:///etc/passwd", "must begin with http:// or https://"),
    ("http://127.0.0.1:6379", _ADDRESS),
    ("http://[::ffff:127.0.0.1]/", _ADDRESS),
    ("http://2130706433/", _ADDRESS),
    ("http://0x7f.1/", _ADDRESS),
    ("http://localhost/a.jpg", "has a host that is known only in a private network; use a public host name"),
    ("https://user:pass@example.com/a.jpg", "must not carry a user name or password (an @ before the path)"),
    ("javascript:alert(1)", "must begin with http:// or https://"),
    ("https://example.com/a\r\nX: y", "has a blank or control character; percent-encode it"),
    ("https://example.com:99999/", "is not a link; write it like https://example.com/picture.jpg"),
]


def test_39_to_46_bad_links_of_rows_are_refused_one_by_one_and_the_rest_goes_on(producer: Producer) -> None:
    links = [*(link for link, _ in BAD_LINKS), "https://example.com/a.jpg"]
    rows = [good(n) | {"picture": link} for n, link in enumerate(links)]
    report = submit(producer, rows, type="image", content={"link": "{{picture}}"})
    assert refused_by(report) == {
        n: ("picture", f"{len(link)} characters", f"{why} (it fills link of the content)")
        for n, (link, why) in enumerate(BAD_LINKS, start=1)
    }
    assert report.messages == 1


def test_39_to_46_a_bad_link_of_a_content_is_refused(producer: Producer, database: Database) -> None:
    for link, why in BAD_LINKS:
        _refuse_both_ways(producer, {"type": "image", "content": {"link": link}}, f"link: {why}")
    assert count(database) == 0


# -- time: 55 to 59 ------------------------------------------------------------------------------------------------

_YEAR = "has a year outside 2000 to 2100; check it"
_BARE = "is a bare number of unknown unit"
#: Stands for two minutes before its test: more than five minutes ago is refused for another reason.
EXPIRED = "two minutes ago"
BAD_TIMES: list[tuple[str, dict[str, object], str, str]] = [
    ("55 naive", {"send_at": "2030-03-01T09:00:00"}, "send_at", "has no offset; add one"),
    (
        "56 skipped by the clocks",
        {"send_at": "2030-03-31T02:30:00", "timezone": "Europe/Berlin"},
        "send_at",
        "does not exist in Europe/Berlin",
    ),
    ("57 nothing", {"ttl": "0s"}, "ttl", "must be at least a millisecond and at most 366 days"),
    ("57 below nothing", {"ttl": "-5m"}, "ttl", "is not a duration; write it like 10m"),
    (
        "57 expired before it is due",
        {"send_at": EXPIRED, "ttl": "1m"},
        "send_at",
        "is so long ago that its time to live has passed",
    ),
    ("58 long past", {"send_at": "2020-01-01T00:00:00Z"}, "send_at", "is 2,"),
    ("58 year 1", {"send_at": "0001-01-01T00:00:00Z"}, "send_at", _YEAR),
    ("58 year 9999", {"send_at": "9999-12-31T23:59:59Z"}, "send_at", _YEAR),
    ("59 seconds", {"send_at": "1893456000"}, "send_at", _BARE),
    ("59 milliseconds", {"send_at": 1893456000000}, "send_at", _BARE),
    (
        "no such zone",
        {"send_at": "2030-03-01T09:00:00", "timezone": "Mars/Base"},
        "timezone",
        "is not a time zone; use an IANA name",
    ),
    ("no time at all", {"send_at": "soon"}, "send_at", "is not a time; write it as ISO 8601"),
]


def test_55_to_59_bad_times_are_refused_one_by_one_and_the_rest_goes_on(producer: Producer) -> None:
    expired = {"send_at": (datetime.now(UTC) - timedelta(minutes=2)).isoformat()}
    rows = [
        good(n) | times | (expired if times.get("send_at") == EXPIRED else {})
        for n, (_, times, _, _) in enumerate(BAD_TIMES)
    ]
    report = submit(producer, [*rows, good(99)])
    found = refused_by(report)
    assert len(found) == len(BAD_TIMES)
    for row, (what, _, field, why) in enumerate(BAD_TIMES, start=1):
        assert found[row][0] == field, what
        assert found[row][2].startswith(why), what


def test_56_58_a_time_that_comes_twice_is_its_first_and_one_that_has_just_passed_is_now(
    producer: Producer, database: Database
) -> None:
    twice = {"send_at": "2030-10-27T02:30:00", "timezone": "Europe/Berlin"}
    just_past = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    submit(producer, [good(1) | twice, good(2) | {"send_at": just_past}])
    columns = messages_table.c
    with database.read() as tx:
        first, second = tx.execute(select(columns.due_at, columns.queued_at).order_by(columns.recipient))
    summer = timezone(timedelta(hours=2))
    assert first.due_at == datetime(2030, 10, 27, 2, 30, tzinfo=summer).timestamp() * 1000
    assert abs(second.due_at - second.queued_at) < 60_000


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            {"at": datetime.fromisoformat("2030-03-01T09:00:00")},
            "at: has no time zone; give an aware datetime (got '2030-03-01T09:00:00')",
        ),
        ({"at": datetime(9999, 1, 1, tzinfo=UTC)}, f"at: {_YEAR} (got '9999-01-01T00:00:00+00:00')"),
        ({"at": datetime(1, 1, 1, tzinfo=UTC)}, f"at: {_YEAR} (got '0001-01-01T00:00:00+00:00')"),
        ({"at": 1893456000}, "at: must be an aware datetime (got 'an int')"),
        (
            {"ttl": timedelta(0)},
            "ttl: must be at least a millisecond and at most 366 days (got '0:00:00')",
        ),
        (
            {"ttl": timedelta(days=367)},
            "ttl: must be at least a millisecond and at most 366 days (got '367 days, 0:00:00')",
        ),
        ({"ttl": 300}, "ttl: must be a timedelta (got 'an int')"),
        ({"key": ""}, "key: is empty; fill it, or omit it"),
        ({"key": "k" * 201}, "key: may have at most 200 characters; shorten it (got '201 characters')"),
        ({"key": "a\0b"}, "key: has control characters; remove them (got '3 characters')"),
        ({"key": "\ud800"}, "key: has control characters; remove them (got '1 character')"),
        ({"key": 83121}, "key: is an int, not text"),
        ({"sender": "12"}, f"sender: {_SHORT} (got '**')"),
        ({"sender": None}, f"sender: is empty; {COUNTRY}"),
        ({"kind": "spam"}, "kind: is not one of otp, utility, marketing (got 'spam')"),
    ],
)
def test_a_bad_argument_is_named_and_nothing_is_stored(
    producer: Producer, database: Database, wrong: dict[str, Any], says: str
) -> None:
    _refuse_both_ways(producer, wrong, says)
    assert count(database) == 0


def test_58_a_time_long_past_is_refused_both_ways(producer: Producer, database: Database) -> None:
    """case 02, from Python."""
    common: dict[str, Any] = {"sender": SENDER, "kind": "utility", "type": "text", "content": {"body": "x"}}
    common["at"] = datetime.now(UTC) - timedelta(hours=30)
    with pytest.raises(InvalidValue, match="at: is 30 hours ago; omit at to send now"):
        producer.submit(name="n", rows=[good(1)], **common)
    with pytest.raises(InvalidValue, match="at: is 30 hours ago; omit at to send now"):
        producer.send(to="447700900001", **common)
    assert count(database) == 0


def test_the_same_key_with_other_times_is_no_repeat(producer: Producer, database: Database) -> None:
    """case 18, from Python."""
    common: dict[str, Any] = {"sender": SENDER, "kind": "utility", "type": "text", "content": {"body": "x"}}
    common |= {"name": "n", "rows": [good(1)], "key": "k"}
    at = datetime.now(UTC) + timedelta(days=9)
    first = producer.submit(**common, at=at)
    for other, argument in (
        ({"at": at + timedelta(days=1)}, "at"),
        ({"ttl": timedelta(minutes=5)}, "ttl"),
        ({"rate": "1/s"}, "rate"),
        ({"on_unknown": "resend"}, "on_unknown"),
    ):
        with pytest.raises(InvalidInput, match=f"^{argument}: not changed"):
            producer.submit(**common, **other)
    for same in ({"at": at}, {}):
        assert producer.submit(**common, **same).campaign_id == first.campaign_id


def test_people_who_have_a_message_are_not_sent_it_again_by_another_submit(
    producer: Producer, database: Database
) -> None:
    """case 01, from Python."""
    common: dict[str, Any] = {"sender": SENDER, "kind": "marketing", "type": "text", "content": {"body": "x"}}
    first = producer.submit(name="n", rows=[good(1), {"to": "12"}], **common)
    mended = [good(1), good(2)]
    with pytest.raises(SamePeople, match=r"^1 of 2 rows is for a person who has this"):
        producer.submit(name="n", rows=mended, **common)
    more = producer.submit(name="n", rows=mended, into="n", **common)
    assert more.campaign_id == first.campaign_id
    assert (more.messages, more.refused, more.continued) == (2, [], Continued(2, 1, 1))
    assert producer.submit(name="n", rows=mended, again=True, **common).messages == 2
    assert count(database) == 4


def test_again_sends_the_very_same_rows_once_more(producer: Producer, database: Database) -> None:
    """case 01, from Python: ``again`` makes another campaign, and a key of the caller's own still finds it again."""
    same: dict[str, Any] = {"name": "n", "sender": SENDER, "kind": "marketing", "type": "text"}
    same |= {"content": {"body": "x"}, "rows": [good(1)]}
    first = producer.submit(**same)
    second = producer.submit(**same, again=True)
    keyed = [producer.submit(**same, again=True, key="round-3") for _ in range(2)]
    assert [report.repeated for report in (first, second, *keyed)] == [False, False, False, True]
    assert len({report.campaign_id for report in (first, second, *keyed)}) == 3
    assert count(database) == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "name: is empty; fill it, or omit the field if it is optional"),
        ("a\0", "name: has a NUL character; remove it"),
        (
            "\ud800",
            "name: has half of a character (a lone surrogate); export the data as UTF-8 again",
        ),
        (None, "name: must be a string (got 'null')"),
    ],
)
def test_a_campaign_name_that_no_ledger_can_hold_is_refused(producer: Producer, name: Any, says: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        submit(producer, [good(1)], name=name)
    assert str(refused.value) == says


def test_57_a_send_whose_life_has_passed_is_refused_but_its_repeat_finds_the_first(
    producer: Producer, database: Database
) -> None:
    send: dict[str, Any] = {"to": "447700900001", "sender": SENDER, "kind": "utility", "type": "text"}
    send |= {"content": {"body": "x"}, "at": datetime.now(UTC) - timedelta(minutes=2), "key": "late"}
    with pytest.raises(InvalidValue, match="at: is so long ago that its time to live has passed"):
        producer.send(**send, ttl=timedelta(minutes=1))
    assert count(database) == 0
    first = producer.send(**send)
    again = producer.send(**send | {"at": datetime(2020, 1, 1, tzinfo=UTC)}, ttl=timedelta(minutes=1))
    assert (again.id, again.repeated) == (first.id, True)
