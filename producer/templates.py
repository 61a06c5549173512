"""Whether single sends fit their templates, by what the ledger knows of them; read again every few seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from bulksend.errors import InvalidValue
from bulksend.ledger import templates
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import DirectSend
from bulksend.messaging.states import Kind, MessageType
from bulksend.messaging.template_fit import KnownTemplate, misfit, template_of

#: How long what was read is used.
KEPT_S = 2.0
#: How often the ledger is told that a template is used, so that the relay reads it from the vendor.
NOTED_S = 60.0
#: Templates that are kept at most: an account has a few hundred.
MOST = 2_000


class TemplateChecks:
    """Compares contents with templates. Thread-safe. ``clock`` is steady, in seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._read: dict[tuple[str, str], tuple[float, KnownTemplate | None]] = {}
        self._noted: dict[tuple[str, str], float] = {}

    def fits(self, kind: Kind, send: DirectSend) -> bool:
        """Whether the content fits what was read lately; False also where that must be read first. Does no I/O."""
        content, used = _used(send)
        if used is None:
            return True
        until, template = self._read.get(used, (0.0, None))
        return self._clock() < until and (template is None or misfit(content, template, kind) is None)

    def check(self, kind: Kind, send: DirectSend, *, is_stored: Callable[[], bool]) -> None:
        """Read the template and compare. Raises InvalidValue when the content does not fit, LedgerUnreachable.

        ``is_stored``: whether this message is a repeat. Its first one was taken, so the repeat is answered as that.
        """
        content, used = _used(send)
        if used is None or self.fits(kind, send):
            return
        self._note_use(send.sender, used[0])
        with self._database.read() as tx:
            found = templates.get(tx, *used)
        if len(self._read) >= MOST:
            self._read.clear()
        self._read[used] = self._clock() + KEPT_S, None if found is None else found.known
        why = None if found is None else misfit(content, found.known, kind)
        if why is not None and not is_stored():
            raise InvalidValue("content", "", f"{why}; nothing was sent")

    def _note_use(self, sender: str, name: str) -> None:
        use, now = (sender, name), self._clock()
        if now < self._noted.get(use, float("-inf")):
            return
        if len(self._noted) >= MOST:
            self._noted.clear()
        self._noted[use] = now + NOTED_S
        # Only a loss of power may lose it, for a minute: no send waits for the disk.
        self._database.retrying(lambda tx: templates.note_use(tx, sender, name), durable=False)


def _used(send: DirectSend) -> tuple[dict[str, object], tuple[str, str] | None]:
    if send.type != MessageType.TEMPLATE.value:
        return {}, None
    content = json.loads(send.content)
    return content, template_of(send.type, content)
