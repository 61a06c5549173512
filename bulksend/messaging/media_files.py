"""WhatsApp's table of files that a message may carry: which types, told by their content, and how large.

A name says nothing: a file is what its first bytes say (docs/vendor.md#limits).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bulksend.errors import InvalidValue
from bulksend.messaging.states import MessageType

_KB, _MB = 1024, 1024 * 1024
#: As many bytes at the beginning of a file tell its type.
HEAD = 4096
MOST_BYTES = 100 * _MB
#: The most bytes of a file of each type; a sticker that does not move.
MOST = {
    MessageType.IMAGE: 5 * _MB,
    MessageType.AUDIO: 16 * _MB,
    MessageType.VIDEO: 16 * _MB,
    MessageType.DOCUMENT: MOST_BYTES,
    MessageType.STICKER: 100 * _KB,
}
_MOVING_STICKER = 500 * _KB
_STICKER_SIDE = 512
_OFFICE = "application/vnd.openxmlformats-officedocument"
#: The part of a packed office file that tells which program made it.
_PACKED = {
    b"word/": f"{_OFFICE}.wordprocessingml.document",
    b"xl/": f"{_OFFICE}.spreadsheetml.sheet",
    b"ppt/": f"{_OFFICE}.presentationml.presentation",
}


@dataclass(frozen=True, slots=True)
class MediaFile:
    """What a file is: the type of message that carries it, and its media type."""

    type: MessageType
    mime: str


def check_media(
    head: bytes, size: int, *, field: str, wanted: MessageType | None = None, tail: bytes = b""
) -> MediaFile:
    """What a file of this beginning and size is. ``tail``: its last bytes, where a packed file lists its parts.

    Raises InvalidValue when WhatsApp does not take it, or not as ``wanted``.
    """
    if not size:
        raise InvalidValue(field, "", "is an empty file")
    found = _kind_of(head, tail)
    if found is None:
        raise InvalidValue(
            field,
            "",
            "is of no type that WhatsApp takes: JPEG, PNG, MP4, 3GP, AAC, AMR, MP3, M4A, OGG (Opus), WebP, PDF, text, "
            "or an office file",
        )
    if wanted is not None and found.type is not wanted:
        raise InvalidValue(
            field, found.mime, f"is sent as {found.type}, not as {wanted}; use another file or type"
        )
    moves = found.type is MessageType.STICKER and _check_sticker(head, field)
    most = _MOVING_STICKER if moves else MOST[found.type]
    if size > most:
        raise InvalidValue(
            field, f"{size:,} bytes", f"is too large: WhatsApp takes at most {most:,} bytes of {found.mime}"
        )
    return found


def _kind_of(head: bytes, tail: bytes) -> MediaFile | None:
    for begins, type, mime in _MAGIC:
        if head.startswith(begins):
            return MediaFile(type, mime)
    for told in _TOLD_BY:
        found = told(head, tail)
        if found is not None:
            return found
    return None


_MAGIC = (
    (b"\xff\xd8\xff", MessageType.IMAGE, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", MessageType.IMAGE, "image/png"),
    (b"#!AMR", MessageType.AUDIO, "audio/amr"),
    (b"ID3", MessageType.AUDIO, "audio/mpeg"),
    (b"%PDF-", MessageType.DOCUMENT, "application/pdf"),
    # Word, Excel and PowerPoint before 2007 share one container.
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", MessageType.DOCUMENT, "application/msword"),
)
_MP4_BRANDS = frozenset(
    [b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"MSNV", b"dash"]
)


def _boxed(head: bytes, tail: bytes) -> MediaFile | None:
    """MP4 and its relatives: the brand stands behind ``ftyp``."""
    if head[4:8] != b"ftyp":
        return None
    brand = head[8:12]
    if brand in (b"M4A ", b"M4B "):
        return MediaFile(MessageType.AUDIO, "audio/mp4")
    if brand.startswith(b"3g"):
        return MediaFile(MessageType.VIDEO, "video/3gpp")
    # HEIC, AVIF and QuickTime have the same container.
    is_video = brand in (
        b"isom",
        b"iso2",
        b"iso4",
        b"iso5",
        b"iso6",
        b"mp41",
        b"mp42",
        b"avc1",
        b"M4V ",
        b"MSNV",
        b"dash",
    )
    return MediaFile(MessageType.VIDEO, "video/mp4") if is_video else None


def _framed(head: bytes, tail: bytes) -> MediaFile | None:
    """AAC and MP3 without a tag begin with a frame; its layer tells them apart."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer, version = head[1] >> 1 & 3, head[1] >> 3 & 3
    if layer == 0 and head[1] & 0xF0 == 0xF0:
        return MediaFile(MessageType.AUDIO, "audio/aac")
    return MediaFile(MessageType.AUDIO, "audio/mpeg") if layer == 1 and version != 1 else None


def _ogg(head: bytes, tail: bytes) -> MediaFile | None:
    """WhatsApp takes Opus in it only."""
    is_opus = head.startswith(b"OggS") and b"OpusHead" in head[:100]
    return MediaFile(MessageType.AUDIO, "audio/ogg") if is_opus else None


def _webp(head: bytes, tail: bytes) -> MediaFile | None:
    is_one = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return MediaFile(MessageType.STICKER, "image/webp") if is_one else None


def _packed(head: bytes, tail: bytes) -> MediaFile | None:
    """DOCX, XLSX and PPTX: a zip file that lists its parts at its end."""
    if not head.startswith(b"PK\x03\x04"):
        return None
    parts = head + tail
    found = next((mime for part, mime in _PACKED.items() if part in parts), None)
    return (
        None
        if found is None or b"[Content_Types].xml" not in parts
        else MediaFile(MessageType.DOCUMENT, found)
    )


def _plain_text(head: bytes, tail: bytes) -> MediaFile | None:
    """UTF-8 without control characters; the last character of the beginning may be cut."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(head) < HEAD or error.start < len(head) - 4:
            return None
        text = head[: error.start].decode("utf-8")
    is_text = all(c >= " " or c in "\t\n\r\f" for c in text)
    return MediaFile(MessageType.DOCUMENT, "text/plain") if is_text else None


_TOLD_BY: tuple[Callable[[bytes, bytes], MediaFile | None], ...] = (
    *(_boxed, _ogg, _webp, _packed, _framed, _plain_text),
)


def _check_sticker(head: bytes, field: str) -> bool:
    """Whether it moves. Raises InvalidValue when its sides are not those of a sticker."""
    moves, sides = False, None
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        moves = bool(head[20] & 0x02)
        sides = int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    elif kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        sides = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and len(head) >= 30:
        sides = int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    if sides != (_STICKER_SIDE, _STICKER_SIDE):
        shown = "unknown sides" if sides is None else f"{sides[0]} x {sides[1]}"
        raise InvalidValue(field, shown, "is no sticker: it must have 512 x 512 pixels")
    return moves
