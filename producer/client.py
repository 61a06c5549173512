"""The Python client: ``Producer.submit`` for many messages, ``Producer.send`` for one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from bulksend import bootstrap
from bulksend.errors import InvalidInput, InvalidValue, LedgerUnreachable
from bulksend.ledger import campaign_creation, direct_sends, senders
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import DirectSend
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import EncryptionPolicy, encrypt_otp_only
from bulksend.messaging import (
    Kind,
    MessageType,
    OnUnknown,
    Status,
    compile_content,
    is_same_person,
    map_columns,
    mask_digits,
    parse_recipient,
)
from bulksend.messaging.plan import OTP_TTL_MS, RefusedRow, checked_key
from bulksend.messaging.units import (
    check_duration_ms,
    check_year,
    format_instant,
    long_past,
    parse_choice,
    parse_rate,
)
from bulksend.messaging.value_checks import check_name, describe_type
from producer.group_commit import GroupCommit
from producer.intake import Intake, IntakeReport, arguments_given, source_hash
from producer.publisher import Publisher, publisher_of
from producer.reading import RawRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bulksend.settings import Settings


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """The message of a single send. ``repeated``: its key was used before."""

    id: str
    status: Status
    repeated: bool


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
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._cipher = cipher
        self._encrypts = encrypts
        self._created_by = created_by
        self._default_region = default_region
        self._timezone = timezone
        self._default_rate = default_rate
        self._registered: set[str] = set()
        self._standing: dict[Kind, Campaign] = {}
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
        from pathlib import Path

        from bulksend.settings import Settings

        return cls.from_settings(Settings.from_env(os.environ, Path(".env")))

    @classmethod
    def from_settings(cls, settings: Settings) -> Producer:
        """A producer with these settings. Raises InvalidInput when the ledger cannot be used with them."""
        return cls(
            bootstrap.database(settings, by_key=True),
            publisher_of(settings),
            bootstrap.cipher(settings),
            encrypts=bootstrap.encryption_policy(settings),
            default_region=settings.default_region,
            timezone=settings.timezone,
            default_rate=settings.default_rate,
        )

    def submit(
        self,
        *,
        name: str,
        sender: str,
        kind: str,
        type: str,
        content: Mapping[str, object],
        rows: Iterable[Mapping[str, object]],
        key: str | None = None,
        at: datetime | None = None,
        ttl: timedelta | None = None,
        rate: str | float | None = None,
        on_unknown: str | None = None,
        again: bool = False,
        into: str | None = None,
    ) -> IntakeReport:
        """Create a campaign of many rows, each with ``to`` and the content's variables.

        A repeated call with the same ``key`` (default: a hash of everything) sends nothing twice. ``again`` sends the
        same message once more, in a new campaign; ``into`` continues a campaign, by id or name, with the rows that it
        does not have yet. By default a message that may have gone out is held (``on_unknown``). Refused rows are in
        ``refused``.

        ``rows`` is read several times and must give the same rows each time; an iterator is kept in memory instead.

        Raises SamePeople when rows are for people who have the same message of an earlier campaign, InvalidInput when
        the campaign as a whole is wrong or ``key`` belongs to another one, LedgerUnreachable when the ledger does not
        answer.
        """
        if into is not None and (again or key is not None):
            raise InvalidInput("into excludes key and again: it names the campaign already")
        message_kind = parse_choice(Kind, kind, field="kind")
        message_type = parse_choice(MessageType, type, field="type")
        template = compile_content(message_type, content)
        digits = parse_recipient(sender, default_region=self._default_region, field="sender")
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
            given=arguments_given(
                at=at,
                ttl=ttl,
                rate=rate,
                on_unknown=on_unknown,
                name=None if into is not None else name,
                key=key,
            ),
        )
        with self._database.translated_errors():
            with self._database.read() as tx:
                senders.check_spelling(tx, digits, "sender")
            return self._intake().run(
                new,
                template,
                lambda after: _numbered(rows, after),
                default_region=self._default_region,
                timezone=self._timezone,
                again=again,
                into=into,
            )

    def _now_ms(self) -> int:
        with self._database.translated_errors():
            return self._database.retrying(read_clock)

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
    ) -> SendReceipt:
        """Send one message. A repeated call with the same ``key`` finds the first message again.

        An OTP without ``ttl`` lives 10 minutes, as WhatsApp's own. Raises InvalidInput when an argument is wrong or the
        key belongs to another message, LedgerUnreachable when the ledger does not answer: a call with the same key then
        finds out whether the message is stored.
        """
        message_kind = parse_choice(Kind, kind, field="kind")
        message_type = parse_choice(MessageType, type, field="type")
        if self._encrypts(message_kind) and not self._cipher.can_encrypt:
            raise InvalidInput(
                "BULKSEND_ENCRYPTION_KEY is not set, and one-time codes are stored only encrypted"
            )
        digits = parse_recipient(to, default_region=self._default_region)
        sender_digits = parse_recipient(sender, default_region=self._default_region, field="sender")
        if is_same_person(digits, sender_digits):
            raise InvalidValue("to", "", "is the sender itself, which WhatsApp refuses (131021)")
        rendered = compile_content(message_type, content).render({}, otp=message_kind is Kind.OTP)
        lives_ms = None if ttl is None else _milliseconds(ttl, "ttl")
        if lives_ms is None and message_kind is Kind.OTP:
            lives_ms = OTP_TTL_MS
        send = DirectSend(
            key=f"auto:{new_id()}" if key is None else checked_key(key),
            recipient=digits,
            sender=sender_digits,
            type=message_type.value,
            content=rendered,
            due_at=None if at is None else _instant(at, "at"),
            lives_ms=lives_ms,
        )
        with self._database.translated_errors():
            taken = self._take_one(message_kind, send)
        if taken.status is Status.QUEUED and not taken.repeated and at is None:
            self._publisher.publish(message_kind, [taken.id])
        return SendReceipt(taken.id, taken.status, taken.repeated)

    def close(self) -> None:
        """Close the ledger's connections."""
        self._database.close()

    def _take_one(self, kind: Kind, send: DirectSend) -> direct_sends.Stored:
        if send.sender not in self._registered:
            self._database.retrying(lambda tx: self._register(tx, send.sender))
            self._registered.add(send.sender)
        became = self._groups[kind](send)
        if isinstance(became, direct_sends.DueTimePassed):
            due_at = send.due_at or 0
            raise long_past(due_at, became.now, format_instant(due_at), "at", "omit at")
        if isinstance(became, direct_sends.AlreadyExpired):
            raise InvalidValue(
                "at",
                format_instant(send.due_at or 0),
                "is so long ago that its time to live has passed; give a later time or a longer ttl",
            )
        if isinstance(became, direct_sends.KeyConflict):
            raise InvalidValue(
                "key",
                mask_digits(send.key[:40]),
                f"belongs to another message ({became.id}); nothing was sent, use a new key",
            )
        return became

    def _register(self, tx: Connection, sender: str) -> None:
        senders.check_spelling(tx, sender, "sender")
        senders.register(tx, sender, rate=self._default_rate)

    def _take_group(self, kind: Kind, sends: Sequence[DirectSend]) -> Sequence[direct_sends.DirectResult]:
        campaign = self._standing.get(kind)
        if campaign is None:
            campaign = self._database.retrying(lambda tx: campaign_creation.standing_campaign(tx, kind))
            self._standing[kind] = campaign
        return direct_sends.store(
            self._database, campaign, sends, cipher=self._cipher, encrypts=self._encrypts
        )

    def _intake(self) -> Intake:
        return Intake(
            self._database,
            self._publisher,
            self._cipher,
            encrypts=self._encrypts,
            default_rate=self._default_rate,
        )


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
