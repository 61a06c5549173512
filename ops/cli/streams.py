"""The standard streams of a command: text in any locale, and an error of its own when stdout fails.

A character that stdout's encoding lacks is written as an escape. A failed write to stdout raises OutputLost, and not
OSError as for other files.
"""

from __future__ import annotations

import errno
import io
import os
import sys

#: The exit code after SIGPIPE: a reader such as ``head`` stopped reading.
CUT = 128 + 13


class OutputLost(Exception):
    """A write to stdout failed. ``error`` is the system's."""

    def __init__(self, error: OSError) -> None:
        self.error = error
        super().__init__(f"stdout did not take the whole output: {error.strerror}")

    @property
    def reader_left(self) -> bool:
        """Whether stdout is a pipe whose reader has closed it."""
        return self.error.errno == errno.EPIPE


class _Stdout(io.FileIO):
    def write(self, data: object) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            raise OutputLost(error) from None


def prepare() -> None:
    """Set up stdin, stdout and stderr. Closed ones are opened first, so that no other file gets their numbers."""
    _open_closed_ones()
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    raw = _Stdout(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    # Bytes that are not text are replaced: they match nothing in the ledger.
    sys.stdin = open(0, encoding=encoding, errors="replace", closefd=False)  # noqa: SIM115 - lasts as long as we


def abandon_stdout() -> None:
    """Discard what is left in its buffer: the interpreter would write it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_closed_ones() -> None:
    # Stdout is opened for reading: a write to it fails as on a closed one, and the command can say so.
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
