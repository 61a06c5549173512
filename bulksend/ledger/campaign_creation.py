"""Campaigns are created once for each idempotency key."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields

from sqlalchemy import Connection, func, or_, select

from bulksend.errors import IdempotencyKeyReused, InvalidInput
from bulksend.ledger import media, operator_log, templates
from bulksend.ledger.campaigns import (
    ACTIVE,
    DIRECT_PREFIX,
    NOT_STARTED,
    TEST_PREFIX,
    Campaign,
    CampaignOptions,
    by_key,
    finish_intake,
    get,
    read_all,
    status_counts,
)
from bulksend.ledger.clock import current_ms, read_clock
from bulksend.ledger.database import insert_if_new, rows_changed
from bulksend.ledger.ids import LOWEST, new_id
from bulksend.ledger.schema import campaigns
from bulksend.messaging.argument_naming import ArgumentNaming, as_python_argument
from bulksend.messaging.canary import CanaryState
from bulksend.messaging.states import UNSENT, CampaignStatus, Kind, OnUnknown, Status
from bulksend.messaging.units import counted, format_age, format_duration, format_instant

#: A campaign of the same content and another name is reported as sent before for this long.
SAME_CONTENT_MS = 30 * 86_400_000


#: Begins the source hash of a continued campaign, whose ``rows_read`` is not a position in a file.
CONTINUED = "+"


_OPTIONS = [field.name for field in fields(CampaignOptions)]


@dataclass(frozen=True, slots=True)
class NewCampaign(CampaignOptions):
    """The options of a campaign that may not exist yet."""

    id: str | None = None
    """The id that it gets; None: a new one."""
    timezone: str | None = None
    """The time zone for display; None: the installation's."""
    local_time: str | None = None
    """When its messages are due by the recipients' clocks, as ``str(LocalTime)``; None: at ``due_at``."""
    given: Mapping[str, str] = field(default_factory=dict)
    """The options that are no defaults: column -> argument name."""
    naming: ArgumentNaming = as_python_argument
    """How arguments are written in error texts: as Python or as command-line options."""


def create_or_find(tx: Connection, new: NewCampaign) -> tuple[Campaign, bool]:
    """The campaign of ``new.key``, created where there is none, and whether it was created.

    Raises InvalidInput when the key belongs to a campaign of other content or options, or when the content does not fit
    its template or its files as the vendor has them; nothing is overwritten.
    """
    values = {name: getattr(new, name) for name in _OPTIONS} | {
        "id": new.id or new_id(),
        # Until the slice of a canary is known all its messages stay unsent.
        **({} if new.canary is None else {"canary_state": CanaryState.PENDING, "held_after": LOWEST}),
        "status": CampaignStatus.INTAKE,
        "source_name": new.source_name[:255],
        "created_at": current_ms(),
        "created_by": new.created_by[:100],
        "timezone": new.timezone,
        "local_time": new.local_time,
        **dict.fromkeys(("rows_read", "messages", "duplicates", "suppressed", "refused"), 0),
    }
    is_new = rows_changed(tx, insert_if_new(tx, campaigns).values(**values)) == 1
    campaign = by_key(tx, new.key)
    if campaign is None:
        raise RuntimeError("a campaign that was just inserted cannot be read")
    if is_new:
        check_content(tx, new)
        operator_log.record(
            tx, actor=new.created_by, act="create", scope="campaign", subject=campaign.id, why=new.source_name
        )
    else:
        check_matches(tx, campaign, new)
    return campaign, is_new


def check_content(
    tx: Connection, new: NewCampaign, *, lock: bool = True, coming: Collection[str] = ()
) -> None:
    """Raises InvalidValue when no message of the content could succeed, by what is known of its template and files.

    ``coming``: ids of ours of files that will be uploaded.
    """
    field = new.naming("content")
    templates.check_new(tx, new.kind, new.type, new.content, field=field, lock=lock)
    media.check_new(tx, new.sender, new.type, new.content, field=field, lock=lock, coming=coming)


def check_matches(tx: Connection, campaign: Campaign, new: NewCampaign) -> None:
    """Raises IdempotencyKeyReused unless ``campaign``, found by its key, has the rows, content and options of ``new``.

    InvalidInput when it is cancelled, or its continuation stopped half-way. The text says how to proceed.
    """
    into = new.naming("into", campaign.id)
    continued = campaign.source_hash.startswith(CONTINUED)
    if campaign.source_hash not in (new.source_hash, continued_hash(new.source_hash)):
        origin = (
            f"which was continued with {campaign.source_name or 'other rows'}"
            if continued
            else "which has other rows, content, sender or kind"
        )
        advice = (
            f"It is cancelled; `{into}` sends the rest in a new campaign"
            if campaign.status is CampaignStatus.CANCELLED
            else f"`{into}` adds the rows that it does not have yet"
        )
        raise IdempotencyKeyReused(
            f"key {new.key[:40]!r} belongs to campaign {campaign.id} ({campaign.name}), {origin}; nothing was changed. "
            f"{advice}; `{new.naming('again', True)}` sends all of them in a new campaign"
        )
    if campaign.status is CampaignStatus.CANCELLED:
        raise InvalidInput(_cancelled_text(tx, campaign, new))
    if continued and campaign.intake_done_at is None:
        raise InvalidInput(
            f"campaign {campaign.id} ({campaign.name}) is being continued, or its continuation was stopped; nothing "
            f"was changed. `{into}` with the same rows continues it"
        )
    check_options(tx, campaign, new)


