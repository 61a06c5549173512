"""From a row to a planned message or a refused row. Pure: the same row, facts and now give the same plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from bulksend.errors import InvalidValue
from bulksend.messaging.data_quality import NULL_WORDS, DataQualityNotes
from bulksend.messaging.exclusions import Consent
from bulksend.messaging.local_time import Area, LocalTime, area_in_zone, area_of
from bulksend.messaging.masking import mask_phone
from bulksend.messaging.number_forms import canonical_number, is_same_person
from bulksend.messaging.quiet_hours import QuietRule
from bulksend.messaging.recipient import parse_recipient
from bulksend.messaging.rendering import ContentTemplate
from bulksend.messaging.states import Kind
from bulksend.messaging.time_rules import TimeRules, Times, local_due_ms
from bulksend.messaging.units import is_long_past, long_past, parse_duration_ms, parse_instant_ms, zone_of
from bulksend.messaging.value_checks import (
    HAS_REPLACEMENT_CHARACTER,
    REPLACEMENT_CHARACTER,
    as_integer,
    describe_length,
    describe_type,
)

KEY_MAX = 200
CONSENT_SOURCE_MAX = 200
PURPOSE_MAX = 40
#: The clock by which a consent was noted may be ahead of ours.
_CLOCKS_APART_MS = 60_000

_EMPTY = (None, "")
_MOST_DIGITS = 100
_TOO_LONG = f"is a number of more than {_MOST_DIGITS} digits; give it as text"

_BARE_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
#: Instants, durations and zones that an error can show; any other text in their cells may be private.
_PLAINLY_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ][\d:.,+\-Z]{0,30})?"
    r"|\d{1,4}(\.\d+)?[a-z]{1,3}|P[\dDTHMS.]{1,12}"
    r"|[A-Za-z_]+/[A-Za-z_/+\-0-9]+",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class PlanningContext:
    """What the planning of a row needs of its campaign. Instants and lengths in ms."""

    kind: Kind
    sender: str
    """E.164 digits."""
    template: ContentTemplate
    due_at_ms: int
    ttl_ms: int | None
    now_ms: int
    asked_at_ms: int
    """When the campaign was created. An intake that is resumed later still takes rows that were due since then."""
    default_region: str | None = None
    timezone: str | None = None
    local_time: LocalTime | None = None
    """When rows without a ``send_at`` of their own are due at the recipient's, from ``due_at_ms`` on."""
    rules: TimeRules = field(default_factory=TimeRules)


class PlannedMessage(NamedTuple):
    """A row that becomes a message. ``variables`` are only those that its content uses.

    ``timezone`` is the row's own, where a rule of the recipient's time asked for it. ``in_quiet_hours``: they moved the
    due time that it has with its campaign.
    """

    row: int
    to: str
    key: str
    variables: dict[str, str]
    due_at_ms: int
    expires_at_ms: int | None
    consent: Consent | None = None
    timezone: str | None = None
    in_quiet_hours: bool = False
    purpose: str | None = None
    """What a one-time code is for."""


class RefusedRow(NamedTuple):
    """A row that does not become a message.

    ``field`` is the column (``row`` for the whole row), ``value`` is safe to show (masked, or only its length), ``why``
    is what is wrong and the remedy.
    """

    row: int
    field: str
    value: str
    why: str


