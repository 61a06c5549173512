"""What is sent while things break: blasts, one-time codes, repeated sends, and files that two people send at once.

Whatever a producer said is taken in is noted as such; what failed is repeated under its own key until it is said.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from bulksend.errors import TooLate
from bulksend.settings import Settings
from producer import Producer
from tests.faults.hooks import Hooks
from tests.faults.installation import SENDER, Installation, numbers, two_forms
from tests.faults.notes import Notes, now_ms
from tests.faults.programs import Programs
from tests.faults.receipts import Receipts

TEXT = {"body": "canary-words for {{k}}"}
CODE_TTL = timedelta(seconds=20)
#: Words of the traffic that may be nowhere but in the ledger and at the vendor.
#: A number stands alone: instants in milliseconds and hashes hold such digits too, from time to time.
PRIVATE = re.compile(rb"canary-words|c4n4ry|(?<![\da-f])(?:1[2-9]\d\d555\d{4}|55119?7\d{7})(?![\da-f])")
#: One of this many campaigns is a file that a program posts.
_POSTED_EACH = 4
#: How long a person waits before asking for another code.
_BETWEEN_S = (0.0, 0.02, 0.1, 1.0)


class Traffic:
    """Keeps about ``ahead_seconds`` of the rate waiting, with a code each ``code_every`` seconds on top."""

    def __init__(
        self,
        site: Installation,
        *,
        campaign_rows: int = 1000,
        ahead_seconds: float = 15.0,
        code_every: float = 0.5,
        resend_each: int = 3,
        most_messages: int | None = None,
        over_http: bool = True,
        pairs: bool = True,
    ) -> None:
        """``over_http``: programs send codes and files over HTTP too, and follow the events.

        ``pairs``: some persons ask for a second code at once.
        """
        self.site = site
        self.notes = Notes()
        self.receipts = Receipts(site, self.notes, site.plan.seed)
        self.programs = Programs(site, self.notes, self.people, code_every=code_every)
        self.hooks = Hooks(site, self.programs, PRIVATE, site.plan.seed)
        self._over_http = over_http and site.plan.serves > 0
        self._blasts_in: dict[str, list[str]] = {}
        self._rows = campaign_rows
        self._ahead = ahead_seconds
        self._code_every = code_every
        self._resend_each = resend_each
        self._most = most_messages
        self._next = itertools.count()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._blasts, name="blasts", daemon=True),
            threading.Thread(target=self._codes, name="codes", daemon=True),
            *([threading.Thread(target=self._pairs, name="pairs", daemon=True)] if pairs else []),
        ]
        self._taken_numbers = 0

    def start(self) -> None:
        """Begin to send."""
        self.receipts.start()
        if self._over_http:
            self.programs.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more; what was begun is brought to its end."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        self.programs.stop()

    def people(self, count: int) -> list[str]:
        """Recipients that no other message of this run has."""
        with self._lock:
            first, self._taken_numbers = self._taken_numbers, self._taken_numbers + count
        return numbers(first, count)

    def blasts(self) -> dict[str, list[str]]:
        """The campaigns that were taken in, by name, the oldest first."""
        with self._lock:
            return dict(self._blasts_in)

    def forget(self, name: str) -> None:
        """It was cancelled: nothing more can be done with it."""
        with self._lock:
            del self._blasts_in[name]

    def blast(
        self, name: str, people: list[str], *, resend: bool = False, listed: bool = True, **more: Any
    ) -> None:
        """Send a campaign to these people, again under its key until it is said to be taken in.

        ``listed``: it is one of ``blasts``. ``more`` are options of ``submit``.
        """
        options = {"type": "text", "content": TEXT, **more}
        if resend:
            self.notes.wants_resend(people)
        producer = self._producer()
        self._until_said(
            lambda: producer.submit(
                name=name,
                key=name,
                sender=SENDER,
                kind="marketing",
                rows=[{"to": to, "k": to[-4:]} for to in people],
                on_unknown="resend" if resend else "hold",
                **options,
            )
        )
        self.notes.take_in(people)
        if listed:
            with self._lock:
                self._blasts_in[name] = people

    # -- loops -----------------------------------------------------------------------------------------------------

    def _producer(self) -> Producer:
        return Producer.from_settings(Settings.from_env(self.site.environ, None))

    def _blasts(self) -> None:
        sent = 0
        for number in itertools.count():
            if not self._wait_for_room() or (self._most is not None and sent >= self._most):
                return
            if self._over_http and number % _POSTED_EACH == _POSTED_EACH - 1:
                self.programs.post_file(f"file-{number}", self._rows)
            else:
                resend = number % self._resend_each == self._resend_each - 1
                self.blast(f"blast {number}", self.people(self._rows), resend=resend)
            sent += self._rows

    def _wait_for_room(self) -> bool:
        """Wait until little enough waits; False once told to stop."""
        while not self._stop.is_set():
            try:
                if self.site.live_messages() < self.site.plan.rate * self._ahead:
                    return True
            except Exception:  # noqa: BLE001 - the ledger is away: it is being broken
                time.sleep(0.2)
            self._stop.wait(0.5)
        return False

    def _codes(self) -> None:
        producer = self._producer()
        for number in itertools.count():
            if self._stop.wait(self._code_every):
                return
            self._code(producer, self.people(1)[0], f"code-{number}")

    def _pairs(self) -> None:
        """Two codes of a person for one purpose, the second to the other form of the number, soon or at once."""
        producer = self._producer()
        for number in itertools.count():
            if self._stop.wait(2 * self._code_every):
                return
            older, newer = two_forms(number)[:: 1 if number % 2 else -1]
            self._code(producer, older, f"older-{number}", purpose="login")
            self._stop.wait(_BETWEEN_S[number % len(_BETWEEN_S)])
            if self._code(producer, newer, f"newer-{number}", purpose="login"):
                self.notes.pair(older, newer, now_ms())

    def _code(self, producer: Producer, to: str, key: str, **more: Any) -> bool:
        body = {"body": f"Your code is c4n4ry-{key}"}
        said = self._until_said(
            lambda: producer.send(
                to=to, sender=SENDER, kind="otp", type="text", content=body, ttl=CODE_TTL, key=key, **more
            )
        )
        if said:
            self.notes.code(to)
        return said

    def _until_said(self, call: Callable[[], object]) -> bool:
        """False for a code that is too late at the end: a program with a planted bug may have no worker left."""
        while True:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - servers are being broken: again, under the same key
                if isinstance(error, TooLate) and self._stop.is_set():
                    return False
                time.sleep(0.3)
            else:
                return True

    # -- files -----------------------------------------------------------------------------------------------------

    def send_file(self, name: str, rows: int, *, failpoints: str = "", at_once: int = 1) -> int:
        """``bulksend send`` of a new file, by so many people at once; repeated until all are told it is in.

        With ``failpoints`` the first try dies there. Returns how many tries ended otherwise than well.
        """
        people = self.people(rows)
        file = self.site.folder / f"{name}.csv"
        content = self.site.folder / "content.json"
        file.write_text("to,k\n" + "".join(f"{to},{to[-4:]}\n" for to in people))
        content.write_text(json.dumps(TEXT))
        command = _send_command(file, content)
        failed = 0
        first = True
        while True:
            tries = [self.site.run(*command, failpoints=failpoints if first else "") for _ in range(at_once)]
            first = False
            statuses = [child.wait_or_kill(120) for child in tries]
            failed += sum(status != 0 for status in statuses)
            if 0 in statuses:
                self.notes.take_in(people)
                return failed
            time.sleep(0.3)


def _send_command(file: Path, content: Path) -> tuple[str, ...]:
    return (
        *("send", str(file), "--content", str(content), "--sender", SENDER),
        *("--type", "text", "--kind", "marketing", "--name", file.stem, "--json"),
    )
