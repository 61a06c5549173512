"""The reply to GetAccountPhoneList: the account's senders, and the vendor's clock (docs/vendor.md#other-calls)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulksend.gateway.replies import http_date, outcome_by_code, parse_reply
from bulksend.gateway.transport import RawReply
from bulksend.messaging.outcome import Accepted, Outcome

PHONE_LIST_ACTION = "GetAccountPhoneList"
MAX_TEXT = 80


@dataclass(frozen=True, slots=True)
class SenderPhone:
    """A sender as the vendor describes it; a missing field is empty. Unknown words are kept."""

    number: str
    country: str
    status: str
    """``CONNECTED`` means that it can send; docs/vendor.md#other-calls lists the others."""
    quality: str
    """``GREEN``, ``YELLOW``, ``RED`` or ``UNKNOWN``."""
    display_name: str
    messaging_limit: str
    """``TIER_250`` … ``TIER_UNLIMITED``."""


@dataclass(frozen=True, slots=True)
class PhoneList:
    """The vendor's answer to GetAccountPhoneList. ``problem`` is empty when it has the list."""

    phones: tuple[SenderPhone, ...]
    problem: str
    answered: bool
    """Whether a reply came, with a list or without."""
    clock_skew_seconds: float | None
    """The vendor's clock minus ours; None where it is not told. The vendor refuses more than 300 either way."""


def read_phone_list(reached: RawReply | str, *, now_seconds: float) -> PhoneList:
    """The reply to GetAccountPhoneList, or why there is none. Never raises."""
    if isinstance(reached, str):
        return PhoneList((), reached, False, None)
    reply = parse_reply(reached.status, reached.headers, reached.body)
    skew = vendor_clock_skew_seconds(reached.headers, now_seconds=now_seconds)
    if reply.ret_code != 0 or not reply.is_2xx:
        return PhoneList((), _why(outcome_by_code(reply)), True, skew)
    data = (reply.fields or {}).get("Data")
    listed = data.get("PhoneList") if isinstance(data, dict) else data
    if not isinstance(listed, list):
        return PhoneList((), "the vendor's answer holds no list of phones", True, skew)
    phones = tuple(_phone(entry) for entry in listed if isinstance(entry, dict))
    return PhoneList(phones, "", True, skew)


def vendor_clock_skew_seconds(headers: Mapping[str, str], *, now_seconds: float) -> float | None:
    """The vendor's clock minus ours, from the Date header in whole seconds; None without one."""
    for name, value in headers.items():
        if name.lower() == "date":
            date = http_date(value)
            return date.timestamp() - now_seconds if date else None
    return None


def _phone(entry: Mapping[str, object]) -> SenderPhone:
    return SenderPhone(
        number=_text(entry.get("Number")).lstrip("+"),
        country=_text(entry.get("Country")),
        status=_text(entry.get("Status")).upper(),
        quality=_text(entry.get("QualityRating")).upper(),
        display_name=_text(entry.get("DisplayName")),
        messaging_limit=_text(entry.get("MessagingLimit")).upper(),
    )


def _text(value: object) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return "".join(c for c in text[:MAX_TEXT] if c.isprintable())


def _why(outcome: Outcome) -> str:
    return "" if isinstance(outcome, Accepted) else outcome.why
