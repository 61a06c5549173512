"""What the vendor says about templates, business numbers, the account and the wishes of people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bulksend.gateway.receipts.status import Envelope
from bulksend.gateway.receipts.types import (
    AccountNotice,
    Notice,
    OtherNotice,
    PreferenceNotice,
    SenderNotice,
    TemplateNotice,
)
from bulksend.gateway.receipts.values import (
    Fields,
    digits_of,
    first_digits,
    first_instant,
    first_text,
    text_of,
)
from bulksend.gateway.replies import masked

_AT = ("timestamp", "updatetime", "createtime", "time")
_TEMPLATE_NAMES = ("message_template_name", "elementname")
_SENDER_MARKS = (
    *("qualityrating", "quality_rating", "messaginglimit", "messaging_limit", "current_limit"),
    *("requested_verified_name", "qualityupdateevent"),
)
_MARKS = frozenset(
    (*_TEMPLATE_NAMES, *_SENDER_MARKS, "accountreviewstatus", "banstate", "ban_info", "unsubscribechannel")
)
_OF_TEMPLATES = frozenset((*_TEMPLATE_NAMES, "language"))
#: Meta's fields whose value is about a template or a business number.
_TEMPLATE_FIELDS = frozenset(
    ["message_template_status_update", "message_template_quality_update", "template_category_update"]
)
_SENDER_FIELDS = frozenset({"phone_number_quality_update", "phone_number_name_update"})
_ACCOUNT_FIELDS = frozenset(
    [
        "account_update",
        "account_alerts",
        "account_review_update",
        "business_capability_update",
        "business_status_update",
    ]
)
#: The status of a number after an event, where the notice has no status.
_STATUS_BY = {
    "FLAGGED": "FLAGGED",
    "UNFLAGGED": "CONNECTED",
    "RESTRICTED": "RESTRICTED",
    "UNRESTRICTED": "CONNECTED",
}
_PHONES = ("display_phone_number", "phonenumber", "phone_number", "displayphonenumber", "phone", "number")
_TIERS = (
    *(
        "max_daily_conversations_per_business",
        "current_limit",
        "currentlimit",
        "messaginglimit",
        "messaging_limit",
    ),
    *("max_daily_conversation_per_phone", "limit"),
)


def is_notice(fields: Fields) -> bool:
    """Whether these fields are about a template, a business number or the account."""
    if not _MARKS.isdisjoint(fields):
        return True
    return "language" in fields and "name" in fields and "status" in fields


def notice_of(fields: Fields, envelope: Envelope) -> Notice:
    """The notice in fields of which ``is_notice`` is true."""
    if "accountreviewstatus" in fields or "banstate" in fields or "ban_info" in fields:
        return _account(fields, envelope, "account_update")
    if _OF_TEMPLATES.isdisjoint(fields):
        return _sender(fields, envelope, "")
    return _template(fields, envelope)


def change_notices(field: str, value: Fields, envelope: Envelope) -> Iterable[Notice]:
    """The notices of one of Meta's changes; ``field`` says which kind it is."""
    if field in _TEMPLATE_FIELDS:
        return [_template(value, envelope)]
    if field in _SENDER_FIELDS:
        return [_sender(value, envelope, field)]
    if field in _ACCOUNT_FIELDS:
        return [_account(value, envelope, field)]
    preferences = value.get("user_preferences")
    if isinstance(preferences, list):
        return [_preference(each, value, envelope) for each in preferences[:1000] if isinstance(each, dict)]
    return [OtherNotice(text_of(field, 60))]


