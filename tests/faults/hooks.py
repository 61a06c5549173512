"""Receivers of webhooks, which verify signatures with the standard's own package and note each event.

They fail at times: some requests are answered by 500, some connections drop, and sometimes no server listens.
"""

from __future__ import annotations

import json
import random
import re
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from bulksend.ledger.schema import webhook_deliveries, webhook_endpoints
from tests.faults.installation import Installation
from tests.faults.judge_faces import Hook
from tests.faults.programs import Programs
from tests.faults.proxy import Link
from tests.receiver import Request, receiving

#: One endpoint for each kind of event; empty: all of them.
KINDS: dict[str, tuple[str, ...]] = {
    "messages": ("message",),
    "campaigns": ("campaign", "sender", "template", "webhook"),
    "everything": (),
}
#: How often a receiver fails by itself.
_FAILS, _DROPS = 0.01, 0.01
#: A delivery that is due later than this is not waited for: it is shown as pending.
_SOON_MS = 15_000


@dataclass
class _Receiver:
    name: str
    types: tuple[str, ...]
    dice: random.Random
    verify: Webhook | None = None
    mood: str = "well"
    """well, failing (500) or dropping."""
    taken: set[int] = field(default_factory=set)
    bodies: dict[str, tuple[int, ...]] = field(default_factory=dict)
    forged: int = 0
    changed: int = 0
    private: int = 0
    times: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request, connection: socket.socket, words: re.Pattern[bytes]) -> int | None:
        """200 once the events are noted."""
        with self.lock:
            self.times += 1
            self.private += len(words.findall(request.body))
            assert self.verify is not None
            try:
                self.verify.verify(request.body, dict(request.headers))
            except WebhookVerificationError:
                self.forged += 1
                return 401
            seqs = seqs_of(json.loads(request.body))
            self.changed += self.bodies.setdefault(request.id, seqs) != seqs
            draw = self.dice.random()
            if self.mood == "dropping" or draw < _DROPS:
                connection.close()
                return None
            if self.mood == "failing" or draw < _DROPS + _FAILS:
                return 500
            self.taken.update(seqs)
            return 200


class Hooks:
    """The receivers of a run. ``start`` before anything is sent, ``finish`` once all has come to rest."""

    def __init__(self, site: Installation, programs: Programs, words: re.Pattern[bytes], seed: int) -> None:
        self._site = site
        self._programs = programs
        self._words = words
        self._running = ExitStack()
        self._receivers = {
            name: _Receiver(name, types, random.Random(f"{seed} {name}")) for name, types in KINDS.items()
        }
        self._ids: dict[str, str] = {}

    def start(self) -> None:
        """Listen, and add an endpoint for each receiver; without a notifier nothing is done."""
        if not self._site.plan.notifiers:
            return
        with self._programs.client(timeout_s=30) as client:
            for receiver in self._receivers.values():
                heard = self._running.enter_context(receiving(self._answering(receiver)))
                link = self._site.link_to(f"hook-{receiver.name}", heard.port)
                made = client.call(
                    "POST",
                    "/v1/webhooks",
                    {
                        "url": f"http://127.0.0.1:{link.port}/in",
                        "events": [f"{group}.*" for group in receiver.types],
                    },
                )
                receiver.verify = Webhook(made["secret"])
                self._ids[receiver.name] = made["id"]

    def _answering(self, receiver: _Receiver) -> Any:
        return lambda request, connection: receiver.answer(request, connection, self._words)

    def stop(self) -> None:
        """Listen no more."""
        self._running.close()

    def set_mood(self, name: str, mood: str) -> None:
        """How a receiver behaves from now on."""
        self._receivers[name].mood = mood

    def link(self, name: str) -> Link:
        """The link to a receiver."""
        return self._site.links[f"hook-{name}"]

    @property
    def private(self) -> int:
        """Private words in all that was received."""
        return sum(receiver.private for receiver in self._receivers.values())

    def finish(self, upto: int, patience_s: float = 60.0) -> list[Hook]:
        """Wait until the events up to a number are fanned out and nothing is due soon; what came, and what did not."""
        if not self._ids:
            return []
        deadline = time.monotonic() + patience_s
        while self._is_busy(upto) and time.monotonic() < deadline:
            time.sleep(0.3)
        return [
            Hook(
                receiver.name,
                receiver.types,
                frozenset(receiver.taken),
                self._shown(self._ids[receiver.name]),
                receiver.forged,
                receiver.changed,
            )
            for receiver in self._receivers.values()
        ]

    def _is_busy(self, upto: int) -> bool:
        """Whether events wait, a delivery is due soon, or a receiver got something a moment ago."""
        before = sum(receiver.times for receiver in self._receivers.values())
        time.sleep(2.5)
        if sum(receiver.times for receiver in self._receivers.values()) != before:
            return True
        soon = time.time() * 1000 + _SOON_MS
        d = webhook_deliveries.c
        query = select(d.id).where(d.status == "pending", d.next_at < soon).limit(1)
        with self._site.ledger.read() as tx:
            behind = select(webhook_endpoints.c.id).where(webhook_endpoints.c.cursor < upto)
            return tx.execute(query).first() is not None or tx.execute(behind).first() is not None

    def _shown(self, id: str) -> frozenset[int]:
        """Events of the endpoint's deliveries that are pending or dead."""
        d = webhook_deliveries.c
        query = select(d.body).where(d.endpoint_id == id, d.status.in_(("pending", "dead")))
        with self._site.ledger.read() as tx:
            bodies = tx.execute(query).scalars().all()
        return frozenset(seq for body in bodies for seq in seqs_of(json.loads(body)))


def seqs_of(body: dict[str, Any]) -> tuple[int, ...]:
    """The numbers of the events in a webhook."""
    data = body["data"]
    return tuple(item["data"]["seq"] for item in data["items"]) if "items" in data else (data["seq"],)
