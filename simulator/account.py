"""What the account has at the vendor: templates, business phones and files, and the calls that read and change them.

Templates and phones begin as the settings have them; ``/_/templates`` and ``/_/phones`` change them, as the vendor or
WhatsApp does.
"""

from __future__ import annotations

import binascii
import hashlib
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from simulator.checks import Call, Rejection, is_phone
from simulator.content import parameter_counts
from simulator.settings import SimulatorSettings, VendorTemplate

#: The states in which a business phone can send (docs/vendor.md#other-calls).
_SENDING_STATES = frozenset({"CONNECTED", "FLAGGED", "RATE_LIMITED"})
_TEMPLATE_PROBLEMS = {
    "PAUSED": "(#132015) Template is paused",
    "DISABLED": "(#132016) Template is disabled",
}
_MEDIA_DAYS_MS = 30 * 86_400_000
_PAGE, _MOST = 25, 1000
_MAGIC = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"%PDF": "application/pdf",
    b"RIFF": "image/webp",
    b"OggS": "audio/ogg",
    b"ID3": "audio/mpeg",
    b"#!AMR": "audio/amr",
    b"PK\x03\x04": "application/zip",
}

Data = dict[str, Any] | Rejection


@dataclass(frozen=True, slots=True)
class _File:
    sender: str
    mime_type: str
    size: int
    sha256: str
    expires_at_ms: float


