"""XML of unknown origin, in one pass and bounded memory, through expat.

What an honest spreadsheet never has is refused before it costs anything: a document type (entities that expand, files
from elsewhere), an element of more than ``TOKEN_MAX`` bytes (expat reads an unfinished one again with each piece),
more different names than any schema has (expat keeps them all), and deep nesting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn
from xml.parsers import expat

from bulksend.errors import BulksendError

#: Bytes that are handed to expat at once.
PIECE = 1 << 16
#: Bytes of one tag, comment or instruction.
TOKEN_MAX = 1 << 16
NAMES_MAX = 4096
DEPTH_MAX = 64

Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]


class BadXml(BulksendError):
    """Why a part of a workbook cannot be read, as the end of a sentence."""


class XmlFeed:
    """An XML document that is fed in pieces; ``start`` and ``end`` are told each element with its full name.

    ``scanned`` counts the bytes that expat has looked at, an unfinished element once more with each piece.
    """

    def __init__(self, start: Start, end: End) -> None:
        self.scanned = 0
        self._fed = 0
        self._parser = parser = expat.ParserCreate(intern={})
        parser.buffer_text = True
        parser.buffer_size = PIECE
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.StartDoctypeDeclHandler = _refuse_doctype

    def listen(self, hear: Callable[[str], object] | None) -> None:
        """Tell ``hear`` the text that follows, or stop telling it."""
        self._parser.CharacterDataHandler = hear

    def feed(self, piece: bytes) -> None:
        """The next piece; an empty one ends the document. Raises BadXml."""
        for at in range(0, len(piece), PIECE):
            self._feed(piece[at : at + PIECE])
        if not piece:
            self._feed(b"")

    def _feed(self, piece: bytes) -> None:
        self.scanned += self._unfinished() + len(piece)
        self._fed += len(piece)
        try:
            self._parser.Parse(piece, not piece)
        except expat.ExpatError as error:
            raise BadXml(f"its XML is broken at line {error.lineno}") from None
        if piece and self._unfinished() > TOKEN_MAX:
            raise BadXml(f"its XML has an element of more than {TOKEN_MAX:,} bytes")
        if len(self._parser.intern) > NAMES_MAX:
            raise BadXml(f"its XML has more than {NAMES_MAX:,} different names")

    def _unfinished(self) -> int:
        return self._fed - max(0, self._parser.CurrentByteIndex) if self._fed else 0


def read_elements(pieces: Iterable[bytes], start: Start) -> None:
    """Tell ``start`` each element by its name without prefix. Raises BadXml."""
    depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH_MAX:
            raise BadXml("its XML is nested too deeply")
        start(local(name), attributes)

    def finish(name: str) -> None:
        nonlocal depth
        depth -= 1

    feed = XmlFeed(begin, finish)
    for piece in pieces:
        feed.feed(piece)
    feed.feed(b"")


def local(name: str) -> str:
    """A name without its prefix."""
    return name.rpartition(":")[2]


def is_on(value: str | None) -> bool:
    """A boolean attribute."""
    return value in ("1", "true", "on")


def _refuse_doctype(*_: object) -> NoReturn:
    raise BadXml("its XML has a document type (DTD), which no spreadsheet has")
