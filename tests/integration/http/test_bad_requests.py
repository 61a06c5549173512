"""Whatever is sent to the API, it answers with a problem, and neither breaks nor says back what was sent."""

from __future__ import annotations

from typing import Any

from bulksend.operations.access import Role
from tests.http_fuzz import Fuzz, run
from tests.served import Served

REQUESTS = 300


def test_no_bad_request_breaks_it_or_is_said_back(api: Any) -> None:
    served = Served(api.client.app, lifespan="off")
    served.start()
    try:
        found = run(served.port, Fuzz(served.description(), api.key(Role.ADMIN), seed=16), REQUESTS)
    finally:
        served.stop()
    assert not found.wrong, "\n".join(found.wrong)
    assert {400, 404, 405, 422} <= set(found.statuses)
