"""Campaigns: made once a key, paused, resumed, cancelled, finished, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Text,
    TextClause,
    cast,
    delete,
    func,
    or_,
    select,
    text,
    update,
)

from bulksend.errors import CampaignNotFound, InvalidInput
from bulksend.ledger import counters, operator_log
from bulksend.ledger.database import (
    Database,
    by_index,
    db_now,
    insert_if_new,
    instant,
    rows_changed,
    unhurried,
)
from bulksend.ledger.endings import NEVER_TAKEN, end_unsent
from bulksend.ledger.ids import new_id
from bulksend.ledger.messages import reopen_campaigns
from bulksend.ledger.schema import WAITING_SQL, campaigns, messages, refusals
from bulksend.messaging.naming import Naming, as_argument
from bulksend.messaging.states import HELD, UNSENT, WAITING, CampaignStatus, Kind, OnUnknown, Status
from bulksend.messaging.units import counted, format_age, format_duration, format_instant

LIVE = (CampaignStatus.INTAKE, CampaignStatus.RUNNING)
DIRECT_PREFIX = "direct:"
#: The most messages that a cancel itself ends, and the most that one transaction ends. The relay ends the rest.
CANCELLED_AT_ONCE, CANCEL_CHUNK = 20_000, 2_000
#: In these a message has not begun to be sent.
NOT_BEGUN = WAITING | {Status.CLAIMED}
#: For how long a campaign of another name counts as the same message when its content is sent again.
ALIKE_MS = 30 * 86_400_000
#: Begins the source hash of a campaign that was continued: its ``rows_read`` is no position in a file.
_CONTINUED = "+"
#: Begins the key of the campaign that takes the rest of a cancelled one, before that one's id.
_REST = "rest:"


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """What a producer decides about a campaign; instants in ms since the epoch, ``rate`` in messages/s."""

    key: str
    name: str
    kind: Kind
    sender: str
    type: str
    content: str
    source_hash: str
    source_name: str
    due_at: int
    ttl_ms: int | None
    rate: float | None
    on_unknown: OnUnknown
    created_by: str
    timezone: str | None = None
    """The zone in which people read its times; None: the installation's."""
    given: Mapping[str, str] = field(default_factory=dict)
    """What the producer chose rather than left to the defaults: column -> the argument's name."""
    naming: Naming = as_argument
    """How the producer writes its arguments, for messages."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as the ledger has it."""

    id: str
    key: str
    name: str
    kind: Kind
    status: CampaignStatus
    sender: str
    type: str
    content: str
    source_hash: str
    source_name: str
    due_at: int
    ttl_ms: int | None
    rate: float | None
    on_unknown: OnUnknown
    created_at: int
    created_by: str
    intake_done_at: int | None
    paused_at: int | None
    pause_why: str | None
    ended_at: int | None
    rows_read: int
    messages: int
    duplicates: int
    suppressed: int
    refused: int
    timezone: str | None

    @property
    def is_direct(self) -> bool:
        """Whether it is the standing home of single sends of a kind."""
        return self.key.startswith(DIRECT_PREFIX)


def create_or_find(tx: Connection, new: NewCampaign) -> tuple[Campaign, bool]:
    """The campaign of ``new.key``; made now where there is none. Says whether it was made.

    Raises InvalidInput when the key belongs to a campaign of other content, or of other options than the producer
    chose now: nothing is overwritten.
    """
    values = {
        "id": new_id(),
        "key": new.key,
        "name": new.name,
        "kind": new.kind.value,
        "status": CampaignStatus.INTAKE.value,
        "sender": new.sender,
        "type": new.type,
        "content": new.content,
        "source_hash": new.source_hash,
        "source_name": new.source_name[:255],
        "due_at": new.due_at,
        "ttl_ms": new.ttl_ms,
        "rate": new.rate,
        "on_unknown": new.on_unknown.value,
        "created_at": db_now(),
        "created_by": new.created_by[:100],
        "timezone": new.timezone,
        "rows_read": 0,
        "messages": 0,
        "duplicates": 0,
        "suppressed": 0,
        "refused": 0,
    }
    made = rows_changed(tx, insert_if_new(tx, campaigns).values(**values)) == 1
    campaign = by_key(tx, new.key)
    if campaign is None:
        raise RuntimeError("a campaign that was just inserted is not there")
    if made:
        operator_log.record(
            tx, actor=new.created_by, act="create", scope="campaign", subject=campaign.id, why=new.source_name
        )
    else:
        check_same(tx, campaign, new)
    return campaign, made


