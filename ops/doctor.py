"""What may be wrong with an installation, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulksend import bootstrap

if TYPE_CHECKING:
    from bulksend.ledger.database import Database
    from bulksend.settings import Settings
    from ops.stops import Stop

#: SQLite from 3.7.0 to 3.51.2 can corrupt a WAL database when two processes checkpoint and write at once.
SQLITE_SOUND = (3, 51, 3)
#: The vendor refuses timestamps that are off by more than five minutes.
SKEW_LIMIT_S = 300
SKEW_WARN_S = 30


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at: whether it is well, what was found, and the remedy where it is not."""

    about: str
    well: bool
    found: str
    remedy: str = ""


def examine(of: Settings) -> list[Diagnosis]:
    """Look at everything; never raises for what it finds."""
    return [*_ledger(of), *_redis(of), _encryption(of), *_vendor(of)]


def _ledger(of: Settings) -> Iterator[Diagnosis]:
    from bulksend.errors import InvalidInput, LedgerUnfit, LedgerUnreachable, SchemaNewer, SchemaOutdated
    from bulksend.ledger import leases
    from bulksend.ledger.key_file import ledger_file
    from bulksend.ledger.migrate import check_schema
    from bulksend.ledger.readiness import try_out
    from ops.stops import ledger_stops

    file = ledger_file(of.database_url_text())
    if file is not None and not file.exists():
        # To open it would make it.
        how = "" if of.is_given("database_url") else ": DATABASE_URL is not set, and this is its default"
        yield Diagnosis(
            "ledger",
            False,
            f"there is none at {of.database_address()} yet{how}",
            "bulksend migrate makes it; or set DATABASE_URL",
        )
        return
    database = bootstrap.database(of)
    try:
        database.check()
    except (LedgerUnreachable, LedgerUnfit) as error:
        yield _ledger_trouble(error)
        return
    yield Diagnosis("ledger", True, f"{database.address} answers")
    yield from [_sqlite(database)] if database.is_sqlite else _durability(database)
    try:
        check_schema(database)
    except SchemaOutdated as error:
        yield Diagnosis("schema", False, str(error), "bulksend migrate")
        return
    except SchemaNewer as error:
        yield Diagnosis("schema", False, str(error), "update bulksend on this machine")
        return
    try:
        try_out(database)
    except (LedgerUnreachable, LedgerUnfit) as error:
        yield _ledger_trouble(error)
        return
    yield Diagnosis("schema", True, "up to date")
    with database.read() as tx:
        names = leases.alive(tx)
    if names:
        yield Diagnosis("workers", True, f"{len(names)} at work: {', '.join(names[:5])}")
    with suppress(InvalidInput):  # an encryption key that is none has a finding of its own
        yield from map(_wrong, ledger_stops(of, database))
    database.close()


def _durability(database: Database) -> Iterator[Diagnosis]:
    from bulksend.ledger.durability import durability

    with database.read() as tx:
        found = durability(tx)
    unsafe = found.unsafe()
    if unsafe is not None:
        yield Diagnosis("durability", False, unsafe, "turn them on in postgresql.conf, and reload it")
    elif found.asynchronous:
        yield Diagnosis(
            "durability",
            True,
            f"{found.asynchronous} replicas are asynchronous: a failover may lose the last commits, and what was sent "
            "then would be sent again; see docs/operations.md, and synchronous_standby_names",
        )
    else:
        yield Diagnosis("durability", True, "a commit is on the disk when it returns")


def _ledger_trouble(error: Exception) -> Diagnosis:
    what, _, remedy = str(error).rpartition("; ")
    return Diagnosis("ledger", False, what, remedy)


def _sqlite(database: Database) -> Diagnosis:
    version = tuple(int(part) for part in database.sqlite_version().split("."))
    text = ".".join(str(part) for part in version)
    if version >= SQLITE_SOUND:
        return Diagnosis("SQLite", True, f"version {text}")
    return Diagnosis(
        "SQLite",
        False,
        f"version {text} can corrupt a ledger that several processes write",
        "install the pysqlite3 package (>= 0.6.1), or use PostgreSQL",
    )


