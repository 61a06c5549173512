"""What stops a message from going out now: one list, for doctor, send and campaigns show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulksend import bootstrap
from bulksend.messaging.units import format_in_zone

if TYPE_CHECKING:
    import redis
    from sqlalchemy import Connection

    from bulksend.ledger.campaigns import Campaign
    from bulksend.ledger.database import Database
    from bulksend.settings import Settings

#: Less room than this on a disk is said, in bytes: a busy ledger writes it within minutes.
LEAST_ROOM = 200 * 2**20
#: A Redis fuller than this is worth a look before it refuses.
NEARLY_FULL = 0.9
RELAY = "relay"


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing that holds messages back, and what to do about it."""

    about: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.about}: {self.found}; {self.remedy}"


def stops_now(of: Settings, database: Database, campaign: Campaign | None = None) -> list[Stop]:
    """All that can be seen from here. With a ``campaign`` only what holds that one back.

    Where REDIS_URL is not set here, others may have it. Raises LedgerUnreachable, LedgerUnfit.
    """
    by_redis = [] if of.redis_url is None else look_at_redis(of).stops
    return [*ledger_stops(of, database, campaign), *by_redis]


def ledger_stops(of: Settings, database: Database, campaign: Campaign | None = None) -> list[Stop]:
    """By the ledger, the keys, the disks, and the limiter whose keys are made of the ledger's.

    Raises LedgerUnreachable, LedgerUnfit.
    """
    with database.in_our_words(), database.read() as tx:
        found = [
            *_pauses(tx, of, campaign),
            *_nobody_works(tx),
            *_missing_keys(tx, of, campaign),
            *_full_disks(of, database),
        ]
    # Redis is asked outside of the transaction: where it is away, that takes seconds.
    return [*found, *_outage(of, database)]


@dataclass(frozen=True, slots=True)
class RedisLook:
    """What stops messages at Redis; ``info`` is what it tells of itself, None where it does not do its work."""

    stops: list[Stop]
    info: Mapping[str, Any] | None


def look_at_redis(of: Settings) -> RedisLook:
    """Do what workers and relay do with it, and look whether a relay leads. Never raises for what it finds."""
    import redis

    from bulksend.broker import LEADER_KEY, do_all, eviction

    stops: list[Stop] = []
    try:
        with bootstrap.redis_client(of) as client:
            client.ping()
            info = _info(client)
            stops += _redis_room(info)
            found = eviction(client)
            if found is not None:
                stops.append(Stop("Redis memory", found.what, found.remedy))
            do_all(client)
            if client.get(LEADER_KEY) is None:
                stops.append(
                    Stop(RELAY, "none leads: scheduled messages stay in the ledger", "bulksend relay")
                )
    except (redis.RedisError, OSError) as error:
        # What was found already, such as that it is a replica, is why.
        return RedisLook(stops or [_redis_trouble(of, error)], None)
    return RedisLook(stops, info)


def _info(client: redis.Redis) -> Mapping[str, Any]:
    """What it tells of itself; nothing where that is forbidden."""
    import redis

    try:
        found: Mapping[str, Any] = client.info()
    except redis.ResponseError:
        return {}
    return found


def _redis_trouble(of: Settings, error: Exception) -> Stop:
    from bulksend.broker import trouble_of

    trouble = trouble_of(error)
    return Stop("Redis", f"{of.redis_address()}: {trouble.what}", trouble.remedy)


