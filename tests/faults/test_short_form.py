"""The fault bench in short: what CI runs. In full: ``./run faults``; its figures: docs/reliability.md."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.installation import Plan
from tests.faults.nemesis import Fault, draw, faults_for
from tests.faults.promises import catches, private_finds
from tests.faults.sabotage import WRITE_AHEAD_REMOVED
from tests.faults.storm import storm

#: A storm that failed is replayed with FAULTS_SEED=… of its message.
SEED = int(os.environ.get("FAULTS_SEED", "20261123"))


#: Never left out where only some faults are drawn.
ALWAYS = {
    "campaign cancelled in mid-flight",
    "a person settles what is unknown",
    "receipts late, and all at once",
    "503 from a proxy that forwarded half",
    "130, 150, 151 or 200 of which half were sent",
    "ledger killed (kill -9)",
    "worker killed",
}


def some_of(faults: list[Fault], count: int) -> list[Fault]:
    """So many of them, those of ALWAYS among them."""
    others = [fault for fault in faults if fault.name not in ALWAYS]
    always = [fault for fault in faults if fault.name in ALWAYS]
    return always + random.Random(SEED).sample(others, count - len(always))


@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("backend", "count"), [("postgresql", 40), ("sqlite", 12)])
def test_a_storm_of_faults_loses_nothing_doubles_nothing_and_keeps_every_limit(
    tmp_path: Path, backend: str, count: int
) -> None:
    private: dict[str, int] = {}
    result = storm(
        Plan(
            tmp_path,
            backend=backend,
            rate=100.0,
            in_flight=60,
            notifiers=1,
            seed=SEED,
            fresh_statistics=False,
        ),
        draw(SEED, count, some_of(faults_for(backend), count), (0.3, 1.2)),
        keep=lambda site: private.update(private_finds(site)),
    )
    assert result.holds, f"FAULTS_SEED={SEED}\n{result.complaints()}"
    assert private == {}
    assert result.verdict.figures["most_unknown_of_one_lost_worker"] <= 90


@pytest.mark.timeout(300)
def test_the_judge_notices_when_the_write_ahead_is_taken_out(tmp_path: Path) -> None:
    # The other planted bugs need their faults to strike at the right moment: `./run faults planted`.
    broken = {
        finding.promise for finding in catches(WRITE_AHEAD_REMOVED, tmp_path, rate=80.0, times=2).broken()
    }
    assert broken >= WRITE_AHEAD_REMOVED.breaks
