"""What an installation runs on: processes, ledger, Redis and limiter, for a person who looks at it."""

from __future__ import annotations

import platform
from contextlib import suppress
from typing import Any

import redis
from sqlalchemy import Connection

from bulksend import __version__, bootstrap
from bulksend.ledger import counters, leases
from bulksend.ledger import installation as signs_of_life
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.migrate import newest_revision
from bulksend.messaging.units import format_instant
from bulksend.operations.blockers import RedisCheck
from bulksend.operations.health import NOTIFIER, SERVE, SILENT_S
from bulksend.settings import Settings


def state(of: Settings, database: Database, checked: RedisCheck | None) -> dict[str, Any]:
    """Processes, ledger, Redis and limiter now. ``checked``: None without REDIS_URL. Raises LedgerUnreachable."""
    with database.translated_errors(), database.read() as tx:
        now_ms = read_clock(tx)
        processes, ledger = _processes(tx, now_ms), _ledger(tx, database)
    if checked is not None:
        processes.append(_relay(checked))
    return {
        "at": format_instant(now_ms),
        "processes": processes,
        "ledger": ledger,
        "redis": None if checked is None else _redis(of, checked),
        "breaker_open": _breaker_is_open(of, database),
        "versions": {"bulksend": __version__, "Python": platform.python_version()},
    }


def _processes(tx: Connection, now_ms: int) -> list[dict[str, Any]]:
    """Workers by their leases; ``serve`` and notifiers by their signs of life, those of the last day too."""
    workers: list[dict[str, Any]] = [
        {"process": "worker", "name": name, "alive": True, "seen_at": None} for name in leases.alive(tx)
    ]
    others = [
        {
            "process": process,
            "name": host,
            "alive": now_ms - at < SILENT_S * 1000,
            "seen_at": format_instant(at),
        }
        for process in (SERVE, NOTIFIER)
        for host, at in sorted(signs_of_life.signs(tx, process).items())
    ]
    return [*workers, *others]


def _relay(checked: RedisCheck) -> dict[str, Any]:
    # The lock of the one that leads is in Redis.
    alive = None if checked.info is None else checked.relay_leads
    return {"process": "relay", "name": "", "alive": alive, "seen_at": None}


def _ledger(tx: Connection, database: Database) -> dict[str, Any]:
    messages: dict[str, int] = {}
    for (_, status), n in counters.by_kind(tx).items():
        messages[str(status)] = messages.get(str(status), 0) + n
    if database.is_sqlite:
        server = f"SQLite {database.sqlite_version()}"
    else:
        server = f"PostgreSQL {tx.exec_driver_sql('SHOW server_version').scalar_one()}"
    return {
        "address": database.address,
        "server": server,
        "revision": newest_revision(),
        "messages": dict(sorted(messages.items())),
    }


def _redis(of: Settings, checked: RedisCheck) -> dict[str, Any]:
    info = checked.info or {}
    return {
        "address": of.redis_address(),
        "answers": checked.info is not None,
        "version": info.get("redis_version"),
        "used_bytes": info.get("used_memory"),
        "most_bytes": info.get("maxmemory") or None,
        "keeps_a_file": bool(int(info.get("aof_enabled", 0))),
        "clients": info.get("connected_clients"),
    }


def _breaker_is_open(of: Settings, database: Database) -> bool | None:
    """Whether POSTs fail, so that workers try one at a time; None where the limiter cannot be asked."""
    if of.redis_url is None:
        return None
    with suppress(redis.RedisError, OSError):
        return bootstrap.limiter(of, database).circuit_breaker_is_open()
    return None
