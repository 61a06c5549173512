"""The Lua scripts, assembled from their parts with the numbers of rules.py. Redis 7.0 and Valkey run them.

Each text names its account, so that each account has its own scripts: Redis loses scripts at a restart, and the first
caller of each account must notice it (see redis_permits.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bulksend.limits import rules
from bulksend.limits.keyed_hashes import RECIPIENT_LENGTH
from bulksend.messaging.states import LANES

_HERE = Path(__file__).parent / "lua"
_NUMBERS = (
    "SLICES_PER_SECOND",
    "SLICE_MS",
    "WINDOW",
    "ACCOUNT_CARRY",
    "CYCLE",
    "LAYOUT",
    "MAX_LEAD_MS",
    "FARTHEST_MS",
    "BLACKOUT_MS",
    "COLD_AGAIN_MS",
    "SAME_START_MS",
    "CLOCK_BACK_MS",
    "CODES_EVERY",
    "CODES_SLICES",
    "BULK_EVERY",
    "CODES_CLOSE_MS",
    "BULK_CLOSE_MS",
    "DAY_MS",
    "SLOW_EVERY_MS",
    "SLOWEST",
    "CLIMB_MS",
    "OUTAGES",
    "OPEN_MS",
    "OPEN_MOST_MS",
    "PROBE_LOOK_MS",
)


@dataclass(frozen=True, slots=True)
class Scripts:
    """The text of each script."""

    ask: str
    peek: str
    outlook: str
    report: str
    pause: str
    restore: str

    @classmethod
    def build(cls, account_tag: str, clock: str | None = None) -> Scripts:
        """The scripts of one account. ``clock`` replaces lua/clock.lua in tests."""
        begin = [f"-- account {account_tag}", _constants(), clock or _part("clock"), _part("state")]
        gates = [*begin, _part("slices"), _part("gates")]
        return cls(
            ask="\n".join([*gates, _part("ask")]),
            peek="\n".join([*gates, _part("peek")]),
            outlook="\n".join([*begin, _part("slices"), _part("outlook")]),
            report="\n".join([*begin, _part("report")]),
            pause="\n".join([*begin, _part("pause")]),
            restore="\n".join([*begin, _part("restore")]),
        )


def _part(name: str) -> str:
    return (_HERE / f"{name}.lua").read_text()


def _constants() -> str:
    lines = [f"local {name} = {getattr(rules, name)!r}" for name in _NUMBERS]
    lines.append(f"local RECIPIENT_LENGTH = {RECIPIENT_LENGTH}")
    horizons = ", ".join(f"{kind.value} = {ms!r}" for kind, ms in rules.HORIZON_MS.items())
    lines.append(f"local HORIZON_MS = {{{horizons}}}")
    lanes = ", ".join(f"'{lane.value}'" for lane in LANES)
    lines.append(f"local LANES = {{{lanes}}}")
    return "\n".join(lines)
