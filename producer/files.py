"""A file, its content and its options, checked before anything changes, then taken in."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bulksend.errors import InvalidInput
from bulksend.ledger import senders
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.messaging import (
    ContentTemplate,
    Kind,
    MessageType,
    OnUnknown,
    compile_content,
    parse_sender,
)
from bulksend.messaging.argument_naming import ArgumentNaming, as_python_argument
from bulksend.messaging.canary import parse_canary
from bulksend.messaging.column_names import ALIASES, RESERVED, clean_name, normal_name
from bulksend.messaging.content import load_content_json
from bulksend.messaging.data_quality import merge_tag_notes
from bulksend.messaging.exclusions import Exclusions, read_exclusions
from bulksend.messaging.failure_share import parse_max_failed
from bulksend.messaging.local_time import LocalTime, parse_local_time
from bulksend.messaging.plan import RefusedRow, checked_key
from bulksend.messaging.recipient import checked_region
from bulksend.messaging.surrogates import replace_surrogates
from bulksend.messaging.units import (
    check_weight,
    parse_choice,
    parse_duration_ms,
    parse_instant_ms,
    parse_rate,
    zone_of,
)
from bulksend.messaging.value_checks import check_name
from producer.intake import Intake, arguments_given, source_hash
from producer.intake_report import IntakeReport
from producer.reading import RawRow, open_rows

_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class FilePlan:
    """A checked ``send`` of a file. Nothing has changed yet."""

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
    """The name or id of the campaign that the file continues."""
    due_at_ms: int | None
    ttl_ms: int | None
    rate: float | None
    on_unknown: OnUnknown
    exclusions: Exclusions
    given_key: str | None
    digest: Future[str]
    """The hash of file, content and sender. Another thread computes it, which takes long for a large file."""
    default_region: str | None
    timezone: str | None
    local_time: LocalTime | None
    encoding: str | None
    sheet: str | None
    created_by: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Name -> column of the file, as given."""
    notes: tuple[str, ...] = ()
    """About the file and the content."""
    naming: ArgumentNaming = as_python_argument
    """Writes the caller's arguments in errors."""
    coming_files: frozenset[str] = frozenset()
    """Our ids of files of the content that are uploaded before it runs."""
    campaign_id: str | None = None
    """The id that its campaign gets; None: a new one."""
    canary: str | None = None
    max_failed: float | None = None
    weight: int | None = None
    skipped_notes: list[str] = field(default_factory=list)
    """About rows without values; complete when the last row has been read."""

    @property
    def hash(self) -> str:
        """The hash that makes two sends the same. Waits for it; raises InvalidInput when the file cannot be read."""
        return self.digest.result()

    @property
    def key(self) -> str:
        """The campaign's idempotency key. Raises InvalidInput as ``hash``."""
        return f"sha256:{self.hash}" if self.given_key is None else self.given_key

    def run(self, intake: Intake) -> IntakeReport:
        """Take the file in. Raises InvalidInput and SamePeople as ``Intake.run``."""
        report = intake.run(
            self.campaign(self._begins_at(intake.database)),
            self.template,
            self.rows,
            default_region=self.default_region,
            timezone=self.timezone,
            again=self.again,
            into=self.into,
        )
        report.notes[:0] = [*self.notes, *self.skipped_notes]
        return report

    def rows(self, after: int) -> Iterator[RawRow | RefusedRow]:
        """The file's rows after the first ``after``, with mapped columns. Raises InvalidInput as ``open_rows``."""
        # Verified when it was planned: for a large file that takes a second.
        with open_rows(
            self.path, encoding=self.encoding, sheet=self.sheet, is_verified=True, naming=self.naming
        ) as source:
            columns = source.columns(self.columns)
            source.rename_columns(columns.names)
            # A content can name the recipient as the file does.
            also = columns.recipient if columns.recipient in self.template.variables - {"to"} else None
            if after:
                source.skip(after)
            for row in source:
                if also is not None and isinstance(row, RawRow):
                    row.values[also] = row.values.get("to")
                yield row
            self.skipped_notes[:] = source.skipped_notes()

    def _begins_at(self, database: Database) -> int:
        """The ledger's now, ms. Raises InvalidValue for a sender that is probably a typo."""
        with database.read() as tx:
            senders.check_spelling(tx, self.sender, self.naming("sender"))
            return read_clock(tx)

    def campaign(self, now_ms: int) -> NewCampaign:
        """The campaign that a run creates. Waits for the hash; raises InvalidInput as ``hash``."""
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
            id=self.campaign_id,
            timezone=self.timezone,
            exclusions=self.exclusions.to_json(),
            local_time=None if self.local_time is None else str(self.local_time),
            given=self.given,
            naming=self.naming,
            canary=self.canary,
            max_failed=self.max_failed,
            weight=self.weight,
        )


