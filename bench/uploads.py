"""A large CSV posted to ``serve``: memory, time to the answer, and rows a second until it is taken in.

    python -m bench.uploads [--rows 100000,1000000] [--backend postgresql,sqlite]

Each file goes to a ``serve`` of its own, and the peak memory is that of it and of the process that it starts for the
intake: it is flat when a file ten times as large needs no more. Beside it: how long other requests take meanwhile, a
``/readyz`` (one query) every 20 ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.machine import peak_mb, peaks_mb
from bench.stand import CLI, CONTENT, SENDER, Stand, people, stand
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from ops.local.ports import free_port

_OPTIONS = {"name": "spring", "sender": SENDER, "kind": "marketing", "type": "text", "content": CONTENT}


@dataclass(frozen=True, slots=True)
class Taken:
    """What a posted file took: seconds, the most memory, and the times of other requests before and meanwhile."""

    answered: float
    taken_in: float
    memory_before_mb: float
    memory_mb: float
    """Of ``serve``."""
    intake_mb: float
    alone: list[float]
    others: list[float]


def post(at: Stand, file: Path) -> Taken:
    """Post the file to a new ``serve`` and wait until all of it is taken in."""
    with at.ledger() as ledger, ledger.write() as tx:
        key = api_keys.add(tx, name="bench", role=Role.ADMIN, actor="bench").key
    port = free_port()
    uploads = str(at.folder / "uploads")
    server = at.start("serve", *CLI, "serve", "--port", str(port), more={"BULKSEND_UPLOAD_DIR": uploads})
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=600) as client:
        at.wait("serve answers", lambda: _answers(client))
        alone = _time_others(client, 100)
        before = peak_mb(server.pid)
        began = time.monotonic()
        with file.open("rb") as data:
            answer = client.post(
                "/v1/campaigns", data={"campaign": json.dumps(_OPTIONS)}, files={"file": (file.name, data)}
            )
        answered = time.monotonic() - began
        if answer.status_code != 202:
            raise RuntimeError(answer.text)
        others: list[float] = []
        peaks: dict[int, float] = {}
        while True:
            peaks |= peaks_mb(server.pid)
            shown = client.get(answer.headers["Location"]).json()
            if shown["upload"]["state"] not in ("stored", "intake"):
                break
            others += _time_others(client, 20)
        taken_in = time.monotonic() - began
        if shown["upload"]["state"] != "done":
            raise RuntimeError(str(shown["upload"]))
    serve = max(peaks.pop(server.pid), peak_mb(server.pid))
    server.stop()
    return Taken(answered, taken_in, before, serve, max(peaks.values(), default=0.0), alone, others)


def _time_others(client: httpx.Client, many: int) -> list[float]:
    times = []
    for _ in range(many):
        asked = time.monotonic()
        client.get("/readyz").raise_for_status()
        times.append(time.monotonic() - asked)
        time.sleep(0.02)
    return times


def quantile(times: list[float], at: float) -> float:
    """A quantile of times; 0 where there are none."""
    return sorted(times)[min(len(times) - 1, int(len(times) * at))] if times else 0.0


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default="100000,1000000")
    parser.add_argument("--backend", default="postgresql,sqlite")
    options = parser.parse_args()
    for backend in options.backend.split(","):
        for rows in map(int, options.rows.split(",")):
            with stand(backend) as at:
                taken = post(at, people(at.folder / "people.csv", rows))
            times = (quantile(of, at) * 1000 for of in (taken.alone, taken.others) for at in (0.5, 0.99))
            alone, alone_99, p50, p99 = times
            sys.stdout.write(
                f"{backend:10} {rows:,} rows: 202 after {taken.answered:.1f} s, taken in after {taken.taken_in:.1f} s "
                f"({rows / taken.taken_in:,.0f}/s); {taken.memory_mb:.0f} MB at most, {taken.memory_before_mb:.0f} MB "
                f"before, {taken.intake_mb:.0f} MB in the intake's process; "
                f"other requests p50 {p50:.1f} ms, p99 {p99:.0f} ms "
                f"(before it {alone:.1f} and {alone_99:.0f})\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
