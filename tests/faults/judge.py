"""The judge: the vendor's own record and the bench's own notes against the ledger.

Pure, and alone: it imports nothing of the product, and no table of codes. Whether a recipient got a message is what
the vendor did, never what it answered. What the product had a right to do is what the bench asked for, never what
the ledger says that it was asked for.

Every message of a run goes to a recipient of its own, so a number is all that ties the records together: the judge
needs no id of ours, which might be wrong. Terms as in Jepsen's total-queue checker.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

ENDED = frozenset(
    {"accepted", "delivered", "read", "failed", "expired", "suppressed", "cancelled", "superseded", "unknown"}
)
SENT = frozenset({"accepted", "delivered", "read"})
#: Vendor's verdicts whose answer was the vendor's own and arrived whole: the sender can know what happened.
PLAIN = frozenset({"accepted", "refused", "throttled"})
#: How many offenders are kept of each rule.
SHOWN = 10
#: A fault may cast doubt on attempts that were opened so long before it began, or after it ended: a POST may take
#: its whole time-out, and a worker that holds attempts is lost a lease later.
REACH_MS = 12_000.0
#: How far two readings of one clock may be apart: one of them may be cut to whole milliseconds.
CLOCK_MS = 1.0
#: How long after its last look for newer codes an attempt may begin. Look and write-ahead are one statement, or the
#: first and the third of a transaction: four ways from or to the ledger, each of up to 0.4 s where it is far away.
LOOK_MS = 2_000.0


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
    def leaves_a_doubt(self) -> bool:
        """Whether a second POST might be a second message: it went out, or the sender was told nothing at all."""
        return self.stored or self.verdict == "dropped"


@dataclass(frozen=True, slots=True)
class Left:
    """One POST that left its process, by the kernel's stamp. It may never have arrived."""

    to: str
    """Empty where it sends no message: the relay reads templates."""
    steady_s: float
    at_ms: float
    """By the machine's clock."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as the ledger has it."""

    id: str
    to: str
    status: str
    message_id: str | None
    expires_at: int | None
    campaign_status: str = "finished"


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
class Resolved:
    """A person's word about a message that was unknown: ``accepted``, ``failed`` or ``resend``."""

    to: str
    as_: str
    at_ms: float
    """When the command was begun: it may take effect from then on."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A campaign that was cancelled or paused: the command's begin and its end, and when a resume was begun."""

    people: frozenset[str]
    begun_ms: float
    done_ms: float
    until_ms: float | None = None
    """None: cancelled, for good."""


@dataclass(frozen=True, slots=True)
class Told:
    """A receipt of a message, which the ledger said it has taken."""

    message_id: str
    status: str
    at_ms: float = 0.0
    """When it happened, by the vendor."""


@dataclass(frozen=True, slots=True)
class CodePair:
    """Two codes of one person for one purpose, each to another form of the number.

    ``said_ms``: when the send of the newer one had returned.
    """

    older: str
    newer: str
    said_ms: float


@dataclass(frozen=True, slots=True)
class Canary:
    """A campaign to these people in their order, of whom the first ``size`` are its canary.

    The rest may follow when ``delivered`` of those were reached, or once a person began to let it go.
    """

    people: tuple[str, ...]
    size: int
    delivered: int
    released_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The bench's notes: what the product was asked to do, what it was told, and what was done to it."""

    taken_in: frozenset[str] = frozenset()
    """Recipients of whatever a producer said was taken in."""
    resend: frozenset[str] = frozenset()
    """Those whose campaign asks for a second POST of what is unknown."""
    resolved: Sequence[Resolved] = ()
    stops: Sequence[Stop] = ()
    receipts: Sequence[Told] = ()
    pairs: Sequence[CodePair] = ()
    canaries: Sequence[Canary] = ()
    faults: Sequence[tuple[float, float]] = ()
    """Begin and end, by the machine's clock in ms, of each fault that can leave a doubt about a POST."""


@dataclass(frozen=True, slots=True)
class Records:
    """What there is to judge."""

    posted: Sequence[Posted]
    kept: Sequence[Kept]
    opened: Sequence[Opened]
    asked: Asked
    rate: float | None = None
    left: Sequence[Left] = ()
    """The POSTs as they left their workers; where that is not known, the vendor's instants have to do."""
    stop_within_ms: float = 1000.0
    """How soon after a cancel or a pause the last POST must have arrived."""


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
    case = _Case(records)
    findings = [
        _nothing_lost(case),
        _all_ended(case),
        _given_up_for_a_reason(case),
        _not_posted_again(case),
        _nobody_reached_twice(case),
        _doubt_has_a_cause(case),
        _written_ahead(case),
        _ids_kept(case),
        _nothing_untrue(case),
        _never_late(case),
        _rate_kept(records),
        _stopped_in_time(case),
        _stopped_truly(case),
        _receipts_kept(case),
        _superseded_by_what_went_out(case),
        _newest_code_only(case),
        _canary_first(case),
    ]
    return Verdict(findings, _figures(case))


