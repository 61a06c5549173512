"""Named steps of a message's life at which a process can be made to die or fail: off unless ``arm`` is called.

Only the doors arm them, from ``BULKSEND_FAILPOINTS``; the fault bench (tests/faults) sets that. Form:
``NAME[@SUBJECT]:ACTION[:NTH]``, several behind commas. ``after_open:kill:20`` is a kill -9 right after the 20th
write-ahead was committed; ``rendering@ID:kill:*`` kills whoever renders that message, each time.
"""

from __future__ import annotations

import difflib
import errno
import os
import signal
import threading
import time
from dataclasses import dataclass, field

from bulksend.errors import BulksendError, InvalidInput

#: Every step that can be named, in the order of a message's life.
STEPS = {
    "before_chunk": "intake: rows are planned, nothing of them is stored",
    "after_chunk": "intake: rows are stored, Redis knows nothing",
    "chunk_published": "intake: Redis knows",
    "publishing": "relay: due messages were read, Redis knows nothing",
    "published": "relay: Redis knows, the relay has not noted it",
    "job_taken": "worker: the job has left Redis, its ids are only in memory",
    "before_claim": "worker: before the claim's transaction",
    "after_claim": "worker: claimed and committed",
    "rendering": "worker: one message is being rendered (subject: its id)",
    "permitted": "worker: one message has its permit (subject: its id)",
    "before_open": "worker: before the write-ahead's transaction",
    "after_open": "worker: the write-ahead is committed, nothing is sent",
    "connected": "worker: a connection to the vendor is had, no byte is written",
    "request_written": "worker: the request is handed to the kernel",
    "reply_read": "worker: the vendor's reply is read",
    "before_settle": "worker: outcomes are decided, nothing is recorded",
    "after_settle": "worker: outcomes are committed",
    "giving_back": "worker: before unsent messages are given back",
    "rescuing": "worker or relay: in the midst of a rescue, before its commit",
}
ACTIONS = {
    "kill": "end the process as kill -9 does",
    "stop": "freeze the process (SIGSTOP)",
    "raise": "raise FailpointReached",
    "nospace": "raise OSError: no space left on device",
    "sleep=SECONDS": "stand still",
}


class FailpointReached(BulksendError):
    """Raised where a failpoint says so."""


@dataclass(slots=True)
class _Armed:
    subject: str
    action: str
    seconds: float
    nth: int | None
    """None: each time."""
    reached: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self, subject: str) -> bool:
        if self.subject and self.subject != subject:
            return False
        with self.lock:
            self.reached += 1
            return self.nth is None or self.reached == self.nth


_armed: dict[str, list[_Armed]] = {}


def arm(text: str | None) -> list[str]:
    """Arm what ``text`` names, instead of what was armed before; the names. Raises InvalidInput."""
    made = check(text)
    _armed.clear()
    _armed.update(made)
    return list(made)


def check(text: str | None) -> dict[str, list[_Armed]]:
    """What ``text`` names, without arming it. Raises InvalidInput."""
    made: dict[str, list[_Armed]] = {}
    for part in (text or "").split(","):
        if part.strip():
            name, armed = _read(part.strip())
            made.setdefault(name, []).append(armed)
    return made


def reach(step: str, subject: str = "") -> None:
    """The process is at this step. Nothing happens unless it is armed."""
    if _armed:
        for armed in _armed.get(step, ()):
            if armed.is_due(subject):
                _act(armed, step)


def _act(armed: _Armed, step: str) -> None:
    match armed.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "nospace":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "sleep":
            time.sleep(armed.seconds)
        case _:
            raise FailpointReached(step)


def _read(part: str) -> tuple[str, _Armed]:
    step, *rest = part.split(":")
    # One sentence on one line, whatever was handed in.
    part = part.encode("unicode_escape").decode("ascii")[:60]
    name, _, subject = step.partition("@")
    if name not in STEPS:
        near = difflib.get_close_matches(name, STEPS, 1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(STEPS)}"
        raise InvalidInput(f"{part}: there is no such failpoint; {hint}")
    if len(rest) not in (1, 2):
        raise InvalidInput(f"{part}: write NAME[@SUBJECT]:ACTION[:NTH], e.g. after_open:kill:20")
    action, _, seconds = rest[0].partition("=")
    if action not in {known.partition("=")[0] for known in ACTIONS} or (action == "sleep") != bool(seconds):
        raise InvalidInput(f"{part}: the action is one of {', '.join(ACTIONS)}")
    nth = rest[1] if len(rest) == 2 else "1"
    if nth != "*" and not (nth.isascii() and nth.isdigit() and int(nth)):
        raise InvalidInput(f"{part}: the last part says at which time it happens, 1 or more, or * for each")
    try:
        wait = float(seconds or 0)
    except ValueError:
        raise InvalidInput(f"{part}: its seconds are not a number") from None
    return name, _Armed(subject, action, wait, None if nth == "*" else int(nth))