class Planner:
    """Plans the rows of one campaign. ``quality`` collects notes about their values; no plan depends on it."""

    def __init__(self, facts: PlanningContext) -> None:
        self._facts = facts
        self._names = sorted(facts.template.variables)
        self._otp = facts.kind is Kind.OTP
        self.quality = DataQualityNotes()
        self.moved = 0
        """Messages so far that quiet hours made due later."""
        self._heeds_place = facts.local_time is not None or facts.rules.has_quiet_hours(facts.kind)
        self._usual: Times | None = None
        self._usual_at: dict[tuple[Area, QuietRule | None], Times] = {}
        if not self._heeds_place:
            try:
                self._usual = _times({}, facts)
            except InvalidValue:
                self._usual = None

    def plan(self, number: int, row: Mapping[str, object]) -> PlannedMessage | RefusedRow:
        """Plan one row, with its number in the file and its columns named by ``ColumnMapping.rename``.

        A due time that has just passed means now; an older ``send_at`` is refused. The time to live counts from the
        given due time. A bad value raises nothing: the row is refused.
        """
        facts, cell = self._facts, row.get
        try:
            to = parse_recipient(cell("to"), default_region=facts.default_region)
            if is_same_person(to, facts.sender):
                raise InvalidValue(
                    "to",
                    mask_phone(to),
                    "is the sender itself, which WhatsApp refuses (131021); remove the row",
                )
            has_own = cell("send_at") not in _EMPTY or cell("ttl") not in _EMPTY
            zone = None
            if self._heeds_place:
                zone = _zone(row)
                times = self._times_at(to, zone, row, has_own)
            else:
                times = (None if has_own else self._usual) or _times(row, facts)
            variables: dict[str, str] = {}
            for name in self._names:
                value = cell(name)
                text = value if type(value) is str else as_text(name, value)
                if text and not text.isspace():
                    variables[name] = text
                    if not text.isascii() or text.strip() in NULL_WORDS:
                        self.quality.inspect(name, text)
            facts.template.check(variables, otp=self._otp)
            consent = None if cell("consent_at") is cell("consent_source") is None else _consent(row, facts)
            purpose = checked_purpose(cell("purpose")) if self._otp else None
            due_at_ms, expires_at_ms, is_moved = times
            if is_moved:
                self.moved += 1
            in_quiet_hours = is_moved and cell("send_at") in _EMPTY
            return PlannedMessage(
                *(number, to, _key(row, to, purpose), variables, due_at_ms, expires_at_ms),
                *(consent, zone, in_quiet_hours, purpose),
            )
        except InvalidValue as error:
            return RefusedRow(number, error.field, error.value, error.why)

    def _times_at(self, to: str, zone: str | None, row: Mapping[str, object], has_own: bool) -> Times:
        """The times of a message by the clocks at its recipient's."""
        facts = self._facts
        area = area_of(to) if zone is None else area_in_zone(to, zone)
        rule = facts.rules.quiet_rule(facts.kind, to, area)
        if has_own:
            return _times(row, facts, area, rule)
        known = self._usual_at.get((area, rule))
        if known is None:
            known = self._usual_at[area, rule] = _times(row, facts, area, rule)
        return known


def _zone(row: Mapping[str, object]) -> str | None:
    """The row's own time zone, which exists."""
    zone = as_text("timezone", row.get("timezone"))
    if zone is None:
        return None
    try:
        return zone_of(zone).key
    except InvalidValue as error:
        raise InvalidValue(error.field, _shown(error.value), error.why) from None


def _times(
    row: Mapping[str, object],
    facts: PlanningContext,
    area: Area | None = None,
    rule: QuietRule | None = None,
) -> Times:
    """When a message is due and expires, at a recipient in ``area``, who has the quiet hours of ``rule``."""
    send_at, ttl = as_text("send_at", row.get("send_at")), as_text("ttl", row.get("ttl"))
    meant = facts.due_at_ms
    ttl_ms = facts.rules.ttl_ms(facts.kind) if facts.ttl_ms is None else facts.ttl_ms
    if send_at is None and facts.local_time is not None and area is not None:
        meant = local_due_ms(facts.local_time, area, facts.due_at_ms, facts.asked_at_ms)
    try:
        if send_at is not None:
            zone = as_text("timezone", row.get("timezone")) or facts.timezone
            if zone is not None:
                zone_of(zone)
            meant = parse_instant_ms(send_at, timezone=zone, now_ms=facts.now_ms, field="send_at")
            if is_long_past(meant, facts.asked_at_ms):
                raise long_past(meant, facts.asked_at_ms, send_at, "send_at", "leave send_at empty")
        if ttl is not None:
            ttl_ms = parse_duration_ms(ttl, field="ttl")
    except InvalidValue as error:
        raise InvalidValue(error.field, _shown(error.value), error.why) from None
    expires_at_ms = None if ttl_ms is None else meant + ttl_ms
    if expires_at_ms is not None and expires_at_ms <= facts.now_ms:
        given = "ttl" if send_at is None else "send_at"
        raise InvalidValue(
            given,
            _shown(send_at or ttl or ""),
            "is so long ago that its time to live has passed; give a later time or a longer ttl",
        )
    return facts.rules.placed(max(meant, facts.now_ms), expires_at_ms, area, rule)