def check_same(tx: Connection, campaign: Campaign, new: NewCampaign) -> None:
    """Raises InvalidInput unless ``campaign``, found by its key, is what ``new`` asks for.

    Other rows or content, other options, or a continuation that stopped half-way: the text says what stands and
    which ways there are to go on.
    """
    into = new.naming("into", campaign.id)
    continued = campaign.source_hash.startswith(_CONTINUED)
    if campaign.source_hash not in (new.source_hash, _continued(new.source_hash)):
        made = (
            f"which was continued with {campaign.source_name or 'other rows'}"
            if continued
            else "which was made from other rows, content, sender or kind"
        )
        what = (
            f"It is cancelled; `{into}` sends the rest in a new campaign"
            if campaign.status is CampaignStatus.CANCELLED
            else f"`{into}` takes in those of the rows that it has not got yet"
        )
        raise InvalidInput(
            f"key {new.key[:40]!r} belongs to campaign {campaign.id} ({campaign.name}), {made}; nothing was changed. "
            f"{what}; `{new.naming('again', True)}` makes a new campaign of all of them"
        )
    if campaign.status is CampaignStatus.CANCELLED:
        raise InvalidInput(_is_cancelled(tx, campaign, new))
    if continued and campaign.intake_done_at is None:
        raise InvalidInput(
            f"campaign {campaign.id} ({campaign.name}) is being continued, or its continuation was stopped; nothing "
            f"was changed. `{into}` with the same rows goes on"
        )
    check_options(tx, campaign, new)


def _is_cancelled(tx: Connection, campaign: Campaign, new: NewCampaign) -> str:
    found = statuses(tx, campaign.id)
    sent = sum(count for status, count in found.items() if Status(status) not in UNSENT | NOT_BEGUN)
    return (
        f"the same was sent as campaign {campaign.id} ({campaign.name}), which is cancelled: {sent:,} of its "
        f"{counted(campaign.messages, 'message')} {'was' if sent == 1 else 'were'} or may have been sent, and no more "
        f"will be. Nothing was changed. {ways_on(campaign, new)}"
    )


def ways_on(campaign: Campaign, new: NewCampaign) -> str:
    """What to do where a campaign has the same message as ``new`` for some of its people: what it names works."""
    is_cancelled = campaign.status is CampaignStatus.CANCELLED
    into = new.naming("into", campaign.id)
    if campaign.kind is not new.kind:
        into = f"{new.naming('kind', campaign.kind.value)}` and `{into}"
    # The rest of a cancelled campaign is one of its own, which may have other options.
    leave_out = [new.naming(new.given["key"])] if "key" in new.given else []
    leave_out = leave_out if is_cancelled else _differing(campaign, new)
    without = f", without {_listed(leave_out)}," if leave_out else ""
    return (
        f"`{into}`{without} sends to those who do not have it yet{', in a new campaign' if is_cancelled else ''}; "
        f"`{new.naming('again', True)}`{' without the key' if 'key' in new.given else ''} sends to all of them"
    )


