"""What a run of a file would do, for ``send --dry-run``. Changes nothing."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from sqlalchemy import Connection

from bulksend.errors import InvalidInput
from bulksend.ledger import (
    audiences,
    campaign_creation,
    campaigns,
    consents,
    continuation,
    senders,
    sent_before,
    suppressions,
)
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.continuation import Continuation
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.intake import no_consent
from bulksend.ledger.message_rows import NewMessage
from bulksend.messaging import Kind, canonical_number
from bulksend.messaging.audience import Audience
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import (
    format_duration,
    format_instant,
    format_schedule,
    sent_by_ms,
)
from producer.files import FilePlan
from producer.intake import check_due
from producer.intake_report import same_people, with_rules
from producer.rows import IntakeRequest, RowPlanner, SupersededCodes

#: Planned messages of one query.
_CHUNK = 5000
#: Refused rows that a forecast lists.
_MOST_REFUSED = 1000


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
    quota: int | None
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

    def refuse(self, rows: Sequence[RefusedRow]) -> None:
        """Count refused rows, and keep the first of them."""
        self.refused_count += len(rows)
        self.refused += rows[: _MOST_REFUSED - len(self.refused)]

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
        """When the last message is sent; None when there is none."""
        return sent_by_ms(self.due, self.rate) if self.due else None

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
            "quota": f"{to_send:,} recipients, the account may reach {self.quota:,} in 24 h: the rest waits"
            if self.quota is not None and to_send > self.quota
            else None,
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
        }


def forecast(
    plan: FilePlan, database: Database | None, cipher: Cipher, rules: TimeRules | None = None
) -> Forecast:
    """What ``plan.run`` would do: counts, refused rows, and when it would be done. Changes nothing.

    ``rules``: those of the intake; by default there are no quiet hours.

    Without a ledger no senders, suppressions and earlier campaigns are known. Raises InvalidInput when a run would, but
    SamePeople is in the forecast.
    """
    with nullcontext() if database is None else database.read() as tx:
        state = read_state(plan, tx)
    made = Forecast(
        rate=min(plan.rate or float("inf"), state.rate),
        quota=state.quota,
        repeats=state.repeats,
        continues=state.continues,
    )
    new = plan.campaign(state.now_ms) if state.continues is None else state.continues.new
    into = None if state.continues is None else state.continues.into
    request = IntakeRequest(
        plan.rows, new, plan.template, plan.default_region, plan.timezone, rules or TimeRules()
    )
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
    return made


@dataclass(slots=True)
class LedgerState:
    """What a forecast depends on in the ledger."""

    now_ms: int
    rate: float = senders.DEFAULT_RATE
    quota: int | None = None
    alike: Sequence[Campaign] = ()
    repeats: Campaign | None = None
    continues: Continuation | None = None
    audience: str | None = None
    """Whom the campaign leaves out, with the ids of the campaigns that it names."""
    notes: Sequence[str] = ()


def read_state(plan: FilePlan, tx: Connection | None) -> LedgerState:
    """What the ledger says to a run of the plan, without reading a row. Raises InvalidInput when a run would."""
    if tx is None:
        now_ms = int(time.time() * 1000)
        if plan.into is not None:
            raise InvalidInput(
                f"{plan.naming('into')}: there is no ledger yet, and so no campaign {plan.into!r}"
            )
        if named := [*plan.audience.exclude, *plan.audience.only]:
            option = plan.naming("exclude" if plan.audience.exclude else "only")
            raise InvalidInput(f"{option}: there is no ledger yet, and so no campaign {named[0].campaign!r}")
        check_due(plan.campaign(now_ms), now_ms)
        return LedgerState(now_ms, audience=plan.audience.to_json())
    senders.check_spelling(tx, plan.sender, plan.naming("sender"))
    now_ms = read_clock(tx)
    state = LedgerState(now_ms)
    record = senders.by_phones(tx, [plan.sender]).get(plan.sender)
    if record is not None:
        state.rate = record.rate
    state.quota = senders.quota_in_force(tx).limit
    new = audiences.resolved(tx, plan.campaign(now_ms))
    state.audience = new.audience
    if plan.into is not None:
        state.continues = way = continuation.plan_continuation(tx, plan.into, new)
        state.alike = [
            *([] if way.into is None else [way.into]),
            *way.cancelled,
            *campaign_creation.with_same_content(tx, new),
        ]
        state.notes = continuation.rest_notes(tx, way, way.into)
        state.audience = way.new.audience if way.into is None else way.into.audience
        if way.into is None:
            check_due(way.new, now_ms)
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
    audience = Audience.from_json(state.audience)
    reasons: Collection[str] = ()
    left_out: Mapping[int, str] = {}
    with nullcontext() if database is None else database.read() as tx:
        if audience.require_consent:
            new = _agreed(made, tx, new)
        if tx is not None and new:
            first_due = max(state.now_ms, min(message.due_at for message in new))
            reasons = suppressions.reasons_for(tx, [message.recipient for message in new], kind, at=first_due)
            if state.audience is not None:
                left_out = audiences.left_out(tx, state.audience, new, reasons, state.now_ms)
    for n, message in enumerate(new):
        made.messages += 1
        if message.recipient in reasons:
            made.suppressed_by[suppressions.SUPPRESSED] += 1
        elif n in left_out:
            made.suppressed_by[left_out[n].partition(":")[0]] += 1
        else:
            made.due[message.due_at] += 1
            continue
        made.suppressed += 1


def _agreed(made: Forecast, tx: Connection | None, messages: Sequence[NewMessage]) -> list[NewMessage]:
    """Those of people whose consent is on record or in their row; the others are refused."""
    agreed = {canonical_number(m.recipient) for m in messages if m.consent is not None}
    if tx is not None:
        agreed |= consents.having(tx, {message.recipient for message in messages})
    without = [m for m in messages if canonical_number(m.recipient) not in agreed]
    made.refuse([no_consent(message) for message in without])
    return [m for m in messages if canonical_number(m.recipient) in agreed]
