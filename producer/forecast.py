"""What a run of a file would do, for ``send --dry-run`` and for plans. Changes nothing."""

from __future__ import annotations

import hashlib
import re
import time
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from bulksend import bootstrap
from bulksend.errors import InvalidInput
from bulksend.ledger import (
    campaign_creation,
    campaigns,
    consents,
    continuation,
    exclusions,
    senders,
    sent_before,
    templates,
)
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.continuation import Continuation
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.intake import no_consent
from bulksend.ledger.message_rows import NewMessage
from bulksend.messaging import Kind, canonical_number
from bulksend.messaging.exclusions import Exclusions
from bulksend.messaging.finish_forecast import OtherCampaign, Quota, finish_ms
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.price_table import Cost, PriceTable, categories_of, cost_of, read_prices
from bulksend.messaging.recipient import country_of
from bulksend.messaging.states import CampaignStatus
from bulksend.messaging.template_fit import content_of, template_of
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import counted, format_duration, format_instant, format_schedule
from bulksend.settings import Settings
from producer.files import FilePlan
from producer.intake import check_due
from producer.intake_report import same_people, with_rules
from producer.rows import IntakeRequest, RowPlanner, SupersededCodes

#: Planned messages of one query.
_CHUNK = 5000
#: Refused rows that a forecast lists, and reasons of all of them that it counts one by one.
_MOST_REFUSED, _MOST_REASONS = 1000, 50
_OTHER_REASONS = "other reasons"
#: Two reasons that differ only in a number are one. The number of an example is the same in all.
_NUMBERS = re.compile(r"(\+44 7700 900123)|[0-9]+")
#: Countries that people are shown.
_SHOWN_COUNTRIES = 8


@dataclass(frozen=True, slots=True)
class ForecastLimits:
    """What a forecast takes from the settings. ``prices``: None where no table is set; ``rules`` are the intake's."""

    default_rate: float = senders.DEFAULT_RATE
    account_rate: float | None = None
    otp_reserve: float = 0.0
    prices: PriceTable | None = None
    rules: TimeRules = field(default_factory=TimeRules)

    @classmethod
    def from_settings(cls, of: Settings) -> ForecastLimits:
        """Reads the tables of prices and of quiet hours. Raises InvalidInput when one cannot be read."""
        prices = None if of.prices is None else read_price_file(Path(of.prices))
        return cls(of.default_rate, of.account_rate, of.otp_reserve, prices, bootstrap.time_rules(of))


