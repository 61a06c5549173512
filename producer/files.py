"""A file, its content and its options, checked before anything is changed; then taken in, or rehearsed."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bulksend.ledger import senders, suppressions
from bulksend.ledger.campaigns import NewCampaign
from bulksend.ledger.database import Database, instant
from bulksend.ledger.intake import RefusedRow
from bulksend.messaging import (
    CampaignFacts,
    ContentTemplate,
    InvalidInput,
    InvalidValue,
    Kind,
    MessageType,
    OnUnknown,
    Planner,
    Refusal,
    compile_content,
    map_columns,
    parse_recipient,
)
from bulksend.messaging.content import load_content_json
from bulksend.messaging.plan import checked_key
from bulksend.messaging.rules import check_text
from bulksend.messaging.units import (
    format_duration,
    format_instant,
    parse_duration_ms,
    parse_instant_ms,
    parse_rate,
    zone_of,
)
from bulksend.messaging.whole_text import whole_text
from producer.intake import Intake, IntakeReport, NumberedRow, source_hash
from producer.reading import RawRow, open_rows

_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class FilePlan:
    """Everything a ``send`` was asked for, checked; nothing is changed yet."""

    path: Path
    sender: str
    type: MessageType
    template: ContentTemplate
    kind: Kind
    name: str
    due_at_ms: int | None
    ttl_ms: int | None
    rate: float | None
    on_unknown: OnUnknown
    given_key: str | None
    digest: Future[str]
    """Of file and content. A large file is still being read: what needs no key goes on meanwhile."""
    default_region: str | None
    timezone: str | None
    encoding: str | None
    sheet: str | None
    created_by: str
    notes: tuple[str, ...] = ()
    """What the reader noticed of the file and a person should know."""

    @property
    def hash(self) -> str:
        """What makes two sends the same. Waits for it; raises InvalidInput where the file cannot be read."""
        return self.digest.result()

    @property
    def key(self) -> str:
        """The campaign's idempotency key."""
        return f"sha256:{self.hash}" if self.given_key is None else self.given_key

    def run(self, intake: Intake) -> IntakeReport:
        """Take the file in."""
        now_ms = self._now_ms(intake.database)
        return intake.run(
            self._campaign(now_ms),
            self.template,
            self.rows,
            default_region=self.default_region,
            timezone=self.timezone,
        )

    def rows(self, after: int) -> Iterator[NumberedRow]:
        """The file's rows after the first ``after``, with the columns named as the planner expects them."""
        # Its encoding was looked at when it was planned; a large file takes a second.
        with open_rows(self.path, encoding=self.encoding, sheet=self.sheet, is_checked=True) as source:
            source.call(map_columns(source.header).names)
            if after:
                source.skip(after)
            for row in source:
                yield row if isinstance(row, RawRow) else (row.number, RefusedRow(*row))

    def rehearse(self, database: Database) -> Forecast:
        """What a run would do: counts, refusals, and when it would be done. Changes nothing."""
        with database.read() as tx:
            now_ms = instant(tx)
            record = senders.some(tx, [self.sender]).get(self.sender)
        rate = min(self.rate or float("inf"), record.rate if record else senders.DEFAULT_RATE)
        forecast = Forecast(
            rate=rate, due_at_ms=self.due_at_ms or now_ms, quota=record.quota if record else None
        )
        planner = Planner(self._facts(now_ms))
        seen: set[str] = set()
        pending: list[str] = []
        for number, row in self.rows(0):
            forecast.rows += 1
            planned = row if isinstance(row, RefusedRow) else planner.plan(number, row)
            if isinstance(planned, Refusal):
                planned = RefusedRow(planned.row, planned.field, planned.value, planned.why)
            if isinstance(planned, RefusedRow):
                forecast.refuse(planned)
            elif planned.key in seen:
                forecast.duplicates += 1
            else:
                seen.add(planned.key)
                forecast.messages += 1
                pending.append(planned.to)
            if len(pending) >= 5000:
                forecast.suppressed += self._count_suppressed(database, pending)
                pending.clear()
        forecast.suppressed += self._count_suppressed(database, pending)
        return forecast

    def _count_suppressed(self, database: Database, recipients: list[str]) -> int:
        with database.read() as tx:
            return len(suppressions.among_recipients(tx, recipients, self.kind))

    def _now_ms(self, database: Database) -> int:
        with database.read() as tx:
            return instant(tx)

    def _facts(self, now_ms: int) -> CampaignFacts:
        return CampaignFacts(
            kind=self.kind,
            sender=self.sender,
            template=self.template,
            due_at_ms=self.due_at_ms or now_ms,
            ttl_ms=self.ttl_ms,
            now_ms=now_ms,
            default_region=self.default_region,
            timezone=self.timezone,
        )

    def _campaign(self, now_ms: int) -> NewCampaign:
        return NewCampaign(
            key=self.key,
            name=self.name,
            kind=self.kind,
            sender=self.sender,
            type=self.type.value,
            content=self.template.to_json(),
            source_hash=self.hash,
            source_name=whole_text(self.path.name),
            due_at=self.due_at_ms or now_ms,
            ttl_ms=self.ttl_ms,
            rate=self.rate,
            on_unknown=self.on_unknown,
            created_by=self.created_by,
            timezone=self.timezone,
        )


