"""The reply to GetAccountPhoneList: the account's senders, and the vendor's clock (docs/vendor.md#other-calls)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulksend.gateway.call_replies import field_of, read_call, text_of, vendor_time
from bulksend.gateway.transport import RawReply

PHONE_LIST_ACTION = "GetAccountPhoneList"


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
    at_ms: int | None = None
    """The instant of the reply by the vendor's clock; None where it is not told."""


def read_phone_list(reached: RawReply | str, *, now_seconds: float) -> PhoneList:
    """The reply to GetAccountPhoneList, or why there is none. Never raises."""
    reply = read_call(reached)
    skew = (
        None
        if isinstance(reached, str)
        else vendor_clock_skew_seconds(reached.headers, now_seconds=now_seconds)
    )
    if reply.problem:
        return PhoneList((), reply.problem, reply.answered, skew)
    listed = field_of(reply.data, "PhoneList") if isinstance(reply.data, Mapping) else reply.data
    if not isinstance(listed, list):
        return PhoneList((), "the vendor's answer holds no list of phones", True, skew)
    phones = tuple(_phone(entry) for entry in listed if isinstance(entry, Mapping))
    return PhoneList(phones, "", True, skew, reply.at_ms)


def vendor_clock_skew_seconds(headers: Mapping[str, str], *, now_seconds: float) -> float | None:
    """The vendor's clock minus ours, from the Date header in whole seconds; None without one."""
    at = vendor_time(headers)
    return None if at is None else at - now_seconds


def _phone(entry: Mapping[str, object]) -> SenderPhone:
    return SenderPhone(
        number=text_of(entry.get("Number")).lstrip("+"),
        country=text_of(entry.get("Country")),
        status=text_of(entry.get("Status")).upper(),
        quality=text_of(entry.get("QualityRating")).upper(),
        display_name=text_of(entry.get("DisplayName")),
        messaging_limit=text_of(entry.get("MessagingLimit")).upper(),
    )
