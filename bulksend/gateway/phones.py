"""What ``doctor`` asks the vendor: which senders the account has, and whether our clocks agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulksend.gateway.replies import http_date, refusal_of, take_apart
from bulksend.gateway.transport import RawReply
from bulksend.messaging.outcome import Accepted, Outcome

PHONE_LIST_ACTION = "GetAccountPhoneList"
MAX_TEXT = 80


@dataclass(frozen=True, slots=True)
class SenderPhone:
    """A sender as the vendor sees it; what it does not say is empty. Unknown words are kept as they are."""

    number: str
    country: str
    status: str
    """``CONNECTED`` is the one that can send (reference 1.6 lists the rest)."""
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
    """The vendor's clock less ours; None when it does not tell. More than 300 either way and it refuses."""


def read_phone_list(reached: RawReply | str, *, now_seconds: float) -> PhoneList:
    """The reply to GetAccountPhoneList, or why there is none. Never raises."""
    if isinstance(reached, str):
        return PhoneList((), reached, False, None)
    reply = take_apart(reached.status, reached.headers, reached.body)
    skew = vendor_clock_skew_seconds(reached.headers, now_seconds=now_seconds)
    if reply.ret_code != 0 or not reply.is_2xx:
        return PhoneList((), _why(refusal_of(reply)), True, skew)
    data = (reply.fields or {}).get("Data")
    listed = data.get("PhoneList") if isinstance(data, dict) else data
    if not isinstance(listed, list):
        return PhoneList((), "the vendor's answer holds no list of phones", True, skew)
    phones = tuple(_phone(entry) for entry in listed if isinstance(entry, dict))
    return PhoneList(phones, "", True, skew)


def vendor_clock_skew_seconds(headers: Mapping[str, str], *, now_seconds: float) -> float | None:
    """The vendor's clock less ours, to the second, from its Date header; None when there is none."""
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
