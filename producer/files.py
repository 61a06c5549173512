"""A file, its content and its options, checked before anything is changed; then taken in, or rehearsed."""

from __future__ import annotations

import itertools
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.ledger import campaign_creation, campaigns, continuation, senders, sent_before, suppressions
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.continuation import Continuation
from bulksend.ledger.database import Database, instant
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.message_rows import NewMessage
from bulksend.messaging import (
    ContentTemplate,
    Kind,
    MessageType,
    OnUnknown,
    compile_content,
    parse_recipient,
)
from bulksend.messaging.argument_naming import ArgumentNaming, as_python_argument
from bulksend.messaging.column_names import ALIASES, RESERVED, clean_name, normal_name
from bulksend.messaging.content import load_content_json
from bulksend.messaging.data_quality import merge_tag_notes
from bulksend.messaging.plan import RefusedRow, checked_key
from bulksend.messaging.recipient import checked_region
from bulksend.messaging.surrogates import replace_surrogates
from bulksend.messaging.units import (
    format_duration,
    format_instant,
    parse_duration_ms,
    parse_instant_ms,
    parse_rate,
    sent_by_ms,
    zone_of,
)
from bulksend.messaging.value_checks import check_name
from producer.intake import Intake, IntakeReport, arguments_given, check_due, same_people, source_hash
from producer.reading import RawRow, open_rows
from producer.rows import IntakeRequest, RowPlanner, SupersededCodes

