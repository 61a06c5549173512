"""The Python client: ``Producer.submit`` for many messages, ``Producer.send`` for one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulksend import bootstrap
from bulksend.errors import InvalidInput, InvalidValue, LedgerUnreachable
from bulksend.ledger import senders
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import DirectResult, DirectSend, SendRequest
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import EncryptionPolicy, encrypt_otp_only
from bulksend.messaging import (
    Kind,
    MessageType,
    OnUnknown,
    compile_content,
    map_columns,
    parse_sender,
)
from bulksend.messaging.argument_naming import as_python_argument
from bulksend.messaging.canary import parse_canary
from bulksend.messaging.content import load_content_json
from bulksend.messaging.exclusions import read_exclusions
from bulksend.messaging.failure_share import parse_max_failed
from bulksend.messaging.local_time import parse_local_time
from bulksend.messaging.plan import RefusedRow, checked_key
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import (
    check_duration_ms,
    check_weight,
    check_year,
    format_instant,
    parse_choice,
    parse_rate,
)
from bulksend.messaging.value_checks import check_name, describe_type
from bulksend.operations.media import PlacedFile, place, place_uploaded, upload_placed
from producer.campaign_plans import CampaignPlans
from producer.code_delays import Limiter
from producer.direct_sends import DirectSends, ReadySend, SendReceipt, is_due, receipt
from producer.files import plan_file
from producer.forecast import ForecastLimits
from producer.group_commit import GroupCommit
from producer.intake import Intake, arguments_given, source_hash
from producer.intake_report import IntakeReport
from producer.publisher import Publisher, publisher_of
from producer.reading import RawRow
from producer.watching import Endings, read_statuses

if TYPE_CHECKING:
    from bulksend.settings import Settings


#: The most messages that one transaction of ``Producer.send_many`` stores.
MANY = 1000


class Producer:
    """Thread-safe. A call returns when the ledger has committed, in less than a second, also without Redis."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        cipher: Cipher,
        *,
        encrypts: EncryptionPolicy = encrypt_otp_only,
        created_by: str = "api",
        default_region: str | None = None,
        timezone: str | None = None,
        default_rate: float = senders.DEFAULT_RATE,
        default_cap: str | None = None,
        rules: TimeRules | None = None,
        limits: ForecastLimits | None = None,
        plan_hours: float = 24,
        account: str = "default",
        limiter: Callable[[], Limiter | None] = lambda: None,
        settings: Settings | None = None,
    ) -> None:
        """``limits`` and ``plan_hours`` are for plans; ``settings`` are needed to upload files.

        ``limiter`` opens what a forecast of codes asks.
        """
        self._settings = settings
        self._database = database
        self._publisher = publisher
        self._cipher = cipher
        self._encrypts = encrypts
        self._created_by = created_by
        self._default_region = default_region
        self._timezone = timezone
        self._default_rate = default_rate
        self._default_cap = default_cap
        self._rules = rules or TimeRules()
        self._plans = CampaignPlans(
            database, cipher, limits or ForecastLimits(default_rate), int(plan_hours * 3_600_000)
        )
        self.direct = DirectSends(
            database,
            publisher,
            cipher,
            encrypts=encrypts,
            default_region=default_region,
            timezone=timezone,
            default_rate=default_rate,
            rules=self._rules,
            account=account,
            account_rate=None if settings is None else settings.account_rate,
            limiter=limiter,
        )
        """Single messages of many callers at once, for the HTTP API."""
        self._endings = Endings(partial(read_statuses, database))
        # One group for each kind: a one-time code does not wait for a marketing message of another thread.
        self._groups = {
            kind: GroupCommit(partial(self._take_group, kind), common=LedgerUnreachable) for kind in Kind
        }

    @classmethod
    def from_env(cls) -> Producer:
        """A producer with the settings of the environment and ``.env`` (docs/operations.md). Raises InvalidInput when
        one is wrong.
        """
        import os

        from bulksend.settings import Settings

        return cls.from_settings(Settings.from_env(os.environ, Path(".env")))

    @classmethod
    def from_settings(cls, settings: Settings) -> Producer:
        """A producer with these settings. Raises InvalidInput when the ledger or the quiet hours cannot be used."""
        database = bootstrap.database(settings, by_key=True)
        return cls(
            database,
            publisher_of(settings),
            bootstrap.cipher(settings),
            encrypts=bootstrap.encryption_policy(settings),
            default_region=settings.default_region,
            timezone=settings.timezone,
            default_rate=settings.default_rate,
            default_cap=settings.cap,
            rules=bootstrap.time_rules(settings),
            limits=ForecastLimits.from_settings(settings),
            plan_hours=settings.plan_hours,
            account=settings.account(),
            limiter=partial(bootstrap.forecast_limiter, settings, database),
            settings=settings,
        )

    @property
    def database(self) -> Database:
        """The ledger."""
        return self._database

    def submit(
        self,
        *,
        name: str,
        sender: str,
        kind: str,
        type: str,
        content: Mapping[str, object],
        rows: Iterable[Mapping[str, object]],
        media: Path | str | None = None,
        key: str | None = None,
        at: datetime | None = None,
        local_time: str | None = None,
        ttl: timedelta | None = None,
        rate: str | float | None = None,
        on_unknown: str | None = None,
        cap: str | None = None,
        exclude: Sequence[str] = (),
        only: Sequence[str] = (),
        require_consent: bool = False,
        again: bool = False,
        into: str | None = None,
        canary: str | None = None,
        max_failed: str | None = None,
        weight: int | None = None,
    ) -> IntakeReport:
        """Create a campaign of many rows, each with ``to`` and the content's variables.

        A repeated call with the same ``key`` (default: a hash of everything) sends nothing twice. ``again`` sends the
        same message once more, in a new campaign; ``into`` continues a campaign, by id or name, with the rows that it
        does not have yet. By default a message that may have gone out is held (``on_unknown``). Refused rows are in
        ``refused``. ``local_time`` (``09:00``, or ``2030-03-01 09:00`` with its day) is the recipient's: in the zone of
        the row's ``timezone``, else in that of the number.

        ``media`` is a file for the content: a ``Path`` is uploaded, once for each sender; a string is the id of one
        that was, ours or the vendor's.

        ``cap`` (``2/7d``, or ``none``), ``exclude`` and ``only`` (``CAMPAIGN`` or ``CAMPAIGN:unsent``) leave
        people out, and ``require_consent`` refuses rows of people whose consent is not on record.

        ``canary`` (``1%`` or ``200``) sends that many first and the rest when their receipts are good; ``max_failed``
        (``5%``, ``none``) is the share of failures that pauses it; ``weight`` (1 to 100) its part beside the other
        campaigns of the sender.

        ``rows`` is read several times and must give the same rows each time; an iterator is kept in memory instead.

        Raises CampaignNotFound when ``into``, ``exclude`` or ``only`` names none, SamePeople when rows are for people
        who have the same message of an earlier campaign, InvalidInput when the campaign as a whole is wrong or ``key``
        belongs to another one, LedgerUnreachable when the ledger does not answer, VendorUnavailable when a file was not
        uploaded.
        """
        if into is not None and (again or key is not None):
            raise InvalidInput("into excludes key and again: it names the campaign already")
        message_kind = parse_choice(Kind, kind, field="kind")
        message_type = parse_choice(MessageType, type, field="type")
        digits = parse_sender(sender, default_region=self._default_region, field="sender")
        content, placed = self._with_media(media, message_type, content, digits)
        template = compile_content(message_type, content)
        # Read several times: for the hash, and for each pass of the intake. An iterator can be read only once.
        rows = list(rows) if isinstance(rows, Iterator) else rows
        if not any(True for _ in rows):
            raise InvalidValue("rows", "", "are none; give at least one")
        digest = source_hash(
            map(_row_bytes, rows),
            content=template.to_json(),
            type=message_type.value,
            sender=digits,
            kind=message_kind.value,
        )
        new = NewCampaign(
            key=_campaign_key(key, digest, again),
            name=check_name(name[:200] if isinstance(name, str) else name, "name", 200),
            kind=message_kind,
            sender=digits,
            type=message_type.value,
            content=template.to_json(),
            source_hash=digest,
            source_name="",
            due_at=self._now_ms() if at is None else _instant(at, "at"),
            ttl_ms=None if ttl is None else _milliseconds(ttl, "ttl"),
            rate=parse_rate(str(rate)) if rate is not None else None,
            on_unknown=parse_choice(OnUnknown, on_unknown or OnUnknown.HOLD, field="on_unknown"),
            created_by=self._created_by,
            timezone=self._timezone,
            exclusions=read_exclusions(
                message_kind,
                cap=cap,
                exclude=exclude,
                only=only,
                require_consent=require_consent,
                default_cap=self._default_cap,
                naming=as_python_argument,
            ).to_json(),
            local_time=None if local_time is None else str(parse_local_time(local_time)),
            given=arguments_given(
                at=at,
                local_time=local_time,
                ttl=ttl,
                rate=rate,
                on_unknown=on_unknown,
                name=None if into is not None else name,
                key=key,
                exclusions={"cap": cap, "exclude": exclude, "only": only, "require_consent": require_consent},
                canary=canary,
                max_failed=max_failed,
                weight=weight,
            ),
            canary=None if canary is None else parse_canary(canary),
            max_failed=None if max_failed is None else parse_max_failed(max_failed),
            weight=None if weight is None else check_weight(weight),
        )
        with self._database.translated_errors():
            with self._database.read() as tx:
                senders.check_spelling(tx, digits, "sender")
            self._upload(placed, digits, message_kind, message_type, template.source)
            return self._intake().run(
                new,
                template,
                lambda after: _numbered(rows, after),
                default_region=self._default_region,
                timezone=self._timezone,
                again=again,
                into=into,
            )

    def _with_media(
        self, media: object, type: MessageType, content: Mapping[str, object], sender: str
    ) -> tuple[Mapping[str, object], PlacedFile | None]:
        """The content with a file in its place, and the file if it is to be uploaded."""
        if media is None:
            return content, None
        if not isinstance(media, Path | str):
            raise InvalidValue("media", describe_type(media), "must be a pathlib.Path or the id of a file")
        text = _content_json(content)
        with self._database.translated_errors():
            if isinstance(media, str):
                found = place_uploaded(self._database, media, type=type, content=text, field="media")
                return load_content_json(found), None
            if self._settings is None:
                raise InvalidValue("media", "", "needs a producer with settings: Producer.from_env()")
            placed = place(self._database, media, sender=sender, type=type, content=text, field="media")
        return load_content_json(placed.content), placed

    def _upload(
        self, placed: PlacedFile | None, sender: str, kind: Kind, type: MessageType, content: str
    ) -> None:
        if placed is None or self._settings is None:
            return
        upload_placed(
            self._settings,
            self._database,
            placed,
            sender=sender,
            kind=kind,
            type=type,
            content=content,
            field="content",
            actor=self._created_by,
        )

    def _now_ms(self) -> int:
        with self._database.translated_errors():
            return self._database.retrying(read_clock)

    def plan(
        self,
        file: Path | str,
        *,
        sender: str,
        kind: str,
        type: str,
        content: Mapping[str, object],
        media: Path | str | None = None,
        name: str | None = None,
        key: str | None = None,
        at: datetime | None = None,
        local_time: str | None = None,
        ttl: timedelta | None = None,
        rate: str | float | None = None,
        on_unknown: str | None = None,
        cap: str | None = None,
        exclude: Sequence[str] = (),
        only: Sequence[str] = (),
        require_consent: bool = False,
        again: bool = False,
        into: str | None = None,
        canary: str | None = None,
        max_failed: str | None = None,
        weight: int | None = None,
    ) -> dict[str, Any]:
        """Freeze what a campaign of a CSV, XLSX or JSON lines file would do, as ``bulksend plan``. Nothing is sent.

        The answer is that of ``bulksend plan --json``; its ``plan_id`` is for ``apply``. ``media`` is uploaded now.
        Raises InvalidInput, SamePeople, LedgerUnreachable and VendorUnavailable as ``submit`` does.
        """
        message_kind = parse_choice(Kind, kind, field="kind")
        message_type = parse_choice(MessageType, type, field="type")
        digits = parse_sender(sender, default_region=self._default_region, field="sender")
        content, placed = self._with_media(media, message_type, content, digits)
        asked = plan_file(
            Path(file),
            sender=digits,
            type=type,
            content=_content_json(content).encode(),
            kind=kind,
            created_by=self._created_by,
            name=name,
            at=None if at is None else format_instant(_instant(at, "at")),
            local_time=local_time,
            ttl=None if ttl is None else f"{_milliseconds(ttl, 'ttl')}ms",
            rate=None if rate is None else str(rate),
            on_unknown=on_unknown,
            cap=cap,
            exclude=exclude,
            only=only,
            require_consent=require_consent,
            key=key,
            again=again,
            into=into,
            canary=canary,
            max_failed=max_failed,
            weight=weight,
            default_region=self._default_region,
            default_timezone=self._timezone,
            default_cap=self._default_cap,
        )
        with self._database.translated_errors():
            self._upload(placed, digits, message_kind, message_type, asked.template.source)
            return self._plans.show(self._plans.make_here(asked).id)

    def apply(self, plan_id: str) -> IntakeReport:
        """Send exactly what a plan says. A repeated call sends nothing twice.

        Raises NotFound, WrongState when it has expired, PlanChanged with the differences when anything of it changed,
        and what ``submit`` raises.
        """
        with self._database.translated_errors():
            opened = self._plans.open(plan_id, actor=self._created_by, naming=as_python_argument)
            return self._plans.apply(opened, self._intake())

    def send(
        self,
        *,
        to: str,
        sender: str,
        kind: str,
        type: str,
        content: Mapping[str, object],
        ttl: timedelta | None = None,
        key: str | None = None,
        at: datetime | None = None,
        local_time: str | None = None,
        timezone: str | None = None,
        purpose: str | None = None,
        wait: timedelta | None = None,
    ) -> SendReceipt:
        """Send one message. A repeated call with the same ``key`` finds the first message again.

        A one-time code replaces an older one for the same person and ``purpose`` that still waits. Without a purpose
        its sender stands for it. With ``wait`` the call returns when the message has ended (accepted, failed, unknown,
        …), or after that time, with the status that it has then. ``local_time`` (``09:00``) is the recipient's, in
        the zone of ``timezone``, else in that of the number.

        An OTP without ``ttl`` lives 10 minutes, as WhatsApp's own. Raises TooLate when it would wait for
        longer than it lives, InvalidInput when an argument is wrong or the key belongs to another message,
        LedgerUnreachable when the ledger does not answer: a call with the same key then
        finds out whether the message is stored.
        """
        seconds = wait_seconds(wait)
        ready = ready_message(
            self.direct,
            to=to,
            sender=sender,
            kind=kind,
            type=type,
            content=content,
            ttl=ttl,
            key=key,
            at=at,
            local_time=local_time,
            timezone=timezone,
            purpose=purpose,
        )
        with self._database.translated_errors():
            self.direct.register(ready)
            result = self._groups[ready.kind](ready.send)
        taken = receipt(ready.send, result, at="at", ttl="ttl")
        if is_due(ready.send, result):
            self._publisher.publish(ready.kind, [taken.id])
        return replace(taken, status=self._endings.ending(taken.id, taken.status, seconds))

    def send_many(self, messages: Sequence[Mapping[str, object]]) -> list[SendReceipt | InvalidInput]:
        """Send several messages, MANY in a transaction; each is stored or refused by itself, in their order.

        A message has ``to``, ``sender``, ``kind``, ``type``, ``content``, and perhaps ``variables``, ``ttl_seconds``,
        ``send_at`` (ISO 8601), ``local_time``, ``timezone``, ``purpose`` and ``key``, which makes a repeated call
        safe. Raises LedgerUnreachable when the ledger does not answer: those with a key may be sent again with the
        same key.
        """
        made: list[SendReceipt | InvalidInput] = []
        for start in range(0, len(messages), MANY):
            made += self._send_some(messages[start : start + MANY])
        return made

    def _send_some(self, messages: Sequence[Mapping[str, object]]) -> list[SendReceipt | InvalidInput]:
        outcomes: dict[int, SendReceipt | InvalidInput] = {}
        ready: dict[int, ReadySend] = {}
        with self._database.translated_errors():
            for n, message in enumerate(messages):
                try:
                    read = self.direct.read(message)
                    self.direct.register(read)
                    ready[n] = read
                except InvalidInput as error:
                    outcomes[n] = error
            (results,) = self.direct.take([SendRequest(list(ready.values()))]) if ready else [[]]
        taken = list(zip(ready.values(), results or [], strict=True))
        self.direct.hand_over(taken)
        for n, (one, result) in zip(ready, taken, strict=True):
            try:
                outcomes[n] = receipt(one.send, result)
            except InvalidInput as error:
                outcomes[n] = error
        return [outcomes[n] for n in range(len(messages))]

    def close(self) -> None:
        """Close the ledger's connections."""
        self._database.close()

    def _take_group(self, kind: Kind, sends: Sequence[DirectSend]) -> Sequence[DirectResult]:
        taken = self.direct.take([SendRequest([(kind, send) for send in sends])])[0]
        return taken or []

    def _intake(self) -> Intake:
        return Intake(
            self._database,
            self._publisher,
            self._cipher,
            encrypts=self._encrypts,
            default_rate=self._default_rate,
            rules=self._rules,
        )


