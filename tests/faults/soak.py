"""Full rate and random faults for long: does anything grow that should not?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.faults.figures import Figure, Part
from tests.faults.installation import Installation, Plan
from tests.faults.nemesis import FAULTS, draw
from tests.faults.promises import Options, storm_part
from tests.faults.storm import storm

#: What makes a process start again would hide what it leaks.
_NO_RESTARTS = {"worker", "relay", "intake", "serve", "notifier"}
SAMPLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process."""

    at: float
    rss_kb: int
    files: int
    sockets: int


class Gauge:
    """Samples every process from outside until told to stop."""

    def __init__(self, site: Installation) -> None:
        self._site = site
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauge", daemon=True)
        self.samples: dict[str, list[Sample]] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for member in list(self._site.members.values()):
                child = member.child
                sample = _look(child.pid) if child is not None else None
                if sample is not None:
                    self.samples.setdefault(f"{member.name} ({member.starts})", []).append(sample)


def _look(pid: int) -> Sample | None:
    process = Path(f"/proc/{pid}")
    try:
        rss = next(
            int(line.split()[1])
            for line in (process / "status").read_text().splitlines()
            if line.startswith("VmRSS:")
        )
        links = [file.readlink().name for file in (process / "fd").iterdir()]
    except (OSError, StopIteration):
        return None
    return Sample(time.monotonic(), rss, len(links), sum(name.startswith("socket:") for name in links))


#: A leak grows in every part of the time. A pool that faults filled, or a relay that took the lead, grows once.
MOST_RSS_GROWTH, MOST_FILES_GROWTH = 0.01, 2


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians of each fifth of the time after the first one, which warms up."""

    rss_mb: tuple[float, ...]
    files: tuple[float, ...]
    sockets: tuple[float, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Growth:
        """What became of a process; at least five samples."""
        fifth = len(samples) // 5
        parts = [samples[n * fifth : (n + 1) * fifth] for n in range(1, 5)]

        def medians(what: Callable[[Sample], float]) -> tuple[float, ...]:
            return tuple(median(map(what, part)) for part in parts)

        return cls(
            medians(lambda s: s.rss_kb / 1024), medians(lambda s: s.files), medians(lambda s: s.sockets)
        )

    @property
    def least_rss(self) -> float:
        """The least growth of the memory from one fifth to the next, as a share."""
        return min(late / early - 1 for early, late in pairwise(self.rss_mb))

    @property
    def least_files(self) -> float:
        """The least growth of the open files from one fifth to the next."""
        return min(late - early for early, late in pairwise(self.files))

    def figures(self, name: str) -> list[Figure]:
        """Whether a process of this name leaks."""
        least = "least growth from one fifth of the time to the next"
        return [
            Figure(
                "flat",
                f"RSS of {name}, {least}",
                f"{self.least_rss:+.1%}",
                f"< {MOST_RSS_GROWTH:.0%}",
                self.least_rss < MOST_RSS_GROWTH,
            ),
            Figure(
                "flat",
                f"open files of {name}, {least}",
                f"{self.least_files:+.0f}",
                f"≤ {MOST_FILES_GROWTH}",
                self.least_files <= MOST_FILES_GROWTH,
            ),
        ]

    def cells(self) -> list[str]:
        """For a table."""
        return [" → ".join(f"{each:.0f}" for each in of) for of in (self.rss_mb, self.files, self.sockets)]


def run_soak(options: Options) -> Part:
    """Faults that leave the processes alive, for ``minutes``; memory, files and connections at start and end."""
    gap = (2.0, 6.0)
    count = max(1, int(options.minutes * 60 / (sum(gap) / 2)))
    alive = [
        fault for fault in FAULTS if "postgresql" in fault.backends and (fault.target not in _NO_RESTARTS)
    ]
    plan = Plan(
        options.folder / "soak",
        rate=options.rate,
        seed=options.seed,
        in_flight=100,
        lease_seconds=10,
        notifiers=1,
    )
    gauges: list[Gauge] = []
    found: dict[str, int] = {}

    def look(site: Installation) -> None:
        gauges.append(Gauge(site))
        gauges[0].start()

    def end(site: Installation) -> None:
        gauges[0].stop()

    result = storm(
        plan, draw(options.seed, count, alive, gap), tell=options.tell, drain_s=180, begin=look, keep=end
    )
    part = storm_part(
        options,
        result,
        found,
        plan,
        f"./run faults soak --seed {options.seed} --minutes {options.minutes:g} --rate {options.rate:g}",
    )
    part.figures = [figure for figure in part.figures if figure.promise in ("P1", "P2")]
    rows = [["process", "RSS of each fifth after the first, MB", "files", "sockets"]]
    for name, samples in sorted(gauges[0].samples.items()):
        if len(samples) * SAMPLE_S < options.minutes * 60 * 0.8:
            continue
        growth = Growth.of(samples)
        rows.append([name, *growth.cells()])
        part.figures += growth.figures(name)
    part.tables = {"What grows": rows}
    return part
