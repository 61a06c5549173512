"""What the bench asked for, was told and did: the judge's second witness, beside the vendor's record.

Rights come from here and not from the ledger, which is what is judged. Thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from tests.faults.judge import Asked, Canary, CodePair, Resolved, Stop, Told


def now_ms() -> float:
    """The machine's clock, as the vendor's record has it."""
    return time.time() * 1000


class Notes:
    """Grows during a run; ``asked`` is what it came to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.taken_in: set[str] = set()
        self.codes: dict[str, float] = {}
        """Recipient of a code -> when ``send`` had returned, in ms."""
        self._resend: set[str] = set()
        self._resolved: list[Resolved] = []
        self._stops: list[Stop] = []
        self._receipts: list[Told] = []
        self._faults: list[tuple[float, float]] = []
        self._pairs: list[CodePair] = []
        self._canaries: list[Canary] = []
        self._paused_by_itself = 0
        self._unreadable = (0, 0)

    def take_in(self, people: Iterable[str]) -> None:
        """A producer was told that they are taken in."""
        with self._lock:
            self.taken_in.update(people)

    def code(self, to: str) -> None:
        """``send`` has returned for a code."""
        with self._lock:
            self.codes[to] = now_ms()
            self.taken_in.add(to)

    def wants_resend(self, people: Iterable[str]) -> None:
        """Their campaign is about to ask for a second POST of what is unknown."""
        with self._lock:
            self._resend.update(people)

    def resolve(self, people: Iterable[str], as_: str, at_ms: float) -> None:
        """A person's word about their messages has been taken; the command was begun at ``at_ms``."""
        with self._lock:
            self._resolved += [Resolved(to, as_, at_ms) for to in people]

    def pair(self, older: str, newer: str, said_ms: float) -> None:
        """A newer code of a person has been taken in."""
        with self._lock:
            self._pairs.append(CodePair(older, newer, said_ms))

    def canary(self, canary: Canary) -> None:
        """A campaign with a canary is over, or was let go."""
        with self._lock:
            self._canaries.append(canary)

    def stop(
        self,
        people: Iterable[str],
        begun_ms: float,
        done_ms: float,
        until_ms: float | None,
        *,
        by_itself: bool = False,
    ) -> None:
        """Their campaign was cancelled (``until_ms`` None), or paused until then: by a person, or by itself."""
        with self._lock:
            self._paused_by_itself += by_itself
            self._stops.append(Stop(frozenset(people), begun_ms, done_ms, until_ms))

    def tell(self, receipts: Sequence[Told]) -> None:
        """The ledger said that it has taken these."""
        with self._lock:
            self._receipts += receipts

    def unreadable(self, tries: int) -> None:
        """A callback that cannot be read was answered with 200, at the last of ``tries``."""
        with self._lock:
            answered, posted = self._unreadable
            self._unreadable = answered + 1, posted + tries

    @property
    def unreadables(self) -> tuple[int, int]:
        """Callbacks that cannot be read: how many were answered, and how many POSTed."""
        with self._lock:
            return self._unreadable

    def fault(self, begun_ms: float, healed_ms: float) -> None:
        """Something was at work that can leave a doubt about a POST."""
        with self._lock:
            self._faults.append((begun_ms, healed_ms))

    def counts(self) -> dict[str, int]:
        """How often a person or the vendor had a say."""
        with self._lock:
            cancels = sum(stop.until_ms is None for stop in self._stops)
            return {
                "campaigns cancelled": cancels,
                "campaigns paused": len(self._stops) - cancels - self._paused_by_itself,
                "campaigns that paused themselves": self._paused_by_itself,
                "campaigns with a canary": len(self._canaries),
                "of these let go by a person": sum(c.released_ms is not None for c in self._canaries),
                "codes with a newer one": len(self._pairs),
                **{
                    f"messages resolved as {as_}": sum(word.as_ == as_ for word in self._resolved)
                    for as_ in ("resend", "failed", "accepted")
                },
                "messages of campaigns that ask for resend": len(self._resend),
                "receipts taken": len(self._receipts),
            }

    def asked(self) -> Asked:
        """All of it, for the judge."""
        with self._lock:
            return Asked(
                taken_in=frozenset(self.taken_in),
                resend=frozenset(self._resend),
                resolved=tuple(self._resolved),
                stops=tuple(self._stops),
                receipts=tuple(self._receipts),
                pairs=tuple(self._pairs),
                canaries=tuple(self._canaries),
                faults=tuple(self._faults),
            )
