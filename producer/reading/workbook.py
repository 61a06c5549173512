"""An .xlsx: a zip of XML parts. Only the parts that hold a sheet's cells are read, in bounded memory.

The sizes that a zip states can be wrong, so the unpacked bytes are counted. Nothing is written to disk, macros and
links to other workbooks are ignored, and no part is read whole.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from pathlib import Path

from bulksend.errors import InvalidInput
from producer.reading.bounded_xml import PIECE, BadXml, XmlFeed, is_on, local, read_elements
from producer.reading.number_formats import NumberFormat, built_in, read_format

#: Bytes that all parts of a workbook may unpack to: a full sheet of 40 columns.
UNPACKED_MAX = 2 << 30
#: Bytes of a workbook's list of parts; those of Excel have about a hundred entries of 100 bytes.
DIRECTORY_MAX = 4 << 20
#: Bytes of shared texts in memory, and eight more for each text.
STRINGS_MAX = 512 << 20
#: Characters of one cell. Excel's own limit is 32,767.
CELL_MAX = 1 << 17
#: Sheets, styles and relations of a workbook.
ENTRIES_MAX = 1 << 17

_AGAIN = "save it as .xlsx or CSV again"
_UNREADABLE = (
    BadXml,
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    IndexError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
)
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_ZIP = b"PK"
_OLE = b"\xd0\xcf\x11\xe0"
#: Parts that show another format within a zip, and the remedy.
_OTHERS = (
    ("mimetype", "an OpenDocument file (.ods)", "save it as .xlsx or CSV"),
    ("content.xml", "an OpenDocument file (.ods)", "save it as .xlsx or CSV"),
    ("index/document.iwa", "a Numbers document", "export it as .xlsx or CSV"),
    ("index.zip", "a Numbers document", "export it as .xlsx or CSV"),
    ("xl/workbook.bin", "a binary workbook (.xlsb)", "save it as .xlsx or CSV"),
    ("word/document.xml", "a Word document", "copy its table into a spreadsheet"),
    ("ppt/presentation.xml", "a presentation", "copy its table into a spreadsheet"),
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet with cells: its name, its part of the zip, and whether it is hidden."""

    name: str
    part: str
    is_hidden: bool


class Workbook:
    """An open .xlsx: its sheets, shared texts and number formats."""

    def __init__(self, path: Path, *, unpacked_max: int = UNPACKED_MAX) -> None:
        """Raises InvalidInput when the file is not a workbook, or cannot be read safely."""
        self.file = path.name
        self._unpacked_max = unpacked_max
        self._strings: _Strings | None = None
        _check_kind(path)
        self._file = path.open("rb")
        try:
            with self.reporting_damage():
                self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        self._zip = zipfile.ZipFile(_Directory(self._file))
        self._parts = {
            info.filename.replace("\\", "/").lstrip("/").lower(): info for info in self._zip.infolist()
        }
        if len(self._parts) != len(self._zip.infolist()):
            raise BadXml("two of its parts have the same name")
        self._check_parts()
        book = self._main_part()
        self._relations = self._read_relations(book)
        self.since_1904 = False
        self.sheets = self._read_sheets(book)
        self.formats = self._read_formats()

    def _check_parts(self) -> None:
        declared = sum(info.file_size for info in self._parts.values())
        if declared > self._unpacked_max:
            raise self._too_large()
        if any(info.flag_bits & 1 for info in self._parts.values()):
            raise InvalidInput(f"{self.file} is protected by a password; save it without one, or as CSV")
        if "xl/workbook.xml" in self._parts:
            return
        for part, what, remedy in _OTHERS:
            if part in self._parts:
                raise InvalidInput(f"{self.file} is {what}, despite its extension; {remedy}")
        if "_rels/.rels" not in self._parts:
            raise InvalidInput(f"{self.file} is a zip archive without a workbook; unpack it first")

    def close(self) -> None:
        """Close the file. May be repeated."""
        self._file.close()

    def reporting_damage(self) -> _DamageReporting:
        """A block in which every error that a damaged file can cause becomes InvalidInput."""
        return _DamageReporting(self.file)

    # -- parts ----------------------------------------------------------------------------------------------

    def pieces(self, part: str) -> Iterator[bytes]:
        """A part's bytes. Raises KeyError when it does not exist, InvalidInput when it unpacks to too many bytes."""
        info = self._parts[part.lower()]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadXml("it is compressed in a way that no spreadsheet program uses")
        unpacked = 0
        with self._zip.open(info) as file:
            while piece := file.read(PIECE):
                unpacked += len(piece)
                if unpacked > self._unpacked_max:
                    raise self._too_large()
                yield piece

    def _too_large(self) -> InvalidInput:
        return InvalidInput(
            f"{self.file} unpacks to more than {self._unpacked_max >> 20:,} MB; save it as CSV, of any size"
        )

    def _main_part(self) -> str:
        for kind, target in self._relation_list("_rels/.rels", ""):
            if kind[1] == "officeDocument":
                return target
        return "xl/workbook.xml"

    def _read_relations(self, book: str) -> dict[str, tuple[str, str]]:
        folder, name = posixpath.split(book)
        found = self._relation_list(f"{folder}/_rels/{name}.rels".lstrip("/"), folder)
        return {ident: (kind, target) for (ident, kind), target in found}

    def _relation_list(self, part: str, folder: str) -> list[tuple[tuple[str, str], str]]:
        """((id, last word of the type), part) of each relation within the file."""
        found: list[tuple[tuple[str, str], str]] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            if name == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, attributes.get("Target", "")))
                kind = attributes.get("Type", "").rpartition("/")[2]
                _has_room(found)
                found.append(((attributes.get("Id", ""), kind), target.lstrip("/")))

        if part.lower() in self._parts:
            read_elements(self.pieces(part), start)
        return found

    def _part_of_kind(self, kind: str) -> str | None:
        found = next((target for known, target in self._relations.values() if known == kind), None)
        return found if found is not None and found.lower() in self._parts else None

    def _read_sheets(self, book: str) -> list[Sheet]:
        sheets: list[Sheet] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            if name == "workbookPr":
                self.since_1904 = is_on(attributes.get("date1904"))
            if name != "sheet" or "name" not in attributes:
                return
            ident = next((value for key, value in attributes.items() if local(key) == "id"), "")
            kind, part = self._relations.get(ident, ("", ""))
            if kind == "worksheet":
                hidden = attributes.get("state", "visible") != "visible"
                _has_room(sheets)
                sheets.append(Sheet(attributes["name"], part, hidden))

        read_elements(self.pieces(book), start)
        return sheets

    def _read_formats(self) -> list[NumberFormat]:
        """The number format of each style of a cell."""
        part = self._part_of_kind("styles")
        codes: dict[str, str] = {}
        formats: list[NumberFormat] = []
        within = ""

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal within
            if name in ("cellXfs", "cellStyleXfs", "dxfs"):
                within = name
            elif name == "numFmt" and within != "dxfs":
                codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif name == "xf" and within == "cellXfs":
                ident = attributes.get("numFmtId", "0")
                _has_room(formats)
                formats.append(read_format(codes[ident]) if ident in codes else built_in(int(ident)))

        if part is not None:
            read_elements(self.pieces(part), start)
        return formats

    def string(self, number: int) -> str:
        """A shared text by its number. All are read at the first call. Raises IndexError when there is no such text."""
        if self._strings is None:
            part = self._part_of_kind("sharedStrings")
            self._strings = _Strings(self.file)
            if part is not None:
                self._strings.read(self.pieces(part))
        return self._strings[number]