def _redis_room(info: Mapping[str, Any]) -> Iterator[Stop]:
    """What keeps it from taking jobs: a full memory, a disk that failed, being a replica."""
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if most and used > most * NEARLY_FULL:
        yield Stop(
            "Redis memory",
            f"{used / 2**20:.0f} of {most / 2**20:.0f} MiB are used: once full it takes no jobs",
            "raise maxmemory, or look for what else is kept in it: redis-cli --bigkeys",
        )
    if info.get("role") == "slave":
        yield Stop("Redis role", "it is a replica and takes no jobs", "set REDIS_URL to the primary")
    failed = [
        what
        for what, field in (
            ("append-only file", "aof_last_write_status"),
            ("snapshot", "rdb_last_bgsave_status"),
        )
        if info.get(field, "ok") != "ok"
    ]
    if failed:
        yield Stop(
            "Redis disk",
            f"the last write of its {' and '.join(failed)} failed: it may refuse jobs",
            "free its disk; see redis-cli INFO persistence and its log",
        )


def _outage(of: Settings, database: Database) -> Iterator[Stop]:
    """The breaker that the workers share. Where Redis does not answer that is said elsewhere."""
    import redis

    from bulksend.ledger.database import instant
    from ops.why import last_answers

    if of.redis_url is None:
        return
    try:
        is_open = bootstrap.limiter(of, database).breaker_is_open()
    except (redis.RedisError, OSError):
        return
    if is_open:
        with database.in_our_words(), database.read() as tx:
            answers = last_answers(tx, instant(tx))
        yield Stop(
            "vendor",
            f"POSTs fail, so one at a time is tried; its last answers: {answers}",
            "`bulksend doctor` asks the vendor itself; it goes on once a POST goes well",
        )


def _pauses(tx: Connection, of: Settings, campaign: Campaign | None) -> Iterator[Stop]:
    from bulksend.ledger import pauses, senders

    zone = (campaign.timezone if campaign is not None else None) or of.timezone or "UTC"
    account = pauses.account_pause(tx, of.account())
    if account is not None:
        yield Stop(
            "account",
            f"paused since {_since(account[0], zone)}: {account[1]}",
            'bulksend account resume --why "…" once the cause is mended',
        )
    for sender in senders.all_senders(tx):
        if sender.paused_at is not None and (campaign is None or campaign.sender == sender.phone):
            yield Stop(
                "sender",
                f"{sender.phone} is paused since {_since(sender.paused_at, zone)}: {sender.pause_why}",
                f'bulksend senders resume {sender.phone} --why "…"',
            )
    if campaign is not None and campaign.paused_at is not None:
        yield Stop(
            "campaign",
            f"{campaign.name} is paused since {_since(campaign.paused_at, zone)}: {campaign.pause_why}",
            f'bulksend campaigns resume {campaign.id} --why "…"',
        )


def _since(ms: int, zone: str) -> str:
    return f"{format_in_zone(ms, zone)} ({zone})"


def _nobody_works(tx: Connection) -> Iterator[Stop]:
    from bulksend.ledger import leases

    if not leases.alive(tx):
        yield Stop(
            "workers",
            "no worker is at work: nothing goes out",
            "bulksend worker and bulksend relay, or bulksend up",
        )


def _missing_keys(tx: Connection, of: Settings, campaign: Campaign | None) -> Iterator[Stop]:
    from bulksend.ledger import campaigns, due

    cipher = bootstrap.cipher(of)
    for each in campaigns.active(tx) if campaign is None else [campaign]:
        if any(not cipher.has_key_of(payload) for payload in due.next_payloads(tx, each.id)):
            yield Stop(
                "encryption key",
                f"messages of {each.name} are encrypted with a key that is not set",
                "add the old key to BULKSEND_ENCRYPTION_KEY of every process, behind a comma",
            )
            return


def _full_disks(of: Settings, database: Database) -> Iterator[Stop]:
    places = {"spool": Path(of.spool_dir)}
    if database.is_sqlite and database.url.database:
        places["ledger"] = Path(database.url.database).parent
    for name, place in places.items():
        there = next((folder for folder in (place, *place.absolute().parents) if folder.is_dir()), None)
        if there is None:
            continue
        free = shutil.disk_usage(there).free
        if free < LEAST_ROOM:
            yield Stop(f"{name} disk", f"{free / 2**20:.0f} MiB are free at {there}", "make room")
