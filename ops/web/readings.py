"""Which pages with numbers each session was shown: their refreshes are no new readings."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

#: A page that stays open is put on record this often.
SHOWN_S = 3_600.0
_MOST = 10_000


class Readings:
    """Of this process, used by several threads. One that is not known here is recorded once more."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._lock = threading.Lock()
        self._at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_new(self, session: str, address: str, *, is_refresh: bool) -> bool:
        """Whether this is to be put on record; a refresh is not while what it refreshes is known."""
        now, key = self._steady(), (session, address)
        with self._lock:
            at = self._at.get(key)
            if is_refresh and at is not None and now - at < SHOWN_S:
                return False
            self._at[key] = now
            self._at.move_to_end(key)
            while len(self._at) > _MOST:
                self._at.popitem(last=False)
            return True
