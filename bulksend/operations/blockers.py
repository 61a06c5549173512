"""Blockers: what keeps messages from going out now. One list for `doctor`, `send` and `campaigns show`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from bulksend import bootstrap
from bulksend.ledger import campaigns, due, leases, pauses, progress, senders
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database
from bulksend.messaging.canary import CanaryState
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.sentences import say
from bulksend.messaging.units import format_in_zone
from bulksend.settings import Settings

if TYPE_CHECKING:
    import redis

#: Less free space than this is a blocker, in bytes: a busy ledger fills it within minutes.
LEAST_FREE = 200 * 2**20
#: A Redis that uses more of its memory than this is a blocker before it refuses jobs.
NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: whether it is well, what was found, and the remedy where it is not."""

    about: str
    well: bool
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.about}: {self.found}; {self.remedy}"

    def masked(self) -> Check:
        """The same for a reader who sees no numbers: words of a person may name one."""
        return replace(self, found=mask_digits(self.found))


def blocker(about: str, found: str, remedy: str) -> Check:
    """A check that is not well."""
    return Check(about, False, found, remedy)


def find_blockers(of: Settings, database: Database, campaign: Campaign | None = None) -> list[Check]:
    """All blockers that can be seen from here; with a ``campaign`` only those that hold its messages.

    Where REDIS_URL is not set, Redis is not checked: another machine may have it. Raises LedgerUnreachable,
    LedgerUnfit.
    """
    return known_blockers(of, database, None if of.redis_url is None else check_redis(of), campaign)


def known_blockers(
    of: Settings, database: Database, redis: RedisCheck | None, campaign: Campaign | None = None
) -> list[Check]:
    """As ``find_blockers``, with what was found of Redis."""
    return [*ledger_blockers(of, database, campaign), *(() if redis is None else redis.blockers)]


def ledger_blockers(of: Settings, database: Database, campaign: Campaign | None = None) -> list[Check]:
    """Blockers in the ledger, the keys, the disks, and the limiter, whose keys are made of the ledger's.

    Raises LedgerUnreachable, LedgerUnfit.
    """
    with database.translated_errors(), database.read() as tx:
        found = recorded_blockers(tx, of, database, campaign)
    # Redis is asked outside of the transaction: where it is away, that takes seconds.
    return [*found, *_outage(of, database)]


def recorded_blockers(
    tx: Connection, of: Settings, database: Database, campaign: Campaign | None = None
) -> list[Check]:
    """Those of the ledger, the keys and the disks, without a look at Redis."""
    return [
        *_pauses(tx, of, campaign),
        *_no_worker(tx),
        *_missing_keys(tx, of, campaign),
        *_full_disks(of, database),
    ]


def without_recorded(found: Iterable[Check]) -> list[Check]:
    """Of the blockers of an installation those that are not in the ledger: Redis, the relay, the vendor."""
    return [each for each in found if each.about in ("relay", "vendor") or each.about.startswith("Redis")]


@dataclass(frozen=True, slots=True)
class RedisCheck:
    """The blockers at Redis, its INFO (None where it does not work), and whether a relay leads."""

    blockers: list[Check]
    info: Mapping[str, Any] | None
    relay_leads: bool = False


def check_redis(of: Settings) -> RedisCheck:
    """Make the calls that workers and relay make, and look for the relay's lock. Does not raise for what it finds."""
    import redis

    from bulksend.broker import LEADER_KEY, eviction_problem, problem_of, try_commands

    blockers: list[Check] = []
    try:
        with bootstrap.redis_client(of) as client:
            client.ping()
            info = _info(client)
            blockers += _redis_state(info)
            found = eviction_problem(client)
            if found is not None:
                blockers.append(blocker("Redis memory", found.what, found.remedy))
            try_commands(client)
            leads = client.exists(LEADER_KEY) == 1
    except (redis.RedisError, OSError) as error:
        problem = problem_of(error)
        # A blocker found before, such as that it is a replica, is the cause.
        return RedisCheck(
            blockers or [blocker("Redis", f"{of.redis_address()}: {problem.what}", problem.remedy)], None
        )
    if not leads:
        blockers.append(
            blocker("relay", say("no relay is running: scheduled messages wait"), say("start bulksend relay"))
        )
    return RedisCheck(blockers, info, leads)


def _info(client: redis.Redis) -> Mapping[str, Any]:
    """Its INFO; empty where that is forbidden."""
    import redis

    try:
        found: Mapping[str, Any] = client.info()
    except redis.ResponseError:
        return {}
    return found


