"""The vendor's status callbacks: the simulator brings them to ``serve``, over a link that faults can break.

Here it is noted which of them were answered with 200, and what no simulator brings is brought: receipts of messages
that the ledger does not know, and callbacks that cannot be read.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import httpx
from sqlalchemy import func, select

from bulksend.ledger.schema import messages, raw_receipts
from bulksend.ledger.schema import receipts as receipts_table
from simulator.receipt_shapes import Receipt, Sent, as_json
from tests.faults.installation import SENDER, Installation
from tests.faults.judge import Told
from tests.faults.notes import Notes, now_ms

_LOOK_S = 0.2


class Receipts:
    """Start it with the traffic; ``finish`` once all has come to rest."""

    def __init__(self, site: Installation, notes: Notes, seed: int) -> None:
        self._site = site
        self._notes = notes
        self._dice = random.Random(seed)
        self._rows_seen = self._told = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receipts", daemon=True)
        self.reached: set[str] = set()
        """Recipients who got a message, as far as the vendor's record has been read."""

    def start(self) -> None:
        """Begin to look at what the vendor brings."""
        self._thread.start()

    def hold(self) -> None:
        """Let none through until ``release``: the vendor tries again."""
        self._site.links["receipts"].refuse()

    def release(self) -> None:
        """Let all through that was held back."""
        self._site.links["receipts"].heal()

    def of_nobody(self, count: int) -> None:
        """Bring receipts for ``count`` MessageIds that no message has."""
        ids = [f"nobody-{self._dice.randrange(1 << 40):x}" for _ in range(count)]
        strange = [
            Receipt(Sent(id, "12015550000", SENDER, now_ms()), "delivered", int(now_ms())) for id in ids
        ]
        self._bring(as_json(strange, "meta"))
        self._notes.tell([Told(id, "delivered") for id in ids])

    def unreadable(self, count: int) -> None:
        """Bring callbacks of an unknown shape."""
        for _ in range(count):
            tries = self._bring({"canary-words": self._dice.randrange(1 << 40)})
            self._notes.unreadable(tries)

    def finish(self, patience_s: float = 90.0) -> None:
        """Wait until the vendor has brought all, and the ledger has read all and found the messages of early ones.

        Raises TimeoutError.
        """
        self._stop.set()
        self._thread.join(30)
        if not self._site.plan.serves:
            return
        self._site.wait(
            "the vendor has brought all receipts", lambda: not self._site.receipts_pending(), patience_s
        )
        self._look()
        self._site.wait("all receipts are read", lambda: not self._unread(), patience_s)
        deadline = time.monotonic() + 30
        while self._early() and time.monotonic() < deadline:
            time.sleep(0.3)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                self._look()
            except OSError:
                continue  # a fault has the vendor

    def _look(self) -> None:
        while rows := self._site.vendor_rows(self._rows_seen):
            self._rows_seen = rows[-1]["n"]
            self.reached.update(row["to"] for row in rows if row["stored"])
        while told := self._site.receipts_taken(self._told):
            self._told = told[-1]["n"]
            self._notes.tell([Told(row["message_id"], row["status"], row["at_ms"]) for row in told])

    def _bring(self, body: Any) -> int:
        """POST until it is answered with 200; returns how many tries may have been taken."""
        tries = 0
        while True:
            tries += 1
            try:
                if (
                    httpx.post(self._site.receipts_url, json=body, timeout=3.0, trust_env=False).status_code
                    == 200
                ):
                    return tries
            except httpx.HTTPError:
                pass
            time.sleep(0.3)

    def _unread(self) -> int:
        """Groups of callbacks that wait: in the ledger, and in the spool."""
        spooled = len(list((self._site.folder / "spool").glob("*.receipts")))
        query = select(func.count()).where(raw_receipts.c.read_at.is_(None))
        with self._site.ledger.read() as tx:
            return spooled + int(tx.execute(query).scalar_one())

    def _early(self) -> int:
        """Receipts that came before their message's own answer, and have not been matched since."""
        query = select(func.count()).where(
            receipts_table.c.message_pk.is_(None), receipts_table.c.message_id == messages.c.message_id
        )
        with self._site.ledger.read() as tx:
            return int(tx.execute(query).scalar_one())