_HASHED_AT_ONCE = 1 << 20
#: Of how many planned messages a dry run asks the ledger at once.
_ASKED_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class FilePlan:
    """Everything a ``send`` was asked for, checked; nothing is changed yet."""

    path: Path
    sender: str
    type: MessageType
    template: ContentTemplate
    kind: Kind
    name: str
    given: Mapping[str, str]
    """Column of the campaign -> the argument that was given for it."""
    again: bool
    into: str | None
    """The campaign that the file continues, by name or id."""
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
    columns: Mapping[str, str] = field(default_factory=dict)
    """Which columns have which name here, where that was said."""
    notes: tuple[str, ...] = ()
    """What was noticed of the file and the content, and a person should know."""
    naming: ArgumentNaming = as_python_argument
    """How the caller writes its arguments, for messages."""
    left_out: list[str] = field(default_factory=list)
    """What the rows did not become; known when the last has been read."""

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
        report = intake.run(
            self._campaign(self._begins_at(intake.database)),
            self.template,
            self.rows,
            default_region=self.default_region,
            timezone=self.timezone,
            again=self.again,
            into=self.into,
        )
        report.notes[:0] = [*self.notes, *self.left_out]
        return report

    def rows(self, after: int) -> Iterator[RawRow | RefusedRow]:
        """The file's rows after the first ``after``, with the columns named as the planner expects them."""
        # Its encoding was looked at when it was planned; a large file takes a second.
        with open_rows(
            self.path, encoding=self.encoding, sheet=self.sheet, is_verified=True, naming=self.naming
        ) as source:
            columns = source.columns(self.columns)
            source.rename_columns(columns.names)
            # A content may call the recipient as the file does.
            also = columns.recipient if columns.recipient in self.template.variables - {"to"} else None
            if after:
                source.skip(after)
            for row in source:
                if also is not None and isinstance(row, RawRow):
                    row.values[also] = row.values.get("to")
                yield row
            self.left_out[:] = source.skipped_notes()

    def rehearse(self, database: Database | None, cipher: Cipher) -> Forecast:
        """What a run would do: counts, refusals, and when it would be done. Changes nothing.

        Without a ledger nothing is known of senders, suppressions and earlier campaigns. Raises InvalidInput where a
        run would, but for people who have the message already: those are in the forecast.
        """
        with nullcontext() if database is None else database.read() as tx:
            known = self._known(tx)
        forecast = Forecast(
            rate=min(self.rate or float("inf"), known.rate),
            quota=known.quota,
            repeats=known.repeats,
            way=known.way,
        )
        asked = self._campaign(known.now_ms) if known.way is None else known.way.new
        into = known.way.into if known.way is not None else None
        source = IntakeRequest(self.rows, asked, self.template, self.default_region, self.timezone)
        due_at_ms = None if into is None else max(into.due_at, known.now_ms)

        def reader(superseded: Collection[int]) -> RowPlanner:
            return RowPlanner(source, into, known.now_ms, known.now_ms, superseded, due_at_ms)

        newest = SupersededCodes()
        if self.kind is Kind.OTP:
            for chunk in reader(()).chunks(_ASKED_AT_ONCE):
                newest.add(chunk.planned)
        seen: set[str] = set()
        rows = reader(newest.superseded)
        for chunk in rows.chunks(_ASKED_AT_ONCE):
            forecast.rows += chunk.rows
            forecast.superseded += chunk.superseded
            for refused in chunk.refused:
                forecast.refuse(refused)
            new = {message.key: message for message in reversed(chunk.planned) if message.key not in seen}
            seen.update(new)
            forecast.duplicates += chunk.superseded + len(chunk.planned) - len(new)
            self._forecast(forecast, database, list(new.values()), known.alike, cipher)
        if known.way is None:
            forecast.refusal = same_people(forecast.rows, forecast.found, known.alike, asked, known.now_ms)
        forecast.notes = [*self.notes, *self.left_out, *rows.notes, *known.notes]
        return forecast

    def _known(self, tx: Connection | None) -> _Known:
        """What the ledger knows that a run would depend on."""
        if tx is None:
            now_ms = int(time.time() * 1000)
            if self.into is not None:
                raise InvalidInput(
                    f"{self.naming('into')}: there is no ledger yet, and so no campaign {self.into!r}"
                )
            check_due(self._campaign(now_ms), now_ms)
            return _Known(now_ms)
        senders.check_spelling(tx, self.sender, self.naming("sender"))
        now_ms = instant(tx)
        record = senders.by_phones(tx, [self.sender]).get(self.sender)
        known = _Known(now_ms)
        if record is not None:
            known.rate, known.quota = record.rate, record.quota
        new = self._campaign(now_ms)
        if self.into is not None:
            known.way = way = continuation.plan_continuation(tx, self.into, new)
            known.alike = [
                *([] if way.into is None else [way.into]),
                *way.cancelled,
                *campaign_creation.with_same_content(tx, new),
            ]
            known.notes = continuation.rest_notes(tx, way, way.into)
            if way.into is None:
                check_due(way.new, now_ms)
        elif (there := campaigns.by_key(tx, new.key)) is not None:
            campaign_creation.check_matches(tx, there, new)
            known.repeats = there
        else:
            check_due(new, now_ms)
            known.alike = [] if self.again else campaign_creation.with_same_content(tx, new)
        return known

    def _forecast(
        self,
        forecast: Forecast,
        database: Database | None,
        planned: Sequence[NewMessage],
        alike: Sequence[Campaign],
        cipher: Cipher,
    ) -> None:
        """Count these messages, and when they would go."""
        having: dict[int, str] = {}
        unwanted: Collection[str] = ()
        if database is not None:
            with database.read() as tx:
                having = sent_before.sent_before(tx, alike, planned, cipher)
                recipients = [message.recipient for message in planned]
                unwanted = suppressions.reasons_for(tx, recipients, self.kind)
                if forecast.way is not None:
                    having = {**having, **sent_before.possibly_sent(tx, forecast.way.cancelled, planned)}
                    if forecast.way.into is not None:
                        having |= sent_before.already_stored(tx, forecast.way.into, planned)
        forecast.found.update(having.values())
        for n, message in enumerate(planned):
            if forecast.way is not None and n in having:
                continue
            forecast.messages += 1
            if message.recipient in unwanted:
                forecast.suppressed += 1
            else:
                forecast.due[message.due_at] += 1

    def _begins_at(self, database: Database) -> int:
        """The ledger's now, ms. Raises InvalidValue for a sender that looks mistyped."""
        with database.read() as tx:
            senders.check_spelling(tx, self.sender, self.naming("sender"))
            return instant(tx)

    def _campaign(self, now_ms: int) -> NewCampaign:
        return NewCampaign(
            key=self.key,
            name=self.name,
            kind=self.kind,
            sender=self.sender,
            type=self.type.value,
            content=self.template.to_json(),
            source_hash=self.hash,
            source_name=replace_surrogates(self.path.name),
            due_at=self.due_at_ms or now_ms,
            ttl_ms=self.ttl_ms,
            rate=self.rate,
            on_unknown=self.on_unknown,
            created_by=self.created_by,
            timezone=self.timezone,
            given=self.given,
            naming=self.naming,
        )


@dataclass(slots=True)
class _Known:
    """What a forecast needs of the ledger."""

    now_ms: int
    rate: float = senders.DEFAULT_RATE
    quota: int | None = None
    alike: Sequence[Campaign] = ()
    repeats: Campaign | None = None
    way: Continuation | None = None
    notes: Sequence[str] = ()