def ready_message(
    direct: DirectSends,
    *,
    to: str,
    sender: str,
    kind: str,
    type: str,
    content: Mapping[str, object],
    ttl: timedelta | None,
    key: str | None,
    at: datetime | None,
    local_time: str | None,
    timezone: str | None,
    purpose: str | None,
) -> ReadySend:
    """The message of the arguments of ``send``, checked. Raises InvalidInput."""
    return direct.ready(
        to=to,
        sender=sender,
        kind=kind,
        type=type,
        content=content,
        lives_ms=None if ttl is None else _milliseconds(ttl, "ttl"),
        due_at=None if at is None else _instant(at, "at"),
        local_time=local_time,
        timezone=timezone,
        key=key,
        purpose=purpose,
    )


def wait_seconds(wait: timedelta | None) -> float:
    """For how long a call waits for an ending. Raises InvalidValue."""
    return 0.0 if wait is None else _milliseconds(wait, "wait") / 1000


def _content_json(content: object) -> str:
    """A content as JSON text. Raises InvalidValue."""
    try:
        return json.dumps(content)
    except (TypeError, ValueError, RecursionError):
        raise InvalidValue("content", describe_type(content), "is not JSON") from None


def _instant(at: datetime, field: str) -> int:
    if not isinstance(at, datetime):
        raise InvalidValue(field, describe_type(at), "must be an aware datetime")
    if at.tzinfo is None:
        raise InvalidValue(field, at.isoformat(), "has no time zone; give an aware datetime")
    check_year(at, at.isoformat(), field)
    return int(at.timestamp() * 1000)


