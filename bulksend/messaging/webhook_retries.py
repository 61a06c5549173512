"""When a webhook is tried again, and when its endpoint counts as gone."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

_S, _M, _H = 1_000, 60_000, 3_600_000
#: The wait before each try, ms. Ten tries take three days.
WAITS_MS = (
    *(0, 5 * _S, 5 * _M, 30 * _M, 2 * _H, 5 * _H),
    *(10 * _H, 14 * _H, 20 * _H, 24 * _H),
)
#: A wait is longer by up to this part of it, so that what failed together does not come back together.
JITTER = 0.1
#: A Retry-After asks for at most this wait.
LONGEST_MS = 24 * _H
#: An endpoint that took nothing for this long is disabled.
GONE_MS = 5 * 24 * _H


def next_wait_ms(tries: int, *, retry_after_ms: int | None, dice: float) -> int | None:
    """The wait after ``tries`` failed ones; None when they are spent. ``dice`` is uniform in [0, 1).

    ``retry_after_ms`` is what the receiver asked for: the wait is not shorter.
    """
    if tries >= len(WAITS_MS):
        return None
    wait = WAITS_MS[tries] * (1 + JITTER * dice)
    return int(max(wait, min(retry_after_ms or 0, LONGEST_MS)))


def is_gone(failing_since: int | None, now_ms: int) -> bool:
    """Whether an endpoint that has taken nothing since then is to be disabled."""
    return failing_since is not None and now_ms - failing_since >= GONE_MS


def read_retry_after_ms(text: str | None, now_ms: int) -> int | None:
    """The wait that a ``Retry-After`` header asks for, in seconds or as a date; None where it says nothing usable."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * 1_000, LONGEST_MS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0, min(int(moment.timestamp() * 1_000) - now_ms, LONGEST_MS))


def is_delivered(http_status: int | None) -> bool:
    """Only 2xx is a success; a redirect is none, and is not followed."""
    return http_status is not None and 200 <= http_status < 300


#: The receiver wants nothing more: the endpoint is disabled at once.
WANTS_NO_MORE = 410