class _Case:
    """The records by recipient."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.asked = records.asked
        self.posted: dict[str, list[Posted]] = defaultdict(list)
        for row in records.posted:
            self.posted[row.to].append(row)
        self.left: dict[str, list[Left]] = defaultdict(list)
        for one in records.left:
            self.left[one.to].append(one)
        self.opened: dict[str, list[Opened]] = defaultdict(list)
        for attempt in records.opened:
            self.opened[attempt.to].append(attempt)
        self.kept: dict[str, list[Kept]] = defaultdict(list)
        for m in records.kept:
            self.kept[m.to].append(m)
        self.words: dict[str, list[Resolved]] = defaultdict(list)
        for word in records.asked.resolved:
            self.words[word.to].append(word)
        self.told: dict[str, set[str]] = defaultdict(set)
        for receipt in records.asked.receipts:
            self.told[receipt.message_id].add(receipt.status)
        self.stops: dict[str, list[Stop]] = defaultdict(list)
        for stop in records.asked.stops:
            for to in stop.people:
                self.stops[to].append(stop)

    def said(self, to: str, as_: str) -> bool:
        """Whether a person settled this recipient's message so."""
        return any(word.as_ == as_ for word in self.words.get(to, ()))

    def rights(self, to: str) -> int:
        """How many POSTs after one that leaves a doubt were asked for."""
        return (to in self.asked.resend) + sum(word.as_ == "resend" for word in self.words.get(to, ()))

    def left_ms(self, to: str) -> list[float]:
        """When the POSTs that arrived had left their workers, in order: for each the newest that had left by then.

        The bench's proxy may hold it up. Where nothing is known to have left, it counts from its arrival.
        """
        waiting = sorted(self.left.get(to, ()), key=lambda one: one.steady_s)
        found = []
        for row in self.posted.get(to, ()):
            by_then = bisect_right(waiting, row.steady_s + CLOCK_MS / 1000, key=lambda one: one.steady_s)
            found.append(waiting.pop(by_then - 1).at_ms if by_then else row.at_ms)
        return sorted(found)

    def sent(self, to: str) -> set[str | None]:
        """MessageIds of what went out to this recipient."""
        return {row.message_id for row in self.posted.get(to, ()) if row.stored}


def _nothing_lost(case: _Case) -> Finding:
    found = Finding("P1", "what a producer was told is taken in is in the ledger, once")
    for to in case.asked.taken_in:
        rows = len(case.kept.get(to, ()))
        found.look(None if rows == 1 else f"{_masked(to)} is in {rows or 'no'} rows")
    return found


def _all_ended(case: _Case) -> Finding:
    found = Finding("P1", "once all is quiet, every message has one ending")
    for m in case.records.kept:
        found.look(None if m.status in ENDED else f"{m.id} is still {m.status}")
    return found


def _given_up_for_a_reason(case: _Case) -> Finding:
    found = Finding("P1", "nothing is given up without a refusal, a person's word, its time, or a wiped code")
    for m in case.records.kept:
        if m.status == "failed":
            refused = any(row.verdict in ("refused", "http_error") for row in case.posted.get(m.to, ()))
            reported = "failed" in case.told.get(m.message_id or "", ())
            ok = refused or reported or case.said(m.to, "failed") or _was_wiped(m, case)
            ends = [attempt.outcome for attempt in case.opened.get(m.to, ())]
            found.look(None if ok else f"{m.id} failed after {ends}, the vendor never refused it")
        elif m.status == "expired":
            found.look(None if m.expires_at is not None else f"{m.id} expired and had all the time")
        elif m.status == "cancelled":
            asked = any(stop.until_ms is None for stop in case.stops.get(m.to, ()))
            found.look(None if asked else f"{m.id} is cancelled, its campaign was not")
        elif m.status == "suppressed":
            found.look(f"{m.id} is suppressed, nothing asked for that")
    return found