def _consent(row: Mapping[str, object], facts: PlanningContext) -> Consent | None:
    """The person's consent by this row; None where both cells are empty. Raises InvalidValue where only one is."""
    source = as_text("consent_source", row.get("consent_source"))
    given_at = as_text("consent_at", row.get("consent_at"))
    if source is None and given_at is None:
        return None
    if source is None or given_at is None:
        empty, other = (
            ("consent_source", "consent_at") if source is None else ("consent_at", "consent_source")
        )
        raise InvalidValue(
            empty, "", f"is empty beside a {other}: a consent has both; fill it, or clear both"
        )
    source = source.strip()
    if len(source) > CONSENT_SOURCE_MAX or not source.isprintable() or REPLACEMENT_CHARACTER in source:
        raise InvalidValue(
            "consent_source",
            describe_length(source),
            f"must be printable text of at most {CONSENT_SOURCE_MAX} characters, such as: newsletter form",
        )
    zone = as_text("timezone", row.get("timezone")) or facts.timezone
    date = given_at.strip()
    if zone is None and _BARE_DATE.fullmatch(date):
        raise InvalidValue(
            "consent_at",
            date,
            f"is a date without a time zone; add a time with its offset, like {date}T00:00Z, or name the zone: "
            "--timezone, or timezone in a row or request",
        )
    try:
        at = parse_instant_ms(given_at, timezone=zone, now_ms=facts.now_ms, field="consent_at")
    except InvalidValue as error:
        raise InvalidValue(error.field, _shown(error.value), error.why) from None
    if at > facts.now_ms + _CLOCKS_APART_MS:
        raise InvalidValue("consent_at", _shown(given_at), "is in the future; give the time of the consent")
    return Consent(source, at)


def _shown(text: str) -> str:
    """A time as it was written; of other text, which may come from another column, only the length."""
    return text if not text or _PLAINLY_TIME.fullmatch(text) else describe_length(text)


def _key(row: Mapping[str, object], to: str, purpose: str | None) -> str:
    value = row.get("key")
    key = None if value is None else as_text("key", value)
    return default_key(to, purpose) if key is None else checked_key(key.strip())


def default_key(to: str, purpose: str | None) -> str:
    """The key of a row without its own: the person, with the purpose of a code, as a person may get one for each."""
    return canonical_number(to) if purpose is None else f"{canonical_number(to)}:{purpose}"


def checked_purpose(value: object, field: str = "purpose") -> str | None:
    """What a one-time code is for: a short word such as ``login``; None where it is empty. Raises InvalidValue."""
    text = as_text(field, value)
    if text is None:
        return None
    text = text.strip()
    if len(text) > PURPOSE_MAX:
        raise InvalidValue(
            field, describe_length(text), f"may have at most {PURPOSE_MAX} characters; shorten it"
        )
    if not text.isprintable() or REPLACEMENT_CHARACTER in text or not any(map(str.isalpha, text)):
        raise InvalidValue(field, describe_length(text), "must be a word, such as login")
    return text


def checked_key(key: object, field: str = "key") -> str:
    """A key that every ledger can hold. Raises InvalidValue otherwise, also when it is empty."""
    if not isinstance(key, str):
        raise InvalidValue(field, "", f"is {describe_type(key)}, not text")
    if not key or key.isspace():
        raise InvalidValue(field, "", "is empty; fill it, or omit it")
    if len(key) > KEY_MAX:
        raise InvalidValue(field, describe_length(key), f"may have at most {KEY_MAX} characters; shorten it")
    if REPLACEMENT_CHARACTER in key:
        raise InvalidValue(field, describe_length(key), HAS_REPLACEMENT_CHARACTER)
    if not key.isprintable():
        raise InvalidValue(field, describe_length(key), "has control characters; remove them")
    return key


def as_text(field: str, value: object) -> str | None:
    """A cell as text, a whole number without ``.0``; None when it is empty. Raises InvalidValue for other types."""
    if type(value) is str:
        return value if value and not value.isspace() else None
    if value is None:
        return None
    if isinstance(value, str):
        return as_text(field, str.__str__(value))  # an enum's text, not its name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (float, Decimal)):
        if isinstance(value, float):
            # A computed float has digits beyond the 15 that are exact: 1.1 * 3 is 3.3000000000000003.
            real = float(value)
            value = Decimal(repr(real) if real.is_integer() else f"{real:.15g}")
        return _from_decimal(field, value)
    if isinstance(value, (datetime, date, time)):
        if value != value:
            raise InvalidValue(field, "", "is not a valid time; fill the cell or clear it")
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, UUID):
        return str(value)
    whole = as_integer(value)
    if whole is None:
        raise InvalidValue(field, "", f"is {describe_type(value)}; a cell holds text, a number or a date")
    return _from_int(field, whole)


def _from_decimal(field: str, value: Decimal) -> str:
    if not value.is_finite():
        raise InvalidValue(field, "", "is not a finite number; fill the cell or clear it")
    if not -_MOST_DIGITS < value.adjusted() < _MOST_DIGITS:
        # Checked before the digits are written: 1E+999999 has a million.
        raise InvalidValue(field, "", _TOO_LONG)
    return _from_int(field, int(value)) if value == int(value) else format(value, "f")


def _from_int(field: str, value: int) -> str:
    if abs(value) >= 10**_MOST_DIGITS:
        raise InvalidValue(field, "", _TOO_LONG)
    return str(value)