def _cancelled_text(tx: Connection, campaign: Campaign, new: NewCampaign) -> str:
    found = status_counts(tx, campaign.id)
    sent = sum(count for status, count in found.items() if Status(status) not in UNSENT | NOT_STARTED)
    return (
        f"the same rows were sent as campaign {campaign.id} ({campaign.name}), which is cancelled: of "
        f"{counted(campaign.messages, 'message')} {sent:,} {'was' if sent == 1 else 'were'} sent or may have been "
        f"sent, and no more will be sent. Nothing was changed. {next_steps(campaign, new)}"
    )


def next_steps(campaign: Campaign, new: NewCampaign) -> str:
    """Text: how to send ``new`` where ``campaign`` has already sent the same content to some of its recipients."""
    is_cancelled = campaign.status is CampaignStatus.CANCELLED
    into = new.naming("into", campaign.id)
    if campaign.kind is not new.kind:
        into = f"{new.naming('kind', campaign.kind.value)}` and `{into}"
    # The rest of a cancelled campaign is a new campaign, which may have other options.
    leave_out = [new.naming(new.given["key"])] if "key" in new.given else []
    leave_out = leave_out if is_cancelled else _differing(campaign, new)
    without = f", without {_listed(leave_out)}," if leave_out else ""
    return (
        f"`{into}`{without} sends to the recipients who do not have it yet"
        f"{', in a new campaign' if is_cancelled else ''}; "
        f"`{new.naming('again', True)}`{' without the key' if 'key' in new.given else ''} sends to all of them"
    )


def check_options(tx: Connection, campaign: Campaign, new: NewCampaign) -> None:
    """Raises IdempotencyKeyReused when the options that were given differ from those of the campaign."""
    different = _differing(campaign, new)
    if not different:
        return
    now = read_clock(tx)
    again = new.naming("again", True)
    when = f"due {format_instant(campaign.due_at)}" if campaign.due_at > now else "due since it was created"
    ttl = (
        "no time to live of its own"
        if campaign.ttl_ms is None
        else f"a time to live of {format_duration(campaign.ttl_ms)}"
    )
    if campaign.local_time is not None:
        when += f" at {campaign.local_time} at the recipients'"
    rate = "the sender's rate" if campaign.rate is None else f"{campaign.rate:g}/s"
    advice = (
        f"cancel it (`bulksend campaigns cancel {campaign.id}`) and send with {again}"
        if campaign.status in (*ACTIVE, CampaignStatus.PAUSED)
        else f"send with {again}"
    )
    raise IdempotencyKeyReused(
        f"{_listed(different)}: not changed. The same rows were {'sent' if campaign.messages else 'refused'} "
        f"{format_age(max(0, now - campaign.created_at))} ago: campaign {campaign.id} ({campaign.name}) is "
        f"{campaign.status.value}, {when}, with {rate}, {ttl} and on_unknown {campaign.on_unknown.value}. "
        f"Leave {'it' if len(different) == 1 else 'them'} out to keep that, or "
        f"{advice}"
    )


def _differing(campaign: Campaign, new: NewCampaign) -> list[str]:
    """The given arguments whose values differ from the campaign's, as they are written."""
    return [
        new.naming(argument)
        for column, argument in new.given.items()
        if getattr(campaign, column) != getattr(new, column)
    ]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def with_same_content(tx: Connection, new: NewCampaign) -> list[Campaign]:
    """Campaigns of the same sender, type and content, and the same name or newer than SAME_CONTENT_MS; newest first."""
    query = (
        select(campaigns)
        .where(
            campaigns.c.sender == new.sender,
            campaigns.c.type == new.type,
            campaigns.c.content == new.content,
            or_(campaigns.c.name == new.name, campaigns.c.created_at > current_ms() - SAME_CONTENT_MS),
        )
        .order_by(campaigns.c.id.desc())
    )
    return read_all(tx, query)


@dataclass(frozen=True, slots=True)
class Rivals:
    """The campaigns of the same content that a look at all rows could not see: their intake was not done then.

    Two programs may post the same file at the same moment, each with a key of its own.
    """

    new: NewCampaign
    seen: frozenset[str] = frozenset()
    """Ids of the campaigns whose intake was done at that look."""

    def of(self, tx: Connection, campaign_id: str) -> list[Campaign]:
        """Those of one campaign. Until the end of the transaction no rows of the same content are stored elsewhere."""
        if tx.dialect.name == "postgresql":
            content = f"{self.new.sender} {self.new.type} {self.new.content}".encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(content, digest_size=8).digest()
            tx.execute(select(func.pg_advisory_xact_lock(int.from_bytes(digest, "big", signed=True))))
        alike = with_same_content(tx, self.new)
        return [each for each in alike if each.id != campaign_id and each.id not in self.seen]


def standing_campaign(tx: Connection, kind: Kind, *, test: bool = False) -> Campaign:
    """The campaign that the direct sends of a kind belong to, or its test sends; it is always running."""
    new = NewCampaign(
        key=(TEST_PREFIX if test else DIRECT_PREFIX) + kind.value,
        name=f"{'test' if test else 'single'} {kind.value} sends",
        kind=kind,
        sender="",
        type="",
        content="",
        source_hash="",
        source_name="",
        due_at=0,
        ttl_ms=None,
        rate=None,
        on_unknown=OnUnknown.HOLD,
        created_by="bulksend",
    )
    campaign = by_key(tx, new.key)
    if campaign is None:
        campaign, _ = create_or_find(tx, new)
        finish_intake(tx, campaign.id)
        campaign = get(tx, campaign.id)
    return campaign


def continued_hash(source_hash: str) -> str:
    """The source hash of a campaign after a continuation with that source."""
    return (CONTINUED + source_hash.removeprefix(CONTINUED))[:64]