def _not_posted_again(case: _Case) -> Finding:
    """A right is used up by one POST after one that leaves a doubt; a person's lasts from the command on."""
    found = Finding("P2", "no second POST after one that went out or was never answered, unless asked for")
    for to, rows in case.posted.items():
        words = sorted(word.at_ms for word in case.words.get(to, ()) if word.as_ == "resend")
        wishes = int(to in case.asked.resend)
        offence = None
        for number, (row, again) in enumerate(pairwise(rows), 2):
            if not row.leaves_a_doubt:
                continue
            if words and words[0] <= again.at_ms:
                words.pop(0)
            elif wishes:
                wishes -= 1
            else:
                offence = f"{_masked(to)}: POST {number} after one that was {_what_became_of(row)}"
                break
        found.look(offence)
    return found


def _what_became_of(row: Posted) -> str:
    if row.verdict == "dropped":
        return "never answered"
    return f"sent and answered by HTTP {row.http_status}" if row.http_status else "sent"


def _nobody_reached_twice(case: _Case) -> Finding:
    found = Finding("P2", "no recipient gets a message more often than was asked for")
    for to, rows in case.posted.items():
        times = sum(row.stored for row in rows)
        found.look(None if times <= 1 + case.rights(to) else f"{_masked(to)} got it {times} times")
    return found


def _was_wiped(m: Kept, case: _Case) -> bool:
    """A code that no one POSTed: it is wiped when its worker is lost, and cannot be sent once that is known."""
    return m.expires_at is not None and m.to not in case.posted and _was_hit(m, case)


def _was_hit(m: Kept, case: _Case) -> bool:
    """Whether a fault was at work about an attempt of it."""
    return any(_is_near(attempt.started_at, case.asked.faults) for attempt in case.opened.get(m.to, ()))


def _doubt_has_a_cause(case: _Case) -> Finding:
    """Unknown is never wrong where the vendor's answer was not plain, or a fault was at work that could hide it."""
    found = Finding("P3", "a message is unknown only where an answer was not plain, or a fault was at work")
    for m in case.records.kept:
        if m.status == "unknown":
            found.look(None if _has_a_cause(m, case) else f"{m.id} is unknown, and nothing was wrong")
    return found


def _has_a_cause(m: Kept, case: _Case) -> bool:
    attempts = case.opened.get(m.to, ())
    if any(row.verdict not in PLAIN for row in case.posted.get(m.to, ())):
        return bool(attempts)
    return _was_hit(m, case)


def _is_near(at_ms: float, faults: Sequence[tuple[float, float]]) -> bool:
    return any(begun - REACH_MS <= at_ms <= healed + REACH_MS for begun, healed in faults)


def _written_ahead(case: _Case) -> Finding:
    found = Finding("P4", "every POST has an attempt that was committed before it")
    for to in case.posted:
        starts = sorted(a.started_at for a in case.opened.get(to, ()))
        for number, left_ms in enumerate(case.left_ms(to)):
            ahead = number < len(starts) and starts[number] <= left_ms + CLOCK_MS
            found.look(None if ahead else f"{_masked(to)}: POST {number + 1} has no attempt before it")
    return found


def _ids_kept(case: _Case) -> Finding:
    """A person may have settled or sent again what was unknown, without the MessageId that was not read."""
    found = Finding("P5", "every MessageId that the vendor told is in the ledger, or its message is unknown")
    for row in case.records.posted:
        if row.verdict == "accepted":
            well = any(
                m.message_id == row.message_id
                or m.status == "unknown"
                or m.to in case.asked.resend
                or m.to in case.words
                for m in case.kept.get(row.to, ())
            )
            found.look(None if well else f"{_masked(row.to)}: {row.message_id} was told")
    return found


def _nothing_untrue(case: _Case) -> Finding:
    """``unknown`` is never untrue; whether it has a cause is a rule of its own."""
    found = Finding("P13", "nothing is on record as sent that was not, or as not sent that was")
    for m in case.records.kept:
        if m.status == "unknown":
            found.look(None)
        elif m.status in SENT:
            found.look(_untrue_of_sent(m, case))
        else:
            found.look(_untrue_of_unsent(m, case))
    return found


def _untrue_of_sent(m: Kept, case: _Case) -> str | None:
    sent = case.sent(m.to)
    if m.message_id not in sent and not (m.status == "accepted" and case.said(m.to, "accepted")):
        return f"{m.id} is {m.status}, the vendor knows nothing of it"
    proof = {"delivered": {"delivered", "read"}, "read": {"read"}}.get(m.status)
    if proof is not None and not any(proof & case.told.get(id or "", set()) for id in sent):
        return f"{m.id} is {m.status}, no receipt says so"
    return None


