"""Campaigns: read them, and change their status as their messages end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, false, func, select, update

from bulksend.errors import CampaignNotFound
from bulksend.ledger import counters
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import among, first, newest_first
from bulksend.ledger.ids import is_id
from bulksend.ledger.schema import campaigns, refusals
from bulksend.messaging.canary import CanaryState
from bulksend.messaging.finish_forecast import OtherCampaign
from bulksend.messaging.states import LEFT, WAITING, CampaignStatus, Kind, OnUnknown, Status
from bulksend.messaging.units import NEVER_MS

#: Messages of campaigns in these statuses may be sent, now or when they are due.
ACTIVE = (CampaignStatus.INTAKE, CampaignStatus.RUNNING)
#: Messages in these statuses have not been sent and are not being sent.
NOT_STARTED = WAITING | {Status.CLAIMED}
#: Begins the key of the standing campaign of a kind.
DIRECT_PREFIX = "direct:"
#: Begins the key of the standing campaign of the test sends of a kind.
TEST_PREFIX = DIRECT_PREFIX + "test:"
#: SQL: the campaign is active; it is active or paused; it is the standing one of direct sends.
IS_ACTIVE = campaigns.c.status.in_([status.value for status in ACTIVE])
IS_LIVE = campaigns.c.status.in_([*(status.value for status in ACTIVE), CampaignStatus.PAUSED.value])
IS_DIRECT = campaigns.c.key.startswith(DIRECT_PREFIX)


@dataclass(frozen=True, slots=True)
class CampaignOptions:
    """What a producer chooses; instants in ms since the epoch, ``rate`` in messages/s."""

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
    exclusions: str | None = field(default=None, kw_only=True)
    """``Exclusions`` as JSON."""
    canary: str | None = field(default=None, kw_only=True)
    """Its first slice, as ``parse_canary`` has it; None: it has no canary."""
    max_failed: float | None = field(default=None, kw_only=True)
    """The share of failures that pauses it, 1 for never; None: the installation's."""
    weight: int | None = field(default=None, kw_only=True)
    """Its part beside the other campaigns of its sender; None: 1."""


@dataclass(frozen=True, slots=True)
class Campaign(CampaignOptions):
    """A row of the table."""

    id: str
    status: CampaignStatus
    created_at: int
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
    moved_from: int | None = None
    """Its due time before, while messages of it still have it."""
    retry_until: int | None = None
    """Its messages that failed until then are being queued again."""
    retry_after: str | None = None
    """The last message that the retry looked at."""
    local_time: str | None = None
    """When its messages are due by the recipients' clocks (``09:00``); None: at ``due_at``."""
    canary_state: CanaryState | None = None
    held_after: str | None = None
    """Its messages with a later id stay unsent until its canary passes; None: all may be sent."""

    @property
    def is_unscheduled(self) -> bool:
        """Whether it was taken off its schedule: it is paused until it gets a due time."""
        return self.due_at >= NEVER_MS

    @property
    def is_direct(self) -> bool:
        """Whether it is the standing campaign of the direct sends of a kind."""
        return self.key.startswith(DIRECT_PREFIX)

    @property
    def is_test(self) -> bool:
        """Whether it is the standing campaign of test sends."""
        return self.key.startswith(TEST_PREFIX)


def by_key(tx: Connection, key: str) -> Campaign | None:
    """The campaign of an idempotency key, None where there is none."""
    return first(tx, select(campaigns).where(campaigns.c.key == key), _made)


def get(tx: Connection, id: str) -> Campaign:
    """The campaign of an id. Raises CampaignNotFound when there is none."""
    found = first(tx, select(campaigns).where(campaigns.c.id == id), _made)
    if found is None:
        raise CampaignNotFound(f"there is no campaign {id}; `bulksend campaigns list` shows them")
    return found


