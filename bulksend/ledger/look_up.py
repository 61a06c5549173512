"""Messages by any of their ids or by their key: each look is one into an index, whatever the size of the ledger."""

from __future__ import annotations

from sqlalchemy import Connection, Select, or_, select, text

from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.campaigns import IS_DIRECT
from bulksend.ledger.database import prefer_indexes
from bulksend.ledger.ids import is_id
from bulksend.ledger.schema import EARLIER_ID_SQL, attempts, campaigns, messages, receipts

#: A key is looked for in the standing campaigns and in this many of the others, the newest: each is a look.
CAMPAIGNS_SEEN = 1_000


def messages_of(tx: Connection, given: str, limit: int) -> list[str]:
    """The ids of messages that have ``given`` as id, MessageId, RequestId or key, newest first."""
    prefer_indexes(tx)
    given = storable(given, 256)
    looks: list[Select[tuple[str]]] = [
        *with_message_id(given),
        *with_request_id(given),
        select(messages.c.id).where(messages.c.campaign_id.in_(_newest_campaigns()), messages.c.key == given),
        select(messages.c.id).where(messages.c.campaign_id.in_(_standing()), messages.c.key == given),
    ]
    if is_id(given):
        looks.append(select(messages.c.id).where(messages.c.id == given))
    found = {str(id) for look in looks for id in tx.execute(look.limit(limit)).scalars()}
    return sorted(found, reverse=True)[:limit]


def campaigns_of(tx: Connection, given: str, limit: int) -> list[str]:
    """The ids of campaigns with ``given`` as id, key or name, or within the name of one of the newest, newest first."""
    given = storable(given, 200)
    exactly = or_(campaigns.c.key == given, campaigns.c.name == given)
    found = {str(id) for id in tx.execute(select(campaigns.c.id).where(exactly).limit(limit)).scalars()}
    if is_id(given):
        is_it = campaigns.c.id == given
        found |= {str(id) for id in tx.execute(select(campaigns.c.id).where(is_it)).scalars()}
    newest = select(campaigns.c.id, campaigns.c.name).order_by(campaigns.c.id.desc()).limit(CAMPAIGNS_SEEN)
    within = given.casefold()
    found |= {str(id) for id, name in tx.execute(newest) if within in name.casefold()}
    return sorted(found, reverse=True)[:limit]


def with_message_id(given: str) -> list[Select[tuple[str]]]:
    """The ids of messages one of whose attempts or receipts has this MessageId: a look each."""
    return [
        select(messages.c.id).where(messages.c.message_id == given),
        select(attempts.c.message_pk).where(
            attempts.c.message_id == given, text(f"attempts.{EARLIER_ID_SQL}")
        ),
        select(receipts.c.message_pk).where(
            receipts.c.message_id == given, receipts.c.message_pk.is_not(None)
        ),
    ]


def with_request_id(given: str) -> list[Select[tuple[str]]]:
    """The ids of messages one of whose attempts has this RequestId, which the vendor writes in capitals."""
    spellings = sorted({given, given.upper(), given.lower()})
    return [select(attempts.c.message_pk).where(attempts.c.request_id == each) for each in spellings]


def _newest_campaigns() -> Select[tuple[str]]:
    newest = select(campaigns.c.id).order_by(campaigns.c.id.desc()).limit(CAMPAIGNS_SEEN).subquery()
    return select(newest.c.id)


def _standing() -> Select[tuple[str]]:
    return select(campaigns.c.id).where(IS_DIRECT)
