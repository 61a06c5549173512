"""What other packages may use of the limiter."""

from __future__ import annotations

import bulksend.limits as limits
from tests.limiter.local_permits import LocalPermits


def test_the_package_exports_exactly_these_names() -> None:
    assert sorted(limits.__all__) == [
        "Ask",
        "Gate",
        "Grant",
        "KeyedHashes",
        "LimitRules",
        "MAX_LEAD_MS",
        "Permit",
        "Permits",
        "RedisPermits",
        "Reported",
        "SLICE_MS",
        "SenderLimits",
        "Slowed",
        "Wait",
    ]


def test_every_exported_name_exists() -> None:
    assert [name for name in limits.__all__ if not hasattr(limits, name)] == []


def test_gates_are_lower_case_words() -> None:
    assert [gate.value for gate in limits.Gate] == [gate.name.lower() for gate in limits.Gate]


def test_every_limiter_has_the_methods_of_the_protocol() -> None:
    wanted = {name for name in vars(limits.Permits) if not name.startswith("_")}
    for limiter in (limits.RedisPermits, LocalPermits):
        assert wanted <= set(dir(limiter))