def _untrue_of_unsent(m: Kept, case: _Case) -> str | None:
    sent = case.sent(m.to)
    if not sent:
        return None
    if m.status == "failed" and case.said(m.to, "failed"):
        return None
    # The vendor itself may report later that what it took was never delivered.
    if m.status == "failed" and all("failed" in case.told.get(id or "", ()) for id in sent):
        return None
    return f"{m.id} is {m.status}, the vendor sent it"


def _never_late(case: _Case) -> Finding:
    found = Finding("P6", "no POST leaves its worker after its message's time to live")
    for id, late in _lateness(case):
        found.look(None if late <= 0 else f"{id}: {late:.1f} ms late")
    return found


def _lateness(case: _Case) -> Iterable[tuple[str, float]]:
    """Of each POST of a message with a time to live: how long after it, in ms, the POST left its worker."""
    for to in case.posted:
        for m in case.kept.get(to, ()):
            if m.expires_at is not None:
                for left_ms in case.left_ms(to):
                    yield m.id, left_ms - m.expires_at


def _after_stops(case: _Case) -> Iterable[tuple[Posted, float]]:
    """POSTs that arrived after a cancel or a pause had returned and before a resume was begun; how late, in ms."""
    for to, stops in case.stops.items():
        for row in case.posted.get(to, ()):
            for stop in stops:
                if stop.done_ms < row.at_ms and (stop.until_ms is None or row.at_ms < stop.until_ms):
                    yield row, row.at_ms - stop.done_ms


def _stopped_in_time(case: _Case) -> Finding:
    most = case.records.stop_within_ms
    found = Finding("P15", f"nothing is POSTed {most / 1000:g} s after a cancel or a pause returned")
    late = {(row.to, row.at_ms): ms for row, ms in _after_stops(case) if ms > most}
    for to in case.stops:
        for row in case.posted.get(to, ()):
            ms = late.get((row.to, row.at_ms))
            found.look(None if ms is None else f"{_masked(to)}: POSTed {ms / 1000:.1f} s after it")
    return found


def _stopped_truly(case: _Case) -> Finding:
    found = Finding(
        "P15", "of a cancelled campaign, what was never POSTed is cancelled, unknown or as a person said"
    )
    for stop in case.asked.stops:
        for to in stop.people if stop.until_ms is None else ():
            for m in case.kept.get(to, ()):
                if m.campaign_status != "cancelled":
                    found.look(f"{m.id}: its campaign is {m.campaign_status}")
                elif not case.posted.get(to):
                    well = m.status in ("cancelled", "unknown") or case.said(to, m.status)
                    found.look(None if well else f"{m.id} is {m.status}, and was never POSTed")
                else:
                    found.look(None)
    return found


#: What the receipts of one message say together: the highest counts, whatever order they came in.
_RECEIPTS_SAY = (
    ("read", frozenset({"read"})),
    ("delivered", frozenset({"delivered", "read"})),
    # An earlier attempt may have reached its recipient all the same.
    ("failed", frozenset({"failed", "delivered", "read", "unknown"})),
    ("sent", SENT | {"failed"}),
)


def _receipts_kept(case: _Case) -> Finding:
    found = Finding("P16", "a message is what the receipts of its MessageId say together")
    for m in case.records.kept:
        told = case.told.get(m.message_id or "", set())
        for status, right in _RECEIPTS_SAY:
            if status in told:
                # A person may know that a later attempt, whose MessageId was not told, went out all the same.
                known = status == "failed" and m.status == "accepted" and case.said(m.to, "accepted")
                found.look(
                    None if m.status in right or known else f"{m.id} is {m.status}, a receipt said {status}"
                )
                break
    return found


def _superseded_by_what_went_out(case: _Case) -> Finding:
    found = Finding("P21", "a code is superseded only by a newer one that went out, or may have")
    newer = {pair.older: pair.newer for pair in case.asked.pairs}
    for m in case.records.kept:
        if m.status == "superseded":
            to = newer.get(m.to, "")
            gone = any(row.leaves_a_doubt for row in case.posted.get(to, ()))
            # What a lost worker had opened is unknown until the worker comes back and says that it was not sent.
            in_doubt = any(o.status == "unknown" or _was_hit(o, case) for o in case.kept.get(to, ()))
            found.look(None if gone or in_doubt else f"{m.id} is superseded, no newer code went out")
    return found


