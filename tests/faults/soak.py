"""Full rate and random faults for long: does anything grow that should not?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians of the second fifth of the time and of the last: the first fifth warms up."""

    rss_mb: tuple[float, float]
    files: tuple[float, float]
    sockets: tuple[float, float]
    most_files: int
    """In the second fifth of the time. Pools fill by what faults ask of them, and are no leak."""

    @classmethod
    def of(cls, samples: list[Sample]) -> Growth:
        """What became of a process; at least five samples."""
        fifth = len(samples) // 5
        early, late = samples[fifth : 2 * fifth], samples[-fifth:]

        def both(what: Callable[[Sample], int]) -> tuple[float, float]:
            return median(map(what, early)), median(map(what, late))

        rss = both(lambda s: s.rss_kb)
        return cls(
            (rss[0] / 1024, rss[1] / 1024),
            both(lambda s: s.files),
            both(lambda s: s.sockets),
            max(s.files for s in early),
        )

    @property
    def drift(self) -> float:
        """By which share the memory grew."""
        return self.rss_mb[1] / self.rss_mb[0] - 1

    def cells(self) -> list[str]:
        """For a table."""
        pairs = (self.files, self.sockets)
        return [
            f"{self.rss_mb[0]:.0f} → {self.rss_mb[1]:.0f} MB",
            f"{self.drift:+.1%}",
            *(f"{early:.0f} → {late:.0f}" for early, late in pairs),
        ]


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
    rows = [["process", "RSS, second fifth → last fifth", "drift", "files", "sockets"]]
    for name, samples in sorted(gauges[0].samples.items()):
        if len(samples) * SAMPLE_S < options.minutes * 60 * 0.8:
            continue
        growth = Growth.of(samples)
        rows.append([name, *growth.cells()])
        part.figures += [
            Figure("flat", f"RSS drift of {name}", f"{growth.drift:+.1%}", "< 5 %", growth.drift < 0.05),
            Figure(
                "flat",
                f"open files of {name}, as a median",
                f"{growth.files[0]:.0f} → {growth.files[1]:.0f}",
                f"≤ {growth.most_files}, the most of the second fifth",
                growth.files[1] <= growth.most_files,
            ),
        ]
    part.tables = {"What grows": rows}
    return part
