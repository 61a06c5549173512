"""What a file is, by its content, and what WhatsApp takes."""

from __future__ import annotations

import struct

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging.media_files import HEAD, check_media
from bulksend.messaging.states import MessageType

MB = 1024 * 1024


def sticker(side: int = 512, *, moves: bool = False) -> bytes:
    edges = (side - 1).to_bytes(3, "little") * 2
    return b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes([2 if moves else 0, 0, 0, 0]) + edges


@pytest.mark.parametrize(
    ("head", "type", "mime"),
    [
        (b"\xff\xd8\xff\xe0", "image", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image", "image/png"),
        (b"\x00\x00\x00\x18ftypisom", "video", "video/mp4"),
        (b"\x00\x00\x00\x18ftyp3gp4", "video", "video/3gpp"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio", "audio/mp4"),
        (b"#!AMR\n", "audio", "audio/amr"),
        (b"ID3\x04", "audio", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio", "audio/aac"),
        (b"OggS" + bytes(24) + b"OpusHead", "audio", "audio/ogg"),
        (b"%PDF-1.7", "document", "application/pdf"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "document", "application/msword"),
        ("Preise: 5 €\r\n".encode(), "document", "text/plain"),
        (sticker(), "sticker", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(10) + struct.pack("<HH", 512, 512), "sticker", "image/webp"),
        (
            b"RIFF\x00\x00\x00\x00WEBPVP8L" + bytes(5) + struct.pack("<I", 511 | 511 << 14),
            "sticker",
            "image/webp",
        ),
    ],
)
def test_a_file_is_what_its_beginning_says(head: bytes, type: str, mime: str) -> None:
    found = check_media(head, 1000, field="FILE")
    assert (found.type.value, found.mime) == (type, mime)


def test_an_office_file_is_told_by_its_list_of_parts() -> None:
    for part, mime in (("word", "wordprocessingml.document"), ("xl", "spreadsheetml.sheet")):
        tail = f"[Content_Types].xml{part}/document.xml".encode()
        assert check_media(b"PK\x03\x04", 9, field="FILE", tail=tail).mime.endswith(mime)
    with pytest.raises(InvalidValue, match="no type that WhatsApp takes"):
        check_media(b"PK\x03\x04", 9, field="FILE", tail=b"photos/a.png")


@pytest.mark.parametrize(
    "head",
    [
        b"GIF89a\x01\x00",
        b"\x00\x00\x00\x18ftypheic",
        b"\x00\x00\x00\x14ftypqt  ",
        b"OggS" + bytes(24) + b"\x01vorbis",
        b"MZ\x90\x00\x03",
        b"\x00\x01\x02",
        b"caf\xe9 " * 10,
        b"\xff\xe5\x00\x00",
    ],
)
def test_what_whatsapp_does_not_take_is_refused(head: bytes) -> None:
    with pytest.raises(InvalidValue, match="no type that WhatsApp takes"):
        check_media(head, 1000, field="FILE")


@pytest.mark.parametrize(
    ("head", "most"),
    [
        (b"\xff\xd8\xff", 5 * MB),
        (b"ID3", 16 * MB),
        (b"\x00\x00\x00\x18ftypmp42", 16 * MB),
        (b"%PDF-", 100 * MB),
        (sticker(), 100 * 1024),
        (sticker(moves=True), 500 * 1024),
    ],
)
def test_a_file_may_be_as_large_as_whatsapp_says_and_no_larger(head: bytes, most: int) -> None:
    check_media(head, most, field="FILE")
    with pytest.raises(InvalidValue, match=f"at most {most:,} bytes"):
        check_media(head, most + 1, field="FILE")
    with pytest.raises(InvalidValue, match="empty"):
        check_media(b"", 0, field="FILE")


def test_a_file_must_be_of_the_wanted_type_and_a_sticker_of_its_sides() -> None:
    with pytest.raises(InvalidValue, match="is sent as image, not as video"):
        check_media(b"\xff\xd8\xff", 9, field="FILE", wanted=MessageType.VIDEO)
    for wrong in (sticker(256), b"RIFF\x00\x00\x00\x00WEBPODD "):
        with pytest.raises(InvalidValue, match="512 x 512"):
            check_media(wrong, 9, field="FILE")


def test_text_may_be_cut_in_the_middle_of_a_character_only_where_it_is_long() -> None:
    long = ("x" * (HEAD - 1) + "€").encode()[:HEAD]
    assert check_media(long, 9000, field="FILE").mime == "text/plain"
    with pytest.raises(InvalidValue):
        check_media("€".encode()[:2], 2, field="FILE")
