"""The reply to GetTemplates: a page of the account's templates (docs/vendor.md#other-calls)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulksend.gateway.call_replies import CallReply, field_of, text_of
from bulksend.messaging.template_shape import TemplateShape, read_shape

TEMPLATES_ACTION = "GetTemplates"
#: Templates of one page, and the most bytes of it that are read.
PAGE, MAX_PAGE = 50, 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class VendorTemplate:
    """A template as the vendor describes it; a missing field is empty. Unknown words are kept."""

    name: str
    language: str
    category: str
    status: str
    """``APPROVED`` means that it can be sent; docs/vendor.md#other-calls lists the others."""
    quality: str
    rejected_reason: str
    shape: TemplateShape | None


@dataclass(frozen=True, slots=True)
class TemplatePage:
    """One page; ``problem`` is empty where there is one. ``after`` asks for the next; empty: this is the last."""

    templates: tuple[VendorTemplate, ...]
    problem: str
    after: str = ""
    at_ms: int | None = None
    """The instant of the reply by the vendor's clock; None where it is not told."""


def read_template_page(reply: CallReply, *, limit: int = PAGE) -> TemplatePage:
    """The templates of a reply to GetTemplates, or why there are none. Never raises."""
    if reply.problem:
        return TemplatePage((), reply.problem)
    # The SDK reads list and paging inside an outer Data, the documentation has the list in Data.
    listed = reply.data if isinstance(reply.data, list) else field_of(reply.data, "Data")
    if not isinstance(listed, list):
        return TemplatePage((), "the vendor's answer holds no list of templates", at_ms=reply.at_ms)
    templates = tuple(_template(entry) for entry in listed if isinstance(entry, Mapping))
    paging = field_of(reply.data, "Paging")
    return TemplatePage(
        tuple(each for each in templates if each.name), "", _next(paging, len(listed), limit), reply.at_ms
    )


def _next(paging: object, count: int, limit: int) -> str:
    """The cursor of the next page. A last page may have a cursor, too, but no ``Next``, and is rarely full."""
    cursors = field_of(paging, "Cursors") or field_of(paging, "Cursor")
    after = field_of(cursors, "After")
    goes_on = bool(field_of(paging, "Next")) or count >= limit
    return after if isinstance(after, str) and count and goes_on and len(after) <= 1024 else ""


def _template(entry: Mapping[str, object]) -> VendorTemplate:
    quality = entry.get("QualityScore")
    reason = text_of(entry.get("RejectedReason"), 500)
    return VendorTemplate(
        name=text_of(entry.get("Name"), 512),
        language=text_of(entry.get("Language"), 20),
        category=text_of(entry.get("Category"), 40).upper(),
        status=text_of(entry.get("Status"), 40).upper(),
        quality=text_of(field_of(quality, "Score") if isinstance(quality, Mapping) else quality, 20).upper(),
        rejected_reason="" if reason.upper() == "NONE" else reason,
        shape=read_shape(entry.get("Components"), entry.get("Attributes")),
    )
