"""The Lua script of an account: the parts of lua/ with the numbers of rules.py. Redis 7.0 and Valkey run it.

Its text names the account: Redis loses scripts at a restart, and the first caller of each account must notice it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bulksend.limits import rules
from bulksend.limits.keyed_hashes import RECIPIENT_LENGTH, KeyedHashes
from bulksend.messaging.outcome import Scope

_HERE = Path(__file__).parent / "lua"
_PARTS = ("clock", "state", "slices", "gates", "ask", "looks", "report", "pauses", "call")


def build_script(hashes: KeyedHashes, limits: rules.LimitRules, clock: str | None = None) -> str:
    """The script of one account with its limits. ``clock`` replaces lua/clock.lua in tests."""
    numbers = {name: value for name, value in vars(rules).items() if name.isupper()} | {
        "ACCOUNT": hashes.field(Scope.ACCOUNT, hashes.account),
        "RECIPIENT_LENGTH": RECIPIENT_LENGTH,
        "ACCOUNT_RATE": limits.account_rate,
        "OTP_RESERVE": limits.otp_reserve,
        "PAIR_INTERVAL_MS": limits.pair_interval_ms,
        "PAIR_TOLERANCE_MS": limits.pair_tolerance_ms,
        "PROBE_MS": limits.probe_ms,
    }
    texts = {part: (_HERE / f"{part}.lua").read_text() for part in _PARTS}
    if clock is not None:
        texts["clock"] = clock
    # Written into the text: as locals they cost each call some 10 us, because Lua looks for them whenever it makes a
    # function that uses them.
    return re.sub(
        r"\b[A-Z_]+\b",
        lambda found: _lua(numbers[found[0]]) if found[0] in numbers else found[0],
        "\n".join(texts.values()),
    )


def _lua(value: object) -> str:
    if isinstance(value, Mapping):
        return "({" + ", ".join(f"{key} = {each!r}" for key, each in value.items()) + "})"
    return "nil" if value is None else repr(value)