def _redis_state(info: Mapping[str, Any]) -> Iterator[Check]:
    """Reasons for which it refuses jobs: a full memory, a failed disk, being a replica."""
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if most and used > most * NEARLY_FULL:
        yield blocker(
            "Redis memory",
            say(
                "{used} of {most} MiB are used: once full it takes no jobs",
                used=f"{used / 2**20:.0f}",
                most=f"{most / 2**20:.0f}",
            ),
            say("raise maxmemory, or look for other data in it: redis-cli --bigkeys"),
        )
    if info.get("role") == "slave":
        yield blocker(
            "Redis role", say("it is a replica and takes no jobs"), say("set REDIS_URL to the primary")
        )
    files = {"append-only file": "aof_last_write_status", "snapshot": "rdb_last_bgsave_status"}
    failed = [file for file, field in files.items() if info.get(field, "ok") != "ok"]
    if failed:
        yield blocker(
            "Redis disk",
            say("the last write of its {files} failed: it may refuse jobs", files=" and ".join(failed)),
            say("free disk space for it; see redis-cli INFO persistence and its log"),
        )


def _outage(of: Settings, database: Database) -> Iterator[Check]:
    """The circuit breaker that the workers share. Where Redis does not answer, ``check_redis`` reports it."""
    if of.redis_url is None:
        return
    import redis

    try:
        is_open = bootstrap.limiter(of, database).circuit_breaker_is_open()
    except (redis.RedisError, OSError):
        return
    if is_open:
        with database.translated_errors(), database.read() as tx:
            replies = progress.recent_replies(tx)
        yield blocker(
            "vendor",
            say("POSTs fail, so one at a time is tried; the last replies: {replies}", replies=replies),
            say("`bulksend doctor` asks the vendor itself; sending goes on after a POST that succeeds"),
        )


def _pauses(tx: Connection, of: Settings, campaign: Campaign | None) -> Iterator[Check]:
    zone = (campaign.timezone if campaign is not None else None) or of.timezone or "UTC"

    account = pauses.account_pause(tx, of.account())
    if account is not None:
        yield blocker(
            "account",
            paused_since(say("the account"), account[0], zone, account[1]),
            say('remove the cause, then bulksend account resume --why "…"'),
        )
    for sender in senders.all_senders(tx):
        if sender.paused_at is not None and (campaign is None or campaign.sender == sender.phone):
            yield blocker(
                "sender",
                paused_since(sender.phone, sender.paused_at, zone, sender.pause_why),
                say('bulksend senders resume {phone} --why "…"', phone=sender.phone),
            )
    if campaign is not None and campaign.paused_at is not None:
        yield blocker(
            "campaign",
            paused_since(campaign.name, campaign.paused_at, zone, campaign.pause_why),
            _way_on(campaign),
        )
    elif campaign is not None and campaign.held_after is not None:
        yield blocker(
            "canary",
            say("all rows are stored first, then its first messages are sent")
            if campaign.canary_state is CanaryState.PENDING
            else say(
                "the first {size} of its messages are sent; the others wait for the receipts of these",
                size=campaign.canary,
            ),
            say("it goes on or pauses by itself"),
        )


def paused_since(what: str, at: int, zone: str, why: str | None) -> str:
    """That a campaign, a sender or the account is paused, since when in ``zone``, and why."""
    since = f"{format_in_zone(at, zone)} ({zone})"
    return say("{what} has been paused since {since}: {why}", what=what, since=since, why=why)


def _way_on(campaign: Campaign) -> str:
    if campaign.is_unscheduled:
        return say("bulksend campaigns set {id} --at TIME", id=campaign.id)
    return say('bulksend campaigns resume {id} --why "…"', id=campaign.id)


def _no_worker(tx: Connection) -> Iterator[Check]:
    if not leases.alive(tx):
        yield blocker(
            "workers",
            say("no worker is running: nothing is sent"),
            say("start bulksend worker and bulksend relay, or bulksend up"),
        )


def _missing_keys(tx: Connection, of: Settings, campaign: Campaign | None) -> Iterator[Check]:
    cipher = bootstrap.cipher(of)
    for each in campaigns.active(tx) if campaign is None else [campaign]:
        if any(not cipher.has_key_of(payload) for payload in due.next_payloads(tx, each.id)):
            yield blocker(
                "encryption key",
                say("messages of {name} are encrypted with a key that is not set", name=each.name),
                say("append the old key, after a comma, to BULKSEND_ENCRYPTION_KEY of every process"),
            )
            return


def _full_disks(of: Settings, database: Database) -> Iterator[Check]:
    paths = {"spool": Path(of.spool_dir), "upload": Path(of.upload_dir)}
    if database.is_sqlite and database.url.database:
        paths["ledger"] = Path(database.url.database).parent
    for name, path in paths.items():
        folder = next((each for each in (path, *path.absolute().parents) if each.is_dir()), None)
        if folder is None:
            continue
        free = shutil.disk_usage(folder).free
        if free < LEAST_FREE:
            yield blocker(
                f"{name} disk",
                say("{free} MiB free at {folder}", free=f"{free / 2**20:.0f}", folder=folder),
                say("free disk space"),
            )
