"""When a call is tried again, and after how long. Pure: the dice are an argument."""

from __future__ import annotations

from dataclasses import dataclass

#: Not done yet, or not at all: the same request may succeed later. 409 comes while the first of two requests with the
#: same Idempotency-Key still runs; it has a Retry-After then.
_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """At most ``most`` further tries. The wait doubles from ``base_s`` up to ``cap_s``, with full jitter."""

    most: int = 4
    base_s: float = 0.2
    cap_s: float = 5.0

    def wait_s(
        self, attempt: int, dice: float, *, status: int | None, retry_after: str | None
    ) -> float | None:
        """Seconds until the next try; None where there is none.

        ``attempt`` counts from 0; ``status`` is None where no answer came; ``dice`` is uniform in [0, 1).
        """
        if attempt >= self.most:
            return None
        asked = _seconds(retry_after)
        if status is not None and status not in _AGAIN and not (status == 409 and asked is not None):
            return None
        backoff = min(self.cap_s, self.base_s * 2.0**attempt) * (0.5 + dice / 2)
        return backoff if asked is None else max(backoff, min(asked, 60.0))


def _seconds(retry_after: str | None) -> float | None:
    text = "" if retry_after is None else retry_after.strip()
    # Digits of other scripts, as in "²", are no number.
    return float(text) if text.isascii() and text.isdigit() else None
