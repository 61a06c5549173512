"""Full rate and random faults for long: does anything grow that should not?"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.figures import Figure, Part
from tests.faults.installation import Installation, Plan
from tests.faults.nemesis import FAULTS, draw
from tests.faults.promises import Options, storm_part
from tests.faults.storm import storm

#: What makes a process start again would hide what it leaks.
_NO_RESTARTS = {"worker", "relay", "intake"}
SAMPLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process."""

    at: float
    rss_kb: int
    files: int
    sockets: int


class Gauge:
    """Samples every worker and relay from outside until told to stop."""

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


def drift(samples: list[Sample]) -> float:
    """How much the median of the last fifth lies above that of the second fifth, as a share: the first warms up."""
    fifth = len(samples) // 5
    if fifth < 3:
        return 0.0
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]
    return _median([s.rss_kb for s in late]) / _median([s.rss_kb for s in early]) - 1


def _median(values: list[int]) -> float:
    return float(sorted(values)[len(values) // 2])


def run_soak(options: Options) -> Part:
    """Faults that leave the processes alive, for ``minutes``; memory, files and connections at start and end."""
    gap = (2.0, 6.0)
    count = max(1, int(options.minutes * 60 / (sum(gap) / 2)))
    alive = [
        fault for fault in FAULTS if "postgresql" in fault.backends and (fault.target not in _NO_RESTARTS)
    ]
    plan = Plan(
        options.folder / "soak", rate=options.rate, seed=options.seed, in_flight=100, lease_seconds=10
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
    part = storm_part(options, result, found, plan, f"./run faults soak --minutes {options.minutes:g}")
    part.figures = [figure for figure in part.figures if figure.promise in ("P1", "P2")]
    rows = [["process", "RSS, second fifth → last fifth", "drift", "files", "sockets"]]
    for name, samples in sorted(gauges[0].samples.items()):
        if len(samples) * SAMPLE_S < options.minutes * 60 * 0.8:
            continue
        fifth = max(1, len(samples) // 5)
        early, late = samples[fifth : 2 * fifth], samples[-fifth:]
        grown = drift(samples)
        rows.append(
            [
                name,
                f"{_median([s.rss_kb for s in early]) / 1024:.0f} → {_median([s.rss_kb for s in late]) / 1024:.0f} MB",
                f"{grown:+.1%}",
                f"{max(s.files for s in early)} → {max(s.files for s in late)} at most",
                f"{max(s.sockets for s in early)} → {max(s.sockets for s in late)} at most",
            ]
        )
        part.figures.append(Figure("P9", f"RSS drift of {name}", f"{grown:+.1%}", "< 5 %", grown < 0.05))
    part.tables = {"What grows": rows}
    return part
