"""The API answers as its description says: schemathesis asks each operation, right and wrong.

    ./run python -m tests.http_description [--backend sqlite] [--max-examples 15]

Half of the requests name what there is in a ledger with one of everything. ``integration/http/schemathesis.toml`` has
what is left out, and why.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "tests" / "integration" / "http" / "schemathesis.toml"
#: In the environment: a key of an admin, which ``CONFIG`` reads, and the ids of what there is as JSON, for its hooks.
KEY, IDS = "SCHEMATHESIS_KEY", "SCHEMATHESIS_IDS"


def schemathesis(
    url: str, key: str, ids: Mapping[str, list[str]], folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run it against the API at this address."""
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(CONFIG), "run", f"{url}/openapi.json"),
            *options,
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT), KEY: key, IDS: json.dumps(ids)},
        cwd=folder,
        capture_output=True,
        text=True,
    )


def main() -> None:
    """Run it against a server of its own."""
    # Only here: the test has these already.
    from tests.served import own_server

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--max-examples", type=int, default=15)
    parser.add_argument("--backend", choices=("sqlite", "postgresql"), default="sqlite")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        own_server(given.backend, Path(folder)) as (served, key, ids),
    ):
        options = ("--phases", "coverage,fuzzing", "--max-examples", str(given.max_examples))
        done = schemathesis(served.url, key, ids, Path(folder), *options)
    sys.stdout.write(done.stdout + done.stderr)
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
