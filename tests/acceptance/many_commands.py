"""Runs many ``bulksend`` commands, each a process of its own, and pays for their imports only once.

A line of JSON in, ``[words…]``; a line of JSON out, ``{"code", "said"}``: exit code, and stdout and stderr together.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import sys
import tempfile
import traceback
from collections.abc import Iterator

from ops.cli.main import app

OURS = ("bulksend", "ops", "producer")
#: What they import once they run.
OTHERS = (
    *("alembic.command", "alembic.script", "alembic.runtime.environment", "alembic.runtime.migration"),
    *("rich.console", "rich.table", "rich.progress", "openpyxl"),
    *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite"),
)


def main() -> None:
    """Until the end of stdin; with ``--list`` only the words of every command that there is."""
    if sys.argv[1:] == ["--list"]:
        sys.stdout.write(json.dumps(list(commands())) + "\n")
        return
    for package in OURS:
        _import_all(package)
    for module in OTHERS:
        importlib.import_module(module)
    gc.freeze()
    for line in sys.stdin:
        code, said = run(json.loads(line))
        sys.stdout.write(json.dumps({"code": code, "said": said}) + "\n")
        sys.stdout.flush()


def run(words: list[str]) -> tuple[int, str]:
    """A command in a process of its own: its exit code, and all that it said."""
    with tempfile.TemporaryFile() as file:
        child = os.fork()
        if child == 0:
            _become(words, file.fileno())
        _, status = os.waitpid(child, 0)
        file.seek(0)
        return os.waitstatus_to_exitcode(status), file.read().decode(errors="replace")


def _become(words: list[str], output: int) -> None:
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(output, stream)
        app(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter would say it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def commands() -> Iterator[tuple[str, ...]]:
    """Every command that there is, as its words."""
    import typer

    yield from _commands_of(typer.main.get_command(app), ())


def _commands_of(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words
        return
    for name, each in inner.items():
        yield from _commands_of(each, (*words, name))


def _import_all(name: str) -> None:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)


if __name__ == "__main__":
    main()
