"""Whatever is sent to the API, it answers with a problem, and neither breaks nor says back what was sent."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.operations.access import Role
from tests.http_fuzz import Fuzz, run
from tests.served import Served

REQUESTS = 150


@pytest.mark.parametrize(
    ("ledger_url", "seed"), [("sqlite", 16), ("postgresql", 17)], indirect=["ledger_url"]
)
def test_no_bad_request_breaks_it_or_is_said_back(api: Any, seed: int) -> None:
    served = Served(api.client.app, lifespan="off")
    served.start()
    try:
        found = run(served.port, Fuzz(served.description(), api.key(Role.ADMIN), seed=seed), REQUESTS)
    finally:
        served.stop()
    assert not found.wrong, "\n".join(found.wrong)
    assert {400, 404, 405, 422} <= set(found.statuses)