def read_price_file(path: Path) -> PriceTable:
    """The table of prices. Raises InvalidInput when it cannot be read."""
    try:
        return read_prices(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"BULKSEND_PRICES: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"BULKSEND_PRICES: {path} is not UTF-8 text") from None


@dataclass(slots=True)
class Samples:
    """Three messages that show what a campaign sends: the first, the one with the longest values, the last."""

    first: NewMessage | None = None
    longest: NewMessage | None = None
    last: NewMessage | None = None
    _most: int = -1

    def add(self, message: NewMessage) -> None:
        """The next message of the file."""
        if self.first is None:
            self.first = message
        before = self.last
        # Neither the first nor the last counts: they are shown anyway.
        if before is not None and before is not self.first and len(before.body_text) > self._most:
            self.longest, self._most = before, len(before.body_text)
        self.last = message

    def each(self) -> list[NewMessage]:
        """In the order of the file, none twice."""
        found = (self.first, self.longest, self.last)
        return sorted({each.row: each for each in found if each is not None}.values(), key=lambda m: m.row)


class SeenKeys:
    """The keys so far, as 8-byte hashes in a hash table of one array: 12 to 24 bytes a key. A set takes over 100."""

    def __init__(self) -> None:
        self._table = array("q", bytes(8 << 16))
        self._count = 0

    def add(self, key: str) -> bool:
        """Remember a key. The result is whether it is new."""
        if 3 * self._count > 2 * len(self._table):
            old, self._table = self._table, array("q", bytes(16 * len(self._table)))
            for number in filter(None, old):
                self._put(number)
        is_new = self._put(hash(key) or 1)
        self._count += is_new
        return is_new

    def _put(self, number: int) -> bool:
        """Open addressing with linear probing; 0 is a free place."""
        table = self._table
        last = len(table) - 1
        place = number & last
        while table[place]:
            if table[place] == number:
                return False
            place = (place + 1) & last
        table[place] = number
        return True


@dataclass(slots=True)
class Forecast:
    """What a run of a file would do."""

    rate: float
    """The lowest of those of campaign, sender and account, messages/s."""
    quota: int | None
    sender_rate: float = senders.DEFAULT_RATE
    """Of sender and account together."""
    own_rate: float | None = None
    """The campaign's own."""
    weight: int = 1
    kind: Kind = Kind.MARKETING
    ttl_ms: int | None = None
    """How long messages live that have no time of their own; None: without an end."""
    quota_left: Quota | None = None
    """The quota that the campaign may use."""
    others: Sequence[OtherCampaign] = ()
    """Campaigns of the same sender that are sent now."""
    template: templates.Template | None = None
    """What is known of the template that the content names."""
    repeats: Campaign | None = None
    """The campaign that the same command made before: a run would send nothing."""
    continues: Continuation | None = None
    """The continuation that a run would be."""
    rows: int = 0
    messages: int = 0
    duplicates: int = 0
    suppressed: int = 0
    suppressed_by: Counter[str] = field(default_factory=Counter)
    """The suppressed by what would end them."""
    superseded: int = 0
    """The duplicates that are one-time codes with a newer row."""
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    refusal: InvalidInput | None = None
    """The error with which a run would end."""
    found: Counter[str] = field(default_factory=Counter)
    """How many rows an earlier campaign of the same message has, by its id."""
    due: Counter[int] = field(default_factory=Counter)
    """How many messages are due at each instant, ms since the epoch."""
    notes: list[str] = field(default_factory=list)
    """Those of the plan, then those of the rows."""
    countries: Counter[str] = field(default_factory=Counter)
    """How many messages go to each country by its ISO 3166 code; empty: the number does not show it."""
    cost: Cost | None = None
    samples: Samples = field(default_factory=Samples)
    _reasons: Counter[str] = field(default_factory=Counter)
    _said: dict[str, str] = field(default_factory=dict)
    """Each of ``_reasons`` as all its rows say it; as it is where their numbers differ."""
    _people: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=32))

    def refuse(self, rows: Sequence[RefusedRow]) -> None:
        """Count refused rows, and keep the first of them."""
        self.refused_count += len(rows)
        self.refused += rows[: _MOST_REFUSED - len(self.refused)]
        for row in rows:
            said = f"{row.field}: {row.why}"
            reason = f"{row.field}: {_NUMBERS.sub(lambda found: found[1] or 'N', row.why)}"
            if reason not in self._reasons and len(self._reasons) >= _MOST_REASONS:
                said = reason = _OTHER_REASONS
            self._reasons[reason] += 1
            if self._said.setdefault(reason, said) != said:
                self._said[reason] = reason

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows are refused for each reason, the most frequent first; a number that differs in it is an N."""
        return {self._said[reason]: count for reason, count in self._reasons.most_common()}

    def will_send(self, messages: Sequence[NewMessage]) -> None:
        """Count messages that a run would send."""
        rows = array("q")
        for message in messages:
            self.due[message.due_at] += 1
            self.countries[country_of(message.recipient) or ""] += 1
            self.samples.add(message)
            rows.append(message.row)
        self._people.update(rows.tobytes())

    @property
    def recipients_hash(self) -> str:
        """The same when the same rows of a file are sent."""
        return self._people.hexdigest()

    @property
    def seconds(self) -> float:
        """How long sending takes at the rate, without waits for due times."""
        return self.due.total() / self.rate

    @property
    def begins_at_ms(self) -> int | None:
        """When the first message is due; None when there is none."""
        return min(self.due) if self.due else None

    @property
    def done_by_ms(self) -> int | None:
        """When the last message is sent, beside what the sender sends now; None when there is none."""
        if not self.due:
            return None
        limits = self.own_rate, self.sender_rate
        return finish_ms(self.due, self.kind, *limits, self.others, self.quota_left, weight=self.weight)

    def summary(self, zone: str) -> dict[str, object]:
        """The forecast for people; times in ``zone`` and in UTC."""
        to_send = self.due.total()
        begins, done = self.begins_at_ms, self.done_by_ms
        spread = len(self.due) > 1
        return {
            "rows": f"{self.rows:,}",
            "messages": f"{self.messages:,}",
            "in it already": f"{self.found.total():,}" if self.continues else None,
            "duplicates": f"{self.duplicates:,}",
            "suppressed": with_rules(self.suppressed, self.suppressed_by),
            "refused": f"{self.refused_count:,}",
            "begins": None if begins is None else format_schedule(begins, zone),
            "last due": format_schedule(max(self.due), zone) if spread else None,
            "takes": f"{format_duration(int(self.seconds * 1000))} at {self.rate:g}/s",
            "done by": None if done is None else format_schedule(done, zone),
            "beside": _beside(self.others),
            "quota": f"{to_send:,} recipients, the account may reach {self.quota:,} in 24 h: the rest waits"
            if self.quota is not None and to_send > self.quota
            else None,
            "countries": countries_text(self.countries),
            "cost": None if self.cost is None else cost_text(self.cost.as_json()),
        }

    def as_json(self) -> dict[str, object]:
        """The forecast for programs."""
        begins, done = self.begins_at_ms, self.done_by_ms
        return {
            "dry_run": True,
            "rows": self.rows,
            "messages": self.messages,
            "duplicates": self.duplicates,
            "suppressed": self.suppressed,
            "suppressed_by": dict(self.suppressed_by),
            "refused": [
                {"row": r.row, "field": r.field, "value": r.value, "why": r.why} for r in self.refused
            ],
            "already": self.found.total(),
            "rate": self.rate,
            "begins_at": None if begins is None else format_instant(begins),
            "done_by": None if done is None else format_instant(done),
            "notes": self.notes,
            "refused_reasons": self.reasons,
            "countries": dict(self.countries.most_common()),
            "cost": None if self.cost is None else self.cost.as_json(),
            "beside": [
                {"kind": each.kind.value, "left": each.left, "rate": each.rate, "weight": each.weight}
                for each in self.others
            ],
        }


def cost_text(cost: Mapping[str, Any]) -> str:
    """``12.50 to 14.00 USD``, and what has no price."""
    amount = cost["min"] if cost["min"] == cost["max"] else f"{cost['min']} to {cost['max']}"
    unpriced = f"; {counted(cost['unpriced'], 'message')} without a price" if cost["unpriced"] else ""
    return f"{amount} {cost['currency']} if all are delivered{unpriced}"


def _beside(others: Sequence[OtherCampaign]) -> str | None:
    left = sum(each.left for each in others)
    return f"{counted(left, 'message')} of other campaigns of this sender" if left else None


def countries_text(countries: Mapping[str, int]) -> str:
    """``GB 1,200, IE 40``, the largest first."""
    by_size = sorted(countries.items(), key=lambda each: -each[1])
    shown = [f"{country or 'not shown'} {count:,}" for country, count in by_size[:_SHOWN_COUNTRIES]]
    rest = sum(count for _, count in by_size[_SHOWN_COUNTRIES:])
    return ", ".join([*shown, *([f"others {rest:,}"] if rest else [])])


def forecast(
    plan: FilePlan, database: Database | None, cipher: Cipher, limits: ForecastLimits | None = None
) -> Forecast:
    """What ``plan.run`` would do: counts, refused rows, and when it would be done. Changes nothing.

    Without a ledger no senders, suppressions and earlier campaigns are known. Raises InvalidInput when a run would, but
    SamePeople is in the forecast.
    """
    limits = limits or ForecastLimits()
    with nullcontext() if database is None else database.read() as tx:
        state = read_state(plan, tx, limits)
        around = _Surroundings() if tx is None else _read_surroundings(plan, tx, state)
    new = plan.campaign(state.now_ms) if state.continues is None else state.continues.new
    into = None if state.continues is None else state.continues.into
    sends_as = into or new
    sender_rate = min(state.rate, limits.account_rate or state.rate)
    made = Forecast(
        rate=min(sends_as.rate or sender_rate, sender_rate),
        quota=state.quota,
        sender_rate=sender_rate,
        own_rate=sends_as.rate,
        weight=sends_as.weight or 1,
        kind=plan.kind,
        ttl_ms=limits.rules.ttl_ms(plan.kind) if sends_as.ttl_ms is None else sends_as.ttl_ms,
        quota_left=_usable(state.quota, around.reached, plan.kind, limits),
        others=around.others,
        template=around.template,
        repeats=state.repeats,
        continues=state.continues,
    )
    request = IntakeRequest(plan.rows, new, plan.template, plan.default_region, plan.timezone, limits.rules)
    due_at_ms = None if into is None else max(into.due_at, state.now_ms)

    def planner(superseded: Collection[int]) -> RowPlanner:
        return RowPlanner(request, into, state.now_ms, state.now_ms, superseded, due_at_ms)

    superseded = SupersededCodes()
    if plan.kind is Kind.OTP:
        for chunk in planner(()).chunks(_CHUNK):
            superseded.add(chunk.planned)
    rows = planner(superseded.rows)
    seen = SeenKeys()
    for chunk in rows.chunks(_CHUNK):
        made.rows += chunk.rows
        made.superseded += chunk.superseded
        made.refuse(chunk.refused)
        messages = [message for message in chunk.planned if seen.add(message.key)]
        made.duplicates += chunk.superseded + len(chunk.planned) - len(messages)
        _count(made, database, messages, state, cipher, plan.kind)
    if state.continues is None:
        made.refusal = same_people(made.rows, made.found, state.alike, new, state.now_ms)
    made.notes = [*plan.notes, *plan.skipped_notes, *rows.notes, *state.notes]
    if limits.prices is not None:
        category = None if around.template is None else around.template.category
        made.cost = cost_of(
            limits.prices, made.countries, categories_of(plan.kind, plan.type.value, category)
        )
    return made


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a campaign meets in the ledger. ``reached``: people that the account has written to in 24 h."""

    others: Sequence[OtherCampaign] = ()
    reached: int = 0
    template: templates.Template | None = None