@dataclass(slots=True)
class Forecast:
    """What a run would do."""

    rate: float
    due_at_ms: int
    quota: int | None
    rows: int = 0
    messages: int = 0
    duplicates: int = 0
    suppressed: int = 0
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)

    def refuse(self, row: RefusedRow) -> None:
        """Count a refused row; the first thousand are kept to be shown."""
        self.refused_count += 1
        if len(self.refused) < 1000:
            self.refused.append(row)

    @property
    def seconds(self) -> float:
        """How long sending takes at the rate in force, from its due time."""
        return (self.messages - self.suppressed) / self.rate

    def summary(self) -> dict[str, object]:
        """For people."""
        to_send = self.messages - self.suppressed
        return {
            "rows": f"{self.rows:,}",
            "messages": f"{self.messages:,}",
            "duplicates": f"{self.duplicates:,}",
            "suppressed": f"{self.suppressed:,}",
            "refused": f"{self.refused_count:,}",
            "begins": format_instant(self.due_at_ms),
            "takes": f"{format_duration(int(self.seconds * 1000))} at {self.rate:g}/s",
            "done by": format_instant(self.due_at_ms + int(self.seconds * 1000)),
            "quota": f"{to_send:,} recipients, the sender may reach {self.quota:,} in 24 h: the rest waits"
            if self.quota is not None and to_send > self.quota
            else None,
        }

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "dry_run": True,
            "rows": self.rows,
            "messages": self.messages,
            "duplicates": self.duplicates,
            "suppressed": self.suppressed,
            "refused": [
                {"row": r.row, "field": r.field, "value": r.value, "why": r.why} for r in self.refused
            ],
            "rate": self.rate,
            "begins_at": format_instant(self.due_at_ms),
            "done_by": format_instant(self.due_at_ms + int(self.seconds * 1000)),
        }


def plan_file(
    path: Path,
    *,
    sender: str,
    type: str,
    content: Path,
    kind: str,
    created_by: str,
    name: str | None = None,
    at: str | None = None,
    ttl: str | None = None,
    rate: str | None = None,
    on_unknown: str = "hold",
    key: str | None = None,
    again: bool = False,
    default_region: str | None = None,
    timezone: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    now_ms: int | None = None,
) -> FilePlan:
    """Check everything that can be checked before the first row. Raises InvalidInput, naming the option."""
    if key is not None and again:
        raise InvalidInput(
            "--key and --again exclude each other: one finds a campaign again, the other makes a new one"
        )
    if timezone is not None:
        zone_of(timezone, field="--timezone")
    message_type = _one_of(MessageType, type, "--type")
    message_kind = _one_of(Kind, kind, "--kind")
    template = compile_content(message_type, load_content_json(_read(content, "--content")))
    digits = parse_recipient(sender, default_region=default_region, field="--sender")
    # How a file is read is part of what it says: read otherwise, it is another send.
    reading = f"{encoding or ''} {sheet or ''} {default_region or ''} {timezone or ''}".strip().encode()
    digest = _meanwhile(
        lambda: source_hash(
            itertools.chain([reading], _file_parts(path)),
            content=template.to_json(),
            type=message_type.value,
            sender=digits,
            kind=message_kind.value,
        )
    )
    # The header is read now, so that a wrong file is refused before a campaign exists.
    notes = _check_columns(path, template, encoding, sheet)
    return FilePlan(
        path=path,
        sender=digits,
        type=message_type,
        template=template,
        kind=message_kind,
        name=check_text((name or whole_text(path.stem))[:200], "--name", 200),
        due_at_ms=None if at is None else _due_at(at, timezone, now_ms),
        ttl_ms=None if ttl is None else parse_duration_ms(ttl),
        rate=None if rate is None else parse_rate(rate),
        on_unknown=_one_of(OnUnknown, on_unknown, "--on-unknown"),
        given_key=_key(key, again),
        digest=digest,
        default_region=default_region,
        timezone=timezone,
        encoding=encoding,
        sheet=sheet,
        created_by=created_by,
        notes=notes,
    )


def _key(given: str | None, again: bool) -> str | None:
    """The campaign's key, where it is not made of the input."""
    if again:
        return f"again:{secrets.token_hex(16)}"
    return None if given is None else checked_key(given, "--key")


def _meanwhile(work: Callable[[], str]) -> Future[str]:
    """The work, on a thread of its own."""
    with_one = ThreadPoolExecutor(1, "hashing")
    try:
        return with_one.submit(work)
    finally:
        with_one.shutdown(wait=False)


def _due_at(text: str, timezone: str | None, now_ms: int | None) -> int:
    import time

    return parse_instant_ms(
        text, timezone=timezone, now_ms=now_ms if now_ms is not None else int(time.time() * 1000)
    )


def _check_columns(
    path: Path, template: ContentTemplate, encoding: str | None, sheet: str | None
) -> tuple[str, ...]:
    with open_rows(path, encoding=encoding, sheet=sheet) as source:
        columns, notes = map_columns(source.header), tuple(source.notes)
    missing = sorted(template.required - set(columns.variables))
    if missing:
        there = ", ".join(sorted(columns.variables)) or "none"
        raise InvalidInput(
            f"the content asks for {', '.join('{{' + m + '}}' for m in missing)}, and {path.name} has no such "
            f"column; its columns are: {there}. Rename a column, or give a default: {{{{{missing[0]}|…}}}}"
        )
    return notes


def _one_of(values, text: str, option: str):  # type: ignore[no-untyped-def]
    try:
        return values(text)
    except ValueError:
        allowed = ", ".join(v.value for v in values)
        raise InvalidValue(option, text[:40], f"is not one of {allowed}") from None


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{option}: {path} cannot be read: {error.strerror}") from None


def _file_parts(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while part := file.read(_HASHED_AT_ONCE):
                yield part
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
