"""Whether a content can be sent with the template that it names, as the vendor has it; if not, why, in one sentence.

Only what is known refuses: a template that was never read, or a field that the vendor left empty, fits everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bulksend.messaging.states import Kind, MessageType
from bulksend.messaging.template_shape import MEDIA_FORMATS, TemplateShape

APPROVED, AUTHENTICATION = "APPROVED", "AUTHENTICATION"
_AGAIN = "`bulksend templates sync` asks the vendor again"
_NEW_ONE = "use another template, or make a new one in the vendor's console"
#: What to do about a template in each status that cannot be sent.
_REMEDIES = {
    "PENDING": f"WhatsApp reviews it: wait for its approval; {_AGAIN}",
    "IN_APPEAL": f"WhatsApp reviews it: wait for its approval; {_AGAIN}",
    "PAUSED": f"WhatsApp lifts that after 3 or 6 hours: wait, or use another template; {_AGAIN}",
    "REJECTED": "correct it in the vendor's console, and submit it again",
    "LIMIT_EXCEEDED": "the account has too many templates: delete some in the vendor's console",
    "DISABLED": _NEW_ONE,
    "DELETED": _NEW_ONE,
    "PENDING_DELETION": _NEW_ONE,
}
_QUALITIES = {"GREEN": 0, "UNKNOWN": 0, "YELLOW": 1, "RED": 2}


@dataclass(frozen=True, slots=True)
class KnownTemplate:
    """What is known of a template; None: not told."""

    name: str
    language: str
    status: str | None = None
    category: str | None = None
    quality: str | None = None
    rejected_reason: str | None = None
    shape: TemplateShape | None = None

    @property
    def title(self) -> str:
        """Its name and language for people."""
        return f"template {self.name} ({self.language})"


def template_of(type: str, content: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name and language of the template that a checked content names; None for any other type."""
    name, language = content.get("name"), content.get("language")
    if type != MessageType.TEMPLATE or not isinstance(name, str) or not isinstance(language, Mapping):
        return None
    return name, str(language.get("code"))


def content_of(text: str) -> dict[str, Any]:
    """The content of a campaign, from the JSON that the ledger has of it."""
    content: dict[str, Any] = json.loads(text)
    return content


def misfit(content: Mapping[str, Any], template: KnownTemplate, kind: Kind) -> str | None:
    """Why a checked content cannot be sent with its template, with the remedy; None where it can."""
    return (
        _wrong_status(template)
        or _wrong_kind(template, kind)
        or (None if template.shape is None else _wrong_parameters(content, template, template.shape))
    )


def worsened(before: KnownTemplate, after: KnownTemplate) -> str | None:
    """Why campaigns that use a template stop for a person to look; None where it changed for the better, or not."""
    if before.status != after.status and after.status not in (None, APPROVED):
        return _wrong_status(after)
    if before.category and after.category and before.category != after.category:
        return (
            f"the vendor moved {after.title} from {before.category} to {after.category}, which has another price: "
            "resume the campaign if that is right"
        )
    if _QUALITIES.get(after.quality or "", 0) > _QUALITIES.get(before.quality or "", 0):
        return (
            f"the quality of {after.title} fell from {before.quality or 'UNKNOWN'} to {after.quality}: people block or "
            "report these messages, and WhatsApp may pause the template; resume the campaign if it is to go on"
        )
    return None


def _wrong_status(template: KnownTemplate) -> str | None:
    if template.status in (None, "", APPROVED):
        return None
    because = f" ({template.rejected_reason})" if template.rejected_reason else ""
    remedy = _REMEDIES.get(template.status or "", f"only APPROVED ones can be sent; {_AGAIN}")
    return f"{template.title} is {template.status}{because} at the vendor: {remedy}"


