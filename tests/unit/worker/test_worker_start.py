"""What a worker refuses at its start."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidInput
from bulksend.settings import Settings
from worker.celery_app import build_app

KEYS = {
    "USPEEDO_ACCESSKEY_ID": "key",
    "USPEEDO_ACCESSKEY_SECRET": "word",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_worker_does_not_start_beside_a_proxy_that_it_would_not_use(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name} is set.*BULKSEND_IGNORE_PROXY=1"):
        build_app(Settings.from_env(KEYS | {name: "http://proxy:3128"}))