@dataclass(slots=True)
class Forecast:
    """What a run would do."""

    rate: float
    quota: int | None
    repeats: Campaign | None = None
    """The campaign that the same command made before: a run would send nothing."""
    way: Continuation | None = None
    """What would be continued."""
    rows: int = 0
    messages: int = 0
    duplicates: int = 0
    suppressed: int = 0
    superseded: int = 0
    """Of the duplicates, the one-time codes that a newer row replaces."""
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    refusal: InvalidInput | None = None
    """Why a run would be refused as a whole."""
    found: Counter[str] = field(default_factory=Counter)
    """How many rows an earlier campaign of the same message has, by its id."""
    due: Counter[int] = field(default_factory=Counter)
    """How many messages are due at each instant, ms since the epoch."""
    notes: list[str] = field(default_factory=list)
    """What a person should know: those of the plan, then those of the rows."""

    def refuse(self, row: RefusedRow) -> None:
        """Count a refused row; the first thousand are kept to be shown."""
        self.refused_count += 1
        if len(self.refused) < 1000:
            self.refused.append(row)

    @property
    def seconds(self) -> float:
        """How long sending takes at the rate in force, without waiting for due times."""
        return self.due.total() / self.rate

    @property
    def begins_at_ms(self) -> int | None:
        """When the first message is due; None where there is none."""
        return min(self.due) if self.due else None

    @property
    def done_by_ms(self) -> int | None:
        """When the last one is sent: each waits for its due time and for those before it."""
        return sent_by_ms(self.due, self.rate) if self.due else None

    def summary(self) -> dict[str, object]:
        """For people."""
        to_send = self.due.total()
        begins, done = self.begins_at_ms, self.done_by_ms
        spread = len(self.due) > 1
        return {
            "rows": f"{self.rows:,}",
            "messages": f"{self.messages:,}",
            "in it already": f"{self.found.total():,}" if self.way else None,
            "duplicates": f"{self.duplicates:,}",
            "suppressed": f"{self.suppressed:,}",
            "refused": f"{self.refused_count:,}",
            "begins": None if begins is None else format_instant(begins),
            "last due": format_instant(max(self.due)) if spread else None,
            "takes": f"{format_duration(int(self.seconds * 1000))} at {self.rate:g}/s",
            "done by": None if done is None else format_instant(done),
            "quota": f"{to_send:,} recipients, the sender may reach {self.quota:,} in 24 h: the rest waits"
            if self.quota is not None and to_send > self.quota
            else None,
        }

    def as_json(self) -> dict[str, object]:
        """For programs."""
        begins, done = self.begins_at_ms, self.done_by_ms
        return {
            "dry_run": True,
            "rows": self.rows,
            "messages": self.messages,
            "duplicates": self.duplicates,
            "suppressed": self.suppressed,
            "refused": [
                {"row": r.row, "field": r.field, "value": r.value, "why": r.why} for r in self.refused
            ],
            "already": self.found.total(),
            "rate": self.rate,
            "begins_at": None if begins is None else format_instant(begins),
            "done_by": None if done is None else format_instant(done),
            "notes": self.notes,
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
    on_unknown: str | None = None,
    key: str | None = None,
    again: bool = False,
    into: str | None = None,
    default_region: str | None = None,
    default_timezone: str | None = None,
    region: str | None = None,
    timezone: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    columns: Sequence[str] = (),
    now_ms: int | None = None,
    naming: ArgumentNaming = as_python_argument,
) -> FilePlan:
    """Check everything that can be checked before the first row. Raises InvalidInput, named by ``naming``.

    ``default_region`` and ``default_timezone`` are the settings', for where no option is given.
    """
    if region is not None:
        default_region = checked_region(region, naming("region"))
    if timezone is not None:
        zone_of(timezone, field=naming("timezone"))
    timezone = timezone or default_timezone
    if key is not None and again:
        raise InvalidInput(
            f"{naming('key')} and {naming('again')} exclude each other: one finds a campaign again, the other makes a "
            "new one"
        )
    if into is not None and (key is not None or again):
        other, continued = naming("again" if again else "key"), naming("into")
        raise InvalidInput(
            f"{continued} and {other} exclude each other: {continued} names the campaign that the rows come into"
        )
    message_type = _one_of(MessageType, type, naming("type"))
    message_kind = _one_of(Kind, kind, naming("kind"))
    template = compile_content(message_type, load_content_json(_read(content, naming("content"))))
    digits = parse_recipient(sender, default_region=default_region, field=naming("sender"))
    given = given_columns(columns, naming)
    # How a file is read is part of what it says: read otherwise, it is another send.
    said = [encoding or "", sheet or "", default_region or "", timezone or ""]
    reading = (
        " ".join([*said, *(f"{name}={column}" for name, column in sorted(given.items()))]).strip().encode()
    )
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
    notes = _check_columns(path, template, encoding, sheet, given, naming)
    return FilePlan(
        path=path,
        sender=digits,
        type=message_type,
        template=template,
        kind=message_kind,
        name=check_name((name or replace_surrogates(path.stem))[:200], naming("name"), 200),
        given=arguments_given(at=at, ttl=ttl, rate=rate, on_unknown=on_unknown, name=name, key=key),
        again=again,
        into=into,
        due_at_ms=None if at is None else _due_at(at, timezone, now_ms, naming("at")),
        ttl_ms=None if ttl is None else parse_duration_ms(ttl, field=naming("ttl")),
        rate=None if rate is None else parse_rate(rate, field=naming("rate")),
        on_unknown=_one_of(OnUnknown, on_unknown or "hold", naming("on_unknown")),
        given_key=_key(key, again, naming("key")),
        digest=digest,
        default_region=default_region,
        timezone=timezone,
        encoding=encoding,
        sheet=sheet,
        created_by=created_by,
        columns=given,
        notes=notes,
        naming=naming,
    )


