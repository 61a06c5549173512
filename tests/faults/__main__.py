"""``./run faults``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.installation import Plan
from tests.faults.nemesis import draw, faults_for
from tests.faults.storm import storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--rate", type=float, default=150)
    parser.add_argument("--backend", default="postgresql")
    parser.add_argument("--only")
    options = parser.parse_args()
    chosen = [f for f in faults_for(options.backend) if not options.only or options.only in f.name]
    plan = draw(options.seed, options.faults, chosen, (0.5, 2.0))
    folder = Path(tempfile.mkdtemp(prefix="bulksend-faults-"))
    print("seed", options.seed, "folder", folder, flush=True)
    result = storm(
        Plan(folder, rate=options.rate, seed=options.seed, backend=options.backend),
        plan,
        tell=lambda t: print(t, flush=True),
    )
    print(result.complaints())
    print(result.verdict.figures)
    for f in result.verdict.findings:
        print(f.promise, f.rule, f.checked, f.broken)
    print(
        "seconds",
        result.seconds,
        "drain",
        result.drained_in,
        "starts",
        result.starts,
        "injected",
        len(result.injected),
    )
    return 0 if result.holds else 1


sys.exit(main())
