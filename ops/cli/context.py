"""The CLI's door: settings read once, servers opened when a command needs them, errors turned into exit codes."""

from __future__ import annotations

import errno
import getpass
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TextIO, TypeVar

from bulksend.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from bulksend.ledger.database import Database
    from bulksend.limits import RedisPermits
    from bulksend.operations.limiter import OpenLimiter
    from bulksend.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

DONE, FAILED, BAD_INPUT, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


def command(body: Callable[P, int]) -> Callable[P, NoReturn]:
    """A command that ends the process with the exit code that ``body`` returns, or with that of what it raises."""

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        raise SystemExit(guarded(lambda: body(*args, **kwargs)))

    return run


def guarded(work: Callable[[], T]) -> T:
    """Run a command; turn what it raises into one clear line on stderr and the exit code of its kind."""
    from sqlalchemy.exc import DBAPIError

    from bulksend.ledger.driver_errors import problem_of

    try:
        return work()
    except (InvalidInput, Unavailable) as error:
        leave(error.exit_code, str(error))
    except DBAPIError as error:
        problem = problem_of(error)
        leave(BAD_INPUT if problem.fatal else UNREACHABLE, problem.text("the ledger"))
    except OSError as error:
        leave(*_of_the_system(error))
    except Exception as error:
        # By its name: most commands never import Redis's client.
        if not type(error).__module__.startswith("redis"):
            raise
        from bulksend.broker import problem_of as redis_problem_of

        leave(UNREACHABLE, redis_problem_of(error).text("Redis at REDIS_URL"))
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
    from bulksend.messaging.surrogates import replace_surrogates

    try:
        return replace_surrogates(os.environ.get("BULKSEND_ACTOR") or getpass.getuser())
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


def limiter_opener(of: Settings, database: Database) -> OpenLimiter:
    """Opens the limiter when an operation needs it; says on stderr why it cannot be used."""

    def open_limiter() -> RedisPermits | None:
        from bulksend.bootstrap import working_limiter
        from ops.cli.output import say

        return working_limiter(of, database, lambda why: say(why, "yellow"))

    return open_limiter


def ledger(of: Settings) -> Database:
    """The ledger that this command works on: bootstrap.checked_database.

    Raises InvalidInput where none is chosen, and what ``checked_database`` raises.
    """
    from bulksend.bootstrap import checked_database

    check_ledger_is_chosen(of)
    return checked_database(of)
