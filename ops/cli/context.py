"""The CLI's door: settings read once, servers opened when a command needs them, errors turned into exit codes."""

from __future__ import annotations

import errno
import getpass
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO, TypeVar

from bulksend.errors import InvalidInput, RedisUnreachable, Unavailable

if TYPE_CHECKING:
    import redis

    from bulksend.ledger.database import Database
    from bulksend.limits import RedisPermits
    from bulksend.settings import Settings

T = TypeVar("T")

DONE, FAILED, BAD_INPUT, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


def guarded(work: Callable[[], T]) -> T:
    """Run a command; turn what it raises into one clear line on stderr and the exit code of its kind."""
    from sqlalchemy.exc import DBAPIError

    from bulksend.ledger.driver_errors import trouble_of

    try:
        return work()
    except (InvalidInput, Unavailable) as error:
        leave(error.exit_code, str(error))
    except DBAPIError as error:
        trouble = trouble_of(error)
        leave(BAD_INPUT if trouble.lasts else UNREACHABLE, f"the ledger: {trouble.what}; {trouble.remedy}")
    except OSError as error:
        leave(*_of_the_system(error))
    except Exception as error:
        # By its name: most commands never import Redis's client.
        if not type(error).__module__.startswith("redis"):
            raise
        from bulksend.broker import trouble_of as redis_trouble_of

        leave(UNREACHABLE, redis_trouble_of(error).text("REDIS_URL"))
    except KeyboardInterrupt:
        leave(
            INTERRUPTED,
            "interrupted; what was done until then is kept",
        )


def _stands_somewhere() -> bool:
    """Whether the working folder is still there."""
    with suppress(OSError):
        return Path.cwd().exists()
    return False


def _of_the_system(error: OSError) -> tuple[int, str]:
    """The exit code and the sentence of a file or folder that cannot be used."""
    if error.errno == errno.ENOENT and not _stands_somewhere():
        return BAD_INPUT, "the folder that this runs in is gone; run it in another"
    where = error.filename if error.filename is not None else "a file"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return BAD_INPUT, f"{where} cannot be written or read ({error.strerror}); run it elsewhere"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FAILED, f"{where}: the disk is full; make room"
    return FAILED, f"{where}: {error.strerror or error}"


def leave(code: int, text: str) -> NoReturn:
    """End with a line on stderr."""
    tell(text)
    raise SystemExit(code)


def tell(text: str) -> None:
    """A line on stderr, where there still is one: the terminal may have been closed.

    Wrapped by words on a terminal; a further line that is indented is a command to paste, and stays as it is.
    """
    from ops.cli.output import say

    first, *further = f"bulksend: {text}".split("\n")
    try:
        say(first)
        for each in further:
            if each.startswith("  "):
                sys.stderr.write(each + "\n")
            else:
                say(each)
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def settings() -> Settings:
    """The settings of this environment and of a ``.env`` file here."""
    from bulksend import logs
    from bulksend.failpoints import arm
    from bulksend.settings import Settings

    made = Settings.from_env(os.environ, Path(".env"))
    # To stderr: stdout is for what was asked for. What runs for long says more, by settings of its own.
    logs.configure("WARNING" if made.log_level == "INFO" else made.log_level, made.log_format)
    arm(made.failpoints)
    return made


def actor() -> str:
    """Who runs this command, for the record."""
    from bulksend.messaging.whole_text import whole_text

    try:
        return whole_text(os.environ.get("BULKSEND_ACTOR") or getpass.getuser())
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def check_ledger_is_chosen(of: Settings) -> None:
    """Raises InvalidInput where a ledger would be made in whatever folder a timer or a service happens to run in.

    A person at a terminal sees which one it is; there the default will do.
    """
    from bulksend.errors import InvalidInput

    if of.is_given("database_url") or any(
        _is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)
    ):
        return
    raise InvalidInput(
        "DATABASE_URL is not set, and without a terminal no ledger is taken for granted; nothing was changed. Set it "
        "to your ledger, e.g. postgresql://…, or to sqlite:///bulksend.db for one in this folder"
    )


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether a person is at the other end; a closed stream is None or raises."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def ledger(of: Settings, *, checked: bool = True) -> Database:
    """The ledger, reachable and of this program's schema. A SQLite ledger is brought up to date by itself."""
    from bulksend.errors import SchemaOutdated
    from bulksend.ledger.database import Database
    from bulksend.ledger.migrate import check_schema, migrate

    check_ledger_is_chosen(of)
    database = Database.from_settings(of)
    if not checked:
        return database
    database.check()
    try:
        check_schema(database)
    except SchemaOutdated:
        # One file of one user: nobody else has to agree to its schema.
        if not database.is_sqlite:
            raise
        migrate(database)
    return database


def ledger_that_is_there(of: Settings) -> Database | None:
    """The ledger, for a command that changes nothing; None where a SQLite file was not made yet.

    Raises SchemaOutdated for one of another schema.
    """
    from bulksend.ledger.database import Database
    from bulksend.ledger.key_file import ledger_file
    from bulksend.ledger.migrate import check_schema

    file = ledger_file(of.database_url_text())
    if file is not None and not file.exists():
        return None
    database = Database.from_settings(of)
    database.check()
    check_schema(database)
    return database


def redis_client(of: Settings) -> redis.Redis:
    """Redis, answering. Raises RedisUnreachable, and RedisUnfit where waiting would be in vain."""
    import redis

    from bulksend.broker import RedisUnfit, trouble_of
    from bulksend.redis_client import open_redis

    if of.redis_url is None:
        raise RedisUnreachable(
            "REDIS_URL is not set; set it to your Redis or Valkey, e.g. REDIS_URL=redis://127.0.0.1:6379/0, or "
            "use `bulksend demo` or `bulksend up`, which start their own"
        )
    client = open_redis(of.redis_url_text())
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        trouble = trouble_of(error)
        if trouble.lasts:
            raise RedisUnfit(trouble, of.redis_address()) from None
        raise RedisUnreachable(trouble.text(of.redis_address())) from None
    return client


def fit_redis(of: Settings, *, outlived: bool = False) -> None:
    """Redis, doing all that workers and relay need. Raises RedisUnreachable, RedisUnfit.

    ``outlived``: what may pass, such as a memory that is full just now, is no reason not to start.
    """
    import redis

    from bulksend.broker import trouble_of, try_out

    with redis_client(of) as client:
        try:
            try_out(client, of.redis_address())
        except redis.RedisError as error:
            if not outlived:
                raise RedisUnreachable(trouble_of(error).text(of.redis_address())) from None


def limiter(of: Settings, database: Database, tell: Callable[[str], None]) -> RedisPermits | None:
    """The limiter where Redis is set and does its work; else None, and ``tell`` hears why: the ledger alone still
    knows most, and an act is done once the ledger has it."""
    from bulksend.broker import RedisUnfit
    from bulksend.ledger.installation import limiter_key
    from bulksend.limits import redis_permits

    if of.redis_url is None:
        return None
    try:
        fit_redis(of)
    except (RedisUnreachable, RedisUnfit) as error:
        tell(str(error))
        return None
    return redis_permits(of, hash_key=limiter_key(database), worker_id="")
