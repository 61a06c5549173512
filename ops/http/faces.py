"""Which face answers at an address: the HTTP API at these, the console at all others."""

from __future__ import annotations

from typing import Final

#: The first parts of the API's paths.
OF_THE_API: Final = frozenset({"v1", "docs", "openapi.json", "static", "healthz", "readyz", "metrics"})


def is_of_the_api(path: str) -> bool:
    """Whether the API answers a request for this path."""
    return path[1:].partition("/")[0] in OF_THE_API