def plan_file(
    path: Path,
    *,
    sender: str,
    type: str,
    content: Path | bytes,
    kind: str,
    created_by: str,
    name: str | None = None,
    at: str | None = None,
    local_time: str | None = None,
    ttl: str | None = None,
    rate: str | None = None,
    on_unknown: str | None = None,
    cap: str | None = None,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
    require_consent: bool = False,
    key: str | None = None,
    again: bool = False,
    into: str | None = None,
    default_region: str | None = None,
    default_timezone: str | None = None,
    default_cap: str | None = None,
    region: str | None = None,
    timezone: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    columns: Sequence[str] = (),
    canary: str | None = None,
    max_failed: str | None = None,
    weight: int | None = None,
    now_ms: int | None = None,
    naming: ArgumentNaming = as_python_argument,
) -> FilePlan:
    """Check everything that can be checked before the first row.

    ``content`` is a file of the vendor's Content, or its JSON text. ``default_region``, ``default_timezone`` and
    ``default_cap`` are those of the settings. Raises InvalidInput when an argument, the content or the file is wrong;
    ``naming`` writes the arguments in errors.
    """
    if region is not None:
        default_region = checked_region(region, naming("region"))
    if timezone is not None:
        zone_of(timezone, field=naming("timezone"))
    timezone = timezone or default_timezone
    if key is not None and again:
        raise InvalidInput(
            f"{naming('key')} and {naming('again')} exclude each other: one finds a campaign, the other creates a new "
            "one"
        )
    if into is not None and (key is not None or again):
        other, continued = naming("again" if again else "key"), naming("into")
        raise InvalidInput(
            f"{continued} and {other} exclude each other: {continued} names the campaign already"
        )
    message_type = parse_choice(MessageType, type, field=naming("type"))
    message_kind = parse_choice(Kind, kind, field=naming("kind"))
    text = content if isinstance(content, bytes) else read_content(content, naming("content"))
    template = compile_content(message_type, load_content_json(text))
    digits = parse_sender(sender, default_region=default_region, field=naming("sender"))
    given = given_columns(columns, naming)
    # The arguments of reading are part of the hash: a file that is read in another way is another send.
    said = [encoding or "", sheet or "", default_region or "", timezone or ""]
    read_as = " ".join([*said, *(f"{name}={column}" for name, column in sorted(given.items()))]).strip()
    reading = read_as.encode("utf-8", "surrogatepass")
    digest = _in_background(
        lambda: source_hash(
            itertools.chain([reading], _file_parts(path)),
            content=template.to_json(),
            type=message_type.value,
            sender=digits,
            kind=message_kind.value,
        )
    )
    # The header is read now: a wrong file is refused before a campaign exists.
    notes = _check_columns(path, template, encoding, sheet, given, naming)
    return FilePlan(
        path=path,
        sender=digits,
        type=message_type,
        template=template,
        kind=message_kind,
        name=check_name((name or replace_surrogates(path.stem))[:200], naming("name"), 200),
        given=arguments_given(
            at=at,
            local_time=local_time,
            ttl=ttl,
            rate=rate,
            on_unknown=on_unknown,
            name=name,
            key=key,
            exclusions={"cap": cap, "exclude": exclude, "only": only, "require_consent": require_consent},
            canary=canary,
            max_failed=max_failed,
            weight=weight,
        ),
        again=again,
        into=into,
        due_at_ms=None if at is None else _due_at(at, timezone, now_ms, naming("at")),
        ttl_ms=None if ttl is None else parse_duration_ms(ttl, field=naming("ttl")),
        rate=None if rate is None else parse_rate(rate, field=naming("rate")),
        on_unknown=parse_choice(OnUnknown, on_unknown or "hold", field=naming("on_unknown")),
        exclusions=read_exclusions(
            message_kind,
            cap=cap,
            exclude=exclude,
            only=only,
            require_consent=require_consent,
            default_cap=default_cap,
            naming=naming,
        ),
        given_key=_key(key, again, naming("key")),
        digest=digest,
        default_region=default_region,
        timezone=timezone,
        local_time=None if local_time is None else parse_local_time(local_time, field=naming("local_time")),
        encoding=encoding,
        sheet=sheet,
        created_by=created_by,
        columns=given,
        notes=notes,
        naming=naming,
        canary=None if canary is None else parse_canary(canary, field=naming("canary")),
        max_failed=None if max_failed is None else parse_max_failed(max_failed, field=naming("max_failed")),
        weight=None if weight is None else check_weight(weight, field=naming("weight")),
    )


def _key(given: str | None, again: bool, field: str) -> str | None:
    """The campaign's key; None when it is the hash of the input."""
    if again:
        return f"again:{secrets.token_hex(16)}"
    return None if given is None else checked_key(given, field)


def _in_background(work: Callable[[], str]) -> Future[str]:
    """Do the work on another thread."""
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
    """Notes about the file. Raises InvalidInput when its columns do not match the content."""
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
            f"the content uses {', '.join('{{' + m + '}}' for m in missing)}, but {path.name} has no such "
            f"column; its columns are: {there}. Rename a column, choose one with "
            f"{naming('columns', f'{missing[0]}=…')}, or give a default: {{{{{missing[0]}|…}}}}"
        )
    if columns.recipient not in ALIASES and "to" not in given:
        notes.append(f"the recipients are read from the column {columns.recipient!r}")
    return tuple(notes + merge_tag_notes(template.source, columns.content_names))


def given_columns(texts: Sequence[str], naming: ArgumentNaming) -> dict[str, str]:
    """``to=Mobile No.`` as {"to": "Mobile No."}. Raises InvalidInput when a text is not NAME=COLUMN or repeats one."""
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


def read_content(path: Path, option: str) -> bytes:
    """The JSON text of a content. Raises InvalidInput, which names ``option``."""
    try:
        return path.read_bytes()
    except OSError as error:
        if str(path).lstrip().startswith("{"):
            # Not shown again: a text may be private.
            raise InvalidInput(
                f"{option} takes the name of a file, and this is its JSON: save it, e.g. as content.json, and give "
                "that name"
            ) from None
        raise InvalidInput(f"{option}: {path} cannot be read: {error.strerror}") from None


def _file_parts(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while part := file.read(_HASHED_AT_ONCE):
                yield part
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
