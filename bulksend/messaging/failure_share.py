"""Whether too many messages of a campaign fail for it to go on: a rule over counts, which are read now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bulksend.messaging.sentences import say
from bulksend.messaging.states import SENT, Kind, Status
from bulksend.messaging.units import counted, format_share, parse_share


class Results(NamedTuple):
    """Messages whose POST had a result: how many in all, and how many of them failed."""

    tried: int
    failed: int


def results_of(statuses: Mapping[str, int]) -> Results:
    """The results in a campaign's counts. Unknown ones are left out: a receipt or a person settles them."""
    failed = statuses.get(Status.FAILED, 0)
    return Results(failed + sum(statuses.get(status, 0) for status in SENT), failed)


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """A campaign pauses when more than ``share`` of its last ``window`` messages failed; a share of 1 never pauses."""

    share: float = 0.05
    window: int = 200

    def of(self, kind: Kind, max_failed: float | None) -> FailureLimit:
        """The limit of a campaign. One-time codes have only a limit of their own: a pause would make them useless."""
        if max_failed is not None:
            return FailureLimit(max_failed, self.window)
        return FailureLimit(1.0, self.window) if kind is Kind.OTP else self


def parse_max_failed(text: str, *, field: str = "max_failed") -> float:
    """``5%``: the share of failures that pauses a campaign; ``none`` for never. Raises InvalidValue."""
    return 1.0 if text.strip() == "none" else parse_share(text, field=field)


def format_max_failed(share: float) -> str:
    """As it is given."""
    return "none" if share >= 1 else format_share(share)


class FailureWindow:
    """The results of a campaign's last messages, at least ``limit.window`` where there are as many."""

    def __init__(self, seen: Results | None) -> None:
        """``seen``: the counts from which on failures count; None: those of the first ``add``."""
        self._seen: deque[Results] = deque(() if seen is None else (seen,))

    def restart(self, now: Results) -> None:
        """Count only what comes after this: the campaign is held, and a person may resume it."""
        self._seen = deque([now])

    def add(self, now: Results, window: int) -> Results:
        """The results within the window, with the newest counts."""
        newest = self._seen[-1] if self._seen else now
        if not self._seen or now.tried < newest.tried or now.failed < newest.failed:
            # Failed messages were queued again, or evidence came that they were sent.
            self.restart(now)
        elif now != newest:
            self._seen.append(now)
        while len(self._seen) > 1 and now.tried - self._seen[1].tried >= window:
            self._seen.popleft()
        oldest = self._seen[0]
        return Results(now.tried - oldest.tried, now.failed - oldest.failed)


def too_many_failed(found: Results, limit: FailureLimit) -> str | None:
    """Why the campaign pauses; None where it goes on.

    It does not wait for a full window: with more failures than the window may have, the rest of it cannot help.
    """
    if limit.share >= 1 or found.failed <= limit.share * max(limit.window, found.tried) + 1e-9:
        return None
    return say(
        "{failed} of its last {messages} failed; the limit is {share} of {window}",
        failed=f"{found.failed:,}",
        messages=counted(max(found.tried, found.failed), "message"),
        share=format_share(limit.share),
        window=f"{max(limit.window, found.tried):,}",
    )
