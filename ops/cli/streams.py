"""The standard streams of a command: text in any locale, and an end that says whether stdout took everything.

A character that stdout's encoding lacks is written as an escape. A write that stdout does not take raises
``OutputLost``, which no other failed write of the command can be mistaken for.
"""

from __future__ import annotations

import errno
import io
import os
import sys

#: What a shell reports of a program that SIGPIPE ended: a reader such as ``head`` has seen enough.
CUT = 128 + 13


class OutputLost(Exception):
    """Stdout did not take what was written. ``error`` is the system's own error."""

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
    """Set up stdin, stdout and stderr. Closed ones are opened first, so that no file of ours takes their numbers."""
    _open_closed_ones()
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    raw = _Stdout(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    # Bytes that are no text match nothing that the ledger knows; they are no reason to fail.
    sys.stdin = open(0, encoding=encoding, errors="replace", closefd=False)  # noqa: SIM115 - lasts as long as we


def abandon_stdout() -> None:
    """What is left in its buffer goes nowhere: the interpreter would try to write it once more at its end."""
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
