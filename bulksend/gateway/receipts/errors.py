"""Why a receipt says ``failed``: its code and the vendor's words, in every form that vendors give them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from bulksend.gateway.error_codes import Family, code_text, find_row, whatsapp_code_in
from bulksend.gateway.receipts.values import Fields, text_of
from bulksend.gateway.replies import masked

#: Numbers from here on are WhatsApp's where the table lists them; smaller ones may be the vendor's own.
_FIRST_UNMISTAKABLE = 300
_CODE_NAMES = ("code", "errorcode", "error_code", "statuscode", "status_code", "receiptcode")
_WORDS_NAMES = (
    *(
        "title",
        "message",
        "details",
        "reason",
        "description",
        "errormessage",
        "error_message",
        "errordescription",
    ),
    *("error_description", "statusdescription", "status_description", "receiptdesc", "desc", "error_title"),
)
#: Objects that hold a code and words, and whether a number in them is surely WhatsApp's.
_PLACES = (("whatsappapierror", True), ("error", True), ("failure", False), ("error_detail", False))
_NUMBER = re.compile(r"-?[0-9]{1,7}")
_GIVEN = re.compile(r"(#?)([0-9]{1,7})")
_WRITTEN = re.compile(r"[(（]#([0-9]{1,7})[)）]")


class Failure(NamedTuple):
    """The code as given, ``#131049`` where it is surely WhatsApp's, that number, and the vendor's words."""

    code: str
    whatsapp_code: int | None
    why: str


def failure_in(fields: Fields) -> Failure:
    """What these fields say about the failure; the first place with a code decides."""
    found = list(_failures(fields))
    with_whatsapp = next((each for each in found if each.whatsapp_code is not None), None)
    with_code = with_whatsapp or next((each for each in found if each.code), None)
    words = next((each.why for each in (with_code, *found) if each is not None and each.why), "")
    if with_code is None:
        return Failure("", None, masked(words))
    return Failure(with_code.code, with_code.whatsapp_code, masked(words))


def _failures(fields: Fields) -> Iterator[Failure]:
    errors = fields.get("errors")
    if isinstance(errors, list):
        yield from (_failure(each, is_whatsapp=True) for each in errors[:10] if isinstance(each, dict))
    for name, is_whatsapp in _PLACES:
        place: Any = fields.get(name)
        if isinstance(place, dict):
            yield _failure(place, is_whatsapp=is_whatsapp)
        elif place is not None and name != "error_detail":
            # Alibaba: the code itself; others: a sentence.
            text = text_of(place)
            yield (
                _of(text, "", is_whatsapp=False)
                if _NUMBER.fullmatch(text)
                else _of("", text, is_whatsapp=False)
            )
    yield _failure(fields, is_whatsapp=False)


def _failure(fields: Fields, *, is_whatsapp: bool) -> Failure:
    code = next((text for name in _CODE_NAMES if (text := text_of(fields.get(name), 20))), "")
    data = fields.get("error_data")
    if isinstance(data, dict):
        fields = {**fields, "details": data.get("details")}
    texts: list[str] = []
    for name in _WORDS_NAMES:
        text = text_of(fields.get(name))
        if text and text not in texts:
            texts.append(text)
    return _of(code, "; ".join(texts), is_whatsapp=is_whatsapp)


def _of(code: str, words: str, *, is_whatsapp: bool) -> Failure:
    number = int(code) if _NUMBER.fullmatch(code) else None
    if number is not None and number >= 0 and (is_whatsapp or _is_listed(number)):
        return Failure(code_text(Family.WHATSAPP, number), number, words)
    written = whatsapp_code_in(words)
    if written is None and code and (spelled := _WRITTEN.fullmatch(code)):
        written = int(spelled[1])
    if written is not None:
        return Failure(code_text(Family.WHATSAPP, written), written, words)
    return Failure("" if code == "0" else code, None, words)


def whatsapp_code_of(code: str) -> int | None:
    """The number of WhatsApp's code in a stored receipt's ``code``; None where it is not surely WhatsApp's."""
    if not (found := _GIVEN.fullmatch(code)):
        return None
    number = int(found[2])
    return number if found[1] or _is_listed(number) else None


def _is_listed(number: int) -> bool:
    return number >= _FIRST_UNMISTAKABLE and find_row(Family.WHATSAPP, number) is not None
