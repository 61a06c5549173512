"""The users' programs: they send over HTTP, follow the stream of events, and repeat what was not answered.

They use ``bulksend.client``, as a user would, and note every answer.
"""

from __future__ import annotations

import csv
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import httpx

from bulksend.client import ApiError, ApiRefused, Client, Retries
from tests.faults.installation import SENDER, Installation
from tests.faults.judge_faces import Answered, Exported, Happened, Uploaded
from tests.faults.notes import Notes

T = TypeVar("T")
#: One of this many codes is sent again under its key after its answer, as by a caller that lost the answer.
_SENT_AGAIN_EACH = 4
_TTL_S = 20
_TIMEOUT_S = 4.0
#: Refusals that a repetition may turn into an answer.
_BUSY = frozenset({"request_running", "too_many_requests", "too_late"})


class Programs:
    """A sender of codes, posts of files, and a reader of events, each with a client of its own."""

    def __init__(
        self, site: Installation, notes: Notes, people: Callable[[int], list[str]], *, code_every: float
    ) -> None:
        self._site = site
        self._notes = notes
        self._people = people
        self._code_every = code_every
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._read_enough = threading.Event()
        self._sending = [
            threading.Thread(target=self._codes, name=f"http codes {n}", daemon=True) for n in range(2)
        ]
        self._reading = threading.Thread(target=self._follow, name="event reader", daemon=True)
        self.answered: list[Answered] = []
        self.refused: list[str] = []
        self.uploads: list[Uploaded] = []
        self.exports: list[Exported] = []
        self.followed: list[int] = []
        self.reader_errors: list[str] = []
        self.problems: list[str] = []
        """What errors said: nothing private."""

    def start(self) -> None:
        """Begin to send and to read."""
        if self._site.plan.serves:
            for thread in (*self._sending, self._reading):
                thread.start()

    def stop(self) -> None:
        """Send no more; what was begun is brought to its end. The reader goes on."""
        self._stop.set()
        for thread in self._sending:
            if thread.is_alive():
                thread.join(120)

    def client(self, timeout_s: float = _TIMEOUT_S) -> Client:
        """A client that tries a few times by itself."""
        retries = Retries(most=2, base_s=0.1, cap_s=1.0)
        return Client(self._site.api_url, self._site.api_key, timeout_s=timeout_s, retries=retries)

    # -- send ------------------------------------------------------------------------------------------------------

    def _codes(self) -> None:
        with self.client() as client:
            while not self._stop.wait(2 * self._code_every):
                number = next(self._numbers)
                key, to = f"http-code-{number}", self._people(1)[0]
                times = 1 + (number % _SENT_AGAIN_EACH == 0)
                for _ in range(times):
                    sent = self._until_answered(
                        lambda key=key, to=to, n=number: client.send(  # type: ignore[misc]
                            idempotency_key=key,
                            to=to,
                            sender=SENDER,
                            kind="otp",
                            type="text",
                            content={"body": f"Your code is c4n4ry-{n:06d}"},
                            ttl_seconds=_TTL_S,
                        )
                    )
                    if sent is not None:
                        self.answered.append(Answered(key, to, sent.id))
                        self._notes.code(to)

    def post_file(self, name: str, rows: int) -> None:
        """A campaign as a file, again under its key until it is answered with 202: people, repeated and bad rows."""
        people = self._people(rows)
        repeated, bad = people[: rows // 50], [str(n) for n in range(rows // 100)]
        file = self._site.folder / f"{name}.csv"
        file.write_text("to,k\n" + "".join(f"{to},{to[-4:]}\n" for to in (*people, *repeated, *bad)))
        with self.client(timeout_s=2.0) as client:
            answer = self._until_answered(
                lambda: client.upload_campaign(
                    file,
                    idempotency_key=name,
                    name=name,
                    sender=SENDER,
                    kind="marketing",
                    type="text",
                    content={"body": "canary-words for {{k}}"},
                )
            )
        if answer is not None:
            everyone = frozenset(people)
            total = len(people) + len(repeated) + len(bad)
            self.uploads.append(Uploaded(answer["campaign_id"], total, everyone, len(repeated), len(bad)))
            self._notes.take_in(people)

    def export(self, campaign: str, rows: int, key: str) -> None:
        """Have a campaign exported, again under the key until that is answered."""
        body = {"campaign": campaign, "format": "csv"}
        with self.client() as client:
            answer = self._until_answered(
                lambda: client.call("POST", "/v1/exports", body, idempotency_key=key)
            )
        if answer is not None:
            self.exports.append(Exported(answer["id"], rows))

    def _until_answered(self, call: Callable[[], T]) -> T | None:
        """Repeat it until it is answered; None where it is refused for good, which is noted, or too late at last."""
        while True:
            try:
                return call()
            except ApiRefused as error:
                self.problems.append(str(error))
                # A program with a planted bug may have no worker left that sends it.
                if error.code == "too_late" and self._stop.is_set():
                    return None
                if error.code not in _BUSY:
                    self.refused.append(f"{error.status} {error.code}: {error}")
                    return None
            except ApiError as error:
                self.problems.append(str(error))
            time.sleep(0.3)

    # -- read ------------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        with self.client() as client:
            while not self._read_enough.is_set():
                last = str(self.followed[-1]) if self.followed else "0"
                try:
                    for event in client.follow(after=last):
                        self.followed.append(int(event.id))
                        if self._read_enough.is_set():
                            return
                except ApiRefused as error:
                    self.reader_errors.append(f"{error.status} {error.code}: {error}")
                    return
                except ApiError as error:
                    self.problems.append(str(error))
                time.sleep(0.2)

    def finish(self, patience_s: float = 60.0) -> list[Happened]:
        """Wait until files are taken in and all has been read; returns all events. Nothing is broken any more."""
        if not self._site.plan.serves:
            return []
        with self.client(timeout_s=30) as client:
            self.uploads = [self._shown(client, file, patience_s) for file in self.uploads]
            self.exports = [self._exported(client, export, patience_s) for export in self.exports]
            events = [_happened(event) for event in client.events(after="0")]
            deadline = time.monotonic() + patience_s
            while events and self.followed[-1:] < [events[-1].seq] and time.monotonic() < deadline:
                time.sleep(0.2)
        self._read_enough.set()
        return events

    def _shown(self, client: Client, file: Uploaded, patience_s: float) -> Uploaded:
        deadline = time.monotonic() + patience_s
        while True:
            shown = client.campaign(file.id)
            state = (shown["upload"] or {}).get("state", "")
            if state in ("done", "refused") or time.monotonic() > deadline:
                return replace(file, state=state, counts=_counts(shown))
            time.sleep(0.3)

    def _exported(self, client: Client, export: Exported, patience_s: float) -> Exported:
        deadline = time.monotonic() + patience_s
        while (shown := client.call("GET", f"/v1/exports/{export.id}"))["status"] != "done":
            if shown["status"] == "failed" or time.monotonic() > deadline:
                return export
            time.sleep(0.3)
        headers = {"Authorization": f"Bearer {self._site.api_key}"}
        url = f"{self._site.api_url}/v1/exports/{export.id}/file"
        file = httpx.get(url, headers=headers, timeout=30, trust_env=False).text
        return replace(export, found=sum(1 for _ in csv.reader(file.splitlines())) - 1)


def _counts(shown: dict[str, Any]) -> dict[str, int]:
    return {name: shown[name] for name in ("rows", "total", "duplicates", "refused_count") if name in shown}


def _happened(event: Any) -> Happened:
    of_message = event.type.startswith("message.")
    return Happened(
        int(event.id),
        event.type,
        str(event.data["id"]) if of_message else None,
        str(event.data["status"]) if of_message else None,
    )
