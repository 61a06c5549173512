"""Controls while things break: campaigns with a canary, that fail, or whose template the vendor pauses.

Each campaign here is of its own people, and what the bench saw and asked for is noted as the judge's evidence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from bulksend.ledger.schema import campaigns
from tests.faults.installation import TEMPLATE, Installation
from tests.faults.judge import Canary
from tests.faults.notes import now_ms

if TYPE_CHECKING:
    from tests.faults.nemesis import FaultContext

#: What three of four messages of a campaign that fails are answered.
_REFUSED = {"do": "ret_code", "ret_code": 17115, "message": "(#131026) Message undeliverable"}
_ROWS, _SLICE, _DELIVERED = 120, 50, 35
#: A campaign is paused within this time, whatever else is broken meanwhile.
_MOST_S = 100.0

_AT_REST = ("paused", "finished")


_CONTENT: dict[str, Any] = {
    "name": TEMPLATE,
    "language": {"code": "en", "policy": "deterministic"},
    "components": [{"type": "body", "parameters": [{"type": "text", "text": "canary-words for {{k}}"}]}],
}


def canary(h: FaultContext) -> None:
    """A campaign sends a slice first; where its receipts are bad, a person lets the rest go."""
    name, people = _name(h, "canary"), h.traffic.people(_ROWS)
    begun_ms = now_ms()
    h.traffic.blast(name, people, listed=False, canary=str(_SLICE), weight=3)
    released = None
    while (shown := _shown(h, name))["canary_state"] in ("pending", "sending") and not _is_over(begun_ms):
        time.sleep(0.3)
    if shown["status"] == "paused":
        released = now_ms()
        _resume(h, name)
    h.traffic.notes.canary(Canary(tuple(people), _SLICE, _DELIVERED, released))


def template_paused(h: FaultContext) -> None:
    """The vendor pauses a template in mid-blast and approves it again; a person then resumes the campaign."""
    name, people = _name(h, "template"), h.traffic.people(_ROWS)
    h.traffic.blast(name, people, listed=False, type="template", content=_CONTENT)
    h.site.vendor_template(TEMPLATE, "PAUSED")
    try:
        _held_while_paused(h, name, people, lambda: h.site.vendor_template(TEMPLATE, "APPROVED"))
    finally:
        h.site.vendor_template(TEMPLATE, "APPROVED")
        # Or the next campaign is refused, where this one had ended before the relay saw it.
        h.site.until_done("templates", "sync")


def fails(h: FaultContext) -> None:
    """Most of a campaign's messages are refused: it pauses itself, and a person resumes it once that is mended."""
    name, people = _name(h, "failing"), h.traffic.people(_ROWS)
    theirs = {"to_regex": f"^(?:{'|'.join(people)})$", "share": 0.75}
    h.site.vendor_faults([{"match": theirs, "fault": _REFUSED}])
    try:
        h.traffic.blast(name, people, listed=False, max_failed="10%")
        _held_while_paused(h, name, people, lambda: h.site.vendor_faults([]))
    finally:
        h.site.vendor_faults([])


def resume_all(site: Installation) -> None:
    """A campaign may have been paused once more, for the template of another, after its person had looked away."""
    with site.ledger.read() as tx:
        paused = tx.execute(select(campaigns.c.id).where(campaigns.c.status == "paused")).scalars().all()
    for id in paused:
        site.until_done("campaigns", "resume", str(id), "--why", "all is well")


def _held_while_paused(h: FaultContext, name: str, people: list[str], mend: Callable[[], None]) -> None:
    """Wait until the product has paused it; nothing may be POSTed from then until a person resumes it."""
    begun_ms = now_ms()
    while (shown := _shown(h, name))["status"] not in _AT_REST and not _is_over(begun_ms):
        time.sleep(0.2)
    done_ms = now_ms()
    h.hold()
    mend()
    until_ms = now_ms()
    if shown["status"] == "paused":
        _resume(h, name)
        h.traffic.notes.stop(people, begun_ms, done_ms, until_ms, by_itself=True)
    elif shown["status"] not in _AT_REST:
        raise TimeoutError(f"{name} was never paused: {shown['statuses']}")


def _is_over(begun_ms: float) -> bool:
    return now_ms() > begun_ms + 1000 * _MOST_S


def _name(h: FaultContext, what: str) -> str:
    return f"{what} {h.dice.randrange(1 << 40):x}"


def _shown(h: FaultContext, name: str) -> dict[str, Any]:
    return h.site.until_done("campaigns", "show", name)


def _resume(h: FaultContext, name: str) -> None:
    """Again while the template's approval is not known yet, or servers are broken."""
    h.site.until_done("campaigns", "resume", name, "--why", "looks well", tries=100)
