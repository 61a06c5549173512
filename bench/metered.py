"""A worker whose limiter is metered: ``celery -A bench.metered worker``.

Every call for permits is noted, and written as JSON to the folder that BENCH_METER names when the worker stops: one
row a call, ``[when, lead_ms, kind, asked, granted, cpu_seconds]``, ``when`` by CLOCK_MONOTONIC.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bulksend.limits import Ask, Grant, Permit, Permits, Reported
from bulksend.messaging.outcome import Scope
from bulksend.settings import Settings
from worker.celery_app import build_app


class Metered:
    """A limiter, and what was asked of it."""

    def __init__(self, inner: Permits, file: Path) -> None:
        self._inner = inner
        self._file = file
        self._calls: list[tuple[float, float, str, int, int, float]] = []

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        """See Permits."""
        at, before = time.monotonic(), time.thread_time()
        grant = self._inner.ask(asks, lead_ms=lead_ms, per_slice=per_slice)
        cpu = time.thread_time() - before
        given = sum(isinstance(answer, Permit) for answer in grant.answers)
        kind = asks[0].kind.value if asks else ""
        self._calls.append((at, lead_ms, kind, len(asks), given, cpu))
        return grant

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> Reported:
        """See Permits."""
        return self._inner.report(slow=slow, outages=outages, successes=successes, probe_over=probe_over)

    def pause(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._inner.pause(scope, id)

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._inner.resume(scope, id)

    def paused(self) -> tuple[tuple[Scope, str], ...]:
        """See Permits."""
        return self._inner.paused()

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Iterable[tuple[str, float]] | None
    ) -> None:
        """See Permits."""
        self._inner.restore(pauses=pauses, recent=recent)

    def write(self) -> None:
        """Write down what was asked."""
        self._file.write_text(json.dumps(self._calls))


def _metered(inner: Permits) -> Permits:
    metered = Metered(inner, Path(os.environ["BENCH_METER"]) / f"{os.getpid()}.json")
    atexit.register(metered.write)
    return metered


app = build_app(Settings.from_env(os.environ, Path(".env")), around_permits=_metered)
