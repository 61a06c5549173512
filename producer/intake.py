"""Rows in: read, plan, store a chunk at a time, once for each (campaign, key), from where it stood."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bulksend.broker import batches
from bulksend.failpoints import reach
from bulksend.ledger import campaigns, senders
from bulksend.ledger import intake as ledger_intake
from bulksend.ledger.campaigns import Campaign, NewCampaign
from bulksend.ledger.database import Database
from bulksend.ledger.intake import IntakeMoved, NewMessage, RefusedRow, SealPolicy, seal_otp_only
from bulksend.ledger.sealing import Sealer
from bulksend.messaging import (
    CampaignFacts,
    ContentTemplate,
    InvalidInput,
    Kind,
    PlannedMessage,
    Planner,
    Refusal,
    person,
)
from bulksend.messaging.json_text import json_writer
from producer.publisher import Publisher

#: Small jobs, so that several workers share what is published at once.
JOB = 100

#: A row as a reader gives it: its number as a person would name it, and its cells or what is wrong with it.
NumberedRow = tuple[int, Mapping[str, object] | RefusedRow]


@dataclass(slots=True)
class IntakeReport:
    """What came of an intake: the counts of the whole campaign, and whether this run added anything."""

    campaign_id: str
    rows: int = 0
    messages: int = 0
    duplicates: int = 0
    suppressed: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    repeated: bool = False
    """The whole of it had been taken in before: nothing is sent twice."""
    resumed_at: int = 0
    """How many rows an earlier, interrupted run had taken in."""
    new_sender: bool = False


@dataclass(frozen=True, slots=True)
class _Chunk:
    """``rows`` rows of a file, each planned or refused."""

    rows: int
    planned: list[NewMessage]
    refused: list[RefusedRow]
    prepared: list[ledger_intake.Prepared] | None
    """None where that is made between two chunks: SQLite's other writers come in meanwhile."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes rows into the ledger. ``progress`` is told the rows read so far."""

    database: Database
    publisher: Publisher
    sealer: Sealer
    seals: SealPolicy = seal_otp_only
    chunk: int = 4000
    batch_size: int = 500
    default_rate: float = senders.DEFAULT_RATE
    progress: Callable[[int], None] = lambda rows: None

    def run(
        self,
        new: NewCampaign,
        template: ContentTemplate,
        rows: Callable[[int], Iterator[NumberedRow]],
        *,
        default_region: str | None = None,
        timezone: str | None = None,
        max_refused: int = 1000,
    ) -> IntakeReport:
        """Take the rows in; ``rows(n)`` yields what comes after the first n. May be repeated and interrupted.

        Raises InvalidInput when the key belongs to a campaign of other rows or content, or when an OTP would
        have to be stored without an encryption key.
        """
        if self.seals(new.kind) and not self.sealer.can_seal:
            raise InvalidInput(
                "BULKSEND_ENCRYPTION_KEY is not set, and one-time codes are stored only encrypted; make a key "
                "with `bulksend keys new-encryption-key`"
            )
        campaign, new_sender, now_ms = self._begin(new)
        report = IntakeReport(campaign.id, resumed_at=campaign.rows_read, new_sender=new_sender)
        if campaign.intake_done_at is not None:
            report.repeated = True
        else:
            facts = CampaignFacts(
                kind=new.kind,
                sender=new.sender,
                template=template,
                due_at_ms=campaign.due_at,
                ttl_ms=campaign.ttl_ms,
                now_ms=now_ms,
                default_region=default_region,
                timezone=timezone,
            )
            self._take_all(campaign, Planner(facts), rows)
        return self._finish(report, max_refused)

    def _begin(self, new: NewCampaign) -> tuple[Campaign, bool, int]:
        from bulksend.ledger.database import instant

        with self.database.write() as tx:
            new_sender = senders.register(tx, new.sender, rate=self.default_rate)
            campaign, _ = campaigns.create_or_find(tx, new)
            return campaign, new_sender, instant(tx)

    def _take_all(
        self, campaign: Campaign, planner: Planner, rows: Callable[[int], Iterator[NumberedRow]]
    ) -> None:
        # While the ledger takes a chunk in, the next one is read and planned.
        with ThreadPoolExecutor(1, "reading") as reading:
            at = campaign.rows_read
            source = rows(at)
            first = at == 0
            # What is published at once comes first, by itself: the first messages wait for no more.
            many = min(self.batch_size, self.chunk) if first else self.chunk
            coming = reading.submit(self._next, source, planner, campaign, many)
            while (chunk := coming.result()).rows:
                coming = reading.submit(self._next, source, planner, campaign, self.chunk)
                reach("before_chunk")
                try:
                    taken = self._store(campaign, at, chunk)
                except IntakeMoved:
                    # Another run of the same intake is at work: go on from where it stands.
                    coming.result()
                    with self.database.read() as tx:
                        campaign = campaigns.get(tx, campaign.id)
                    if campaign.intake_done_at is not None:
                        return
                    at, source, first = campaign.rows_read, rows(campaign.rows_read), False
                    coming = reading.submit(self._next, source, planner, campaign, self.chunk)
                    continue
                at += chunk.rows
                reach("after_chunk")
                self._publish(campaign.kind, taken.ready, first=first)
                reach("chunk_published")
                first = False
                self.progress(at)
        with self.database.write() as tx:
            campaigns.finish_intake(tx, campaign.id)

    def _next(self, source: Iterator[NumberedRow], planner: Planner, campaign: Campaign, many: int) -> _Chunk:
        """The next rows, planned; none at the end."""
        planned, refused = plan_chunk(itertools.islice(source, many), planner, campaign)
        prepared = None if self.database.is_sqlite else self._prepare(campaign, planned)
        return _Chunk(len(planned) + len(refused), planned, refused, prepared)

    def _prepare(self, campaign: Campaign, planned: Sequence[NewMessage]) -> list[ledger_intake.Prepared]:
        return ledger_intake.prepare(campaign, planned, self.sealer, self.seals)

    def _store(self, campaign: Campaign, at: int, chunk: _Chunk) -> ledger_intake.Taken:
        prepared = chunk.prepared if chunk.prepared is not None else self._prepare(campaign, chunk.planned)
        # Not lasting: a power cut takes rows back together with how far the file was read, and `finish_intake` lasts.
        # No POST is ahead of the disk: its write-ahead lasts, and all that was written before it.
        return self.database.retrying(
            lambda tx: ledger_intake.take_chunk(
                tx,
                campaign,
                after_row=at,
                up_to_row=at + chunk.rows,
                planned=chunk.planned,
                refused=chunk.refused,
                rows=chunk.rows,
                sealer=self.sealer,
                seals=self.seals,
                prepared=prepared,
            ),
            lasting=False,
        )

    def _publish(self, kind: Kind, ready: Sequence[str], *, first: bool) -> None:
        """OTP at once, all of it; of anything else the first batch, so that a small send goes now.

        The relay keeps a bounded window of a blast published; Redis is never flooded with it.
        """
        ids = ready if kind is Kind.OTP else ready[: self.batch_size] if first else []
        for batch in batches(ids, JOB):
            self.publisher.publish(kind, batch)

    def _finish(self, report: IntakeReport, max_refused: int) -> IntakeReport:
        with self.database.read() as tx:
            campaign = campaigns.get(tx, report.campaign_id)
            refused = campaigns.refused_rows(tx, campaign.id, max_refused)
        report.rows = campaign.rows_read
        report.messages, report.duplicates = campaign.messages, campaign.duplicates
        report.suppressed = campaign.suppressed
        report.refused = [RefusedRow(r["row"], r["field"], r["value"], r["why"]) for r in refused]
        return report


