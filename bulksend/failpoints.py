"""Named steps of a message's life at which a test can make a process die or fail. Off unless ``arm`` is called.

The entry points arm them from ``BULKSEND_FAILPOINTS``, which the fault bench (tests/faults) sets. The form is
``NAME[@SUBJECT]:ACTION[:NTH]``, several separated by commas. ``after_open:kill:20`` is a kill -9 after the 20th
write-ahead; ``rendering@ID:kill:*`` kills each worker that renders the message ID.
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

#: Every step, in the order of a message's life.
STEPS = {
    "upload_written": "serve: a part of a posted file is written, the rest is not",
    "upload_stored": "serve: a posted file is on the disk, not in the ledger",
    "upload_accepted": "serve: a posted file is in the ledger, not answered",
    "export_row": "serve: a row of an export is written, the rest is not",
    "export_written": "serve: the file of an export is whole, its job has not ended",
    "before_chunk": "intake: rows are planned, not stored",
    "after_chunk": "intake: rows are stored, not published",
    "chunk_published": "intake: rows are published",
    "publishing": "relay: due messages are read, not published",
    "published": "relay: due messages are published, the relay has not recorded it",
    "job_taken": "worker: the job has left Redis, its ids are only in memory",
    "before_claim": "worker: before the claim's transaction",
    "after_claim": "worker: the claim is committed",
    "rendering": "worker: one message is being rendered (subject: its id)",
    "permitted": "worker: one message has its permit (subject: its id)",
    "before_open": "worker: before the write-ahead's transaction",
    "after_open": "worker: the write-ahead is committed, nothing is sent",
    "connected": "worker: a connection to the vendor is open, no byte is written",
    "request_written": "worker: the request is written to the socket",
    "reply_read": "worker: the vendor's reply is read",
    "before_settle": "worker: outcomes are decided, not recorded",
    "after_settle": "worker: outcomes are committed",
    "giving_back": "worker: before unsent messages go back to the queue",
    "act_done": "serve: an act is done, its transaction is not committed",
    "act_kept": "serve: an act and its answer are committed, nothing is sent to the caller",
    "before_receipts": "serve: a group of callbacks is taken, nothing is stored",
    "spooling": "serve: the ledger did not take the group, the spool has not begun",
    "after_receipts": "serve: the group is stored, not answered",
    "spool_drained": "serve: a spool file is in the ledger, not deleted",
    "fanning_out": "notifier: deliveries and the new cursor are written, not committed",
    "webhooks_claimed": "notifier: deliveries are claimed, not sent",
    "webhooks_sent": "notifier: endpoints have answered, the results are not recorded",
    "receipts_parsed": "relay: callbacks are parsed, nothing is applied",
    "receipts_applying": "relay: receipts are applied, not committed",
    "receipts_applied": "relay: receipts are committed",
    "rescuing": "worker or relay: during a rescue, before its commit",
}
ACTIONS = {
    "kill": "end the process as kill -9 does",
    "stop": "freeze the process (SIGSTOP)",
    "raise": "raise FailpointReached",
    "nospace": "raise OSError: no space left on device",
    "sleep=SECONDS": "wait",
}


class FailpointReached(BulksendError):
    """An armed failpoint with the action ``raise``."""


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
    """Arm the failpoints in ``text`` instead of earlier ones; returns their names. Raises InvalidInput."""
    made = check(text)
    _armed.clear()
    _armed.update(made)
    return list(made)


def check(text: str | None) -> dict[str, list[_Armed]]:
    """The failpoints in ``text``, not armed. Raises InvalidInput."""
    made: dict[str, list[_Armed]] = {}
    for part in (text or "").split(","):
        if part.strip():
            name, armed = _read(part.strip())
            made.setdefault(name, []).append(armed)
    return made


def reach(step: str, subject: str = "") -> None:
    """Mark that the process is at this step. Acts only where the step is armed; raises what its action raises."""
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
    # So that the error stays on one line.
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
        raise InvalidInput(
            f"{part}: the last part counts the visits until it acts: 1 or more, or * for each visit"
        )
    try:
        wait = float(seconds or 0)
    except ValueError:
        raise InvalidInput(f"{part}: its seconds are not a number") from None
    return name, _Armed(subject, action, wait, None if nth == "*" else int(nth))
