"""A wall clock that can be stepped while a process runs: for members of a broken installation only.

Linux cannot step the clock of one process. So each member starts with a ``sitecustomize`` that adds what a small file
holds to ``time.time`` and ``time.time_ns``, before anything else is imported. Steady clocks are left alone.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

VARIABLE = "FAULT_BENCH_CLOCK"
_SITE = Path(__file__).parent / "stepped_clock"


def clock_environ(file: Path, root: str) -> dict[str, str]:
    """Variables for a process whose clock ``step`` can step by this file."""
    file.write_bytes(struct.pack("d", 0.0))
    return {VARIABLE: str(file), "PYTHONPATH": os.pathsep.join([str(_SITE), root])}


def step(file: Path, seconds: float) -> None:
    """Set the clock of the process so far ahead (or back) of the machine's."""
    with file.open("r+b") as opened:
        opened.write(struct.pack("d", seconds))
