"""A Chromium for the tests: one on the PATH, else Playwright's own, else that of Debian. Without one the tests fail."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
REMEDY = "no browser for the tests of the console: install one with `.venv/bin/playwright install --with-deps chromium`"
#: Nothing of its own on the network; without a sandbox for root alone, which has none.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


class NoBrowser(Exception):
    """There is none, and none could be installed."""


def find(own: str, machine: Machine | None = None) -> str:
    """The path of a browser, which is installed where there is none. ``own`` is where Playwright has its own.

    Raises NoBrowser with the remedy.
    """
    machine = machine or Machine()
    with (Path(tempfile.gettempdir()) / f"bulksend-browser-{os.getuid()}").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        said = ""
        for path in _candidates(own, machine):
            if not path:
                continue
            wrong = machine.complaint(path)
            if wrong is None:
                return path
            said = wrong
    raise NoBrowser(f"{REMEDY}{f' ({said})' if said else ''}")


def _candidates(own: str, machine: Machine) -> Iterator[str | None]:
    yield from map(machine.which, NAMES)
    if not machine.exists(own):
        machine.run(sys.executable, "-m", "playwright", "install", "chromium")
    yield own if machine.exists(own) else None
    if machine.is_root and machine.which("apt-get"):
        machine.run("apt-get", "update", "-q")
        machine.run("apt-get", "install", "-y", "-q", "chromium")
        yield machine.which("chromium")


def _complaint(path: str) -> str | None:
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return None if told.returncode == 0 else (told.stderr or told.stdout).strip()[-300:]


def _run(*command: str) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, env=environ, capture_output=True, check=False, timeout=250)


@dataclass(frozen=True)
class Machine:
    """What is asked of the machine, and done to it."""

    which: Callable[[str], str | None] = shutil.which
    exists: Callable[[str], bool] = os.path.exists
    complaint: Callable[[str], str | None] = _complaint
    """Why a program does not start; None: it starts."""
    run: Callable[..., None] = _run
    is_root: bool = os.getuid() == 0