def _read_surroundings(plan: FilePlan, tx: Connection, state: LedgerState) -> _Surroundings:
    used = template_of(plan.type.value, content_of(plan.template.to_json()))
    return _Surroundings(
        campaigns.beside(tx, plan.sender, without=None if state.repeats is None else state.repeats.id),
        0 if state.quota is None else senders.reached(tx),
        None if used is None else templates.get(tx, *used),
    )


def _usable(quota: int | None, reached: int, kind: Kind, limits: ForecastLimits) -> Quota | None:
    """What of the account's quota messages of this kind may use: marketing leaves a part to the others."""
    if quota is None:
        return None
    reserved = limits.otp_reserve if kind is Kind.MARKETING else 0.0
    return Quota(int(quota * (1 - reserved)), reached)


@dataclass(slots=True)
class LedgerState:
    """What a forecast depends on in the ledger."""

    now_ms: int
    rate: float = senders.DEFAULT_RATE
    quota: int | None = None
    alike: Sequence[Campaign] = ()
    repeats: Campaign | None = None
    continues: Continuation | None = None
    exclusions: str | None = None
    """Whom the campaign leaves out, with the ids of the campaigns that it names."""
    notes: Sequence[str] = ()


def read_state(plan: FilePlan, tx: Connection | None, limits: ForecastLimits | None = None) -> LedgerState:
    """What the ledger says to a run of the plan, without reading a row. Raises InvalidInput when a run would."""
    limits = limits or ForecastLimits()
    if tx is None:
        now_ms = int(time.time() * 1000)
        if plan.into is not None:
            raise InvalidInput(
                f"{plan.naming('into')}: there is no ledger yet, and so no campaign {plan.into!r}"
            )
        if named := [*plan.exclusions.exclude, *plan.exclusions.only]:
            option = plan.naming("exclude" if plan.exclusions.exclude else "only")
            raise InvalidInput(f"{option}: there is no ledger yet, and so no campaign {named[0].campaign!r}")
        check_due(plan.campaign(now_ms), now_ms)
        return LedgerState(now_ms, limits.default_rate, exclusions=plan.exclusions.to_json())
    senders.check_spelling(tx, plan.sender, plan.naming("sender"))
    now_ms = read_clock(tx)
    state = LedgerState(now_ms, limits.default_rate)
    record = senders.by_phones(tx, [plan.sender]).get(plan.sender)
    if record is not None:
        state.rate = record.rate
    state.quota = senders.quota_in_force(tx).limit
    new = exclusions.resolved(tx, plan.campaign(now_ms))
    state.exclusions = new.exclusions
    if plan.into is not None:
        state.continues = way = continuation.plan_continuation(tx, plan.into, new)
        state.alike = [
            *([] if way.into is None else [way.into]),
            *way.cancelled,
            *campaign_creation.with_same_content(tx, new),
        ]
        state.notes = continuation.rest_notes(tx, way, way.into)
        state.exclusions = way.new.exclusions if way.into is None else way.into.exclusions
        if way.into is None:
            check_due(way.new, now_ms)
        if way.into is None or way.into.status is CampaignStatus.FINISHED:
            campaign_creation.check_content(tx, way.new, lock=False, coming=plan.coming_files)
    elif (existing := campaigns.by_key(tx, new.key)) is not None:
        campaign_creation.check_matches(tx, existing, new)
        state.repeats = existing
    else:
        check_due(new, now_ms)
        campaign_creation.check_content(tx, new, lock=False, coming=plan.coming_files)
        state.alike = [] if plan.again else campaign_creation.with_same_content(tx, new)
    return state


