"""Single messages: checked one by one, stored together in the standing campaigns of their kinds."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bulksend.errors import InvalidInput, InvalidValue, TooLate
from bulksend.ledger import campaign_creation, direct_sends, messages, senders
from bulksend.ledger.direct_sends import DirectResult, DirectSend, SendRequest
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import EncryptionPolicy
from bulksend.messaging import (
    Kind,
    MessageType,
    Status,
    compile_content,
    is_same_person,
    mask_digits,
    normal_name,
    parse_recipient,
    parse_sender,
)
from bulksend.messaging.local_time import area_in_zone, area_of, parse_local_time
from bulksend.messaging.media_references import our_files
from bulksend.messaging.plan import as_text, checked_key, checked_purpose
from bulksend.messaging.time_rules import TimeRules, local_due_ms
from bulksend.messaging.units import (
    check_duration_ms,
    format_duration,
    format_instant,
    is_long_past,
    long_past,
    parse_choice,
    parse_instant_ms,
    zone_of,
)
from bulksend.messaging.value_checks import describe_type
from producer.code_delays import CodeDelays, Limiter
from producer.templates import TemplateChecks

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bulksend.ledger.campaigns import Campaign
    from bulksend.ledger.database import Database
    from bulksend.ledger.encryption import Cipher
    from producer.publisher import Publisher

#: The fields of a message as a program writes it, in JSON or as a Python mapping.
REQUIRED = ("to", "sender", "kind", "type", "content")
OPTIONAL = ("variables", "ttl_seconds", "send_at", "local_time", "timezone", "key", "purpose")
_FIELDS = frozenset((*REQUIRED, *OPTIONAL))


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """The message of a single send. ``repeated``: its key was used before."""

    id: str
    status: Status
    repeated: bool


class ReadySend(NamedTuple):
    """A message that is checked and not stored."""

    kind: Kind
    send: DirectSend


class DirectSends:
    """Checks single messages and stores many of them in one transaction. Thread-safe."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        cipher: Cipher,
        *,
        encrypts: EncryptionPolicy,
        default_region: str | None = None,
        timezone: str | None = None,
        default_rate: float = senders.DEFAULT_RATE,
        account: str = "default",
        test: bool = False,
        rules: TimeRules | None = None,
        account_rate: float | None = None,
        limiter: Callable[[], Limiter | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``test``: they belong to the standing campaigns of test sends. ``limiter``: see CodeDelays.

        ``clock``: seconds since the epoch, for quiet hours and local times; the ledger's decides all else.
        """
        self._database = database
        self._publisher = publisher
        self._cipher = cipher
        self._encrypts = encrypts
        self._default_region = default_region
        self._timezone = timezone
        self._default_rate = default_rate
        self._test = test
        self._rules = rules or TimeRules()
        self._clock = clock
        self._registered: set[str] = set()
        self._templates = TemplateChecks(database)
        self._standing: dict[Kind, Campaign] = {}
        self._delays = CodeDelays(
            database,
            account=account,
            default_rate=default_rate,
            account_rate=account_rate,
            limiter=limiter,
        )

    def read(
        self,
        message: object,
        *,
        key: str | None = None,
        allow: Callable[[Kind, str], None] = lambda _kind, _sender: None,
    ) -> ReadySend:
        """A message of REQUIRED and OPTIONAL fields. ``key`` is for one without; ``allow`` gets kind and sender.

        Raises InvalidInput, and what ``allow`` raises.
        """
        if not isinstance(message, Mapping):
            raise InvalidValue(
                "message", describe_type(message), "must be an object with to, sender, kind, …"
            )
        for name in REQUIRED:
            if message.get(name) is None:
                raise InvalidValue(name, "", "is missing")
        if not _FIELDS.issuperset(message):
            other = next(name for name in message if name not in _FIELDS)
            raise InvalidValue(
                mask_digits(str(other)[:40]),
                "",
                f"is no field of a message; one of {', '.join(sorted(_FIELDS))}",
            )
        zone = as_text("timezone", message.get("timezone"))
        return self.ready(
            to=message["to"],
            sender=message["sender"],
            kind=message["kind"],
            type=message["type"],
            content=message["content"],
            variables=_variables(message.get("variables")),
            lives_ms=_lives_ms(message.get("ttl_seconds")),
            due_at=self._due_at(message.get("send_at"), zone),
            local_time=as_text("local_time", message.get("local_time")),
            timezone=zone,
            key=key if (own := message.get("key")) is None else own,
            purpose=message.get("purpose"),
            allow=allow,
        )

    def ready(
        self,
        *,
        to: object,
        sender: object,
        kind: str,
        type: str,
        content: object,
        variables: Mapping[str, str] | None = None,
        lives_ms: int | None = None,
        due_at: int | None = None,
        local_time: str | None = None,
        timezone: str | None = None,
        key: object = None,
        purpose: object = None,
        allow: Callable[[Kind, str], None] = lambda _kind, _sender: None,
    ) -> ReadySend:
        """A message, checked. Raises InvalidInput, and what ``allow`` raises."""
        message_kind = parse_choice(Kind, kind, field="kind")
        message_type = parse_choice(MessageType, type, field="type")
        if self._encrypts(message_kind) and not self._cipher.can_encrypt:
            raise InvalidInput(
                "BULKSEND_ENCRYPTION_KEY is not set, and one-time codes are stored only encrypted"
            )
        digits = parse_recipient(to, default_region=self._default_region)
        sender_digits = parse_sender(sender, default_region=self._default_region, field="sender")
        allow(message_kind, sender_digits)
        if is_same_person(digits, sender_digits):
            raise InvalidValue("to", "", "is the sender itself, which WhatsApp refuses (131021)")
        if not isinstance(content, Mapping):
            raise InvalidValue(
                "content", describe_type(content), "must be a JSON object, like the vendor's Content"
            )
        template = compile_content(message_type, content)
        if our_files(message_type, content):
            raise InvalidValue(
                "content",
                "",
                "names a file by our id, as only the content of a campaign can; give the vendor's id of it, the "
                "`media_id` of `bulksend media list`",
            )
        rendered = template.render(variables or {}, otp=message_kind is Kind.OTP)
        if lives_ms is None:
            lives_ms = self._rules.ttl_ms(message_kind)
        zone = None if timezone is None else zone_of(timezone).key
        due_at, in_quiet_hours = self._placed(message_kind, digits, zone, due_at, local_time)
        return ReadySend(
            message_kind,
            DirectSend(
                key=f"auto:{new_id()}" if key is None else checked_key(key),
                recipient=digits,
                sender=sender_digits,
                type=message_type.value,
                content=rendered,
                due_at=due_at,
                lives_ms=lives_ms,
                timezone=zone,
                in_quiet_hours=in_quiet_hours,
                purpose=_purpose(purpose, message_kind),
            ),
        )

    def _placed(
        self, kind: Kind, to: str, zone: str | None, due_at: int | None, local_time: str | None
    ) -> tuple[int | None, bool]:
        """When it is due by the clocks at its recipient's, None: now; and whether quiet hours made that later.

        Raises InvalidValue when that must be known and is not.
        """
        wanted = None if local_time is None else parse_local_time(local_time)
        if wanted is None and not self._rules.has_quiet_hours(kind):
            return due_at, False
        now = self._now_ms()
        area = area_of(to) if zone is None else area_in_zone(to, zone)
        if wanted is not None:
            # The ledger refuses a day that has passed: a repeated send is answered as the first one.
            due_at = local_due_ms(wanted, area, now if due_at is None else due_at, asked_at_ms=0)
        if due_at is not None and is_long_past(due_at, now):
            return due_at, False
        meant = now if due_at is None else max(due_at, now)
        times = self._rules.placed(meant, None, area, self._rules.quiet_rule(kind, to, area))
        return (times.due_at_ms, True) if times.is_moved else (due_at, False)

    def knows(self, ready: ReadySend) -> bool:
        """Whether this process knows sender and template, and the content fits; else ``register`` comes first."""
        return self._templates.fits(*ready) and ready.send.sender in self._registered

    def register(self, ready: ReadySend) -> None:
        """Put the sender on record, and compare the content with its template.

        Raises InvalidValue where another spelling of the sender is on record, or where the content does not fit;
        LedgerUnreachable.
        """
        sender = ready.send.sender
        if sender not in self._registered:
            self._database.retrying(lambda tx: self._register(tx, sender))
            self._registered.add(sender)
        self._templates.check(*ready, is_stored=lambda: self._is_stored(ready))

    def _is_stored(self, ready: ReadySend) -> bool:
        campaign = self._standing_campaign(ready.kind)
        with self._database.read() as tx:
            return messages.id_of(tx, campaign.id, ready.send.key) is not None

    def take(self, requests: Sequence[SendRequest]) -> list[list[DirectResult] | None]:
        """Store all in one transaction, see ``direct_sends.store``. The senders are on record."""
        kinds = {kind for request in requests for kind, _ in request.sends}
        standing = {kind: self._standing_campaign(kind) for kind in kinds}
        codes = standing[Kind.OTP].id if Kind.OTP in standing else ""
        newcomers: Collection[str] = ()
        if codes:
            self._delays.refresh(codes)
            newcomers = self._delays.newcomers(
                {send.recipient for request in requests for kind, send in request.sends if kind is Kind.OTP}
            )
        return direct_sends.store(
            self._database,
            standing,
            requests,
            cipher=self._cipher,
            encrypts=self._encrypts,
            late=lambda send: self._delays.late(send, codes, newcomers),
        )

    def hand_over(self, taken: Sequence[tuple[ReadySend, DirectResult]]) -> None:
        """Have the new ones that are due published soon, codes first. Never raises."""
        for kind in Kind:
            ids = [result.id for (k, send), result in taken if k is kind and is_due(send, result)]  # type: ignore[union-attr]
            if ids:
                self._publisher.hand_over(kind, ids)

    def _register(self, tx: Connection, sender: str) -> None:
        senders.check_spelling(tx, sender, "sender")
        senders.register(tx, sender, rate=self._default_rate)

    def _standing_campaign(self, kind: Kind) -> Campaign:
        campaign = self._standing.get(kind)
        if campaign is None:
            campaign = self._database.retrying(
                lambda tx: campaign_creation.standing_campaign(tx, kind, test=self._test)
            )
            self._standing[kind] = campaign
        return campaign

    def _due_at(self, send_at: object, zone: str | None) -> int | None:
        text = as_text("send_at", send_at)
        if text is None:
            return None
        zone = zone or self._timezone
        return parse_instant_ms(text, timezone=zone, now_ms=self._now_ms(), field="send_at")

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def is_due(send: DirectSend, result: DirectResult) -> bool:
    """Whether the result is a new message that may be sent now."""
    return (
        isinstance(result, direct_sends.Stored)
        and result.status is Status.QUEUED
        and not result.repeated
        and send.due_at is None
    )


def receipt(
    send: DirectSend, result: DirectResult, *, at: str = "send_at", ttl: str = "ttl_seconds"
) -> SendReceipt:
    """The receipt of a stored message. Raises InvalidValue for one that was refused, TooLate for a late code.

    ``at`` and ``ttl`` name its due time and its time to live.
    """
    if isinstance(result, direct_sends.Stored):
        return SendReceipt(result.id, result.status, result.repeated)
    if isinstance(result, direct_sends.KeyConflict):
        raise InvalidValue(
            "key",
            mask_digits(send.key[:40]),
            f"belongs to another message ({result.id}); nothing was sent, use a new key",
        )
    if isinstance(result, direct_sends.WouldBeLate):
        raise _too_late(send, result, ttl)
    due_at = send.due_at or 0
    if isinstance(result, direct_sends.DueTimePassed):
        raise long_past(due_at, result.now, format_instant(due_at), at, f"omit {at}")
    raise InvalidValue(
        at,
        format_instant(due_at),
        "is so long ago that its time to live has passed; give a later time or a longer ttl",
    )


def _too_late(send: DirectSend, late: direct_sends.WouldBeLate, ttl: str) -> TooLate:
    lives, wait_ms = format_duration(send.lives_ms or 0), late.wait_ms
    waits = "until a pause ends" if wait_ms is None else f"about {format_duration(wait_ms)}"
    if late.by_quota:
        waits = "for longer than is known" if wait_ms is None else waits
        waits += " for a place in the account's quota"
    return TooLate(
        ttl,
        f"the code would wait {waits} and lives {lives}; nothing was stored: use another channel",
        None if wait_ms is None else round(wait_ms / 1000, 1),
    )


def _variables(given: object) -> dict[str, str]:
    """Variables by ``normal_name``, as those of a row; empty ones are left out."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidValue("variables", describe_type(given), 'must be an object, like {"name": "Ada"}')
    found = ((normal_name(str(name)), as_text(str(name)[:40], value)) for name, value in given.items())
    return {name: text for name, text in found if text is not None}


def _purpose(given: object, kind: Kind) -> str | None:
    """The purpose of a one-time code. Raises InvalidValue; other kinds have none."""
    if given is not None and kind is not Kind.OTP:
        raise InvalidValue("purpose", "", f"is for one-time codes, and the kind is {kind}; omit it")
    return checked_purpose(given)


def _lives_ms(seconds: object) -> int | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidValue("ttl_seconds", describe_type(seconds), "must be a number of seconds")
    return check_duration_ms(seconds * 1000, str(seconds), "ttl_seconds")