def _key(given: str | None, again: bool, field: str) -> str | None:
    """The campaign's key, where it is not made of the input."""
    if again:
        return f"again:{secrets.token_hex(16)}"
    return None if given is None else checked_key(given, field)


def _meanwhile(work: Callable[[], str]) -> Future[str]:
    """The work, on a thread of its own."""
    with_one = ThreadPoolExecutor(1, "hashing")
    try:
        return with_one.submit(work)
    finally:
        with_one.shutdown(wait=False)


def _due_at(text: str, timezone: str | None, now_ms: int | None, field: str) -> int:
    return parse_instant_ms(
        text,
        timezone=timezone,
        now_ms=now_ms if now_ms is not None else int(time.time() * 1000),
        field=field,
    )


def _check_columns(
    path: Path,
    template: ContentTemplate,
    encoding: str | None,
    sheet: str | None,
    given: Mapping[str, str],
    naming: ArgumentNaming,
) -> tuple[str, ...]:
    """What a person should know of the file. Raises InvalidInput where its columns do not fit the content."""
    with open_rows(path, encoding=encoding, sheet=sheet, naming=naming) as source:
        columns = source.columns(given)
        used = [
            column
            for column, name in columns.names.items()
            if name == "to" or (name not in RESERVED and name in template.variables)
        ]
        notes = source.notes_for(used)
    missing = sorted(template.required - columns.content_names)
    if missing:
        there = ", ".join(sorted(columns.content_names))
        raise InvalidInput(
            f"the content asks for {', '.join('{{' + m + '}}' for m in missing)}, and {path.name} has no such "
            f"column; its columns are: {there}. Rename a column, say which it is, as in "
            f"{naming('columns', f'{missing[0]}=…')}, or give a default: {{{{{missing[0]}|…}}}}"
        )
    if columns.recipient not in ALIASES and "to" not in given:
        notes.append(f"the recipients are read from the column {columns.recipient!r}")
    return tuple(notes + merge_tag_notes(template.source, columns.content_names))


def given_columns(texts: Sequence[str], naming: ArgumentNaming) -> dict[str, str]:
    """``to=Mobile No.`` is {"to": "Mobile No."}. Raises InvalidInput."""
    option = naming("columns")
    given: dict[str, str] = {}
    for text in texts:
        name, equals, column = (clean_name(part) for part in text.partition("="))
        name = normal_name(name)
        if not (name and equals and column):
            example = naming("columns", "to=Mobile No.")
            raise InvalidInput(f"{option}: {text[:40]!r} is not NAME=COLUMN, as in {example}")
        if name in given:
            raise InvalidInput(f"{option}: {name!r} is given twice; one column has one name")
        if any(normal_name(column) == normal_name(other) for other in given.values()):
            raise InvalidInput(
                f"{option}: the column {column[:40]!r} is given two names; one column has one name"
            )
        given[name] = column
    return given


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