def _count(
    made: Forecast,
    database: Database | None,
    messages: Sequence[NewMessage],
    state: LedgerState,
    cipher: Cipher,
    kind: Kind,
) -> None:
    """Count these messages and their due times."""
    having: dict[int, str] = {}
    if database is not None:
        with database.read() as tx:
            having = sent_before.sent_before(tx, state.alike, messages, cipher)
            if made.continues is not None:
                having = {**having, **sent_before.possibly_sent(tx, made.continues.cancelled, messages)}
                if made.continues.into is not None:
                    having |= sent_before.already_stored(tx, made.continues.into, messages)
    made.found.update(having.values())
    new = [m for n, m in enumerate(messages) if made.continues is None or n not in having]
    requires_consent = Exclusions.from_json(state.exclusions).require_consent
    left_out: Mapping[int, str] = {}
    with nullcontext() if database is None else database.read() as tx:
        if requires_consent:
            new = _agreed(made, tx, new)
        if tx is not None:
            left_out = exclusions.left_out(tx, kind, state.exclusions, new, state.now_ms)
    made.suppressed_by.update(why.partition(":")[0] for why in left_out.values())
    sent = [message for n, message in enumerate(new) if n not in left_out]
    made.messages += len(new)
    made.suppressed += len(new) - len(sent)
    made.will_send(sent)


def _agreed(made: Forecast, tx: Connection | None, messages: Sequence[NewMessage]) -> list[NewMessage]:
    """Those of people whose consent is on record or in their row; the others are refused."""
    agreed = {canonical_number(m.recipient) for m in messages if m.consent is not None}
    if tx is not None:
        agreed |= consents.having(tx, {message.recipient for message in messages})
    without = [m for m in messages if canonical_number(m.recipient) not in agreed]
    made.refuse([no_consent(message) for message in without])
    return [m for m in messages if canonical_number(m.recipient) in agreed]
