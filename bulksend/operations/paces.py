"""How fast a sender may send now, after the vendor throttled it, and the changes of that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from bulksend import bootstrap
from bulksend.ledger import paces
from bulksend.ledger.database import Database
from bulksend.operations.json_shape import to_json
from bulksend.settings import Settings

_FIELDS = ("at", "actor", "scope", "subject", "why", "before", "after")


def pace_now(of: Settings, database: Database, sender: str) -> float | None:
    """The part of its rate that a sender may use now, by the limiter; None where Redis does not say."""
    if of.redis_url is None:
        return None
    import redis

    try:
        return round(bootstrap.limiter(of, database).pace_of(sender), 3)
    except (redis.RedisError, OSError):
        return None


def changes_of(
    tx: Connection, senders: Iterable[str], account: str, *, since: int = 0
) -> list[dict[str, Any]]:
    """The newest changes of the pace of these senders and of the account, newest first."""
    found = paces.newest(tx, senders, account, since=since)
    return [to_json({name: getattr(act, name) for name in _FIELDS}) for act in found]
