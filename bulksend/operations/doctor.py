"""`doctor`: checks of an installation, each with its remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

from bulksend import bootstrap
from bulksend.errors import InvalidInput, LedgerUnfit, LedgerUnreachable, SchemaNewer, SchemaOutdated
from bulksend.ledger import leases
from bulksend.ledger.database import Database
from bulksend.ledger.durability import durability
from bulksend.ledger.key_file import key_file, ledger_file
from bulksend.ledger.migrate import check_schema, newest_revision
from bulksend.ledger.readiness import check_ledger_works
from bulksend.messaging.sentences import say
from bulksend.operations.blockers import Check, blocker, check_redis, ledger_blockers
from bulksend.operations.doctor_issuer import check_issuer
from bulksend.operations.doctor_readings import check_own_api, check_own_folders, check_ways_in_and_out
from bulksend.operations.doctor_rules import check_clock
from bulksend.settings import Settings

#: SQLite from 3.7.0 to 3.51.2 can corrupt a WAL database when two processes checkpoint and write at once.
SQLITE_SOUND = (3, 51, 3)


@dataclass(frozen=True, slots=True)
class Examination:
    """The checks of an installation."""

    checks: list[Check]

    @property
    def well(self) -> bool:
        """Whether every check is well."""
        return all(check.well for check in self.checks)

    def as_json(self) -> dict[str, object]:
        """The interface's answer of `doctor`."""
        return {"well": self.well, "findings": [asdict(check) for check in self.checks]}


def examine(of: Settings) -> Examination:
    """Check everything. Does not raise for what it finds."""
    return Examination(
        [
            *_ledger(of),
            *_redis(of),
            _encryption(of),
            *check_own_folders(of),
            *check_own_api(of),
            *check_issuer(of),
            *check_vendor(of),
        ]
    )


def _ledger(of: Settings) -> Iterator[Check]:
    file = ledger_file(of.database_url_text())
    if file is not None and not file.exists():
        # Opening it would create it.
        found = say("there is none at {address} yet", address=of.database_address())
        if not of.is_given("database_url"):
            found = say("{first}: DATABASE_URL is not set, and this is its default", first=found)
        yield blocker(
            "ledger",
            found,
            "create it with bulksend migrate, or set DATABASE_URL",
        )
        return
    database = bootstrap.database(of)
    try:
        yield from _open_ledger(of, database)
    except (LedgerUnreachable, LedgerUnfit) as error:
        what, _, remedy = str(error).rpartition("; ")
        yield blocker("ledger", what, remedy)
    finally:
        database.close()


def _open_ledger(of: Settings, database: Database) -> Iterator[Check]:
    database.check()
    yield Check("ledger", True, say("{address} answers", address=database.address))
    yield _sqlite(database) if database.is_sqlite else _durability(database)
    try:
        revision = check_schema(database)
    except SchemaOutdated as error:
        yield blocker("schema", str(error), "bulksend migrate")
        return
    except SchemaNewer as error:
        yield blocker("schema", str(error), "update bulksend on this machine")
        return
    check_ledger_works(database)
    yield _schema(revision)
    with database.read() as tx:
        names = leases.alive(tx)
    if names:
        yield Check("workers", True, f"{len(names)} running: {', '.join(names[:5])}")
    with database.read() as tx:
        yield from list(check_ways_in_and_out(tx, of))
    with suppress(InvalidInput):  # a malformed encryption key has a check of its own
        yield from ledger_blockers(of, database)


def _schema(revision: str) -> Check:
    """A schema that this program can use: its own, or one of a newer program that it may run beside."""
    if revision == newest_revision():
        return Check("schema", True, "up to date")
    return Check(
        "schema",
        True,
        say("at revision {revision} of a newer bulksend, which this one may run beside", revision=revision),
    )


def _durability(database: Database) -> Check:
    with database.read() as tx:
        found = durability(tx)
    unsafe = found.unsafe()
    if unsafe is not None:
        return blocker("durability", unsafe, "turn them on in postgresql.conf, and reload it")
    if found.asynchronous:
        return Check(
            "durability",
            True,
            f"{found.asynchronous} replicas are asynchronous: a failover may lose the last commits, and what was sent "
            "then would be sent again; see docs/operations.md, and synchronous_standby_names",
        )
    return Check("durability", True, "a commit is on the disk when it returns")


