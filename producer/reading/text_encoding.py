"""Bytes to text: an encoding is known by its mark, is UTF-8, or is named by a person. It is never guessed.

Detectors take cp1251 for mac_cyrillic and the like, and what they get wrong is somebody's name.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from pathlib import Path

from bulksend.errors import InvalidInput
from bulksend.messaging.column_names import INVISIBLE

#: Longer lines are refused, so that a file without line ends needs no memory of its size. Characters.
LINE_MAX = 1 << 20
#: What undecodable bytes become: half of a character, which no decoder lets through from a file.
UNREADABLE = "\udcff"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # UTF-32's little-endian mark begins with UTF-16's, so it comes first.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Codecs of names and escapes, not of files.
_NOT_FILES = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "unicode_escape"}
)
_MARK_READ_WRONG = "ï»¿"
_SCANNED_AT_ONCE = 1 << 20
_SURE = 1000


def _mark_unreadable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNREADABLE, error.end


codecs.register_error("bulksend.unreadable", _mark_unreadable)


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec's name, how many bytes at the file's beginning are marks, and how the codec is known."""

    codec: str
    mark: int
    is_marked: bool
    asked: bool


def find_encoding(path: Path, asked: str | None) -> Encoding:
    """By its mark, else as asked, else UTF-8. Raises InvalidInput with the remedy where that cannot be."""
    with path.open("rb") as file:
        head = file.read(4096)
    mark, marked = next(((m, codec) for m, codec in _MARKS if head.startswith(m)), (b"", None))
    wanted = None if asked is None else _known(asked)
    if marked is not None:
        if wanted is not None and not marked.startswith(wanted.removesuffix("-sig")):
            raise InvalidInput(f"{path.name} is marked as {marked}, not {asked}; leave --encoding out")
        return Encoding(marked, len(mark) + _marks_after(head[len(mark) :], marked), True, asked is not None)
    if wanted in ("utf-16", "utf-32"):
        raise InvalidInput(
            f"--encoding: {path.name} has no mark that tells its order of bytes; say {wanted}-le or {wanted}-be"
        )
    if wanted is not None:
        return Encoding(wanted.removesuffix("-sig"), 0, False, True)
    _no_other_format(path.name, head)
    if head.count(0) > len(head) // 4:
        order = "le" if head[1::2].count(0) > head[0::2].count(0) else "be"
        raise InvalidInput(
            f"{path.name} is not UTF-8: it looks like UTF-16 without its mark; export it as UTF-8, or say "
            f"--encoding utf-16-{order}"
        )
    return Encoding("utf-8", _marks_after(head, "utf-8"), False, False)


def _marks_after(head: bytes, codec: str) -> int:
    """Bytes of further marks that cannot be seen: a second byte-order mark, also one that was read as Windows-1252."""
    text = head.decode(codec, "ignore")
    rest = text
    while rest and (INVISIBLE.match(rest) or rest.startswith(_MARK_READ_WRONG)):
        rest = rest.removeprefix(_MARK_READ_WRONG) if rest.startswith(_MARK_READ_WRONG) else rest[1:]
    return len(text[: len(text) - len(rest)].encode(codec))


def _known(name: str) -> str:
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        info = None
    if info is None or not info._is_text_encoding or info.name in _NOT_FILES:
        raise InvalidInput(
            f"--encoding: {name[:40]!r} is no encoding of files; common ones are utf-8, utf-16-le, cp1252 "
            "(Western), cp1250 (Central European), cp1251 (Cyrillic), shift_jis, gb18030"
        )
    return info.name


def _no_other_format(name: str, head: bytes) -> None:
    for magic, what, remedy in (
        (b"PK\x03\x04", "a spreadsheet or another zip archive", "name a spreadsheet .xlsx"),
        (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls)", "save it as .xlsx or CSV"),
        (b"\x1f\x8b", "data compressed with gzip", "unpack it first"),
        (b"BZh", "data compressed with bzip2", "unpack it first"),
        (b"\xfd7zXZ", "data compressed with xz", "unpack it first"),
        (b"\x28\xb5\x2f\xfd", "data compressed with zstd", "unpack it first"),
        (b"\x89PNG", "a picture", "export the table as CSV or .xlsx"),
        (b"%PDF", "a PDF", "export the table as CSV or .xlsx"),
        (b"SQLite format 3", "a database", "export the table as CSV"),
    ):
        if head.startswith(magic):
            raise InvalidInput(f"{name} holds {what}, not text; {remedy}")


def open_text(path: Path, encoding: Encoding, newline: str) -> io.TextIOWrapper:
    """The file's text, undecodable bytes as UNREADABLE. ``newline`` as in ``open``."""
    raw = path.open("rb", buffering=1 << 18)
    raw.seek(encoding.mark)
    return io.TextIOWrapper(raw, encoding.codec, errors="bulksend.unreadable", newline=newline)


def unreadable(line: str) -> bool:
    """Whether a line holds bytes that were not of the encoding."""
    if line.isascii():
        return False
    try:
        line.encode("utf-8")  # the quickest search for half characters that CPython has
    except UnicodeEncodeError:
        return True
    return False


def refuse_other_encoding(path: Path, encoding: Encoding) -> None:
    """Raises InvalidInput where a file without mark is plainly not UTF-8.

    One damaged line is refused as a row and the rest goes on. But where two or more lines are unreadable,
    and more of them than hold intact text beyond ASCII, all of it is of another encoding: sending the half
    that happens to be ASCII would be wrong. The whole file is looked at (1 GB/s), so that its order does not
    matter. ``--encoding utf-8`` insists.
    """
    if encoding.codec != "utf-8" or encoding.is_marked or encoding.asked or _is_utf8(path):
        return
    broken = intact = first = 0
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_MAX), b""), 1):
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                intact += 1
            except UnicodeDecodeError:
                broken += 1
                first = first or number
            if abs(broken - intact) > _SURE:
                break
    if broken >= 2 and broken > intact:
        raise InvalidInput(
            f"{path.name} is not UTF-8 (line {first} and others); export it as UTF-8, or say which encoding "
            "it is, such as --encoding cp1252 (Western) or cp1251 (Cyrillic); --encoding utf-8 refuses "
            "only the rows concerned"
        )


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    within = False
    with path.open("rb") as file:
        try:
            while part := file.read(_SCANNED_AT_ONCE):
                if within or not part.isascii():
                    decoder.decode(part)
                    within = bool(decoder.getstate()[0])
            decoder.decode(b"", True)
        except UnicodeDecodeError:
            return False
    return True
