"""The fault bench in short: what CI runs. In full: ``./run faults``; its figures: docs/reliability.md."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.installation import Plan
from tests.faults.nemesis import FAULTS, Fault, draw, faults_for
from tests.faults.promises import catches, private_finds
from tests.faults.sabotage import WRITE_AHEAD_REMOVED
from tests.faults.storm import LITTLE, storm

#: A storm that failed is replayed with FAULTS_SEED=… of its message.
SEED = int(os.environ.get("FAULTS_SEED", "20261123"))


#: Never left out: each brings a promise something to check, or is the worst of its kind.
ALWAYS = {
    "campaign cancelled in mid-flight",
    "a person settles what is unknown",
    "receipts late, and all at once",
    "callbacks that cannot be read",
    "serve killed in mid-export",
    "503 from a proxy that forwarded half",
    "130, 150, 151 or 200 of which half were sent",
    "ledger killed (kill -9)",
    "worker killed",
}


#: Campaigns that wait for receipts or for a person are left to the full bench, and with them the promise of canaries.
LEFT = {"canary", "template"}
#: A fault that may last longer is left to the full bench, where nothing has to wait for it.
LONGEST_S = 6.0
COUNTS = {"postgresql": 22, "sqlite": 13}


def some_of(backend: str) -> list[Fault]:
    """Those of ALWAYS, those that only SQLite has, then one of each target, as many as the backend gets."""
    dice = random.Random(SEED)
    faults = faults_for(backend)
    chosen = [fault for fault in faults if fault.name in ALWAYS or fault.backends == ("sqlite",)]
    others = [fault for fault in faults if fault not in chosen and fault.hold[1] <= LONGEST_S]
    others = [fault for fault in others if fault.target not in LEFT and fault.name != "campaign that fails"]
    dice.shuffle(others)
    met = {fault.target for fault in chosen}
    firsts = {fault.target: fault for fault in others if fault.target not in met}
    others = [*firsts.values(), *(fault for fault in others if fault not in firsts.values())]
    return chosen + others[: COUNTS[backend] - len(chosen)]


def test_the_short_storms_have_a_fault_of_every_target() -> None:
    targets = {fault.target for fault in some_of("postgresql")}
    assert targets | LEFT == {fault.target for fault in faults_for("postgresql")}
    assert {fault.name for fault in FAULTS if fault.backends == ("sqlite",)} <= {
        f.name for f in some_of("sqlite")
    }


@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize("backend", list(COUNTS))
def test_a_storm_of_faults_loses_nothing_doubles_nothing_and_keeps_every_limit(
    tmp_path: Path, backend: str
) -> None:
    private: dict[str, int] = {}
    faults = some_of(backend)
    result = storm(
        Plan(
            tmp_path,
            backend=backend,
            rate=100.0,
            in_flight=60,
            notifiers=1,
            seed=SEED,
            fresh_statistics=False,
            read_within_ms=3_000,
        ),
        draw(SEED, len(faults), faults, (0.2, 0.8)),
        traffic=LITTLE,
        keep=lambda site: private.update(private_finds(site)),
    )
    assert result.holds, f"FAULTS_SEED={SEED}\n{result.complaints()}"
    assert private == {}
    assert result.verdict.figures["most_unknown_of_one_lost_worker"] <= 90
    # A run that shows nothing proves nothing.
    assert {fault.fault for fault in result.injected} == {fault.name for fault in faults}
    unchecked = [finding.rule for finding in result.verdict.findings if not finding.checked]
    assert [rule for rule in unchecked if not rule.startswith("nothing beyond a canary")] == []


@pytest.mark.timeout(300)
def test_the_judge_notices_when_the_write_ahead_is_taken_out(tmp_path: Path) -> None:
    # The other planted bugs need their faults to strike at the right moment: `./run faults planted`.
    verdict = catches(
        WRITE_AHEAD_REMOVED,
        tmp_path,
        rate=80.0,
        times=1,
        drain_s=3.0,
        traffic=LITTLE,
        read_within_ms=1_000,
    )
    assert {finding.promise for finding in verdict.broken()} >= WRITE_AHEAD_REMOVED.breaks
