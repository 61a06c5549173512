"""The vendor's latency: three distributions, drawn with the dice of the caller.

Durations in settings are milliseconds; ``draw`` returns seconds, the unit of event loops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

NonNegative = Annotated[float, Field(ge=0, le=86_400_000, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=86_400_000, allow_inf_nan=False)]

#: The 99th percentile of the standard normal distribution.
_Z99 = 2.3263478740408408


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same duration."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    ms: NonNegative = 0.0
    kind: Literal["constant"] = "constant"


@dataclass(frozen=True, slots=True)
class Uniform:
    """Equally likely between two bounds."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    low_ms: NonNegative
    high_ms: NonNegative
    kind: Literal["uniform"] = "uniform"

    def __post_init__(self) -> None:
        if self.high_ms < self.low_ms:
            raise ValueError("high_ms must not be below low_ms")


@dataclass(frozen=True, slots=True)
class LogNormal:
    """With the long right tail of real services; given by median and 99th percentile."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    median_ms: Positive
    p99_ms: Positive
    kind: Literal["lognormal"] = "lognormal"

    def __post_init__(self) -> None:
        if self.p99_ms < self.median_ms:
            raise ValueError("p99_ms must not be below median_ms")


Latency = Annotated[Constant | Uniform | LogNormal, Field(discriminator="kind")]


def draw(latency: Constant | Uniform | LogNormal, dice: Random) -> float:
    """One duration in seconds. A constant draws no random number."""
    if isinstance(latency, Constant):
        return latency.ms / 1000
    if isinstance(latency, Uniform):
        return dice.uniform(latency.low_ms, latency.high_ms) / 1000
    sigma = math.log(latency.p99_ms / latency.median_ms) / _Z99
    return math.exp(math.log(latency.median_ms) + sigma * dice.gauss()) / 1000
