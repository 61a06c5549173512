"""The judge catches each way in which vendor and ledger can disagree, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.judge import Kept, Opened, Posted, Records, fullest_second, judge, recovery_seconds

TO = "12015550001"
POSTED = Posted(TO, 1000.0, 1.0, True, "accepted", 0, 200, "m-1")
REFUSED = replace(
    POSTED, at_ms=900.0, steady_s=0.9, stored=False, verdict="refused", ret_code=150, message_id=None
)
KEPT = Kept("id-1", TO, "accepted", "m-1", None, False)
OPENED = Opened(TO, 1, 995, "accepted", "lease-1", False)
RETRIED = Opened(TO, 1, 890, "refused", "lease-1", False)


def records(
    posted: Sequence[Posted] = (POSTED,),
    kept: Sequence[Kept] = (KEPT,),
    opened: Sequence[Opened] = (OPENED,),
    taken_in: Sequence[str] = (TO,),
    rate: float | None = 10,
) -> Records:
    return Records(posted, kept, opened, frozenset(taken_in), rate)


GOOD = {
    "sent once": records(),
    "sent after a refusal": records((REFUSED, POSTED), opened=(RETRIED, replace(OPENED, n=2))),
    "unknown and sent": records(kept=(replace(KEPT, status="unknown", message_id=None),)),
    "unknown and not sent": records((), (replace(KEPT, status="unknown", message_id=None),)),
    "expired unsent": records((), (replace(KEPT, status="expired", message_id=None, expires_at=5),), ()),
    "opened and never posted": records((), (replace(KEPT, status="unknown", message_id=None),), (OPENED,)),
    "resent on request": records(
        (replace(POSTED, at_ms=900, verdict="lost_answer", message_id="m-0"), POSTED),
        (replace(KEPT, resend=True),),
        (replace(RETRIED, outcome="unknown"), replace(OPENED, n=2)),
    ),
    "in time": records(kept=(replace(KEPT, expires_at=1000),)),
}
BAD = {
    "P1 nowhere": records((), (), ()),
    "P1 never ended": records((), (replace(KEPT, status="queued", message_id=None),), ()),
    "P1 given up for nothing": records((), (replace(KEPT, status="failed", message_id=None),), ()),
    "P1 expired with all the time": records((), (replace(KEPT, status="expired", message_id=None),), ()),
    "P2 posted after an unknown": records(
        (replace(REFUSED, verdict="dropped", ret_code=None), POSTED), opened=(RETRIED, replace(OPENED, n=2))
    ),
    "P2 posted after a 500": records(
        (replace(REFUSED, verdict="http_error", http_status=500), POSTED),
        opened=(RETRIED, replace(OPENED, n=2)),
    ),
    "P2 sent twice": records(
        (replace(POSTED, at_ms=990.0), POSTED), opened=(replace(OPENED, started_at=1),) * 2
    ),
    "P2 resent three times": records(
        (POSTED,) * 3, (replace(KEPT, resend=True),), (replace(OPENED, started_at=1),) * 3
    ),
    "P4 no attempt": records(opened=()),
    "P4 attempt after the POST": records(opened=(replace(OPENED, started_at=1100),)),
    "P5 another MessageId": records(kept=(replace(KEPT, message_id="m-2"),)),
    "P5 lost MessageId": records(kept=(replace(KEPT, status="failed", message_id=None),)),
    "P13 said to be sent": records((), (KEPT,), (OPENED,)),
    "P13 said not to be sent": records(kept=(replace(KEPT, status="failed", message_id="m-1"),)),
    "P6 late": records(kept=(replace(KEPT, expires_at=999),)),
    "P8 too fast": records(
        [replace(POSTED, to=f"1201555{n:04d}", message_id=f"m{n}", steady_s=n / 11) for n in range(11)],
        [replace(KEPT, to=f"1201555{n:04d}", message_id=f"m{n}") for n in range(11)],
        [replace(OPENED, to=f"1201555{n:04d}") for n in range(11)],
        (),
    ),
}


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_what_is_right_is_left_alone(case: Records) -> None:
    assert judge(case).broken() == []


@pytest.mark.parametrize(("name", "case"), BAD.items(), ids=BAD)
def test_what_is_wrong_is_found_under_its_promise(name: str, case: Records) -> None:
    broken = {finding.promise for finding in judge(case).broken()}
    assert name.split()[0] in broken


def test_offenders_are_named_without_their_numbers() -> None:
    for case in BAD.values():
        for finding in judge(case).broken():
            assert finding.offenders
            assert not any(TO in offender for offender in finding.offenders)


def test_doubt_is_counted_by_lost_worker_and_by_what_was_really_sent() -> None:
    lost = [replace(OPENED, to=f"1201555{n:04d}", outcome="unknown", lost_worker=True) for n in range(3)]
    kept = [replace(KEPT, to=o.to, status="unknown", message_id=None) for o in lost]
    posted = [replace(POSTED, to=lost[0].to, verdict="lost_answer")]
    figures = judge(records(posted, kept, [*lost[:2], replace(lost[2], lease="lease-2")])).figures
    assert figures["most_unknown_of_one_lost_worker"] == 2
    assert figures["unknown_of_lost_workers"] == 3
    assert figures["unknown_really_sent"] == 1


@given(st.lists(st.floats(0, 20), max_size=60))
def test_the_fullest_second_is_the_fullest_of_all_that_begin_at_an_instant(instants: list[float]) -> None:
    slow = max((sum(1 for b in instants if a <= b < a + 1) for a in instants), default=0)
    # The same up to instants exactly a second apart, where float sums differ.
    assert abs(fullest_second(instants) - slow) <= sum(
        1 for a in instants for b in instants if b > a and abs(b - a - 1) < 1e-9
    )


def test_recovery_is_the_time_to_the_first_second_that_is_as_full_as_usual() -> None:
    instants = [n / 10 for n in range(100)] + [15 + n / 10 for n in range(100)]
    assert recovery_seconds(instants, 3.0, 10) == 0.0
    assert recovery_seconds(instants, 10.0, 10, share=1.0) == pytest.approx(5.0, abs=0.11)
    assert recovery_seconds(instants, 30.0, 10) is None
