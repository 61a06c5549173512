"""A Chromium for the tests: one on the PATH, else Playwright's own, else that of Debian. Without one the tests fail."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Playwright

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


def find(playwright: Playwright) -> str:
    """The path of a browser, which is installed where there is none. Raises NoBrowser with the remedy."""
    with (Path(tempfile.gettempdir()) / f"bulksend-browser-{os.getuid()}").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        said = ""
        for path in _candidates(playwright):
            if not path:
                continue
            told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            if told.returncode == 0:
                return path
            said = (told.stderr or told.stdout).strip()[-300:]
    raise NoBrowser(f"{REMEDY}{f' ({said})' if said else ''}")


def _candidates(playwright: Playwright) -> Iterator[str | None]:
    yield from map(shutil.which, NAMES)
    own = playwright.chromium.executable_path
    if not Path(own).exists():
        _run(sys.executable, "-m", "playwright", "install", "chromium")
    yield own if Path(own).exists() else None
    if os.getuid() == 0 and shutil.which("apt-get"):
        _run("apt-get", "update", "-q")
        _run("apt-get", "install", "-y", "-q", "chromium")
        yield shutil.which("chromium")


def _run(*command: str) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, env=environ, capture_output=True, check=False, timeout=250)