def _numbered(rows: Iterable[object], after: int) -> Iterator[RawRow | RefusedRow]:
    """The rows after the first ``after``, with their columns mapped."""
    for number, row in enumerate(islice(rows, after, None), start=after + 1):
        if not isinstance(row, Mapping):
            yield RefusedRow(
                number, "row", describe_type(row), 'must be an object, like {"to": "447700900123"}'
            )
            continue
        try:
            columns = map_columns(list(row))
        except InvalidInput as error:
            yield RefusedRow(number, "to", "", str(error))
            continue
        yield RawRow(number, columns.rename(row))


def _campaign_key(given: str | None, digest: str, again: bool) -> str:
    """The campaign's key: the given one, a random one for ``again``, or the hash of the input."""
    if given is not None:
        return checked_key(given)
    return f"again:{new_id()}" if again else f"sha256:{digest}"


def _row_bytes(row: object) -> bytes:
    """A row for the hash. A row that is not JSON is refused later, with its number."""
    try:
        return json.dumps(row, sort_keys=True, default=str).encode()
    except (TypeError, ValueError, RecursionError):
        return type(row).__name__.encode()


def _milliseconds(length: timedelta, field: str) -> int:
    if not isinstance(length, timedelta):
        raise InvalidValue(field, describe_type(length), "must be a timedelta")
    return check_duration_ms(length.total_seconds() * 1000, str(length), field)
