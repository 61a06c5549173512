"""A process that runs until a signal ends at it, whatever it is doing at that instant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: The main thread holds the event's lock when the signal comes, as it does for an instant in each ``wait``.
IN_WAIT = """
import os, signal
from ops.cli.signals import stop_event

stop = stop_event()
with stop._cond:
    os.kill(os.getpid(), signal.SIGTERM)
assert stop.wait(20)
print("stopped")
"""


def test_a_signal_inside_the_wait_for_it_sets_the_event() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_WAIT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "stopped\n", done.stderr
