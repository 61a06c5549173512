"""XML of unknown origin, parsed by expat in one pass and bounded memory.

What no real spreadsheet has is refused before it costs time or memory: a document type (entities that expand, external
files), an element of more than ``TOKEN_MAX`` bytes (expat reads an unfinished one again with each piece), more
different names than any schema has (expat keeps them all), and deep nesting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn
from xml.parsers import expat

from bulksend.errors import BulksendError

#: Bytes that expat gets at once.
PIECE = 1 << 16
#: Bytes of one tag, comment or instruction.
TOKEN_MAX = 1 << 16
NAMES_MAX = 4096
DEPTH_MAX = 64

Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]


class BadXml(BulksendError):
    """A part of a workbook that cannot be read. The text is the end of a sentence."""


class XmlFeed:
    """Parses an XML document that comes in pieces; calls ``start`` and ``end`` for each element with its full name.

    ``scanned`` counts the bytes that expat has processed, an unfinished element once more with each piece.
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

    def set_text_handler(self, handler: Callable[[str], object] | None) -> None:
        """Call ``handler`` with all text that follows; None stops the calls."""
        self._parser.CharacterDataHandler = handler

    def feed(self, piece: bytes) -> None:
        """Parse the next piece; an empty one ends the document. Raises BadXml when the XML is broken or unsafe."""
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
    """Call ``start`` for each element, by its name without prefix. Raises BadXml as ``XmlFeed.feed``."""
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
    """The value of a boolean attribute."""
    return value in ("1", "true", "on")


def _refuse_doctype(*_: object) -> NoReturn:
    raise BadXml("its XML has a document type (DTD), which no spreadsheet has")
