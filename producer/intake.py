"""Intake: read, plan and store rows, a chunk at a time, once for each (campaign, key). It can be resumed."""

from __future__ import annotations

import gc
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from bulksend import bootstrap
from bulksend.broker import batches
from bulksend.errors import InvalidInput
from bulksend.failpoints import reach
from bulksend.ledger import (
    campaign_control,
    campaign_creation,
    campaigns,
    continuation,
    exclusions,
    message_rows,
    senders,
    sent_before,
)
from bulksend.ledger import intake as ledger_intake
from bulksend.ledger.campaign_creation import NewCampaign, Rivals
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.intake import IntakeConflict
from bulksend.ledger.message_rows import EncryptionPolicy, NewMessage, encrypt_otp_only
from bulksend.messaging import ContentTemplate, Kind
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import CampaignStatus
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import counted, format_instant, is_long_past, long_past
from bulksend.settings import Settings
from producer.intake_report import Continued, IntakeInterrupted, IntakeReport, same_people
from producer.publisher import Publisher, publisher_of
from producer.reading import RawRow
from producer.rows import Chunk, IntakeRequest, RowPlanner, SupersededCodes

#: Small jobs, so that several workers share what the intake publishes.
JOB = 100


@dataclass(frozen=True, slots=True)
class Intake:
    """Stores rows in the ledger as messages."""

    database: Database
    publisher: Publisher
    cipher: Cipher
    encrypts: EncryptionPolicy = encrypt_otp_only
    chunk: int = 4000
    batch_size: int = 500
    default_rate: float = senders.DEFAULT_RATE
    rules: TimeRules = field(default_factory=TimeRules)
    progress: Callable[[int], None] = lambda rows: None
    """Called with the number of rows so far after each chunk."""
    began: Callable[[Campaign], None] = lambda campaign: None
    """Called with the campaign before its first row is stored."""
    between: Callable[[], None] = lambda: None
    """Called between two chunks. Its exceptions end the intake; stored rows are kept."""

    @classmethod
    def from_settings(
        cls,
        of: Settings,
        database: Database,
        *,
        progress: Callable[[int], None] = lambda rows: None,
        began: Callable[[Campaign], None] = lambda campaign: None,
        between: Callable[[], None] = lambda: None,
    ) -> Intake:
        """An intake into this ledger that publishes to Redis when REDIS_URL is set.

        Raises InvalidInput when the quiet hours cannot be read.
        """
        return cls(
            database,
            publisher_of(of),
            bootstrap.cipher(of),
            encrypts=bootstrap.encryption_policy(of),
            chunk=of.intake_chunk,
            batch_size=of.batch_size,
            default_rate=of.default_rate,
            rules=bootstrap.time_rules(of),
            progress=progress,
            began=began,
            between=between,
        )

    def run(
        self,
        new: NewCampaign,
        template: ContentTemplate,
        rows: Callable[[int], Iterator[RawRow | RefusedRow]],
        *,
        default_region: str | None = None,
        timezone: str | None = None,
        max_refused: int = 1000,
        again: bool = False,
        into: str | None = None,
    ) -> IntakeReport:
        """Store the rows; ``rows(n)`` yields those after the first n. It can be repeated and interrupted.

        ``into`` is the id or name of a campaign that the rows continue, without those that it has already. ``again``
        includes people who have the same message of another campaign.

        Raises SamePeople when some have it and neither is given; CampaignNotFound for an unknown campaign of the
        exclusions; InvalidInput when the key belongs to a campaign of other rows, content or options, when the due time
        is long past, or when one-time codes cannot be encrypted; IntakeInterrupted when the campaign is cancelled or
        taken over meanwhile.
        """
        self.check_can_store(new.kind)
        with self.database.read() as tx:
            new = exclusions.resolved(tx, new)
        source = IntakeRequest(rows, new, template, default_region, timezone, self.rules)
        if into is not None:
            return self._finish(self._continue(into, source), max_refused)
        with self.database.read() as tx:
            existing = campaigns.by_key(tx, new.key)
            now_ms = read_clock(tx)
            alike = [] if again or existing is not None else campaign_creation.with_same_content(tx, new)
        if existing is None:
            check_due(new, now_ms)
        scan = _Scan()
        if alike or (new.kind is Kind.OTP and (existing is None or existing.intake_done_at is None)):
            scan = self._scan(
                source, now_ms, alike, asked_at_ms=now_ms if existing is None else existing.created_at
            )
            if (refusal := same_people(scan.rows, scan.found, alike, new, now_ms)) is not None:
                raise refusal
        seen = frozenset(each.id for each in alike if each.intake_done_at is not None)
        campaign, new_sender, now_ms = self._begin(new)
        self.began(campaign)
        report = IntakeReport(
            campaign.id, resumed_at=campaign.rows_read, new_sender=new_sender, superseded=len(scan.superseded)
        )
        if campaign.intake_done_at is not None:
            report.repeated = True
        else:
            reader = RowPlanner(source, campaign, now_ms, campaign.created_at, scan.superseded)
            self._take_all(campaign, reader, None if again else Rivals(new, seen))
            report.notes = reader.notes
        return self._finish(report, max_refused)

    def check_can_store(self, kind: Kind) -> None:
        """Raises InvalidInput when messages of this kind cannot be encrypted."""
        if self.encrypts(kind) and not self.cipher.can_encrypt:
            raise InvalidInput(
                "BULKSEND_ENCRYPTION_KEY is not set, and one-time codes are stored only encrypted; make a key "
                "with `bulksend keys new-encryption-key`"
            )

    def create(self, tx: Connection, new: NewCampaign) -> tuple[Campaign, bool]:
        """The campaign without its rows, and whether its sender is new. Raises InvalidInput as ``create_or_find``."""
        new_sender = senders.register(tx, new.sender, rate=self.default_rate)
        campaign, _ = campaign_creation.create_or_find(tx, exclusions.resolved(tx, new))
        return campaign, new_sender

    def _begin(self, new: NewCampaign) -> tuple[Campaign, bool, int]:
        with self.database.write() as tx:
            campaign, new_sender = self.create(tx, new)
            return campaign, new_sender, read_clock(tx)

    def _scan(
        self, source: IntakeRequest, now_ms: int, alike: Sequence[Campaign], asked_at_ms: int | None = None
    ) -> _Scan:
        """Read all rows once before the first is stored: the newest code of a number can be in the last row."""
        scan = _Scan()
        reader = RowPlanner(source, None, now_ms, now_ms if asked_at_ms is None else asked_at_ms, frozenset())
        codes = SupersededCodes()
        for chunk in reader.chunks(self.chunk):
            self.between()
            scan.rows += chunk.rows
            if source.new.kind is Kind.OTP:
                codes.add(chunk.planned)
            if alike:
                with self.database.read() as tx:
                    scan.found.update(sent_before.sent_before(tx, alike, chunk.planned, self.cipher).values())
        scan.superseded = codes.rows
        return scan

    def _continue(self, into: str, source: IntakeRequest) -> IntakeReport:
        """Store the rows that the campaign does not have. It always begins with the first row."""
        new = source.new
        with self.database.read() as tx:
            way = continuation.plan_continuation(tx, into, new)
            alike = campaign_creation.with_same_content(tx, new)
            now_ms = read_clock(tx)
        if way.into is None:
            check_due(way.new, now_ms)
        scan = self._scan(source, now_ms, []) if new.kind is Kind.OTP else _Scan()
        # When the waiting messages of a cancelled campaign have ended, they are certainly not sent.
        for cancelled in way.cancelled:
            campaign_control.end_unsent_messages(self.database, cancelled)
        with self.database.write() as tx:
            begun = continuation.begin_continuation(tx, way)
        self.began(begun)
        report = IntakeReport(begun.id, superseded=len(scan.superseded), continued=(done := Continued()))
        # Messages that come later are due now, and their time to live begins now.
        reader = RowPlanner(
            source, begun, now_ms, now_ms, scan.superseded, due_at_ms=max(begun.due_at, now_ms)
        )
        at = begun.rows_read
        for chunk in reader.chunks(self.chunk):
            try:
                taken = self.database.retrying(
                    lambda tx, at=at, chunk=chunk: ledger_intake.store_continuation_chunk(  # type: ignore[misc]
                        tx,
                        begun,
                        after=at,
                        planned=chunk.planned,
                        refused=chunk.refused,
                        earlier=[begun, *way.cancelled, *alike],
                        cancelled=way.cancelled,
                        cipher=self.cipher,
                        encrypts=self.encrypts,
                    ),
                    durable=False,
                )
            except IntakeConflict:
                raise self._interrupted(begun, new) from None
            at += taken.counted
            done.messages += taken.messages
            done.already += taken.already + chunk.superseded
            self._publish(begun, taken.ready, first=not done.rows)
            done.rows += chunk.rows
            self.progress(done.rows)
            self.between()
        with self.database.write() as tx:
            campaigns.finish_intake(tx, begun.id)
            report.notes = [*reader.notes, *continuation.rest_notes(tx, way, begun)]
        return report

    def _take_all(self, campaign: Campaign, reader: RowPlanner, rivals: Rivals | None) -> None:
        # While the ledger stores a chunk, the next one is read and planned, and its people are looked up.
        with ThreadPoolExecutor(1, "reading") as reading:
            at = campaign.rows_read
            source = reader.rows(at)
            first = at == 0
            # The first chunk is only what is published at once, so that the first messages do not wait.
            many = min(self.batch_size, self.chunk) if first else self.chunk
            coming = reading.submit(self._next, source, reader, campaign, many)
            while (chunk := coming.result()).rows:
                coming = reading.submit(self._next, source, reader, campaign, self.chunk)
                reach("before_chunk")
                try:
                    taken = self._store(campaign, at, chunk, rivals)
                except IntakeConflict:
                    # Another run of the same intake has stored rows: continue behind them.
                    coming.result()
                    with self.database.read() as tx:
                        now = campaigns.get(tx, campaign.id)
                    if now.source_hash != campaign.source_hash or now.status is CampaignStatus.CANCELLED:
                        raise self._interrupted(now, reader.new) from None
                    campaign = now
                    if campaign.intake_done_at is not None:
                        return
                    at, source, first = campaign.rows_read, reader.rows(campaign.rows_read), False
                    coming = reading.submit(self._next, source, reader, campaign, self.chunk)
                    continue
                at += chunk.rows
                reach("after_chunk")
                self._publish(campaign, taken.ready, first=first)
                reach("chunk_published")
                first = False
                self.progress(at)
                self.between()
        with self.database.write() as tx:
            campaigns.finish_intake(tx, campaign.id)

    def _interrupted(self, campaign: Campaign, new: NewCampaign) -> IntakeInterrupted:
        """The error for an intake that stopped before its end."""
        with self.database.read() as tx:
            campaign = campaigns.get(tx, campaign.id)
        into = new.naming("into", campaign.id)
        if campaign.status is CampaignStatus.CANCELLED:
            return IntakeInterrupted(
                f"campaign {campaign.id} ({campaign.name}) was cancelled during its intake, which "
                f"stopped after {counted(campaign.messages, 'message')}. `{into}` with these rows sends the rest in a "
                "new campaign"
            )
        return IntakeInterrupted(
            f"another command took over the intake of campaign {campaign.id} ({campaign.name}), and this one stopped; "
            f"the stored rows are kept. `{into}` with these rows stores the missing ones"
        )

    def _next(
        self, source: Iterator[RawRow | RefusedRow], reader: RowPlanner, campaign: Campaign, many: int
    ) -> Chunk:
        """The next rows, planned; none at the end."""
        chunk = reader.next(source, many)
        if self.database.is_sqlite:
            return chunk
        ahead = self.database.retrying(lambda tx: exclusions.ask_ahead(tx, campaign, chunk.planned))
        prepared = self._prepare(campaign, chunk.planned)
        if ahead is None:
            return replace(chunk, prepared=prepared)
        rows = message_rows.with_rows(campaign, prepared, self.cipher, ahead.now, ahead.found)
        return replace(chunk, prepared=rows, turn=ahead.turn)

    def _prepare(self, campaign: Campaign, planned: Sequence[NewMessage]) -> list[message_rows.Prepared]:
        return message_rows.prepare(campaign, planned, self.cipher, self.encrypts)

    def _store(
        self, campaign: Campaign, at: int, chunk: Chunk, rivals: Rivals | None
    ) -> ledger_intake.StoredChunk:
        prepared = chunk.prepared if chunk.prepared is not None else self._prepare(campaign, chunk.planned)
        # Not lasting: a power cut undoes rows and ``rows_read`` together, and ``finish_intake`` is lasting. A POST is
        # never ahead of the disk: its write-ahead is lasting, with everything written before it.
        return self.database.retrying(
            lambda tx: ledger_intake.store_chunk(
                tx,
                campaign,
                after_row=at,
                planned=chunk.planned,
                refused=chunk.refused,
                cipher=self.cipher,
                encrypts=self.encrypts,
                prepared=prepared,
                turn=chunk.turn,
                superseded=chunk.superseded,
                rivals=rivals,
            ),
            durable=False,
        )

    def _publish(self, campaign: Campaign, ready: Sequence[str], *, first: bool) -> None:
        """Publish all one-time codes, and of other kinds the first batch, so that a small send starts at once.

        The relay publishes the rest of a blast, within its window, and the slice of a canary when it is known.
        """
        kind = campaign.kind
        if campaign.held_after is not None:
            return
        ids = ready if kind is Kind.OTP else ready[: self.batch_size] if first else []
        for batch in batches(ids, JOB):
            self.publisher.publish(kind, batch)

    def _finish(self, report: IntakeReport, max_refused: int) -> IntakeReport:
        with self.database.read() as tx:
            campaign = campaigns.get(tx, report.campaign_id)
            refused = list(campaigns.refused_rows(tx, campaign.id, max_refused))
            by_rule = exclusions.left_out_by_rule(tx, campaign.id) if campaign.suppressed else {}
        report.rows = campaign.rows_read
        report.messages, report.duplicates = campaign.messages, campaign.duplicates
        report.suppressed, report.refused_count = campaign.suppressed, campaign.refused
        report.suppressed_by = by_rule
        report._campaign = campaign
        report.refused = [RefusedRow(**row) for row in refused]
        return report


