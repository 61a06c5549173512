"""The replies to UploadMedia, GetMedia and DeleteMedia (docs/vendor.md#other-calls)."""

from __future__ import annotations

from dataclasses import dataclass

from bulksend.gateway.call_replies import CallReply, field_of, text_of

UPLOAD_ACTION, MEDIA_ACTION, DELETE_ACTION = "UploadMedia", "GetMedia", "DeleteMedia"
_MAX_ID = 256


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The vendor's id of a file; ``problem`` is empty where it has one."""

    id: str
    problem: str
    at_ms: int | None = None
    """The instant of the reply by the vendor's clock; None where it is not told."""


@dataclass(frozen=True, slots=True)
class VendorMedia:
    """A file that the vendor keeps; ``problem`` is empty where it is there. A missing field is empty."""

    file_name: str
    mime_type: str
    problem: str


def read_uploaded(reply: CallReply) -> Uploaded:
    """The id of an upload, an integer in the documentation and a string in sample and SDK. Never raises."""
    if reply.problem:
        return Uploaded("", reply.problem)
    given = field_of(reply.data, "Id")
    id = text_of(given, _MAX_ID + 1)
    # A shortened or cleaned id would be another file's.
    if not id or len(id) > _MAX_ID or id != str(given):
        return Uploaded("", "the vendor's answer holds no id of the file; it may have it", reply.at_ms)
    return Uploaded(id, "", reply.at_ms)


def read_media(reply: CallReply) -> VendorMedia:
    """What the vendor keeps under an id. Its URL is left out: it lets its holder read the file. Never raises."""
    if reply.problem:
        return VendorMedia("", "", reply.problem)
    name, mime = field_of(reply.data, "FileName"), field_of(reply.data, "MimeType")
    if name is None and mime is None:
        return VendorMedia("", "", "the vendor's answer describes no file")
    return VendorMedia(text_of(name, 240), text_of(mime), "")