def event_notice(kind: str, fields: Fields, envelope: Envelope) -> Notice:
    """A callback whose type is known and whose parts are none of the usual: an opt-out, or nothing for us."""
    at = first_instant(fields, _AT) or envelope.at
    for name in ("payload", "unsubscriberchanged", "unsubscriber", "contact", "data"):
        place = fields.get(name)
        if isinstance(place, dict):
            phone = first_digits(place, ("phone", *_PHONES, "customer"))
            word = f"{kind} {text_of(place.get('type'), 60)}".lower()
            if phone and any(
                mark in word for mark in ("opted-out", "unsubscribe.created", "optout", "opt_out")
            ):
                return PreferenceNotice(phone, "", True, first_instant(place, _AT) or at)
            if phone and any(mark in word for mark in ("opted-in", "unsubscribe.deleted", "optin", "opt_in")):
                return PreferenceNotice(phone, "", False, first_instant(place, _AT) or at)
    return OtherNotice(kind)


def _template(fields: Fields, envelope: Envelope) -> TemplateNotice:
    status = first_text(fields, ("status",), 40) or first_text(fields, ("event",), 40)
    quality: Any = fields.get("new_quality_score") or fields.get("quality") or fields.get("qualityrating")
    if isinstance(quality, dict):
        quality = quality.get("score")
    reason = first_text(fields, ("reason", "rejectedreason", "rejected_reason", "description"))
    more = fields.get("other_info")
    if isinstance(more, dict) and not reason:
        reason = first_text(more, ("title", "description"))
    return TemplateNotice(
        name=first_text(fields, (*_TEMPLATE_NAMES, "name"), 512),
        language=first_text(fields, ("message_template_language", "languagecode", "language"), 20),
        status=status.upper(),
        category=first_text(
            fields, ("new_category", "category", "message_template_category", "correct_category"), 40
        ).upper(),
        quality=text_of(quality, 20).upper(),
        reason="" if reason == "NONE" else masked(reason),
        at=first_instant(fields, _AT) or envelope.at,
    )


def _sender(fields: Fields, envelope: Envelope, field: str) -> SenderNotice:
    event = first_text(fields, ("event", "qualityupdateevent", "decision"), 60).upper()
    return SenderNotice(
        phone=first_digits(fields, _PHONES) or envelope.sender,
        status=first_text(fields, ("status",), 40).upper() or _STATUS_BY.get(event, ""),
        quality=first_text(fields, ("qualityrating", "quality_rating", "quality"), 20).upper(),
        tier=first_text(fields, _TIERS, 40).upper(),
        # A name that was not approved stays the wish of the business.
        name=first_text(fields, ("requested_verified_name",), 100) if event == "APPROVED" else "",
        event=f"{field}: {event}".strip(": ") if event or field else "",
        at=first_instant(fields, _AT) or envelope.at,
    )


def _account(fields: Fields, envelope: Envelope, field: str) -> AccountNotice:
    event = first_text(
        fields, ("event", "alert_type", "decision", "banstate", "accountreviewstatus"), 60
    ).upper()
    details: list[str] = []
    for name in ("ban_info", "violation_info", "restriction_info", "alert_info"):
        place: Any = fields.get(name)
        for each in place if isinstance(place, list) else [place]:
            if isinstance(each, dict):
                details += [
                    f"{key} {text_of(value, 100)}" for key, value in each.items() if text_of(value, 100)
                ]
                details += [
                    f"{key} {' '.join(text_of(item, 60) for item in value[:5])}"
                    for key, value in each.items()
                    if isinstance(value, list)
                ]
    phone: object = fields.get("phone_number") or fields.get("display_phone_number")
    return AccountNotice(
        event=f"{field}: {event}".strip(": "),
        phone=digits_of(phone),
        tier=first_text(fields, _TIERS, 40).upper(),
        detail=masked("; ".join(details[:10])),
        at=first_instant(fields, _AT) or envelope.at,
    )


def _preference(each: Fields, value: Fields, envelope: Envelope) -> Notice:
    metadata = value.get("metadata")
    sender = digits_of(metadata.get("display_phone_number")) if isinstance(metadata, dict) else ""
    recipient = first_digits(each, ("wa_id", "phone", "from"))
    word = text_of(each.get("value"), 20).lower()
    if not recipient or word not in ("stop", "resume"):
        return OtherNotice("user_preferences")
    return PreferenceNotice(recipient, sender, word == "stop", first_instant(each, _AT) or envelope.at)