def check_options(tx: Connection, campaign: Campaign, new: NewCampaign) -> None:
    """Raises InvalidInput where the producer chose options that the campaign does not have."""
    other = _differing(campaign, new)
    if not other:
        return
    now = instant(tx)
    again = new.naming("again", True)
    when = f"due {format_instant(campaign.due_at)}" if campaign.due_at > now else "due since it was made"
    ttl = (
        "no time to live of its own"
        if campaign.ttl_ms is None
        else f"a time to live of {format_duration(campaign.ttl_ms)}"
    )
    rate = "the sender's rate" if campaign.rate is None else f"{campaign.rate:g}/s"
    remedy = (
        f"cancel it (`bulksend campaigns cancel {campaign.id}`) and send with {again}"
        if campaign.status in (*LIVE, CampaignStatus.PAUSED)
        else f"send with {again}"
    )
    raise InvalidInput(
        f"{_listed(other)}: not changed. The same was sent {format_age(max(0, now - campaign.created_at))} ago: "
        f"campaign {campaign.id} ({campaign.name}) is {campaign.status.value}, {when}, with {rate}, {ttl} and "
        f"on_unknown {campaign.on_unknown.value}. Leave {'it' if len(other) == 1 else 'them'} out to keep that, or "
        f"{remedy}"
    )


def _differing(campaign: Campaign, new: NewCampaign) -> list[str]:
    """The arguments, as the producer writes them, that it gave and the campaign has otherwise."""
    return [
        new.naming(argument)
        for column, argument in new.given.items()
        if getattr(campaign, column) != getattr(new, column)
    ]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def alike(tx: Connection, new: NewCampaign) -> list[Campaign]:
    """Campaigns of the same sender, type and content, newest first: of the same name, or made within ALIKE_MS."""
    rows = tx.execute(
        select(campaigns)
        .where(
            campaigns.c.sender == new.sender,
            campaigns.c.type == new.type,
            campaigns.c.content == new.content,
            or_(campaigns.c.name == new.name, campaigns.c.created_at > db_now() - ALIKE_MS),
        )
        .order_by(campaigns.c.id.desc())
    ).mappings()
    return [_campaign(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Continuation:
    """Which campaign more rows come into: ``into``, or one that is to be made of ``new``."""

    new: NewCampaign
    into: Campaign | None
    rest_of: tuple[Campaign, ...]
    """The cancelled campaigns of whose people it takes those who were surely not sent to."""


def to_continue(tx: Connection, name_or_id: str, new: NewCampaign) -> Continuation:
    """What more rows are to come into. Raises InvalidInput where the campaign named cannot be continued.

    Nothing comes into a cancelled campaign. Its rest is another one, made once, and found again by its key.
    """
    into: Campaign | None
    into = campaign = resolve(tx, name_or_id)
    if campaign.is_direct:
        raise InvalidInput(
            f"campaign {campaign.id} ({campaign.name}) is the home of single sends; a file cannot continue it"
        )
    rest_of: list[Campaign] = []
    while campaign.key.startswith(_REST) and _is_id(campaign.key.removeprefix(_REST)):
        campaign = get(tx, campaign.key.removeprefix(_REST))
        rest_of.append(campaign)
    campaign = into
    while into is not None and into.status is CampaignStatus.CANCELLED:
        rest_of.append(campaign := into)
        new = _rest_of(campaign, new)
        into = by_key(tx, new.key)
    campaign = into or campaign
    # The rest of a cancelled campaign may say something else: a wrong text is a usual reason to cancel.
    same = ("sender", "kind", "type", "content") if into is not None else ("sender", "kind")
    for what in same:
        if getattr(campaign, what) != getattr(new, what):
            has = "another content" if what == "content" else f"the {what} {getattr(campaign, what)}"
            raise InvalidInput(
                f"campaign {campaign.id} ({campaign.name}) has {has}: only rows of the same sender, kind, type and "
                f"content can continue it. Give the {new.naming(what)} that it has, or leave {new.naming('into')} out"
            )
    if into is not None:
        check_options(tx, into, new)
    return Continuation(new, into, tuple(rest_of))


def _rest_of(cancelled: Campaign, new: NewCampaign) -> NewCampaign:
    """The campaign of the rest: with the cancelled one's options, where the producer gives no others."""
    kept = {
        "name": f"{cancelled.name[:190]} (rest)",
        "due_at": max(cancelled.due_at, new.due_at),
        "ttl_ms": cancelled.ttl_ms,
        "rate": cancelled.rate,
        "on_unknown": cancelled.on_unknown,
    }
    return replace(
        new,
        key=_REST + cancelled.id,
        source_hash=_continued(new.source_hash),
        **{column: value for column, value in kept.items() if column not in new.given},  # type: ignore[arg-type]
    )


def begin_continuation(tx: Connection, way: Continuation) -> Campaign:
    """Open a campaign for the rows of another file, whose refusals take the place of those on record.

    An intake that is under way still finds another source and stops. Raises InvalidInput where the campaign was
    cancelled, or the rest of a cancelled one begun, since ``way`` was found.
    """
    new = way.new
    if way.into is None:
        made, is_new = create_or_find(tx, new)
        if is_new:
            operator_log.record(
                tx,
                actor=new.created_by,
                act="continue",
                scope="campaign",
                subject=way.rest_of[-1].id,
                why=f"the rest is campaign {made.id}",
            )
            return made
    campaign = way.into or made
    refused = tx.execute(delete(refusals).where(refusals.c.campaign_id == campaign.id)).rowcount
    changed = tx.execute(
        update(campaigns)
        .where(campaigns.c.id == campaign.id, campaigns.c.status != CampaignStatus.CANCELLED.value)
        .values(
            source_hash=_continued(new.source_hash),
            source_name=new.source_name[:255],
            intake_done_at=None,
            rows_read=campaigns.c.messages + campaigns.c.duplicates,
            refused=0,
        )
    ).rowcount
    if not changed:
        raise InvalidInput(
            f"campaign {campaign.id} was cancelled meanwhile; nothing was changed. The same once more takes its rest"
        )
    ended = [CampaignStatus.RUNNING.value, CampaignStatus.FINISHED.value]
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == campaign.id, campaigns.c.status.in_(ended))
        .values(status=CampaignStatus.INTAKE.value, ended_at=None)
    )
    operator_log.record(
        tx,
        actor=new.created_by,
        act="continue",
        scope="campaign",
        subject=campaign.id,
        why=f"{new.source_name}, after {campaign.source_name}, of which {counted(refused, 'row')} had been refused",
    )
    return get(tx, campaign.id)