def _newest_code_only(case: _Case) -> Finding:
    """A newer code that went out in the end could be sent from the moment on at which it was taken in."""
    found = Finding(
        "P21",
        f"no attempt of a code begins {LOOK_MS / 1000:g} s after a newer one is taken in that goes out, or may have",
    )
    for pair in case.asked.pairs:
        sent = case.sent(pair.newer)
        in_doubt = any(m.status == "unknown" for m in case.kept.get(pair.newer, ()))
        # The older one may follow where the vendor itself reports that the newer one was not delivered.
        undelivered = all("failed" in case.told.get(id or "", ()) for id in sent)
        if undelivered and not in_doubt:
            continue
        late = [a.started_at - pair.said_ms for a in case.opened.get(pair.older, ())]
        worst = max(late, default=0.0)
        offence = f"{_masked(pair.older)}: {worst:.0f} ms after the newer code"
        found.look(None if worst <= LOOK_MS else offence)
    return found


def _canary_first(case: _Case) -> Finding:
    found = Finding(
        "P22", "nothing beyond a canary is POSTed before enough of it was delivered, or a person let it go"
    )
    reached: dict[str, float] = {}
    for receipt in case.asked.receipts:
        if receipt.status in ("delivered", "read"):
            id = receipt.message_id
            reached[id] = min(receipt.at_ms, reached.get(id, receipt.at_ms))
    for canary in case.asked.canaries:
        rest = [row.at_ms for to in canary.people[canary.size :] for row in case.posted.get(to, ())]
        first = min(rest, default=None)
        if first is None:
            continue
        let_go = canary.released_ms is not None and canary.released_ms <= first
        seen = sum(
            any(reached.get(id or "", first + 1) <= first for id in case.sent(to))
            for to in canary.people[: canary.size]
        )
        well = let_go or seen >= canary.delivered
        found.look(None if well else f"the rest began after {seen} of {canary.size} were delivered")
    return found


def _rate_kept(records: Records) -> Finding:
    found = Finding("P8", "no second, wherever it begins, holds more POSTs than the limit")
    if records.rate is not None:
        most = fullest_second(_instants(records))
        found.look(None if most <= records.rate else f"{most} in one second, {records.rate:g} are allowed")
        found.checked = len(_instants(records))
    return found


def _instants(records: Records) -> Sequence[float]:
    return [one.steady_s for one in records.left if one.to] or [one.steady_s for one in records.posted]


def fullest_second(instants: Iterable[float], span: float = 1.0) -> int:
    """The most instants in any half-open window of one second."""
    ordered = sorted(instants)
    most = start = 0
    for end, instant in enumerate(ordered):
        while ordered[start] <= instant - span:
            start += 1
        most = max(most, end - start + 1)
    return most


def _figures(case: _Case) -> dict[str, float]:
    records, posted = case.records, case.posted
    unknown = [m for m in records.kept if m.status == "unknown"]
    really = sum(any(row.stored for row in posted.get(m.to, ())) for m in unknown)
    by_lease: dict[str, int] = defaultdict(int)
    lost = [each for each in records.opened if each.lost_worker and each.outcome == "unknown"]
    for attempt in lost:
        by_lease[attempt.lease] += 1
    return {
        "messages": len(records.kept),
        "taken_in": len(records.asked.taken_in),
        "posts": len(records.posted),
        "sent": sum(row.stored for row in records.posted),
        "unknown": len(unknown),
        "superseded": sum(m.status == "superseded" for m in records.kept),
        "unknown_really_sent": really,
        "unknown_of_lost_workers": sum(by_lease.values()),
        "lost_and_never_posted": sum(_never_left(attempt, case) for attempt in lost),
        "most_unknown_of_one_lost_worker": max(by_lease.values(), default=0),
        "fullest_second": fullest_second(_instants(records)),
        "latest_ms_after_expiry": max((ms for _, ms in _lateness(case)), default=0.0),
        "latest_ms_after_stop": max((ms for _, ms in _after_stops(case)), default=0.0),
        # Work wasted: POSTs that had to be made again, and rows opened that never reached the vendor.
        "posts_again": sum(len(rows) - 1 for rows in posted.values()),
        "attempts_that_reached_nobody": len(records.opened) - len(records.posted),
    }


def _never_left(attempt: Opened, case: _Case) -> bool:
    """Whether no POST to its recipient ever left a worker."""
    return attempt.to not in (case.left or case.posted)


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
