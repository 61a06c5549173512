"""The API answers as its description says. CONTRIBUTING.md has the longer way by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulksend.operations.access import Role
from tests.http_description import schemathesis
from tests.served import Served


@pytest.mark.parametrize("more_settings", [{"BULKSEND_REQUESTS_PER_SECOND": "10000"}], indirect=True)
def test_every_operation_is_what_its_description_says(seeded_api: Any, tmp_path: Path) -> None:
    api = seeded_api
    served = Served(api.client.app, lifespan="off")
    served.start()
    try:
        options = ("--phases", "fuzzing", "--max-examples", "4", "--no-shrink")
        done = schemathesis(served.url, api.key(Role.ADMIN), api.ids, tmp_path, *options)
    finally:
        served.stop()
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
