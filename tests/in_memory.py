"""A folder in memory for what the tests write: on a disk each commit of each of their databases waits for it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - only to make a folder of our own in
#: More than the files of a whole run take. The processes of the tests need as much again.
NEEDED_BYTES = 4 << 30
_NAME = "bulksend-tests-"


def make_folder(memory: Path = MEMORY) -> Path | None:
    """A folder of this process for temporary files; None where the machine has too little memory, or none for files.

    The folders of runs that are over and left them, as the failed and the killed ones do, are removed.
    """
    if not has_room(memory):
        return None
    for old in memory.glob(f"{_NAME}*"):
        if not Path("/proc", old.name.removeprefix(_NAME)).exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = memory / f"{_NAME}{os.getpid()}"
    folder.mkdir()
    # Where we are root PostgreSQL runs as another user, who must get through.
    folder.chmod(0o711)
    return folder


def has_room(memory: Path) -> bool:
    """Whether files fit in there, programs can be started from there, and enough is left for processes."""
    try:
        there, machine = os.statvfs(memory), Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return False
    available = re.search(r"^MemAvailable: +(\d+) kB$", machine, re.MULTILINE)
    return (
        os.access(memory, os.W_OK)
        and not there.f_flag & os.ST_NOEXEC
        and there.f_bavail * there.f_frsize >= NEEDED_BYTES
        and available is not None
        and int(available[1]) << 10 >= 2 * NEEDED_BYTES
    )