def _redis(of: Settings) -> Iterator[Diagnosis]:
    from ops.stops import RELAY, look_at_redis

    if of.redis_url is None:
        yield Diagnosis(
            "Redis",
            False,
            "REDIS_URL is not set",
            "set REDIS_URL, or use `bulksend up`, which starts its own",
        )
        return
    look = look_at_redis(of)
    if look.info is not None:
        version = look.info.get("redis_version", "of a version that it does not tell")
        yield Diagnosis("Redis", True, f"{of.redis_address()} does all that is needed, version {version}")
    yield from map(_wrong, look.stops)
    if look.info and not int(look.info.get("aof_enabled", 0)):
        yield Diagnosis(
            "Redis durability",
            True,
            "no append-only file: after a restart the relay fills it again from the ledger; limits begin cold",
        )
    if look.info is not None and RELAY not in {stop.about for stop in look.stops}:
        yield Diagnosis(RELAY, True, "one leads")


def _wrong(stop: Stop) -> Diagnosis:
    return Diagnosis(stop.about, False, stop.found, stop.remedy)


def _encryption(of: Settings) -> Diagnosis:
    from bulksend.errors import InvalidInput
    from bulksend.ledger.key_file import key_file

    try:
        cipher = bootstrap.reading_cipher(of)
    except InvalidInput as error:
        return Diagnosis("encryption key", False, str(error), "bulksend keys new-encryption-key")
    if cipher.can_encrypt:
        return Diagnosis("encryption key", True, "there is one")
    if key_file(of.database_url_text()) is not None:
        return Diagnosis("encryption key", True, "none yet; the first send makes one beside the ledger")
    return Diagnosis(
        "encryption key",
        False,
        "none: one-time codes are refused at intake",
        "BULKSEND_ENCRYPTION_KEY=$(bulksend keys new-encryption-key), the same for every process",
    )


def _vendor(of: Settings) -> Iterator[Diagnosis]:
    missing = of.missing_credentials()
    if missing:
        yield Diagnosis(
            "credentials", False, f"{', '.join(missing)} not set", "take them from the vendor's console"
        )
        return
    yield Diagnosis("credentials", True, "set")
    yield _account(of)
    if of.sends_in_the_clear():
        yield Diagnosis(
            "vendor link",
            False,
            f"{of.uspeedo_base_url}: numbers, contents and the access key go in the clear (BULKSEND_ALLOW_PLAIN_HTTP)",
            "write https:// in USPEEDO_BASE_URL",
        )
    in_the_way = of.proxy_in_the_way()
    if in_the_way is not None:
        yield Diagnosis("proxy", False, in_the_way, "one of these three; a worker does not start without")
        return
    yield from asyncio.run(_ask_vendor(of))


def _account(of: Settings) -> Diagnosis:
    if of.uspeedo_account_id is not None:
        return Diagnosis("account id", True, "set")
    return Diagnosis(
        "account id",
        True,
        "USPEEDO_ACCOUNT_ID is not set: the vendor's page calls AccountId required, its SDKs send none; where sends "
        "are refused (172), take it from the overview page of the vendor's console",
    )


async def _ask_vendor(of: Settings) -> list[Diagnosis]:
    answer = await bootstrap.vendor_calls(of).phone_list()
    if answer.problem:
        found = [
            Diagnosis(
                "vendor",
                False,
                f"{of.uspeedo_base_url}: {answer.problem}",
                "check the access key, its secret and the account; 171 also comes of a wrong clock"
                if answer.answered
                else "check USPEEDO_BASE_URL, the network and TLS",
            )
        ]
    else:
        found = [Diagnosis("vendor", True, f"{of.uspeedo_base_url} answers; {len(answer.phones)} senders")]
        found += [
            Diagnosis("sender", False, f"{phone.number} is {phone.status}", "see the vendor's console")
            for phone in answer.phones
            if phone.status not in ("CONNECTED", "")
        ]
    skew = answer.clock_skew_seconds
    if skew is not None and abs(skew) > SKEW_WARN_S:
        found.append(
            Diagnosis(
                "clock",
                abs(skew) < SKEW_LIMIT_S,
                f"this machine's clock is {skew:+.0f} s off the vendor's; it refuses more than {SKEW_LIMIT_S} s",
                "set the clock, e.g. by NTP",
            )
        )
    elif skew is not None:
        found.append(Diagnosis("clock", True, f"within {abs(skew):.0f} s of the vendor's"))
    return found
