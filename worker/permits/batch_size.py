"""How many permits one batch asks for: as many as the event loop can use before their slice is over.

A sender with a high rate can get more permits than POSTs can be started, and each missed slice costs another request.
So the size follows AIMD, as TCP's congestion window does: it grows by two while most of them are used, and shrinks by a
fifth when many are missed. Pure.
"""

from __future__ import annotations

_FIRST, _LEAST = 40.0, 4.0
_GROW, _SHRINK = 2, 0.8
#: A batch shrinks only above this share of missed slices: another permit costs little, an idle worker costs more.
_TOLERATED_PERCENT = 60


class BatchSize:
    """The size of the next batch; ``most`` at most."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._size = min(_FIRST, self._most)
        self._missed = 0
        self._was_full = False

    @property
    def size(self) -> int:
        """How many permits the next batch may ask for."""
        return int(self._size)

    def count_missed(self) -> None:
        """A POST could not start in its slice."""
        self._missed += 1

    def next_batch(self, count: int) -> None:
        """A batch of ``count`` is asked for now: adjust the size by what happened since the batch before."""
        is_full = count >= self.size
        if self._missed * 100 > self._size * _TOLERATED_PERCENT:
            self._size = max(_LEAST, self._size * _SHRINK)
        elif self._was_full:
            self._size = min(self._most, self._size + _GROW)
        self._missed = 0
        self._was_full = is_full