def _sqlite(database: Database) -> Check:
    version = tuple(int(part) for part in database.sqlite_version().split("."))
    text = ".".join(str(part) for part in version)
    if version >= SQLITE_SOUND:
        return Check("SQLite", True, say("version {version}", version=text))
    return blocker(
        "SQLite",
        f"version {text} can corrupt a ledger that several processes write",
        "install the pysqlite3 package (>= 0.6.1), or use PostgreSQL",
    )


def _redis(of: Settings) -> Iterator[Check]:
    if of.redis_url is None:
        yield blocker(
            "Redis", "REDIS_URL is not set", "set REDIS_URL, or use `bulksend up`, which starts its own"
        )
        return
    redis = check_redis(of)
    if redis.info is not None:
        version = redis.info.get("redis_version", "unknown")
        yield Check("Redis", True, f"{of.redis_address()} supports all calls, version {version}")
    yield from redis.blockers
    if redis.info and not int(redis.info.get("aof_enabled", 0)):
        yield Check(
            "Redis durability",
            True,
            "no append-only file: after a restart the relay refills it from the ledger, and rate limits restart "
            "cautiously",
        )
    if redis.relay_leads:
        yield Check("relay", True, say("running"))


def _encryption(of: Settings) -> Check:
    about = "encryption key"
    try:
        cipher = bootstrap.reading_cipher(of)
    except InvalidInput as error:
        return blocker(about, str(error), "bulksend keys new-encryption-key")
    if cipher.can_encrypt:
        return Check(about, True, say("set"))
    if key_file(of.database_url_text()) is not None:
        return Check(about, True, "not set; the first send writes one to a file beside the ledger")
    return blocker(
        about,
        "not set: one-time codes are refused at intake",
        "BULKSEND_ENCRYPTION_KEY=$(bulksend keys new-encryption-key), the same for every process",
    )


def check_vendor(of: Settings) -> Iterator[Check]:
    """The credentials, and whether the vendor answers with them."""
    missing = of.missing_credentials()
    if missing:
        yield blocker(
            "credentials",
            say("{names} not set", names=", ".join(missing)),
            "copy them from the vendor's console",
        )
        return
    yield Check("credentials", True, say("set"))
    yield Check("account id", True, say("set") if of.uspeedo_account_id is not None else _NO_ACCOUNT_ID)
    if of.sends_in_the_clear():
        yield blocker(
            "vendor link",
            f"{of.uspeedo_base_url}: numbers, contents and the access key go in the clear (BULKSEND_ALLOW_PLAIN_HTTP)",
            "write https:// in USPEEDO_BASE_URL",
        )
    proxy = of.proxy_in_the_way()
    if proxy is not None:
        yield blocker("proxy", proxy, "one of these three; a worker does not start without")
        return
    yield from asyncio.run(_ask_vendor(of))


_NO_ACCOUNT_ID = (
    "USPEEDO_ACCOUNT_ID is not set: the vendor's page calls AccountId required, its SDKs send none; if sends are "
    "refused (172), copy it from the overview page of the vendor's console"
)


async def _ask_vendor(of: Settings) -> list[Check]:
    answer = await bootstrap.vendor_calls(of).phone_list()
    if answer.problem:
        found = [
            blocker(
                "vendor",
                f"{of.uspeedo_base_url}: {answer.problem}",
                "check the access key, its secret and the account; a wrong clock causes 171, too"
                if answer.answered
                else "check USPEEDO_BASE_URL, the network and TLS",
            )
        ]
    else:
        found = [Check("vendor", True, f"{of.uspeedo_base_url} answers; {len(answer.phones)} senders")]
        found += [
            blocker(
                "sender",
                say("{number} is {status}", number=phone.number, status=phone.status),
                "see the vendor's console",
            )
            for phone in answer.phones
            if phone.status not in ("CONNECTED", "")
        ]
    if answer.clock_skew_seconds is not None:
        found.append(check_clock(answer.clock_skew_seconds))
    return found
