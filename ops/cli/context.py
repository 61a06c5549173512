"""What every command needs: settings, the ledger, who runs it, and exit codes for errors."""

from __future__ import annotations

import errno
import getpass
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TextIO, TypeVar

from bulksend.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from bulksend.ledger.database import Database
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
    """Run a command. An error ends the process with one line on stderr and its exit code."""
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
        leave(*_of_a_file(error))
    except Exception as error:
        # By its name: most commands do not import the client of Redis.
        if not type(error).__module__.startswith("redis"):
            raise
        from bulksend.broker import problem_of as redis_problem_of

        leave(UNREACHABLE, redis_problem_of(error).text("Redis at REDIS_URL"))
    except KeyboardInterrupt:
        leave(INTERRUPTED, "interrupted; everything done before is kept")


def _of_a_file(error: OSError) -> tuple[int, str]:
    """The exit code and the text for a file or folder that cannot be used."""
    if error.errno == errno.ENOENT and not _folder_exists():
        return BAD_INPUT, "the working folder no longer exists; run it in another"
    where = error.filename if error.filename is not None else "a file"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return BAD_INPUT, f"{where} cannot be written or read ({error.strerror}); run it elsewhere"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FAILED, f"{where}: the disk is full; free some space"
    return FAILED, f"{where}: {error.strerror or error}"


def _folder_exists() -> bool:
    with suppress(OSError):
        return Path.cwd().exists()
    return False


def leave(code: int, text: str) -> NoReturn:
    """End the process with a line on stderr."""
    tell(text)
    raise SystemExit(code)


def tell(text: str) -> None:
    """A line on stderr, unless its terminal is closed. An indented further line is a command to paste: not wrapped."""
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
    # To stderr: stdout is for the result. A server, which runs for long, sets its own level.
    logs.configure("WARNING" if made.log_level == "INFO" else made.log_level, made.log_format)
    arm(made.failpoints)
    return made


def actor() -> str:
    """Who runs this command, for the operator log."""
    from bulksend.messaging.surrogates import replace_surrogates

    try:
        return replace_surrogates(os.environ.get("BULKSEND_ACTOR") or getpass.getuser())
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def check_ledger_is_chosen(of: Settings) -> None:
    """Raises InvalidInput without DATABASE_URL and a terminal: a service would make a ledger in its working folder."""
    if of.is_given("database_url") or any(
        _is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)
    ):
        return
    raise InvalidInput(
        "DATABASE_URL is not set, and its default is used only at a terminal; nothing was changed. Set it "
        "to your ledger, e.g. postgresql://…, or to sqlite:///bulksend.db for one in this folder"
    )


def _is_terminal(stream: TextIO | None) -> bool:
    """A closed stream is None, or raises."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def limiter_opener(of: Settings, database: Database) -> OpenLimiter:
    """Opens the limiter when an operation needs it; says on stderr why it cannot be used."""
    from bulksend.bootstrap import working_limiter
    from ops.cli.output import say

    return partial(working_limiter, of, database, lambda why: say(why, "yellow"))


def ledger(of: Settings) -> Database:
    """The ledger that this command works on: bootstrap.checked_database.

    Raises InvalidInput where none is chosen, and what ``checked_database`` raises.
    """
    from bulksend.bootstrap import checked_database

    check_ledger_is_chosen(of)
    return checked_database(of)
