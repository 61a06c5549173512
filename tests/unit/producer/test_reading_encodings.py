"""An encoding is known by its mark, is UTF-8, or is named by a person; it is never guessed."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from bulksend.errors import InvalidInput
from bulksend.messaging.plan import RefusedRow
from producer.reading import RawRow, open_rows

NAMES = ["José", "Müller", "Łukasz", "Иван", "李雷", "عمر", "😀"]
TEXT = "to,name\n" + "".join(f"{n},{name}\n" for n, name in enumerate(NAMES))


def write(folder: Path, data: bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def names(path: Path, encoding: str | None = None) -> list[object]:
    with open_rows(path, encoding=encoding) as rows:
        return [row.values["name"] if isinstance(row, RawRow) else row for row in rows]


def refusal(path: Path, encoding: str | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        open_rows(path, encoding=encoding)
    return str(caught.value)


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_utf_8_and_marked_files_are_read_by_themselves(tmp_path: Path, mark: bytes, codec: str) -> None:
    path = write(tmp_path, mark + TEXT.encode(codec))
    with open_rows(path) as rows:
        assert rows.encoding == codec
        assert rows.header == ("to", "name")
    assert names(path) == NAMES


def test_another_encoding_is_refused_with_the_remedy_and_not_guessed(tmp_path: Path) -> None:
    data = "to,name\n1,José\n2,Ann\n3,Müller\n".encode("cp1252")
    message = refusal(write(tmp_path, data))
    assert "is not UTF-8 (line 2 and others)" in message
    assert "encoding='cp1252'" in message
    assert "encoding='gb18030' (Chinese)" in message


@pytest.mark.parametrize(
    ("codec", "name"), [("cp1252", "Müller"), ("cp1251", "Иван"), ("shift_jis", "太郎"), ("gb18030", "李雷")]
)
def test_a_named_encoding_is_used(tmp_path: Path, codec: str, name: str) -> None:
    path = write(tmp_path, f"to,name\n1,{name}\n2,{name}\n".encode(codec))
    assert "is not UTF-8" in refusal(path)
    assert names(path, codec) == [name, name]


def test_the_file_is_refused_though_only_its_last_rows_show_the_encoding(tmp_path: Path) -> None:
    data = b"to,name\n" + b"1,Ann\n" * 300_000 + "2,José\n3,Müller\n".encode("cp1252")
    assert "line 300002" in refusal(write(tmp_path, data))


def test_one_damaged_row_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = names(write(tmp_path, b"to,name\n1,Ann\n2,B\xffo\n3,Cy\n"))
    assert found[0] == "Ann"
    assert found[2] == "Cy"
    bad = found[1]
    assert isinstance(bad, RefusedRow)
    assert (bad.row, bad.field) == (3, "name")
    assert "not utf-8" in bad.why


def test_damaged_rows_among_as_many_intact_ones_are_refused_by_themselves(tmp_path: Path) -> None:
    rows = [b"1,Jos\xc3\xa9", b"2,Jos\xc3", b"3,M\xc3\xbcller", b"4,M\xfcller"]
    found = names(write(tmp_path, b"to,name\n" + b"\n".join(rows)))
    assert [type(row) for row in found] == [str, RefusedRow, str, RefusedRow]


def test_a_person_may_insist_on_utf_8(tmp_path: Path) -> None:
    found = names(write(tmp_path, "to,name\n1,José\n2,Ann\n3,Müller\n".encode("cp1252")), "utf-8")
    assert [type(row) for row in found] == [RefusedRow, str, RefusedRow]


def test_a_byte_cut_off_at_the_end_of_the_file_refuses_the_last_row(tmp_path: Path) -> None:
    found = names(write(tmp_path, "to,name\n1,José\n2,José".encode()[:-1]))
    assert found[0] == "José"
    assert isinstance(found[1], RefusedRow)


def test_half_a_character_of_utf_16_refuses_its_row(tmp_path: Path) -> None:
    data = (
        codecs.BOM_UTF16_LE
        + "to,name\n1,a\n2,".encode("utf-16-le")
        + b"\x00\xd8"
        + "\n3,c\n".encode("utf-16-le")
    )
    found = names(write(tmp_path, data))
    assert [type(row) for row in found] == [str, RefusedRow, str]


def test_utf_16_cut_in_the_middle_of_a_unit_refuses_the_last_row(tmp_path: Path) -> None:
    data = codecs.BOM_UTF16_LE + "to,name\n1,a\n2,b".encode("utf-16-le")[:-1]
    found = names(write(tmp_path, data))
    assert [type(row) for row in found] == [str, RefusedRow]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf_16_and_utf_32_without_a_mark_are_refused_by_name(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path, "to,name\n1,Ann\n".encode(codec))
    assert f"encoding='{codec}'" in refusal(path)
    assert names(path, codec) == ["Ann"]


@pytest.mark.parametrize(
    "encoding", ["klingon", "hex", "rot13", "idna", "punycode", "unicode_escape", "", "a\0b"]
)
def test_an_encoding_that_files_do_not_have_is_refused(tmp_path: Path, encoding: str) -> None:
    assert "is not a text encoding" in refusal(write(tmp_path, b"to,name\n1,a\n"), encoding)


def test_an_encoding_against_the_files_own_mark_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, codecs.BOM_UTF8 + b"to,name\n1,a\n")
    assert "leave encoding out" in refusal(path, "cp1252")
    assert names(path, "utf-8-sig") == ["a"]


def test_a_header_in_another_encoding_is_refused(tmp_path: Path) -> None:
    assert "encoding='cp1252'" in refusal(write(tmp_path, "to,prénom\n1,Ann\n".encode("cp1252")))


def test_json_lines_have_the_same_rules(tmp_path: Path) -> None:
    data = '{"to": "1", "name": "José"}\n{"to": "2", "name": "Müller"}\n'.encode("cp1252")
    path = write(tmp_path, data, "list.jsonl")
    assert "is not UTF-8" in refusal(path)
    assert names(path, "cp1252") == ["José", "Müller"]


@pytest.mark.parametrize("name", ["utf-16", "utf-32"])
def test_an_encoding_that_needs_a_mark_is_refused_without_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.csv").write_bytes("to,name\n1,a\n".encode(f"{name}-le"))
    with pytest.raises(InvalidInput, match=f"has no byte-order mark; use {name}-le or"):
        open_rows(tmp_path / "list.csv", encoding=name)
