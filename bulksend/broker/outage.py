"""The log of an outage of Redis: a line at its start, one a minute, one at its end; not one for each try."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from bulksend.broker.readiness import problem_of
from bulksend.logs import REMIND_S

log = structlog.get_logger(__name__)


def _warn(event: str, **fields: object) -> None:
    # Looked up at each call: a bound method taken at import would keep the logging set up by then.
    log.warning(event, **fields)


class Outage:
    """Whether Redis answers one component, which the log names. Belongs to one thread."""

    def __init__(
        self,
        component: str,
        *,
        steady_s: Callable[[], float] = time.monotonic,
        log_event: Callable[..., None] | None = None,
    ) -> None:
        self._component = component
        self._steady_s = steady_s
        self._log_event = log_event or _warn
        self._since: float | None = None
        self._logged_at = 0.0
        self._tries = 0

    @property
    def seconds(self) -> float:
        """How long the outage has lasted; 0 while there is none."""
        return 0.0 if self._since is None else self._steady_s() - self._since

    def failed(self, error: BaseException) -> None:
        """A call has failed."""
        now = self._steady_s()
        self._tries += 1
        if self._since is None:
            self._since = self._logged_at = now
            self._log_event(
                "redis_unavailable",
                component=self._component,
                error=kind_of(error),
                why=problem_of(error).what,
            )
        elif now - self._logged_at >= REMIND_S:
            self._logged_at = now
            self._log_event(
                "redis_still_unavailable",
                component=self._component,
                error=kind_of(error),
                why=problem_of(error).what,
                seconds=round(now - self._since),
                tries=self._tries,
            )

    def succeeded(self) -> None:
        """A call has succeeded."""
        if self._since is None:
            return
        self._log_event(
            "redis_available",
            component=self._component,
            away_seconds=round(self.seconds, 1),
            tries=self._tries,
        )
        self._since = None
        self._tries = 0


def kind_of(error: BaseException) -> str:
    """The error's type and Redis's own code for it (``MISCONF``). The rest of its text may quote private data."""
    word = str(error).partition(" ")[0]
    name = type(error).__name__
    return f"{name} {word}" if word.isalpha() and word.isupper() and len(word) > 2 else name
