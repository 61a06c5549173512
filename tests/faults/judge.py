"""The judge: the vendor's own record against the ledger. Pure; knows nothing of how messages are sent.

Every message of a run goes to a recipient of its own, so a number is all that ties the two records together: the
judge needs no id of ours, which might be wrong. Terms as in Jepsen's total-queue checker.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ENDED = frozenset(
    {"accepted", "delivered", "read", "failed", "expired", "suppressed", "cancelled", "unknown"}
)
SENT = frozenset({"accepted", "delivered", "read"})
#: By the vendor's contract these HTTP statuses surely did not send; 5xx but 503 may have.
SURELY_NOT_HTTP = frozenset({400, 401, 403, 404, 405, 413, 415, 422, 425, 429, 503})
#: How many offenders are kept of each rule.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Posted:
    """One whole request that the vendor read."""

    to: str
    at_ms: float
    """When it arrived, by the machine's clock."""
    steady_s: float
    stored: bool
    """Whether it went out to the recipient."""
    verdict: str
    ret_code: int | None
    http_status: int
    message_id: str | None

    @property
    def surely_not_sent(self) -> bool:
        """Whether the vendor said so, in words that the contract lists."""
        if self.stored or self.verdict == "dropped":
            return False
        if self.verdict == "http_error":
            return self.http_status in SURELY_NOT_HTTP
        return self.verdict in ("refused", "throttled")


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as the ledger has it."""

    id: str
    to: str
    status: str
    message_id: str | None
    expires_at: int | None
    resend: bool
    """Its campaign asked for a second POST of what is unknown."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An attempt as the ledger has it."""

    to: str
    n: int
    started_at: int
    outcome: str | None
    lease: str
    lost_worker: bool


@dataclass(frozen=True, slots=True)
class Records:
    """What there is to judge. ``taken_in`` are the recipients of whatever a producer said was taken in."""

    posted: Sequence[Posted]
    kept: Sequence[Kept]
    opened: Sequence[Opened]
    taken_in: frozenset[str]
    rate: float | None = None
    left: Sequence[float] = ()
    """When each POST left its worker, steady seconds; where that is not known, the vendor's instants have to do."""


@dataclass(slots=True)
class Finding:
    """One rule: how many cases, how many break it, and the first of those."""

    promise: str
    rule: str
    checked: int = 0
    broken: int = 0
    offenders: list[str] = field(default_factory=list)

    def look(self, offence: str | None) -> None:
        """One case; ``offence`` says what is wrong with it."""
        self.checked += 1
        if offence is not None:
            self.broken += 1
            if len(self.offenders) < SHOWN:
                self.offenders.append(offence)


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings, and some figures."""

    findings: list[Finding]
    figures: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether no rule is broken."""
        return not any(f.broken for f in self.findings)

    def broken(self) -> list[Finding]:
        """The rules that are."""
        return [f for f in self.findings if f.broken]


def judge(records: Records) -> Verdict:
    """Every rule, over a run that has come to rest."""
    posted: dict[str, list[Posted]] = defaultdict(list)
    for row in records.posted:
        posted[row.to].append(row)
    opened: dict[str, list[Opened]] = defaultdict(list)
    for attempt in records.opened:
        opened[attempt.to].append(attempt)
    kept = {m.to: m for m in records.kept}
    findings = [
        _nothing_lost(records.taken_in, kept),
        _all_ended(records.kept),
        _given_up_for_a_reason(records.kept, posted),
        _nothing_twice(posted, kept),
        _nothing_stored_twice(posted, kept),
        _written_ahead(posted, opened),
        _ids_kept(records.posted, kept),
        _nothing_untrue(records.kept, posted),
        _never_late(records.posted, kept),
        _rate_kept(records),
    ]
    return Verdict(findings, _figures(records, posted))


def _nothing_lost(taken_in: Iterable[str], kept: dict[str, Kept]) -> Finding:
    found = Finding("P1", "what a producer was told is taken in is in the ledger")
    for to in taken_in:
        found.look(None if to in kept else f"{_masked(to)} is in no row")
    return found


def _all_ended(kept: Iterable[Kept]) -> Finding:
    found = Finding("P1", "once all is quiet, every message has one ending")
    for m in kept:
        found.look(None if m.status in ENDED else f"{m.id} is still {m.status}")
    return found


def _given_up_for_a_reason(kept: Iterable[Kept], posted: dict[str, list[Posted]]) -> Finding:
    found = Finding("P1", "nothing is given up but what the vendor refused, or what was too late")
    for m in kept:
        if m.status == "failed":
            refused = any(row.verdict in ("refused", "http_error") for row in posted.get(m.to, ()))
            found.look(None if refused else f"{m.id} failed, the vendor never refused it")
        elif m.status == "expired":
            found.look(None if m.expires_at is not None else f"{m.id} expired and had all the time")
        elif m.status in ("cancelled", "suppressed"):
            found.look(f"{m.id} is {m.status}, nobody asked for that")
    return found


def _nothing_twice(posted: dict[str, list[Posted]], kept: dict[str, Kept]) -> Finding:
    found = Finding("P2", "no second POST unless the vendor surely did not send the one before it")
    for to, rows in posted.items():
        wrong = [row for row in rows[:-1] if not row.surely_not_sent]
        allowed = kept[to].resend if to in kept else False
        offence = f"{_masked(to)}: POSTed again after {wrong[0].verdict}" if wrong else None
        found.look(None if allowed and len(wrong) == 1 else offence)
    return found


