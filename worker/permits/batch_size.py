"""How many slots a block may hold: as many as the event loop can begin before they are missed.

A sender with a high rate could have more slots than POSTs can be started, and each that is missed is asked for anew.
So a block grows by two as long as most begin in time, and shrinks by a fifth when many do not, as TCP finds out what a
line can take. Pure.
"""

from __future__ import annotations

_FIRST, _LEAST = 40.0, 4.0
_GROW, _SHRINK = 2, 0.8
#: So many of a hundred may miss their slots without a word: another slot costs little, and idle hands cost more.
_FREE_PERCENT = 60


class BatchSize:
    """The size of the next block; ``most`` at most."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._size = min(_FIRST, self._most)
        self._missed = 0
        self._was_full = False

    @property
    def size(self) -> int:
        """How many may be asked for now."""
        return int(self._size)

    def missed(self) -> None:
        """One could not begin at its slot."""
        self._missed += 1

    def began(self, many: int) -> None:
        """So many are asked for now: what is known of those before them decides about the next ones."""
        is_full = many >= self.size
        if self._missed * 100 > self._size * _FREE_PERCENT:
            self._size = max(_LEAST, self._size * _SHRINK)
        elif self._was_full:
            self._size = min(self._most, self._size + _GROW)
        self._missed = 0
        self._was_full = is_full