def notes_of_rest(tx: Connection, way: Continuation, begun: Campaign | None) -> list[str]:
    """What a person should know where the rest of a cancelled campaign is sent."""
    if not way.rest_of:
        return []
    last = way.rest_of[-1]
    into = way.new.name if begun is None else f"{begun.id} ({begun.name})"
    notes = [f"campaign {last.id} ({last.name}) is cancelled: its rest comes into campaign {into}"]
    if (last.type, last.content) != (way.new.type, way.new.content):
        notes.append("the rest has another content than what was sent before")
    under_way = sum(statuses(tx, each.id).get(status, 0) for each in way.rest_of for status in WAITING | HELD)
    if under_way:
        notes.append(
            f"messages of what is cancelled that are still being sent or ended, and so left out: {under_way:,}. The "
            "same once more takes those that end unsent"
        )
    return notes


def _continued(source_hash: str) -> str:
    """The source hash of a campaign that was continued with that source."""
    return (_CONTINUED + source_hash.removeprefix(_CONTINUED))[:64]


def direct(tx: Connection, kind: Kind) -> Campaign:
    """The standing campaign that single sends of a kind belong to; it is always running."""
    new = NewCampaign(
        key=DIRECT_PREFIX + kind.value,
        name=f"single {kind.value} sends",
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


def by_key(tx: Connection, key: str) -> Campaign | None:
    """The campaign of an idempotency key."""
    row = tx.execute(select(campaigns).where(campaigns.c.key == key)).mappings().one_or_none()
    return _campaign(row) if row is not None else None


def get(tx: Connection, id: str) -> Campaign:
    """One campaign by its id. Raises CampaignNotFound."""
    row = tx.execute(select(campaigns).where(campaigns.c.id == id)).mappings().one_or_none()
    if row is None:
        raise CampaignNotFound(f"there is no campaign {id}; `bulksend campaigns list` shows them")
    return _campaign(row)


def resolve(tx: Connection, name_or_id: str) -> Campaign:
    """By id, or by name where only one campaign has it. Raises CampaignNotFound."""
    if _is_id(name_or_id):
        return get(tx, name_or_id)
    rows = (
        tx.execute(select(campaigns).where(campaigns.c.name == name_or_id).order_by(campaigns.c.id.desc()))
        .mappings()
        .all()
    )
    if len(rows) == 1:
        return _campaign(rows[0])
    if not rows:
        raise CampaignNotFound(
            f"there is no campaign with the id or name {name_or_id!r}; `bulksend campaigns list` shows them"
        )
    ids = ", ".join(str(row["id"]) for row in rows[:5])
    raise CampaignNotFound(f"{len(rows)} campaigns are named {name_or_id!r}; name one by its id: {ids}")


def named(tx: Connection, name: str) -> int:
    """How many campaigns have that name."""
    return int(tx.execute(select(func.count()).where(campaigns.c.name == name)).scalar_one())


def many(tx: Connection, ids: Iterable[str]) -> dict[str, Campaign]:
    """Several campaigns by their ids."""
    rows = tx.execute(select(campaigns).where(campaigns.c.id.in_(list(ids)))).mappings()
    return {str(row["id"]): _campaign(row) for row in rows}


def newest(tx: Connection, limit: int = 50) -> list[Campaign]:
    """The newest campaigns first."""
    rows = tx.execute(select(campaigns).order_by(campaigns.c.id.desc()).limit(limit)).mappings()
    return [_campaign(row) for row in rows]


def live(tx: Connection) -> list[Campaign]:
    """Campaigns whose messages may go out now or later without a person."""
    rows = tx.execute(
        select(campaigns).where(campaigns.c.status.in_([s.value for s in LIVE])).order_by(campaigns.c.id)
    ).mappings()
    return [_campaign(row) for row in rows]


def statuses(tx: Connection, id: str) -> dict[str, int]:
    """How many messages of a campaign are in each status; statuses nobody is in are left out."""
    return counters.of(tx, [id])[id].statuses


def refused_rows(tx: Connection, id: str, limit: int = 1000) -> list[RowMapping]:
    """The first rows that were refused at intake, in the file's order: row, field, value, why."""
    return list(tx.execute(_refused(id).limit(limit)).mappings())


def every_refused_row(tx: Connection, id: str) -> Iterator[RowMapping]:
    """The same of all of them, in flat memory."""
    yield from tx.execute(_refused(id).execution_options(yield_per=5000)).mappings()


def _refused(id: str) -> Select[tuple[int, str, str, str]]:
    return (
        select(refusals.c.row, refusals.c.field, refusals.c.value, refusals.c.why)
        .where(refusals.c.campaign_id == id)
        .order_by(refusals.c.row, refusals.c.id)
    )


def finish_intake(tx: Connection, id: str) -> None:
    """All rows are in. A campaign paused meanwhile stays paused."""
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == id, campaigns.c.intake_done_at.is_(None))
        .values(intake_done_at=db_now())
    )
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == id, campaigns.c.status == CampaignStatus.INTAKE.value)
        .values(status=CampaignStatus.RUNNING.value)
    )