class Account:
    """Templates, phones and files of one account."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self.templates = {(one.name, one.language): one for one in settings.templates or ()}
        self.phones = {one.number: one for one in settings.phones or ()}
        self._files: dict[str, _File] = {}

    # ---- what changes at the vendor --------------------------------------------------------------

    def change_template(self, name: str, language: str | None, **changes: str | None) -> int:
        """Set what is not None on the languages of a template; returns how many there are."""
        keys = [key for key in self.templates if key[0] == name and language in (None, key[1])]
        given = {field: value for field, value in changes.items() if value is not None}
        for key in keys:
            self.templates[key] = replace(self.templates[key], **given)  # type: ignore[arg-type]
        return len(keys)

    def change_phone(self, number: str, **changes: str | None) -> bool:
        """Set what is not None on a phone; returns whether there is one."""
        if number not in self.phones:
            return False
        given = {field: value for field, value in changes.items() if value is not None}
        self.phones[number] = replace(self.phones[number], **given)
        return True

    # ---- what a send needs -----------------------------------------------------------------------

    def check_sender(self, sender: str) -> Rejection | None:
        """Why this sender cannot send; None where it can."""
        phone = self.phones.get(sender)
        if phone is None and self._takes_unlisted(self._settings.phones):
            return None
        if phone is None:
            return Rejection("channel account not found", 17102)
        if phone.status not in _SENDING_STATES:
            return Rejection("(#133010) Phone number not registered", 17115)
        return None

    def check_template(self, content: dict[str, Any]) -> Rejection | None:
        """Why a checked template Content cannot be sent; None where it can."""
        template = self.templates.get((content["name"], content["language"]["code"]))
        if template is None and self._takes_unlisted(self._settings.templates):
            return None
        if template is None or template.status not in {"APPROVED", *_TEMPLATE_PROBLEMS}:
            return Rejection("(#132001) Template name does not exist in the translation", 17115)
        if template.status in _TEMPLATE_PROBLEMS:
            return Rejection(_TEMPLATE_PROBLEMS[template.status], 17115)
        given, wanted = parameter_counts(content), _wanted(template)
        if any(given[part] != count for part, count in wanted.items()):
            return Rejection(
                "(#132000) Number of parameters does not match the expected number of params", 17115
            )
        if wanted and given["header_type"] != _header_parameter(template):
            return Rejection(
                "(#132012) Parameter format does not match format in the created template", 17115
            )
        return None

    def check_media(self, content: object, sender: str, now_ms: float) -> Rejection | None:
        """Why a file that the Content names by its id cannot be sent, where only uploaded ones can."""
        if self._settings.media == "any":
            return None
        for id in _media_ids(content):
            if self._file(id, sender, now_ms) is None:
                return Rejection("(#131053) Media upload error: the media id is not known", 17115)
        return None

    def _takes_unlisted(self, listed: object) -> bool:
        return listed is None or self._settings.unlisted == "accepted"

    # ---- the calls -------------------------------------------------------------------------------

    def serve(self, call: Call, now_ms: float) -> Data:
        """The reply's data for any action but a send, or why it is rejected."""
        body = call.body
        match call.action:
            case "GetAccountPhoneList":
                return self._phone_list()
            case "GetTemplates":
                return self._template_list(body)
            case "UploadMedia":
                return self._upload(body, now_ms)
            case "GetMedia":
                return self._get_media(body, now_ms)
            case _:
                return self._delete_media(body, now_ms)

    def _phone_list(self) -> Data:
        phones = [
            {
                "Number": phone.number,
                "Country": phone.country,
                "Status": phone.status,
                "QualityRating": phone.quality_rating,
                "DisplayName": phone.display_name,
                "MessagingLimit": phone.messaging_limit,
            }
            for phone in self.phones.values()
        ]
        return {"Data": {"PhoneList": phones}}

    def _template_list(self, body: Mapping[str, Any]) -> Data:
        if not is_phone(body.get("BusinessPhone")):
            return Rejection("BusinessPhone must be 7 to 15 digits", 17108)
        wanted, limit = body.get("Name"), _number(body.get("Limit"), _PAGE)
        after, before = _place(body.get("After")), _place(body.get("Before"))
        if limit is None or not 1 <= limit <= _MOST or after is None or before is None:
            return Rejection("Limit, After or Before is wrong", 17108)
        found = [one for one in self.templates.values() if wanted in (None, "", one.name)]
        first = max(0, before - limit) if before else after
        shown = found[first : before if before else first + limit]
        last = first + len(shown)
        paging = {
            "Cursors": {
                "After": _cursor(last) if shown else "",
                "Before": _cursor(first) if shown and first else "",
            },
            "Next": f"?after={_cursor(last)}" if last < len(found) else "",
            "Previous": f"?before={_cursor(first)}" if first else "",
        }
        # The SDK reads list and paging inside an outer Data (its GetTemplatesResData).
        return {"Data": {"Data": [template_entry(one) for one in shown], "Paging": paging}}

    def _upload(self, body: Mapping[str, Any], now_ms: float) -> Data:
        """``Id`` is a string, as in the sample and the SDK. The file itself is not kept."""
        sender = body.get("BusinessPhone")
        if not isinstance(sender, str) or not is_phone(sender):
            return Rejection("BusinessPhone must be 7 to 15 digits", 17112)
        try:
            file = b64decode(body.get("File") or "", validate=True)
        except (binascii.Error, ValueError, TypeError):
            return Rejection("File must be base64 without a data: prefix", 17110)
        if not file:
            return Rejection("File is empty", 17110)
        id = str(uuid.uuid4())
        digest = hashlib.sha256(file).hexdigest()
        self._files[id] = _File(sender, _mime_type(file), len(file), digest, now_ms + _MEDIA_DAYS_MS)
        return {"Data": {"Id": id}}

    def _get_media(self, body: Mapping[str, Any], now_ms: float) -> Data:
        id = body.get("MediaId")
        file = self._file(id, body.get("BusinessPhone"), now_ms)
        if file is None:
            return Rejection("get media failed", 17113)
        url = f"https://media.example/{id}"
        return {"Data": {"FileName": f"{id}.bin", "MimeType": file.mime_type, "URL": url}}

    def _delete_media(self, body: Mapping[str, Any], now_ms: float) -> Data:
        id = body.get("MediaId")
        if not isinstance(id, str) or self._file(id, body.get("BusinessPhone"), now_ms) is None:
            return Rejection("delete media failed", 17114)
        del self._files[id]
        return {}

    def _file(self, id: object, sender: object, now_ms: float) -> _File | None:
        """A file of this sender that has not expired."""
        file = self._files.get(id) if isinstance(id, str) else None
        return None if file is None or file.sender != sender or file.expires_at_ms <= now_ms else file

    def media(self, now_ms: float) -> list[dict[str, Any]]:
        """Every file that is kept, for ``/_/media``."""
        return [
            {"id": id, "sender": file.sender, "size": file.size, "sha256": file.sha256}
            for id, file in self._files.items()
            if file.expires_at_ms > now_ms
        ]


