"""The encoding of a text file: by its byte-order mark, else as the caller says, else UTF-8. It is never guessed.

Detectors confuse encodings such as cp1251 and mac_cyrillic, and what they get wrong is a person's name.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from pathlib import Path

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.column_names import INVISIBLE

#: Characters. Longer lines are refused: a file without line ends must not be read into memory whole.
LINE_MAX = 1 << 20
#: Replaces bytes that cannot be decoded. Half of a surrogate pair: no decoder produces it from a file.
UNREADABLE = "\udcff"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16-LE, whose mark is the beginning of this one.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Codecs of domain names and escapes.
_NOT_FILES = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "unicode_escape"}
)
_MARK_READ_WRONG = "ï»¿"
_SCANNED_AT_ONCE = 1 << 20
#: A lead of this many lines decides whether a file is UTF-8.
_DECISIVE_LEAD = 1000


def _mark_unreadable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNREADABLE, error.end


codecs.register_error("bulksend.unreadable", _mark_unreadable)


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec, and the number of bytes of byte-order marks at the file's beginning."""

    codec: str
    mark: int = 0


def find_encoding(
    path: Path, wanted: str | None, naming: ArgumentNaming, *, is_verified: bool = False
) -> Encoding:
    """The encoding by the file's mark, else the wanted one, else UTF-8.

    Without a mark and a wanted encoding, the whole file is checked to be UTF-8, unless ``is_verified``. Raises
    InvalidInput when the file is in another encoding or format than that.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    mark, marked = next(((m, codec) for m, codec in _MARKS if head.startswith(m)), (b"", None))
    codec = None if wanted is None else _find_codec(wanted, naming)
    if marked is not None:
        if codec is not None and not marked.startswith(codec.removesuffix("-sig")):
            raise InvalidInput(
                f"the byte-order mark of {path.name} says {marked}, not {wanted}; leave {naming('encoding')} out"
            )
        return Encoding(marked, len(mark) + _length_of_marks(head[len(mark) :], marked))
    if codec in ("utf-16", "utf-32"):
        raise InvalidInput(
            f"{naming('encoding')}: {path.name} has no byte-order mark; use {codec}-le or {codec}-be"
        )
    if codec is not None:
        return Encoding(codec.removesuffix("-sig"))
    _refuse_other_format(path.name, head)
    if head.count(0) > len(head) // 4:
        codec = _wide_codec(head)
        raise InvalidInput(
            f"{path.name} is not UTF-8: it looks like {codec.upper()} without its byte-order mark; export it as "
            f"UTF-8, or use {naming('encoding', codec)}"
        )
    if not is_verified:
        _refuse_other_encoding(path, naming)
    return Encoding("utf-8", _length_of_marks(head, "utf-8"))


def _wide_codec(head: bytes) -> str:
    """UTF-16 or UTF-32 by the place of the zeros: UTF-32 has three of them in each Latin letter."""
    zeros = [head[n::4].count(0) for n in range(4)]
    if sum(zeros) > len(head) * 5 // 8:
        return "utf-32-le" if zeros[3] > zeros[0] else "utf-32-be"
    return "utf-16-le" if zeros[1] + zeros[3] > zeros[0] + zeros[2] else "utf-16-be"


def _length_of_marks(head: bytes, codec: str) -> int:
    """The bytes of invisible marks: a second byte-order mark, also one that was read as Windows-1252."""
    text = head.decode(codec, "ignore")
    rest = text
    while rest and (INVISIBLE.match(rest) or rest.startswith(_MARK_READ_WRONG)):
        rest = rest.removeprefix(_MARK_READ_WRONG) if rest.startswith(_MARK_READ_WRONG) else rest[1:]
    return len(text[: len(text) - len(rest)].encode(codec))


def _find_codec(name: str, naming: ArgumentNaming) -> str:
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        info = None
    if info is None or not info._is_text_encoding or info.name in _NOT_FILES:
        raise InvalidInput(
            f"{naming('encoding')}: {name[:40]!r} is not a text encoding; common ones are utf-8, utf-16-le, cp1252 "
            "(Western), cp1250 (Central European), cp1251 (Cyrillic), shift_jis, gb18030"
        )
    return info.name


def _refuse_other_format(name: str, head: bytes) -> None:
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
    """The file's text, with UNREADABLE for bytes that cannot be decoded. ``newline`` as in ``open``."""
    raw = path.open("rb", buffering=1 << 18)
    raw.seek(encoding.mark)
    return io.TextIOWrapper(raw, encoding.codec, errors="bulksend.unreadable", newline=newline)


def is_unreadable(line: str) -> bool:
    """Whether a line holds bytes that could not be decoded."""
    if line.isascii():
        return False
    try:
        line.encode("utf-8")  # the fastest search for lone surrogates in CPython
    except UnicodeEncodeError:
        return True
    return False


def _refuse_other_encoding(path: Path, naming: ArgumentNaming) -> None:
    """Raise InvalidInput when a file is not UTF-8 as a whole.

    One damaged line is refused as a row, and the other rows are read. But when two or more lines cannot be decoded, and
    they outnumber the lines of intact text beyond ASCII, the whole file has another encoding: it would be wrong to send
    only the rows that are ASCII by chance. The whole file is read (1 GB/s), so the order of its rows does not matter.
    """
    if _is_utf8(path):
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
            if abs(broken - intact) > _DECISIVE_LEAD:
                break
    if broken >= 2 and broken > intact:
        raise InvalidInput(
            f"{path.name} is not UTF-8 (line {first} and others); export it as UTF-8, or name its encoding, such as "
            f"{naming('encoding', 'cp1252')} (Western), {naming('encoding', 'cp1251')} (Cyrillic) or "
            f"{naming('encoding', 'gb18030')} (Chinese); "
            f"{naming('encoding', 'utf-8')} refuses only the rows concerned"
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