def check_act(campaign: Campaign, act: str) -> None:
    """Raises InvalidInput where a person may not do that: the standing campaign of single sends has no end.

    A program's ``Producer.send`` of that kind would fail from then on.
    """
    if not campaign.is_direct or act == "resume":
        return
    raise InvalidInput(
        f"campaign {campaign.id} ({campaign.name}) is where every single {campaign.kind} send of a program belongs: it "
        f"takes no {act}, and nothing was changed. To stop its messages, pause their sender (`bulksend senders pause "
        "PHONE --why …`) or suppress a recipient (`bulksend suppressions add PHONE`); to settle unknown ones, "
        "`bulksend messages resolve`"
    )


def pause(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """Hold everything of it back. Says whether it was live before."""
    changed = (
        tx.execute(
            update(campaigns)
            .where(campaigns.c.id == id, campaigns.c.status.in_([s.value for s in LIVE]))
            .values(status=CampaignStatus.PAUSED.value, paused_at=db_now(), pause_why=why[:500])
        ).rowcount
        == 1
    )
    if changed:
        operator_log.record(tx, actor=actor, act="pause", scope="campaign", subject=id, why=why)
    return changed


def resume(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """Let it go on from where it stood. Says whether it was paused before."""
    intake_done = campaigns.c.intake_done_at.is_not(None)
    changed = 0
    for condition, status in ((intake_done, CampaignStatus.RUNNING), (~intake_done, CampaignStatus.INTAKE)):
        changed += tx.execute(
            update(campaigns)
            .where(campaigns.c.id == id, campaigns.c.status == CampaignStatus.PAUSED.value, condition)
            .values(status=status.value, paused_at=None, pause_why=None)
        ).rowcount
    if changed:
        operator_log.record(tx, actor=actor, act="resume", scope="campaign", subject=id, why=why)
    return changed == 1


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel stopped: messages that waited and that workers held. ``sending`` are under way and go on."""

    waiting: int
    held: int
    sending: int


def cancel(
    database: Database, id: str, *, actor: str, why: str, at_once: int = CANCELLED_AT_ONCE
) -> Cancelled | None:
    """End it: from the first commit on nothing more of it is claimed or begun to be sent. None: it had ended before.

    Its messages are ended after that, in transactions of their own, so that no worker waits for another and a crash
    leaves nothing undone: the relay ends what is left, also what exceeds ``at_once``. What a worker holds is ended in
    the ledger; the worker finds it gone when it asks to send it.
    """
    if not database.retrying(lambda tx: begin_cancel(tx, id, actor=actor, why=why)):
        return None
    waiting, held = _end_at_once(database, id, at_once)
    with database.read() as tx:
        left = statuses(tx, id)
    return Cancelled(
        waiting + sum(left.get(status.value, 0) for status in WAITING),
        held + left.get(Status.CLAIMED.value, 0),
        left.get(Status.SENDING.value, 0),
    )


def end_all(database: Database, campaign: Campaign) -> None:
    """End all of a cancelled campaign that has not begun to be sent, but for what another transaction holds now."""
    _end_at_once(database, campaign.id, campaign.messages)


def _end_at_once(database: Database, id: str, at_once: int) -> tuple[int, int]:
    """End up to ``at_once`` messages; how many waited, and how many were held by workers."""
    waiting = held = 0
    while waiting + held < at_once:
        some = min(CANCEL_CHUNK, at_once - waiting - held)
        of_waiting, of_held = database.retrying(lambda tx, some=some: _end_some(tx, id, some))  # type: ignore[misc]
        if not of_waiting + of_held:
            break
        waiting, held = waiting + of_waiting, held + of_held
    return waiting, held


def begin_cancel(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """The first step of ``cancel``, which decides it. Says whether it had not ended before. Raises as ``check_act``."""
    check_act(get(tx, id), "cancel")
    ended = [CampaignStatus.CANCELLED.value, CampaignStatus.FINISHED.value]
    changed = tx.execute(
        update(campaigns)
        .where(campaigns.c.id == id, campaigns.c.status.not_in(ended))
        .values(status=CampaignStatus.CANCELLED.value, ended_at=db_now())
    ).rowcount
    if changed:
        operator_log.record(tx, actor=actor, act="cancel", scope="campaign", subject=id, why=why)
    return changed == 1


def end_cancelled(tx: Connection, limit: int = 5000) -> int:
    """End what has not begun to be sent in cancelled campaigns: what a cancel left, what came in or came back to the
    queue after it. Says how many."""
    ended = 0
    found = tx.execute(
        select(campaigns.c.id).where(
            campaigns.c.status == CampaignStatus.CANCELLED.value, counters.number_in(NOT_BEGUN) > 0
        )
    )
    for id in found.scalars().all():
        ended += sum(_end_some(tx, str(id), limit - ended))
        if ended >= limit:
            break
    return ended


def _end_some(tx: Connection, id: str, limit: int) -> tuple[int, int]:
    """End up to ``limit`` messages of a cancelled campaign that have not begun to be sent, and none that another
    transaction holds, so that it waits for none; how many waited, and how many were held by workers."""
    by_index(tx)
    waiting = _end_found(
        tx,
        # In the order of the index of what waits, in its very words: a few of millions are read, not all of them.
        [text(f"messages.{WAITING_SQL}"), messages.c.campaign_id == id],
        [messages.c.due_at, messages.c.id],
        limit,
        WAITING,
    )
    held = _end_found(
        tx,
        [messages.c.campaign_id == id, messages.c.status == Status.CLAIMED.value],
        [messages.c.id],
        limit - waiting,
        frozenset({Status.CLAIMED}),
    )
    return waiting, held


def _end_found(
    tx: Connection,
    conditions: Sequence[ColumnElement[bool] | TextClause],
    order: Sequence[ColumnElement[Any]],
    limit: int,
    of: frozenset[Status],
) -> int:
    if limit <= 0:
        return 0
    found = tx.execute(
        select(cast(messages.c.id, Text))
        .where(*conditions)
        .order_by(*order)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return end_unsent(tx, found.scalars().all(), Status.CANCELLED, "campaign cancelled", of=of)


def retry_failed(tx: Connection, id: str, *, actor: str, why: str) -> int:
    """Queue again what failed before the vendor took it; never what was or may have been. Says how many.

    What a person resolved as failed has that person's word. OTP is left out: a code of an earlier hour helps
    nobody, and its content was wiped at its ending. Raises InvalidInput for a cancelled campaign.
    """
    campaign = get(tx, id)
    check_act(campaign, "retry")
    if campaign.status is CampaignStatus.CANCELLED:
        raise InvalidInput(
            f"campaign {id} is cancelled: nothing of it is sent any more. `bulksend send FILE … --continue {id}` sends "
            "to those who were not sent to, in a new campaign"
        )
    unhurried(tx)
    count = tx.execute(
        update(messages)
        .where(
            messages.c.campaign_id == id,
            messages.c.status == Status.FAILED.value,
            messages.c.kind != Kind.OTP.value,
            messages.c.payload.is_not(None),
            or_(messages.c.expires_at.is_(None), messages.c.expires_at > db_now()),
            text(NEVER_TAKEN),
        )
        .values(
            status=Status.QUEUED.value,
            tries=0,
            waits=0,
            rescues=0,
            ended_at=None,
            error=None,
            owner=None,
            due_at=db_now(),
            gate=None,
            gate_until=None,
        )
    ).rowcount
    if count:
        reopen_campaigns(tx, [id])
        operator_log.record(
            tx, actor=actor, act=f"retry {count} failed", scope="campaign", subject=id, why=why
        )
    return count


def finish_ended(tx: Connection) -> list[str]:
    """Mark running campaigns of which nothing can move by itself as finished; says which."""
    rows = tx.execute(
        update(campaigns)
        .where(
            campaigns.c.status == CampaignStatus.RUNNING.value,
            campaigns.c.key.not_like(DIRECT_PREFIX + "%"),
            counters.number_in(WAITING | HELD) == 0,
        )
        .values(status=CampaignStatus.FINISHED.value, ended_at=db_now())
        .returning(campaigns.c.id)
    )
    return [str(row.id) for row in rows]


def reopen_waiting(tx: Connection, within_ms: int = 86_400_000) -> list[str]:
    """Let finished campaigns run again of which a message waits after all; says which.

    A result that comes late moves its message back to the queue and reopens its campaign; where the two cross, the
    campaign was finished just after. Looks at what finished within a day.
    """
    found = tx.execute(
        select(campaigns.c.id).where(
            campaigns.c.status == CampaignStatus.FINISHED.value,
            campaigns.c.ended_at > db_now() - within_ms,
            counters.number_in(WAITING) > 0,
        )
    )
    ids = [str(id) for id in found.scalars()]
    if ids:
        reopen_campaigns(tx, ids)
    return ids


def _is_id(text: str) -> bool:
    import uuid

    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _campaign(row: RowMapping) -> Campaign:
    values = dict(row)
    values["kind"] = Kind(values["kind"])
    values["status"] = CampaignStatus(values["status"])
    values["on_unknown"] = OnUnknown(values["on_unknown"])
    return Campaign(**values)