def template_entry(template: VendorTemplate) -> dict[str, Any]:
    """One entry of GetTemplates (docs/vendor.md#other-calls), with as many variables as the template has."""
    return {
        "ID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{template.name}/{template.language}")),
        "Name": template.name,
        "Category": template.category,
        "Language": template.language,
        "Status": template.status,
        "RejectedReason": template.rejected_reason,
        "QualityScore": {"Score": template.quality},
        "Tags": [],
        "Attributes": [{"Type": "BODY", "NamedVar": list(template.variable_names)}],
        "Components": list(_components(template)),
    }


def _components(template: VendorTemplate) -> Iterator[dict[str, Any]]:
    if template.header:
        head: dict[str, Any] = {"Type": "HEADER", "Format": template.header}
        if template.header == "TEXT":
            head["Text"] = _text("Rehearsal", template.header_parameters, "head")
        yield head
    body = template.body or _text("Rehearsal", template.body_parameters or 0, "end")
    yield {"Type": "BODY", "Text": body}
    if template.buttons:
        yield {
            "Type": "BUTTONS",
            "Buttons": [
                {"Type": one.type, "Text": one.text, "URL": one.url, "PhoneNumber": "", "Example": []}
                for one in template.buttons
            ],
        }


def _text(first: str, variables: int, last: str) -> str:
    return " ".join([first, *(f"{{{{{place + 1}}}}}" for place in range(variables)), last])


def _wanted(template: VendorTemplate) -> dict[str, int]:
    """How many parameters each part of a message must have; parts that are not checked are left out."""
    if template.body_parameters is None:
        return {}
    is_media = template.header in ("IMAGE", "VIDEO", "DOCUMENT")
    return {
        "header": 1 if is_media else template.header_parameters,
        "body": template.body_parameters,
        "url": sum("{{" in one.url for one in template.buttons if one.type == "URL"),
    }


def _header_parameter(template: VendorTemplate) -> str | None:
    """The type of the header's parameter; None where it has none."""
    if template.header == "TEXT" and not template.header_parameters:
        return None
    return template.header.lower() or None


def _media_ids(content: object) -> Iterator[str]:
    if isinstance(content, dict):
        id = content.get("id")
        if isinstance(id, str):
            yield id
        for value in content.values():
            yield from _media_ids(value)
    elif isinstance(content, list):
        for value in content:
            yield from _media_ids(value)


def _mime_type(file: bytes) -> str:
    if file[4:8] == b"ftyp":
        return "video/mp4"
    found = (mime for magic, mime in _MAGIC.items() if file.startswith(magic))
    return next(found, "application/octet-stream")


def _number(value: object, default: int) -> int | None:
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return int(value) if str(value).isascii() and str(value).isdigit() and len(str(value)) < 10 else None


def _cursor(place: int) -> str:
    return b64encode(f"place {place}".encode()).decode()


def _place(cursor: object) -> int | None:
    """The place that a cursor means; 0 without one, None for one that is not ours."""
    if cursor is None or cursor == "":
        return 0
    try:
        word, _, place = b64decode(str(cursor), validate=True).decode("ascii").partition(" ")
    except ValueError:
        return None
    return int(place) if word == "place" and place.isdigit() else None
