"""Results that the ledger did not take before the process ended, kept in a file for the next start.

A line holds ids, codes and times of one attempt: no phone number, and no content, encrypted or not.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bulksend.ledger.settle import Settlement, outcome_name
from bulksend.messaging.outcome import (
    Accepted,
    Evidence,
    NotSent,
    Outcome,
    Refused,
    Scope,
    Throttled,
    Unknown,
)
from bulksend.messaging.states import Status


class Spool:
    """A folder of files: each process writes its own, any process may replay all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, settlements: Sequence[Settlement]) -> Path:
        """Write the results to a new file and wait until the disk has it; returns its path. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"results-{os.getpid()}-{os.urandom(4).hex()}.jsonl"
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            for settlement in settlements:
                file.write(json.dumps(_to_json(settlement)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return path

    def files(self) -> list[Path]:
        """The files to replay, the oldest first."""
        return sorted(self._folder.glob("results-*.jsonl"), key=lambda p: p.stat().st_mtime)

    @staticmethod
    def load(path: Path) -> list[Settlement]:
        """The results in a file, without lines that a crash cut off. Raises OSError."""
        return list(_readable(path.read_text().splitlines()))

    @staticmethod
    def remove(path: Path) -> None:
        """Delete a file whose results are in the ledger."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _readable(lines: Iterable[str]) -> Iterable[Settlement]:
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            yield _from_json(json.loads(line))


def _to_json(s: Settlement) -> dict[str, object]:
    outcome: dict[str, object] = {"name": outcome_name(s.outcome)}
    if isinstance(s.outcome, Accepted):
        outcome |= {"message_id": s.outcome.message_id, "request_id": s.outcome.request_id}
    else:
        outcome |= {"why": s.outcome.why, "code": getattr(s.outcome, "code", "")}
    return {
        "message": s.message,
        "attempt_id": s.attempt_id,
        "outcome": outcome,
        "evidence": s.evidence._asdict(),
        "latency_ms": s.latency_ms,
        "status": s.status.value,
        "due_at": s.due_at,
        "tries": s.tries,
        "waits": s.waits,
        "error": s.error,
    }


def _from_json(line: dict[str, object]) -> Settlement:
    values = dict(line)
    outcome = values["outcome"]
    evidence = values["evidence"]
    if not isinstance(outcome, dict) or not isinstance(evidence, dict):
        raise TypeError("not a settlement")
    values["outcome"] = _outcome(outcome)
    values["evidence"] = Evidence(**evidence)
    values["status"] = Status(str(values["status"]))
    return Settlement(**values)  # type: ignore[arg-type]


def _outcome(o: dict[str, str]) -> Outcome:
    match o["name"]:
        case "accepted":
            return Accepted(o["message_id"], o["request_id"])
        case "refused":
            return Refused(o["code"], o["why"])
        case "throttled":
            return Throttled(o["code"], o["why"], Scope.SENDER)
        case "not_sent":
            return NotSent(o["why"])
        case _:
            return Unknown(o["why"], o["code"])