def _wrong_kind(template: KnownTemplate, kind: Kind) -> str | None:
    category = template.category
    if not category:
        return None
    if kind is Kind.OTP and category != AUTHENTICATION:
        return (
            f"{template.title} has the category {category}, and one-time codes need {AUTHENTICATION}: use such a "
            "template, or another kind"
        )
    if kind is not Kind.OTP and category == AUTHENTICATION:
        return (
            f"{template.title} has the category {AUTHENTICATION}, for one-time codes only: use the kind otp"
        )
    if kind is Kind.UTILITY and category == "MARKETING":
        # Those who stopped marketing would get it.
        return (
            f"{template.title} has the category MARKETING: use the kind marketing, which heeds who opted out"
        )
    return None


def _wrong_parameters(
    content: Mapping[str, Any], template: KnownTemplate, shape: TemplateShape
) -> str | None:
    components = content.get("components") or []
    by_type: dict[str, Any] = {each["type"]: each for each in components if each["type"] != "button"}
    buttons = {str(each["index"]): each for each in components if each["type"] == "button"}
    found = (
        _wrong_header(by_type.get("header"), shape),
        _wrong_body(by_type.get("body"), template, shape),
        next(_wrong_buttons(buttons, template, shape), None),
    )
    why = next(filter(None, found), None)
    return (
        None if why is None else f"{template.title} {why}; `bulksend templates show {template.name}` shows it"
    )


def _parameters(component: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return list((component or {}).get("parameters") or [])


def _wrong_header(component: Mapping[str, Any] | None, shape: TemplateShape) -> str | None:
    given = _parameters(component)
    kind = given[0]["type"] if given else None
    if shape.header_format in MEDIA_FORMATS:
        wanted = shape.header_format.lower()
        if kind != wanted:
            has = "has none" if kind is None else f"has {kind}"
            return f"has a header of type {wanted}, and the content {has}: give the header one parameter {wanted}"
        return None
    if kind is not None and kind != "text":
        what = "a text header" if shape.header_format else "no header"
        return f"has {what}, and the content gives its header {kind}: remove that parameter"
    return _wrong_count("header", len(given), shape.header.variables)


def _wrong_body(
    component: Mapping[str, Any] | None, template: KnownTemplate, shape: TemplateShape
) -> str | None:
    wanted = shape.body.variables
    if template.category == AUTHENTICATION and not shape.body.text:
        # WhatsApp writes the text of these itself, with the code as its only variable.
        wanted = ("code",)
    return _wrong_count("body", len(_parameters(component)), wanted)


def _wrong_count(part: str, given: int, wanted: tuple[str, ...]) -> str | None:
    if given == len(wanted):
        return None
    named = f" ({', '.join(wanted)})" if wanted else ""
    return (
        f"has {_variables(len(wanted))}{named} in its {part}, and the content gives {given}: give exactly "
        f"{len(wanted)}"
    )


def _variables(count: int) -> str:
    return {0: "no variable", 1: "1 variable"}.get(count, f"{count} variables")


def _wrong_buttons(
    buttons: Mapping[str, Mapping[str, Any]], template: KnownTemplate, shape: TemplateShape
) -> Iterator[str]:
    takes = {str(n) for n, button in enumerate(shape.buttons) if button.type == "URL" and button.variables}
    if template.category == AUTHENTICATION and shape.buttons:
        # No field marks the button that carries the code: it is the first.
        takes.add("0")
    for index in sorted(takes - buttons.keys()):
        yield f"has a variable in the URL of its button {index}, and the content gives none: add that button"
    for index, given in sorted(buttons.items()):
        if int(index) >= len(shape.buttons):
            yield f"has {len(shape.buttons)} buttons, and the content gives one of index {index}: remove it"
            return
        kind = shape.buttons[int(index)].type
        wanted = (
            "quick_reply" if kind == "QUICK_REPLY" else "url" if kind == "URL" or index in takes else None
        )
        if given["sub_type"] != wanted:
            yield f"has at {index} a button of type {kind}, and the content gives {given['sub_type']}: " + (
                "remove it" if wanted is None else f"make it {wanted}"
            )
        elif wanted == "url" and index not in takes:
            yield f"has no variable in the URL of its button {index}: remove that button from the content"