def find(tx: Connection, name_or_id: str) -> Campaign:
    """The campaign of an id, or of a name that only one has. Raises CampaignNotFound when there is no such campaign."""
    if is_id(name_or_id):
        return get(tx, name_or_id)
    found = read_all(tx, select(campaigns).where(_is_named(name_or_id)).order_by(campaigns.c.id.desc()))
    if len(found) == 1:
        return found[0]
    if not found:
        raise CampaignNotFound(
            f"there is no campaign with the id or name {name_or_id!r}; `bulksend campaigns list` shows them"
        )
    ids = ", ".join(campaign.id for campaign in found[:5])
    raise CampaignNotFound(f"{len(found)} campaigns are named {name_or_id!r}; name one by its id: {ids}")


def _is_named(name: str) -> ColumnElement[bool]:
    """SQL: whether the name is that."""
    return campaigns.c.name == name if _can_be_in_a_name(name) else false()


def _has_in_its_name(text: str) -> ColumnElement[bool]:
    """SQL: whether the name has that in it. SQLite knows upper and lower case of ASCII only."""
    return campaigns.c.name.icontains(text, autoescape=True) if _can_be_in_a_name(text) else false()


def _can_be_in_a_name(text: str) -> bool:
    """No name has a NUL or half of a character, which a database may refuse to read."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text))


def names_of(tx: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The names of campaigns, by id."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    found = select(campaigns.c.id, campaigns.c.name).where(among(tx, campaigns.c.id, wanted))
    return {str(id): name for id, name in tx.execute(found)}


def count_named(tx: Connection, name: str) -> int:
    """How many campaigns have that name."""
    return int(tx.execute(select(func.count()).where(campaigns.c.name == name)).scalar_one())


def by_ids(tx: Connection, ids: Iterable[str]) -> dict[str, Campaign]:
    """Those of the ids that exist, by id."""
    found = read_all(tx, select(campaigns).where(campaigns.c.id.in_(list(ids))))
    return {campaign.id: campaign for campaign in found}


def newest(
    tx: Connection,
    limit: int = 50,
    *,
    before: str | None = None,
    status: CampaignStatus | None = None,
    kind: Kind | None = None,
    sender: str | None = None,
    name: str | None = None,
    within: str | None = None,
) -> list[Campaign]:
    """The campaigns created last, newest first; only those before the id ``before`` and with the given values.

    ``within``: a part of the name, in either case.
    """
    query = newest_first(select(campaigns), campaigns.c.id, limit, before)
    for column, wanted in (("status", status), ("kind", kind), ("sender", sender)):
        if wanted is not None:
            query = query.where(campaigns.c[column] == str(wanted))
    if name is not None:
        query = query.where(_is_named(name))
    if within is not None:
        query = query.where(_has_in_its_name(within))
    return read_all(tx, query)


def active_paces(tx: Connection) -> dict[str, tuple[float | None, int]]:
    """Rate and weight of each campaign in one of the statuses ACTIVE, by its id."""
    found = tx.execute(select(campaigns.c.id, campaigns.c.rate, campaigns.c.weight).where(IS_ACTIVE))
    return {str(id): (rate, weight or 1) for id, rate, weight in found}


def active(tx: Connection) -> list[Campaign]:
    """Every campaign in one of the statuses ACTIVE, oldest first."""
    return read_all(tx, select(campaigns).where(IS_ACTIVE).order_by(campaigns.c.id))


def open_ones(tx: Connection) -> list[Campaign]:
    """Every active or paused campaign but those of direct sends."""
    return read_all(tx, select(campaigns).where(IS_LIVE, ~IS_DIRECT))


def last_ended(tx: Connection, limit: int, *, within_ms: int, looked_at: int = 500) -> list[Campaign]:
    """The campaigns that ended within this time, the last first; only the newest ``looked_at`` are looked at."""
    c = campaigns.c
    looked = select(c.id).order_by(c.id.desc()).limit(looked_at)
    query = select(campaigns).where(c.id.in_(looked), c.ended_at > current_ms() - within_ms)
    return read_all(tx, query.order_by(c.ended_at.desc()).limit(limit))


def beside(tx: Connection, sender: str, *, without: str | None = None) -> list[OtherCampaign]:
    """What the active campaigns of a sender have left, for the forecast of another one, ``without``."""
    query = select(campaigns).where(IS_ACTIVE, campaigns.c.sender == sender).order_by(campaigns.c.id)
    found = [each for each in read_all(tx, query) if each.id != without]
    counts = counters.of(tx, [each.id for each in found])
    left = {id: sum(n for status, n in of.statuses.items() if status in LEFT) for id, of in counts.items()}
    return [
        OtherCampaign(each.kind, left[each.id], each.rate, each.due_at, each.weight or 1) for each in found
    ]


def status_counts(tx: Connection, id: str) -> dict[str, int]:
    """How many messages of a campaign are in each status; without the statuses that none is in."""
    return counters.of(tx, [id])[id].statuses


def refused_rows(
    tx: Connection, id: str, limit: int | None = None, *, after: int | None = None
) -> Iterator[RowMapping]:
    """The rows that intake refused, in the order of the file: row, field, value, why; memory stays flat.

    ``after``: only those behind that row. A row is refused once.
    """
    query = (
        select(refusals.c.row, refusals.c.field, refusals.c.value, refusals.c.why)
        .where(refusals.c.campaign_id == id)
        .order_by(refusals.c.row, refusals.c.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(refusals.c.row > after)
    yield from tx.execute(query.execution_options(yield_per=5000)).mappings()


def finish_intake(tx: Connection, id: str) -> None:
    """Mark that all rows are stored. A paused campaign stays paused."""
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == id, campaigns.c.intake_done_at.is_(None))
        .values(intake_done_at=current_ms())
    )
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == id, campaigns.c.status == CampaignStatus.INTAKE.value)
        .values(status=CampaignStatus.RUNNING.value)
    )


def finish_ended(tx: Connection) -> list[str]:
    """Finish each running campaign whose messages have all ended; returns their ids."""
    rows = tx.execute(
        update(campaigns)
        .where(
            campaigns.c.status == CampaignStatus.RUNNING.value,
            ~IS_DIRECT,
            campaigns.c.retry_until.is_(None),
            counters.messages_in(LEFT) == 0,
        )
        .values(status=CampaignStatus.FINISHED.value, ended_at=current_ms())
        .returning(campaigns.c.id)
    )
    return [str(row.id) for row in rows]


def reopen_waiting(tx: Connection, within_ms: int = 86_400_000) -> list[str]:
    """Reopen campaigns that finished within this time and have a waiting message; returns their ids.

    A late result moves its message back to the queue and reopens the campaign. Where ``finish_ended`` commits just
    after that, the campaign is finished although the message waits.
    """
    found = tx.execute(
        select(campaigns.c.id).where(
            campaigns.c.status == CampaignStatus.FINISHED.value,
            campaigns.c.ended_at > current_ms() - within_ms,
            counters.messages_in(WAITING) > 0,
        )
    )
    ids = [str(id) for id in found.scalars()]
    if ids:
        reopen(tx, ids)
    return ids


def reopen(tx: Connection, ids: Sequence[str]) -> None:
    """Run finished campaigns again, because one of their messages waits again."""
    tx.execute(
        update(campaigns)
        .where(among(tx, campaigns.c.id, ids), campaigns.c.status == CampaignStatus.FINISHED.value)
        .values(status=CampaignStatus.RUNNING.value, ended_at=None)
    )


def read_all(tx: Connection, query: Select[Any]) -> list[Campaign]:
    """The campaigns that a query of whole rows finds."""
    return [_made(**row) for row in tx.execute(query).mappings()]


def _made(kind: str, status: str, on_unknown: str, canary_state: str | None, **rest: Any) -> Campaign:
    return Campaign(
        kind=Kind(kind),
        status=CampaignStatus(status),
        on_unknown=OnUnknown(on_unknown),
        canary_state=None if canary_state is None else CanaryState(canary_state),
        **rest,
    )