@dataclass(slots=True)
class _Scan:
    """What the first reading of all rows finds."""

    rows: int = 0
    superseded: set[int] = field(default_factory=set)
    """Rows whose one-time code a newer row replaces."""
    found: Counter[str] = field(default_factory=Counter)
    """The number of rows that an earlier campaign has, by its id."""


def arguments_given(
    *,
    at: object,
    ttl: object,
    rate: object,
    on_unknown: object,
    name: object,
    key: object,
    local_time: object,
    exclusions: Mapping[str, object],
    canary: object = None,
    max_failed: object = None,
    weight: object = None,
) -> dict[str, str]:
    """The arguments that are given: column of the campaign -> name of the argument; one of those of ``exclusions``."""
    asked = {
        "due_at": ("at", at),
        "local_time": ("local_time", local_time),
        "ttl_ms": ("ttl", ttl),
        "rate": ("rate", rate),
        "on_unknown": ("on_unknown", on_unknown),
        "name": ("name", name),
        "key": ("key", key),
        "canary": ("canary", canary),
        "max_failed": ("max_failed", max_failed),
        "weight": ("weight", weight),
    }
    given = {column: argument for column, (argument, value) in asked.items() if value is not None}
    of_exclusions = next((argument for argument, value in exclusions.items() if value), None)
    return given if of_exclusions is None else given | {"exclusions": of_exclusions}


def check_due(new: NewCampaign, now_ms: int) -> None:
    """Raises InvalidValue when a given due time is long past."""
    if "due_at" not in new.given:
        return
    option = new.naming(new.given["due_at"])
    if is_long_past(new.due_at, now_ms):
        raise long_past(new.due_at, now_ms, format_instant(new.due_at), option, f"omit {option}")


def source_hash(parts: Iterable[bytes], *, content: str, type: str, sender: str, kind: str) -> str:
    """The hash that makes two sends the same: of rows, content, type, sender and kind."""
    digest = hashlib.sha256()
    for text in (content, type, sender, kind):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def tune_interpreter() -> None:
    """Prepare a process that takes in millions of rows, before its threads start.

    Rows come and go without a cycle: the search for cycles would take a fifth of the intake's time. Threads that return
    from the database or answer a request would wait 5 ms for the interpreter at each step.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.0005)