class _Strings:
    """Texts in one block of bytes: a Python object each would take twice the memory."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._text = bytearray()
        self._ends = array("Q", [0])
        self._heard: list[str] = []
        self._in_pronunciation = 0

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self._ends) - 1:
            raise IndexError(number)
        return str(self._text[self._ends[number] : self._ends[number + 1]], "utf-8", "surrogatepass")

    def read(self, pieces: Iterator[bytes]) -> None:
        self._feed = XmlFeed(self._start, self._end)
        for piece in pieces:
            self._feed.feed(piece)
            check_length(self._heard)
            if len(self._text) + 8 * len(self._ends) > STRINGS_MAX:
                raise InvalidInput(
                    f"{self._file} holds more than {STRINGS_MAX >> 20} MB of text; save it as CSV, of any size"
                )
        self._feed.feed(b"")
        del self._feed

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = local(name)
        if name == "t" and not self._in_pronunciation:
            self._feed.set_text_handler(self._heard.append)
        elif name == "rPh":  # the pronunciation of an Asian text
            self._in_pronunciation += 1

    def _end(self, name: str) -> None:
        name = local(name)
        if name == "t":
            self._feed.set_text_handler(None)
        elif name == "rPh":
            self._in_pronunciation -= 1
        elif name == "si":
            text = unescaped("".join(self._heard))
            self._heard.clear()
            self._text += text.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._text))


class _DamageReporting:
    def __init__(self, file: str) -> None:
        self._file = file

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, InvalidInput) or not isinstance(error, _UNREADABLE):
            return
        if isinstance(error, BadXml):
            raise InvalidInput(f"{self._file} is damaged: {error}; {_AGAIN}") from None
        raise InvalidInput(f"{self._file} is damaged; {_AGAIN}") from None


class _Directory(io.BufferedIOBase):
    """The file for ``zipfile``, which reads the list of parts whole, of whatever length the file states."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, at: int, whence: int = 0, /) -> int:
        return self._file.seek(at, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY_MAX:
            raise BadXml("it has far too many parts")
        return self._file.read(-1 if size is None else size)


def _check_kind(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(8)
        if not head:
            raise InvalidInput(f"{path.name} is empty; save the table in it again")
        if head.startswith(_OLE):
            if _holds(file, "EncryptedPackage".encode("utf-16-le")):
                raise InvalidInput(f"{path.name} is protected by a password; save it without one, or as CSV")
            raise InvalidInput(f"{path.name} is an old .xls, despite its extension; save it as .xlsx or CSV")
    if not head.startswith(_ZIP):
        raise InvalidInput(
            f"{path.name} is not a spreadsheet, despite its extension; if it is text, name it .csv"
        )


def _holds(file: io.BufferedReader, wanted: bytes) -> bool:
    kept = b""
    while piece := file.read(1 << 20):
        if wanted in kept + piece:
            return True
        kept = piece[-len(wanted) :]
    return False


def _has_room(found: Sized) -> None:
    if len(found) >= ENTRIES_MAX:
        raise BadXml(f"it has more than {ENTRIES_MAX:,} sheets, styles or relations")


def check_length(heard: list[str], before: str = "") -> None:
    """Raises BadXml when a cell's text is longer than ``CELL_MAX``."""
    if len(before) + sum(map(len, heard)) > CELL_MAX:
        raise BadXml(f"a cell holds more than {CELL_MAX:,} characters")


def unescaped(text: str) -> str:
    """The text without escapes such as ``_x000D_``, which a sheet uses for characters that XML does not have."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text
