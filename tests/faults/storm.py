"""A run: traffic and faults on one installation, then rest, then the judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select

from bulksend.ledger.schema import receipts, unreadable_receipts
from tests.faults import controls, judge_faces, nemesis
from tests.faults.installation import Installation, Plan, running
from tests.faults.judge import Asked, Records, Verdict, judge
from tests.faults.judge_faces import FaceRecords, Happened, Hook, Stored
from tests.faults.nemesis import Injected, Nemesis, Planned
from tests.faults.traffic import PRIVATE, Traffic

#: How often a drain says what is left, in seconds.
TELL_S = 10.0
#: Traffic of a short run: little waits when its last fault is healed, and several campaigns are begun by then.
LITTLE: dict[str, Any] = {"campaign_rows": 300, "ahead_seconds": 4.0}


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    verdict: Verdict
    injected: list[Injected]
    audit: Any
    seconds: float
    drained_in: float
    still_live: int
    starts: int
    taken_in: frozenset[str]
    codes: dict[str, float]
    posted: list[Any]
    notes: dict[str, int]
    """How often a person or a receipt had a say."""
    faces: dict[str, float]
    """How much came through the programs' faces."""
    private: int
    """Private words in webhooks and in the problems that programs were answered."""

    @property
    def holds(self) -> bool:
        """Whether judge and audit find nothing, and all came to rest."""
        come_to_rest = not self.still_live and not self.failures()
        return self.verdict.holds and self.audit.holds and come_to_rest and not self.private

    def failures(self) -> list[Injected]:
        """Faults that could not be injected or healed."""
        return [i for i in self.injected if i.error]

    def complaints(self) -> str:
        """Everything that is wrong, in lines."""
        lines = [
            f"{f.promise} {f.rule}: {f.broken} of {f.checked}: {f.offenders}" for f in self.verdict.broken()
        ]
        lines += [f"audit: {f.rule}: {f.broken}: {f.offenders}" for f in self.audit.findings if f.broken]
        lines += [f"not injected: {i.fault}: {i.error}" for i in self.failures()]
        if self.private:
            lines.append(f"{self.private} private words in webhooks or problems")
        if self.still_live:
            lines.append(f"{self.still_live} messages never came to rest")
        return "\n".join(lines)


def storm(
    plan: Plan,
    faults: list[Planned],
    *,
    tell: Callable[[str], None] = lambda text: None,
    drain_s: float = 90.0,
    lead_s: float = 3.0,
    traffic: dict[str, Any] | None = None,
    begin: Callable[[Installation], None] = lambda site: None,
    keep: Callable[[Installation], None] = lambda site: None,
) -> Result:
    """Traffic from the start, the faults as planned, then no more of either until all has come to rest."""
    with running(plan) as site:
        nemesis.prepare(site)
        driver = Traffic(site, **(traffic or {}))
        driver.hooks.start()
        enemy = Nemesis(site, driver)
        began = time.monotonic()
        begin(site)
        nemesis.make_statistics_stale(site, driver)
        driver.start()
        time.sleep(lead_s)
        enemy.storm(faults, tell)
        driver.stop()
        controls.resume_all(site)
        resting = time.monotonic()
        live = drain(site, drain_s, tell)
        drained_in = time.monotonic() - resting
        if live:
            site.halt_workers()
        tell("receipts, events and webhooks come to rest")
        driver.receipts.finish()
        events = driver.programs.finish()
        hooks = driver.hooks.finish(events[-1].seq if events else 0)
        keep(site)
        site.halt()
        driver.hooks.stop()
        records = site.records(driver.notes.asked())
        faces = face_records(site, driver, records, events, hooks)
        verdict = judge(records)
        return Result(
            verdict=replace(verdict, findings=[*verdict.findings, *judge_faces.judge_faces(faces)]),
            injected=enemy.injected,
            audit=site.audit(),
            seconds=time.monotonic() - began,
            drained_in=drained_in,
            still_live=live,
            starts=sum(member.starts for member in site.members.values()),
            taken_in=records.asked.taken_in,
            codes=dict(driver.notes.codes),
            posted=list(records.posted),
            notes=driver.notes.counts(),
            faces=judge_faces.figures(faces),
            private=driver.hooks.private + len(PRIVATE.findall("\n".join(driver.programs.problems).encode())),
        )


def face_records(
    site: Installation, driver: Traffic, records: Records, events: list[Happened], hooks: list[Hook]
) -> FaceRecords:
    """What came through the programs' faces, and what the ledger has of it."""
    with site.ledger.read() as tx:
        r = receipts.c
        stored = [
            Stored(message_id, status, None if message is None else str(message))
            for message_id, status, message in tx.execute(select(r.message_id, r.status, r.message_pk))
        ]
        aside = int(tx.execute(select(func.count()).select_from(unreadable_receipts)).scalar_one())
    answered, posted = driver.notes.unreadables
    asked: Asked = records.asked
    programs = driver.programs
    return FaceRecords(
        kept=records.kept,
        answered=programs.answered,
        refused=programs.refused,
        uploads=programs.uploads,
        exports=programs.exports,
        told=asked.receipts,
        stored=stored,
        unreadable=(answered, posted, aside),
        events=events,
        followed=tuple(programs.followed),
        reader_errors=programs.reader_errors,
        hooks=hooks,
    )


def drain(site: Installation, seconds: float, tell: Callable[[str], None] = lambda text: None) -> int:
    """Wait until every message has ended; how many have not by then."""
    began = told = time.monotonic()
    while (live := site.live_messages()) and (now := time.monotonic()) < began + seconds:
        if now - told >= TELL_S:
            told = now
            tell(f"{live:,} messages to go, {now - began:.0f} s after the last fault")
        time.sleep(0.3)
    return live
