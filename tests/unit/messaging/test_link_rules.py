"""What the answer to a link means, and when a signed one ends."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging import MessageType
from bulksend.messaging.link_rules import LinkReply, check_end, check_reply, ends_at
from bulksend.messaging.units import parse_instant_ms

JPEG = b"\xff\xd8\xff\xe0 a picture"


def at(text: str) -> int:
    return parse_instant_ms(text, timezone=None, now_ms=0)


def said(reply: LinkReply, type: str = "image") -> str | None:
    return check_reply(reply, MessageType(type), field="link")


@pytest.mark.parametrize(
    ("reply", "type", "note"),
    [
        (LinkReply(206, "image/jpeg", 5_000_000, JPEG), "image", None),
        (LinkReply(200, "", None, JPEG), "image", None),
        (LinkReply(200, "application/octet-stream", None, JPEG), "image", "have it served as image/jpeg"),
        (LinkReply(302, "", None, b""), "image", "leads on to another address (HTTP 302)"),
        (LinkReply(403, "", None, b""), "image", "answers HTTP 403 here"),
        (LinkReply(503, "text/html", None, b"<html>"), "image", "answers HTTP 503 here"),
        (LinkReply(206, "x/y", 5_000_000, b"PK\x03\x04"), "document", None),
    ],
)
def test_what_may_be_sent_is_a_note_at_most(reply: LinkReply, type: str, note: str | None) -> None:
    found = said(reply, type)
    assert found is None if note is None else note in str(found)


@pytest.mark.parametrize(
    ("reply", "type", "why"),
    [
        (LinkReply(404, "image/jpeg", None, b""), "image", r"leads to no file \(HTTP 404\)"),
        (LinkReply(410, "", None, b""), "image", r"leads to no file \(HTTP 410\)"),
        (LinkReply(200, "text/html", 90, b"<html>"), "document", "leads to a web page and not to a file"),
        (LinkReply(200, "image/jpeg", None, JPEG), "video", "is sent as image, not as video"),
        (LinkReply(206, "image/jpeg", 5_242_881, JPEG), "image", "is too large: WhatsApp takes at most"),
        (LinkReply(206, "x/y", 104_857_601, b"PK\x03\x04"), "document", "is too large"),
        (LinkReply(200, "", 0, b""), "image", "is an empty file"),
    ],
)
def test_what_certainly_cannot_be_sent_is_refused(reply: LinkReply, type: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=f"^link: {why}"):
        said(reply, type)


def test_the_size_is_that_of_the_whole_file() -> None:
    part = {
        "content-range": "bytes 0-4095/70000",
        "content-length": "4096",
        "content-type": "Image/JPEG; q=1",
    }
    assert LinkReply.of(206, part, JPEG) == LinkReply(206, "image/jpeg", 70_000, JPEG)
    assert LinkReply.of(200, {"content-length": "14"}, JPEG).size == 14
    for told in ({"content-range": "bytes 0-1/*"}, {"content-length": "many"}, {}):
        assert LinkReply.of(206, told, JPEG).size is None


@pytest.mark.parametrize(
    ("query", "end"),
    [
        ("X-Amz-Date=20300101T000000Z&X-Amz-Expires=3600", "2030-01-01T01:00:00Z"),
        ("X-Goog-Date=20300101T000000Z&X-Goog-Expires=60", "2030-01-01T00:01:00Z"),
        ("Expires=1893456000&Signature=x", "2030-01-01T00:00:00Z"),
        ("sv=2022&se=2030-01-01T08%3A00%3A00Z&sig=x", "2030-01-01T08:00:00Z"),
        ("se=2030-01-01&sig=x", "2030-01-02T00:00:00Z"),
        ("se=2030-01-01", None),
        ("X-Amz-Date=99999999T000000Z&X-Amz-Expires=1", None),
        ("X-Amz-Date=20300101T000000Z&X-Amz-Expires=999999999999", None),
        ("expires=soon", None),
        ("", None),
    ],
)
def test_a_signed_link_says_when_it_ends(query: str, end: str | None) -> None:
    assert ends_at(f"https://example.com/a.jpg?{query}") == (None if end is None else at(end))


def test_a_link_that_ends_too_early_is_refused() -> None:
    link, end = "https://example.com/a.jpg?Expires=1893456000", at("2030-01-01T00:00:00Z")

    def check(now_ms: int, due_ms: int) -> str | None:
        return check_end(link, now_ms=now_ms, due_ms=due_ms, field="link")

    assert "messages that are sent later fail" in str(check(end - 2, end - 1))
    with pytest.raises(InvalidValue, match="before the first message is due"):
        check(end - 1, end)
    with pytest.raises(InvalidValue, match="make a new link") as refused:
        check(end, end)
    assert "1893456000" not in str(refused.value)
    assert check_end("https://example.com/a.jpg", now_ms=0, due_ms=0, field="link") is None
