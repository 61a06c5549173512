"""The real parts of a command, put together from the settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulksend.ledger.campaigns import Campaign
    from bulksend.ledger.database import Database
    from bulksend.settings import Settings
    from producer.intake import Intake
    from producer.relay import Relay


def intake(
    of: Settings,
    database: Database,
    *,
    progress: Callable[[int], None],
    began: Callable[[Campaign], None] = lambda campaign: None,
    between: Callable[[], None] = lambda: None,
) -> Intake:
    """Takes rows into this ledger; tells Redis where there is one, and leaves the rest to the relay."""
    from bulksend.ledger.encryption import Cipher
    from bulksend.ledger.intake import encrypt_all, encrypt_otp_only
    from bulksend.ledger.key_file import encryption_keys
    from producer.intake import Intake
    from producer.publisher import ImpatientPublisher, NoPublisher, Publisher, RedisPublisher

    publisher: Publisher = NoPublisher()
    if of.redis_url is not None:
        publisher = ImpatientPublisher(RedisPublisher(of.redis_url_text(), batch_size=of.batch_size))
    return Intake(
        database,
        publisher,
        Cipher.from_text(encryption_keys(of)),
        encrypts=encrypt_all if of.encrypt == "all" else encrypt_otp_only,
        chunk=of.intake_chunk,
        batch_size=of.batch_size,
        default_rate=of.default_rate,
        progress=progress,
        began=began,
        between=between,
    )


def relay(of: Settings) -> Relay:
    """A relay between this ledger and this Redis."""
    from bulksend.clock import RemoteClock
    from bulksend.errors import RedisUnreachable
    from bulksend.ledger.database import Database
    from bulksend.redis_client import open_redis
    from ops.cli.context import check_ledger_is_chosen
    from producer.publisher import RedisPublisher
    from producer.relay import Relay, RelaySettings

    if of.redis_url is None:
        raise RedisUnreachable("REDIS_URL is not set; the relay publishes what is due to Redis")
    check_ledger_is_chosen(of)
    clock = RemoteClock()
    return Relay(
        Database.from_settings(of, by_key=True),
        open_redis(of.redis_url_text()),
        RedisPublisher(of.redis_url_text(), batch_size=of.batch_size, timeout_s=2.0, wall_ms=clock),
        RelaySettings(
            window_seconds=of.window_seconds,
            republish_seconds=of.republish_seconds,
            interval_seconds=of.relay_interval_seconds,
            batch_size=of.batch_size,
            resend_wait_ms=int(of.resend_wait_seconds * 1000),
        ),
        clock=clock,
    )


def watch_campaign(
    of: Settings, database: Database, id: str, *, live: bool, between: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Wait until every message of a campaign has ended; shows it live on a terminal. Its statuses at the end."""
    from ops.watching import Watch, follow

    watch = Watch(database, [id])
    follow(watch, sys.stderr if live else None, between=between)
    return watch.statuses(id)
