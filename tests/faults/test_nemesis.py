"""Faults are drawn from a seed: the same seed, the same faults."""

from __future__ import annotations

from collections import Counter

from bulksend.failpoints import STEPS
from tests.faults.nemesis import (
    EXPORT_STEPS,
    FAULTS,
    INTAKE_STEPS,
    NOTIFIER_STEPS,
    RELAY_STEPS,
    SERVE_STEPS,
    UPLOAD_STEPS,
    WORKER_STEPS,
    draw,
    faults_for,
)
from tests.faults.sabotage import PLANTED, plant


def test_a_seed_draws_the_same_faults_at_the_same_instants() -> None:
    assert draw(7, 200, FAULTS, (0.5, 2.0)) == draw(7, 200, FAULTS, (0.5, 2.0))
    assert draw(7, 200, FAULTS, (0.5, 2.0)) != draw(8, 200, FAULTS, (0.5, 2.0))


def test_every_kind_comes_before_any_comes_twice() -> None:
    drawn = draw(1, 2 * len(FAULTS), FAULTS, (0.1, 0.2))
    assert set(Counter(planned.fault.name for planned in drawn).values()) == {2}
    first = {planned.fault.name for planned in drawn[: len(FAULTS)]}
    assert len(first) == len(FAULTS)


def test_every_step_that_has_a_failpoint_is_one_where_something_is_killed() -> None:
    serve = {*UPLOAD_STEPS, *EXPORT_STEPS, *SERVE_STEPS}
    assert {*WORKER_STEPS, *RELAY_STEPS, *INTAKE_STEPS, *NOTIFIER_STEPS, *serve} == set(STEPS)


def test_both_ledgers_have_their_faults() -> None:
    assert {f.target for f in faults_for("sqlite")} >= {"worker", "redis", "ledger", "vendor", "intake"}
    assert len(faults_for("postgresql")) > 55


def test_every_planted_bug_fits_the_program_as_it_stands(tmp_path: object) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    for number, bug in enumerate(PLANTED):
        assert (plant(bug, tmp_path / str(number)) / "worker" / "engine.py").exists()
