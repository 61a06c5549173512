"""The vendor's status callbacks, brought to the ledger as a door for them would bring them.

Made from the vendor's own record: some before the send is answered, shuffled, doubled, late, and some of MessageIds
that the ledger does not know. What the ledger does not take is brought again.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from sqlalchemy import func, select

from bulksend.ledger import receipts
from bulksend.ledger.schema import messages
from bulksend.ledger.schema import receipts as receipts_table
from tests.faults.installation import Installation
from tests.faults.judge import Told
from tests.faults.notes import Notes, now_ms

#: The share of the messages that went out which get receipts.
SHARE = 0.5
_LOOK_S = 0.2
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class _Due:
    at_s: float
    receipt: receipts.Receipt


class Receipts:
    """Start it with the traffic; ``finish`` once all has come to rest."""

    def __init__(self, site: Installation, notes: Notes, seed: int) -> None:
        self._site = site
        self._notes = notes
        self._dice = random.Random(seed)
        self._due: list[_Due] = []
        self._after = 0
        self._stop = threading.Event()
        self._held = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receipts", daemon=True)
        self.reached: set[str] = set()
        """Recipients who got a message, as far as the vendor's record has been read."""

    def start(self) -> None:
        """Begin to bring them."""
        self._thread.start()

    def hold(self) -> None:
        """Bring none until ``release``."""
        self._held.set()

    def release(self) -> None:
        """Bring all that was held back, the last first."""
        self._held.clear()

    def of_nobody(self, count: int) -> None:
        """Bring receipts for ``count`` MessageIds that no message has."""
        at = int(now_ms())
        strange = [
            receipts.Receipt(f"nobody-{self._dice.randrange(1 << 40):x}", "delivered", at)
            for _ in range(count)
        ]
        while not self._bring(strange):
            time.sleep(0.3)

    def finish(self, patience_s: float = 30.0) -> None:
        """Bring all that is left, then wait until the ledger has found the messages of those that came early."""
        self._stop.set()
        self._thread.join(30)
        deadline = time.monotonic() + patience_s
        self._look()
        while self._due and time.monotonic() < deadline:
            self._bring_due(float("inf"))
        while self._early() and time.monotonic() < deadline:
            time.sleep(0.3)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                self._look()
            except OSError:
                continue  # a fault has the vendor
            if not self._held.is_set():
                self._bring_due(time.monotonic())

    def _look(self) -> None:
        """Plan the receipts of what went out since the last look."""
        while rows := self._site.vendor_rows(self._after):
            self._after = rows[-1]["n"]
            for row in rows:
                if row["stored"]:
                    self.reached.add(row["to"])
                    if self._dice.random() < SHARE:
                        self._plan(row["message_id"])

    def _plan(self, message_id: str) -> None:
        dice, at = self._dice, int(now_ms())
        story = ["sent"]
        if dice.random() < 0.05:
            story.append("failed")
        elif dice.random() < 0.9:
            story += ["delivered", "read"][: 1 + (dice.random() < 0.4)]
        for number, status in enumerate(story):
            code, why = ("131026", "Message undeliverable") if status == "failed" else ("", "")
            receipt = receipts.Receipt(message_id, status, at + number, code, why)
            for _ in range(2 if dice.random() < 0.1 else 1):
                # Each comes when it likes: a read before its delivered, a sent before the send is answered.
                late = dice.uniform(5, 15) if dice.random() < 0.1 else dice.uniform(0, 2)
                self._due.append(_Due(time.monotonic() + late, receipt))

    def _bring_due(self, until_s: float) -> None:
        due = sorted((one for one in self._due if one.at_s <= until_s), key=lambda one: -one.at_s)[:_AT_ONCE]
        if due and self._bring([one.receipt for one in due]):
            brought = set(map(id, due))
            self._due = [one for one in self._due if id(one) not in brought]

    def _bring(self, incoming: list[receipts.Receipt]) -> bool:
        try:
            self._site.ledger.retrying(lambda tx: receipts.take(tx, incoming), patience_s=3.0)
        except Exception:  # noqa: BLE001 - a fault has the ledger: the vendor calls again
            return False
        self._notes.tell([Told(one.message_id, one.status) for one in incoming])
        return True

    def _early(self) -> int:
        """Receipts that came before their message's own answer, and have not been matched since."""
        query = select(func.count()).where(
            receipts_table.c.message_pk.is_(None), receipts_table.c.message_id == messages.c.message_id
        )
        with self._site.ledger.read() as tx:
            return int(tx.execute(query).scalar_one())
