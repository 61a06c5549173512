"""Nothing here skips: every test brings its own servers, proxies and processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.proxy import Proxies


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.close()