def plan_chunk(
    chunk: Iterable[NumberedRow], planner: Planner, campaign: Campaign
) -> tuple[list[NewMessage], list[RefusedRow]]:
    """Plan each row: a message, or a refusal that says why."""
    planned: list[NewMessage] = []
    refused: list[RefusedRow] = []
    for number, row in chunk:
        if isinstance(row, RefusedRow):
            refused.append(row)
            continue
        plan = planner.plan(number, row)
        if isinstance(plan, Refusal):
            refused.append(RefusedRow(*plan))
        else:
            planned.append(new_message(plan, campaign))
    return planned, refused


_sorted_json = json_writer(separators=(", ", ": "), sort_keys=True)


def new_message(plan: PlannedMessage, campaign: Campaign) -> NewMessage:
    """The ledger's form of a planned row of a campaign."""
    row, to, key, variables, due_at, expires_at = plan
    text = _sorted_json(variables)
    # By place: by name it takes half as long again.
    return NewMessage(
        row,
        key,
        key != to and key != person(to),
        to,
        campaign.sender,
        campaign.type,
        {"v": variables},
        text,
        due_at,
        expires_at,
    )


def source_hash(parts: Iterable[bytes], *, content: str, type: str, sender: str, kind: str) -> str:
    """What makes two sends the same: their rows, content, type, sender and kind."""
    digest = hashlib.sha256()
    for text in (content, type, sender, kind):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
