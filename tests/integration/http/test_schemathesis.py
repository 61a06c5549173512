"""The API answers as its description says: schemathesis asks each operation, with and without a key, right and wrong.

``schemathesis.toml`` has what is left out, and why. CONTRIBUTING.md has the longer way by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bulksend.operations.access import Role
from tests.served import Served

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.mark.parametrize("more_settings", [{"BULKSEND_REQUESTS_PER_SECOND": "10000"}], indirect=True)
def test_every_operation_is_what_its_description_says(api: Any, tmp_path: Path) -> None:
    served = Served(api.client.app, lifespan="off")
    served.start()
    try:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                *("--config-file", str(HERE / "schemathesis.toml"), "run", f"{served.url}/openapi.json"),
                *("-H", f"Authorization: Bearer {api.key(Role.ADMIN)}"),
                *("--phases", "fuzzing", "--max-examples", "4", "--no-shrink"),
            ],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
    finally:
        served.stop()
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
