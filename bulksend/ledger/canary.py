"""The canary of a campaign in the ledger: which messages are its slice, and what holds the rest.

``campaigns.held_after`` is an id: relay and workers leave messages of the campaign with a later id alone. It is only
ever raised, from the lowest id to that of the slice's last message, and then cleared; so what a worker has claimed
stays allowed.
"""

from __future__ import annotations

from sqlalchemy import Connection, Update, func, literal, select, update

from bulksend.ledger import counters, operator_log, pauses
from bulksend.ledger.campaigns import IS_ACTIVE, Campaign, read_all
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import prefer_indexes
from bulksend.ledger.schema import Id, campaigns, messages
from bulksend.messaging.canary import CanaryRules, CanaryState, Next, Slice, judge, slice_of, slice_size
from bulksend.messaging.sentences import say
from bulksend.messaging.states import LEFT, SENT, Status

_OPEN = (CanaryState.PENDING, CanaryState.SENDING)
#: Most messages of the slice are found by their status; these are the ones whose POST may have had a result.
_LEFT = [status.value for status in sorted(LEFT)]
_TRIED = sorted(SENT | {Status.FAILED, Status.UNKNOWN})


def undecided(tx: Connection) -> list[Campaign]:
    """The active campaigns whose canary is not over."""
    is_undecided = campaigns.c.canary_state.in_([state.value for state in _OPEN])
    return read_all(tx, select(campaigns).where(IS_ACTIVE, is_undecided))


def advance(tx: Connection, campaign: Campaign, rules: CanaryRules, *, actor: str) -> Next:
    """Begin its slice when all rows are stored, then decide by its counts; returns what was decided."""
    if campaign.canary_state is CanaryState.PENDING:
        return _begin(tx, campaign, actor=actor)
    found = look(tx, campaign)
    follows, why = judge(found, rules, read_clock(tx))
    if follows is Next.GO:
        _pass(tx, campaign, say("passed: {why}", why=why), actor=actor)
    elif follows is Next.PAUSE:
        failed = say("canary failed: {why}; a resume sends the rest", why=why)
        if pauses.pause_campaign(tx, campaign.id, actor=actor, why=failed):
            tx.execute(_from(campaign, canary_state=CanaryState.FAILED.value))
    return follows


def look(tx: Connection, campaign: Campaign) -> Slice:
    """The slice of a campaign whose canary is being sent or failed."""
    prefer_indexes(tx)
    assert campaign.held_after is not None
    m = messages.c
    in_slice = (m.campaign_id == campaign.id) & (m.id <= literal(campaign.held_after, Id))
    left_of_slice = select(func.count()).select_from(messages).where(in_slice, m.status.in_(_LEFT))
    # One statement: a message that moves between two would be in neither count, and the slice too small.
    columns = [counters.messages_in([status]).label(status.value) for status in _TRIED]
    found = tx.execute(
        select(left_of_slice.scalar_subquery().label("left"), *columns).where(campaigns.c.id == campaign.id)
    ).one()
    left, *tried = (int(count) for count in found)
    sent_ms = None
    if not left:
        sent_ms = tx.execute(select(func.max(m.sent_at)).where(in_slice, m.status.in_(_TRIED))).scalar()
    statuses = dict(zip(_TRIED, tried, strict=True))
    return slice_of(left + sum(tried), left, statuses, sent_ms)


def _begin(tx: Connection, campaign: Campaign, *, actor: str) -> Next:
    if campaign.intake_done_at is None:
        return Next.WAIT
    prefer_indexes(tx)
    waiting = counters.of(tx, [campaign.id])[campaign.id].statuses.get(Status.QUEUED.value, 0)
    assert campaign.canary is not None
    size = slice_size(campaign.canary, waiting)
    if size == waiting:
        _pass(tx, campaign, "it is the whole campaign", actor=actor)
        return Next.GO
    m = messages.c
    ids = select(m.id).where(m.campaign_id == campaign.id, m.status == Status.QUEUED.value).order_by(m.id)
    last = tx.execute(ids.offset(size - 1).limit(1)).scalar_one()
    begun = _from(campaign, canary_state=CanaryState.SENDING.value, held_after=str(last))
    _record(tx, begun, campaign, f"the first {size:,} of {waiting:,} messages", actor=actor)
    return Next.WAIT


def _pass(tx: Connection, campaign: Campaign, why: str, *, actor: str) -> None:
    passed = _from(campaign, canary_state=CanaryState.PASSED.value, held_after=None)
    _record(tx, passed, campaign, why, actor=actor)


def _from(campaign: Campaign, **values: object) -> Update:
    """The change of a canary that is as it was read."""
    c = campaigns.c
    return (
        update(campaigns)
        .where(c.id == campaign.id, c.canary_state == str(campaign.canary_state))
        .values(**values)
    )


def _record(tx: Connection, change: Update, campaign: Campaign, why: str, *, actor: str) -> None:
    operator_log.apply(tx, change, actor=actor, act="canary", scope="campaign", subject=campaign.id, why=why)