def _nothing_stored_twice(posted: dict[str, list[Posted]], kept: dict[str, Kept]) -> Finding:
    found = Finding("P2", "nobody gets a message twice, unless the campaign asked to resend what is unknown")
    for to, rows in posted.items():
        times = sum(row.stored for row in rows)
        most = 2 if to in kept and kept[to].resend else 1
        found.look(None if times <= most else f"{_masked(to)} got it {times} times")
    return found


def _written_ahead(posted: dict[str, list[Posted]], opened: dict[str, list[Opened]]) -> Finding:
    found = Finding("P4", "every POST has an attempt that was committed before it")
    for to, rows in posted.items():
        starts = sorted(a.started_at for a in opened.get(to, ()))
        for number, row in enumerate(rows):
            # Two clocks of one machine, one of them cut to whole milliseconds.
            ahead = number < len(starts) and starts[number] <= row.at_ms + 1
            found.look(None if ahead else f"{_masked(to)}: POST {number + 1} has no attempt before it")
    return found


def _ids_kept(posted: Iterable[Posted], kept: dict[str, Kept]) -> Finding:
    found = Finding("P5", "every MessageId that the vendor told is in the ledger, or its message is unknown")
    for row in posted:
        if row.verdict == "accepted":
            m = kept.get(row.to)
            well = m is not None and (m.message_id == row.message_id or m.status == "unknown" or m.resend)
            found.look(None if well else f"{_masked(row.to)}: {row.message_id} was told")
    return found


def _nothing_untrue(kept: Iterable[Kept], posted: dict[str, list[Posted]]) -> Finding:
    found = Finding("P13", "nothing is on record as sent that was not, or as not sent that was")
    for m in kept:
        stored = {row.message_id for row in posted.get(m.to, ()) if row.stored}
        if m.status in SENT:
            offence = (
                None if m.message_id in stored else f"{m.id} is {m.status}, the vendor knows nothing of it"
            )
        elif m.status == "unknown":
            offence = None
        else:
            offence = f"{m.id} is {m.status}, the vendor sent it" if stored else None
        found.look(offence)
    return found


def _never_late(posted: Iterable[Posted], kept: dict[str, Kept]) -> Finding:
    found = Finding("P6", "no POST arrives after its message's time to live")
    for row in posted:
        m = kept.get(row.to)
        if m is not None and m.expires_at is not None:
            late = row.at_ms - m.expires_at
            found.look(None if late <= 0 else f"{m.id}: {late:.1f} ms late")
    return found


def _rate_kept(records: Records) -> Finding:
    found = Finding("P8", "no second, wherever it begins, holds more POSTs than the limit")
    if records.rate is not None:
        most = fullest_second(_instants(records))
        found.look(None if most <= records.rate else f"{most} in one second, {records.rate:g} are allowed")
        found.checked = len(_instants(records))
    return found


def _instants(records: Records) -> Sequence[float]:
    return records.left or [row.steady_s for row in records.posted]


def fullest_second(instants: Iterable[float], span: float = 1.0) -> int:
    """The most instants in any half-open window of one second."""
    ordered = sorted(instants)
    most = start = 0
    for end, instant in enumerate(ordered):
        while ordered[start] <= instant - span:
            start += 1
        most = max(most, end - start + 1)
    return most


def _figures(records: Records, posted: dict[str, list[Posted]]) -> dict[str, float]:
    unknown = [m for m in records.kept if m.status == "unknown"]
    really = sum(any(row.stored for row in posted.get(m.to, ())) for m in unknown)
    by_lease: dict[str, int] = defaultdict(int)
    for attempt in records.opened:
        if attempt.lost_worker and attempt.outcome == "unknown":
            by_lease[attempt.lease] += 1
    late = [
        row.at_ms - m.expires_at
        for m in records.kept
        if m.expires_at is not None
        for row in posted.get(m.to, ())
    ]
    return {
        "messages": len(records.kept),
        "taken_in": len(records.taken_in),
        "posts": len(records.posted),
        "sent": sum(row.stored for row in records.posted),
        "unknown": len(unknown),
        "unknown_really_sent": really,
        "unknown_of_lost_workers": sum(by_lease.values()),
        "most_unknown_of_one_lost_worker": max(by_lease.values(), default=0),
        "fullest_second": fullest_second(_instants(records)),
        "latest_ms_after_expiry": max(late, default=0.0),
        # Work wasted: POSTs that had to be made again, and rows opened that never reached the vendor.
        "posts_again": sum(len(rows) - 1 for rows in posted.values()),
        "attempts_that_reached_nobody": len(records.opened) - len(records.posted),
    }


def recovery_seconds(
    instants: Sequence[float], healed_at: float, normal: float, *, share: float = 0.8, most: float = 60.0
) -> float | None:
    """How long after ``healed_at`` the first second began whose rate is ``share`` of ``normal``; None if never.

    ``instants`` are POSTs in order, by the same clock, seconds. Looked at in steps of a tenth of a second.
    """
    steps = int(most * 10)
    for step in range(steps):
        begin = healed_at + step / 10
        if bisect_left(instants, begin + 1) - bisect_left(instants, begin) >= share * normal:
            return step / 10
    return None


def _masked(to: str) -> str:
    return f"{to[:4]}*****{to[-3:]}"
