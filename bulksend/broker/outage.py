"""What is logged while Redis is away: a line at the loss, one a minute, one at the return. Never one a try."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from bulksend.broker.readiness import trouble_of

log = structlog.get_logger(__name__)

REMIND_SECONDS = 60.0


def _warn(event: str, **told: object) -> None:
    # Looked up when it is needed: a logger got at import goes by what logging was then.
    log.warning(event, **told)


class Outage:
    """One process's (or part's) view of Redis. ``who`` names it in the log. Belongs to one thread."""

    def __init__(
        self,
        who: str,
        *,
        steady_s: Callable[[], float] = time.monotonic,
        say: Callable[..., None] | None = None,
    ) -> None:
        self._who = who
        self._steady_s = steady_s
        self._say = say or _warn
        self._since: float | None = None
        self._said = 0.0
        self._tries = 0

    @property
    def seconds(self) -> float:
        """How long it has been away; 0 while it is there."""
        return 0.0 if self._since is None else self._steady_s() - self._since

    def goes_on(self, error: BaseException) -> None:
        """A try has failed."""
        now = self._steady_s()
        self._tries += 1
        if self._since is None:
            self._since = self._said = now
            self._say("redis_away", who=self._who, error=kind_of(error), why=trouble_of(error).what)
        elif now - self._said >= REMIND_SECONDS:
            self._said = now
            self._say(
                "redis_still_away",
                who=self._who,
                error=kind_of(error),
                why=trouble_of(error).what,
                seconds=round(now - self._since),
                tries=self._tries,
            )

    def over(self) -> None:
        """A try has succeeded. Costs nothing while there is no outage."""
        if self._since is None:
            return
        self._say("redis_back", who=self._who, away_seconds=round(self.seconds, 1), tries=self._tries)
        self._since = None
        self._tries = 0


def kind_of(error: BaseException) -> str:
    """The error's type, and Redis's own word for it (``MISCONF``). No more of its text: nobody knows what it quotes."""
    word = str(error).partition(" ")[0]
    name = type(error).__name__
    return f"{name} {word}" if word.isalpha() and word.isupper() and len(word) > 2 else name
