"""The judge catches each way in which vendor and ledger can disagree, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.judge import (
    Asked,
    Canary,
    CodePair,
    Kept,
    Left,
    Opened,
    Posted,
    Records,
    Resolved,
    Stop,
    Told,
    fullest_second,
    judge,
    recovery_seconds,
)

TO = "12015550001"
POSTED = Posted(TO, 1000.0, 1.0, True, "accepted", 0, 200, "m-1")
REFUSED = replace(
    POSTED, at_ms=900.0, steady_s=0.9, stored=False, verdict="refused", ret_code=150, message_id=None
)
KEPT = Kept("id-1", TO, "accepted", "m-1", None)
OPENED = Opened(TO, 1, 995, "accepted", "lease-1", False)
RETRIED = Opened(TO, 1, 890, "refused", "lease-1", False)
AGAIN = (RETRIED, replace(OPENED, n=2))
#: Sent, and answered by a proxy's 503.
FORWARDED = replace(
    POSTED, at_ms=900.0, steady_s=0.9, verdict="lost_answer", http_status=503, message_id="m-0"
)
UNKNOWN = replace(KEPT, status="unknown", message_id=None)
CANCELLED = replace(KEPT, status="cancelled", message_id=None, campaign_status="cancelled")
FAILED = replace(KEPT, status="failed", message_id=None)
CANCEL = Stop(frozenset([TO]), 1100.0, 1200.0)
PAUSE = Stop(frozenset([TO]), 1100.0, 1200.0, 5000.0)
LATER = replace(POSTED, at_ms=2300.0, steady_s=2.3)


def records(
    posted: Sequence[Posted] = (POSTED,),
    kept: Sequence[Kept] = (KEPT,),
    opened: Sequence[Opened] = (OPENED,),
    taken_in: Sequence[str] = (TO,),
    rate: float | None = 10,
    *,
    resend: bool = False,
    said: Sequence[tuple[str, float]] = (),
    stops: Sequence[Stop] = (),
    told: Sequence[tuple[str, str]] = (),
    faults: Sequence[tuple[float, float]] = (),
    pairs: Sequence[CodePair] = (),
    canaries: Sequence[Canary] = (),
    left: Sequence[float] = (),
) -> Records:
    asked = Asked(
        taken_in=frozenset(taken_in),
        resend=frozenset([TO] if resend else []),
        resolved=[Resolved(TO, as_, at_ms) for as_, at_ms in said],
        stops=stops,
        receipts=[Told(message_id, status) for message_id, status in told],
        faults=faults,
        pairs=pairs,
        canaries=canaries,
    )
    return Records(posted, kept, opened, asked, rate, [Left(TO, at_ms / 1000, at_ms) for at_ms in left])


def after_all(status: str) -> Kept:
    """Taken by the vendor, and raised by receipts."""
    return replace(KEPT, status=status)


#: An older code of the person of TO, and what may have become of it.
OLDER = "1201555009"
SUPERSEDED = replace(KEPT, id="id-0", to=OLDER, status="superseded", message_id=None, expires_at=9000)
PAIR = CodePair(OLDER, TO, 980.0)
OLDER_SENT = (
    replace(POSTED, to=OLDER, at_ms=970.0, steady_s=0.97, message_id="m-0"),
    replace(KEPT, id="id-0", to=OLDER, message_id="m-0", expires_at=9000),
    replace(OPENED, to=OLDER, started_at=965),
)
LATER_OLDER = (
    replace(OLDER_SENT[0], at_ms=4000.0, steady_s=4.0),
    OLDER_SENT[1],
    replace(OLDER_SENT[2], started_at=3995),
)
#: It had looked for newer codes when that one was taken in.
LOOKED_BEFORE = (
    replace(OLDER_SENT[0], at_ms=1040.0, steady_s=1.04),
    OLDER_SENT[1],
    replace(OLDER_SENT[2], started_at=1036),
)
#: A canary of one, and the rest of its campaign.
SLICE, REST = "12015550002", TO
FIRST = (
    replace(POSTED, to=SLICE, at_ms=500.0, steady_s=0.5, message_id="m-2"),
    replace(KEPT, id="id-2", to=SLICE, message_id="m-2", status="delivered"),
    replace(OPENED, to=SLICE, started_at=495),
)
CANARY = Canary((SLICE, REST), 1, 1)


def with_canary(delivered_ms: float | None, canary: Canary = CANARY) -> Records:
    """A slice of one, told to be delivered then, and one more message of the campaign."""
    posted, kept, opened = FIRST
    kept = kept if delivered_ms is not None else replace(kept, status="accepted")
    made = records((posted, POSTED), (kept, KEPT), (opened, OPENED), (SLICE, TO), canaries=[canary])
    told = [] if delivered_ms is None else [Told("m-2", "delivered", delivered_ms)]
    return replace(made, asked=replace(made.asked, receipts=told))


GOOD = {
    "sent once": records(),
    "a code that left in time, and that the proxy held up": records(
        kept=(replace(KEPT, expires_at=998),), left=[997]
    ),
    "two codes that left in time, the first of which never arrived": records(
        kept=(replace(KEPT, expires_at=998),),
        left=[500, 997],
        opened=(replace(OPENED, started_at=490), OPENED),
    ),
    "resent by a person while the proxy held up the first": records(
        (replace(FORWARDED, at_ms=998, steady_s=0.998), POSTED),
        opened=AGAIN,
        said=[("resend", 950)],
        left=[899, 997],
    ),
    "sent after a refusal": records((REFUSED, POSTED), opened=AGAIN),
    "unknown and sent, answered by a 503": records((FORWARDED,), (UNKNOWN,), (RETRIED,)),
    "unknown and sent, while a worker was killed": records(kept=(UNKNOWN,), faults=[(900.0, 900.0)]),
    "unknown and never received": records((), (UNKNOWN,), faults=[(2000.0, 3000.0)]),
    "expired unsent": records((), (replace(KEPT, status="expired", message_id=None, expires_at=5),), ()),
    "a code that was wiped with its worker": records(
        (), (replace(FAILED, expires_at=5000),), (OPENED,), faults=[(900.0, 900.0)]
    ),
    "resent as its campaign asks": records((FORWARDED, POSTED), opened=AGAIN, resend=True),
    "resent as its campaign asks, after a refusal too": records(
        (replace(REFUSED, at_ms=800), FORWARDED, POSTED),
        opened=(replace(RETRIED, started_at=700), *AGAIN),
        resend=True,
    ),
    "resent by a person": records((FORWARDED, POSTED), opened=AGAIN, said=[("resend", 950)]),
    "resent by a person twice": records(
        (replace(FORWARDED, at_ms=800), FORWARDED, POSTED),
        opened=(replace(RETRIED, started_at=700), *AGAIN),
        said=[("resend", 850), ("resend", 950)],
    ),
    "posted again after a 503 that was not forwarded": records(
        (replace(REFUSED, verdict="http_error", ret_code=None, http_status=503), POSTED), opened=AGAIN
    ),
    "a code superseded by one that was sent": records(kept=(SUPERSEDED, KEPT), pairs=[PAIR]),
    "a code superseded by one in doubt": records(
        (), (SUPERSEDED, UNKNOWN), (OPENED,), pairs=[PAIR], faults=[(900, 900)]
    ),
    "a code superseded by one that was in doubt for a while": records(
        (), (SUPERSEDED, FAILED), (RETRIED,), pairs=[PAIR], faults=[(900, 900)], said=[("failed", 1500)]
    ),
    "two codes sent, the older before the newer was there": records(
        (OLDER_SENT[0], POSTED), (OLDER_SENT[1], KEPT), (OLDER_SENT[2], OPENED), pairs=[PAIR]
    ),
    "two codes sent, the newer taken in while the older was opened": records(
        (POSTED, LOOKED_BEFORE[0]), (KEPT, LOOKED_BEFORE[1]), (OPENED, LOOKED_BEFORE[2]), pairs=[PAIR]
    ),
    "an older code sent after the newer one was refused": records(
        (REFUSED, LATER_OLDER[0]),
        (FAILED, LATER_OLDER[1]),
        (RETRIED, LATER_OLDER[2]),
        pairs=[PAIR],
    ),
    "an older code sent after the newer one was not delivered": records(
        (POSTED, LATER_OLDER[0]),
        (replace(KEPT, status="failed"), LATER_OLDER[1]),
        (OPENED, LATER_OLDER[2]),
        pairs=[PAIR],
        told=[("m-1", "failed")],
    ),
    "the rest after its canary was delivered": with_canary(800.0),
    "the rest after a person let it go": with_canary(None, replace(CANARY, released_ms=900.0)),
    "a canary without a rest": with_canary(None, replace(CANARY, people=(SLICE,))),
    "in time": records(kept=(replace(KEPT, expires_at=1000),)),
    "a person's failed": records((FORWARDED,), (FAILED,), (RETRIED,), said=[("failed", 1500)]),
    "a person's accepted": records((), (replace(KEPT, message_id=None),), said=[("accepted", 1500)]),
    "a person's accepted of what was told to a worker that was cut off": records(
        kept=(replace(KEPT, message_id=None),), said=[("accepted", 1500)]
    ),
    "a person's accepted after a second attempt, whose first failed": records(
        told=[("m-1", "failed")], said=[("accepted", 1500)]
    ),
    "cancelled before its POST": records((), (CANCELLED,), (), stops=[CANCEL]),
    "cancelled after a refusal": records((REFUSED,), (CANCELLED,), (RETRIED,), stops=[CANCEL]),
    "sent before its campaign was cancelled": records(
        kept=(replace(KEPT, campaign_status="cancelled"),), stops=[CANCEL]
    ),
    "in doubt when its campaign was cancelled": records(
        (), (replace(UNKNOWN, campaign_status="cancelled"),), stops=[CANCEL], faults=[(900, 900)]
    ),
    **{
        f"in doubt when its campaign was cancelled, and settled by a person as {word}": records(
            (),
            (replace(UNKNOWN, status=word, campaign_status="cancelled"),),
            said=[(word, 1300)],
            stops=[CANCEL],
            faults=[(900, 900)],
        )
        for word in ("failed", "accepted")
    },
    "sent while the cancel took hold": records(
        (replace(POSTED, at_ms=2200.0),), (replace(KEPT, campaign_status="cancelled"),), stops=[CANCEL]
    ),
    "sent after the resume": records((replace(POSTED, at_ms=5100.0),), stops=[PAUSE]),
    "delivered": records(kept=(after_all("delivered"),), told=[("m-1", "delivered"), ("m-1", "sent")]),
    "read, told before it was delivered": records(
        kept=(after_all("read"),), told=[("m-1", "read"), ("m-1", "delivered"), ("m-1", "sent")]
    ),
    "failed by a receipt": records(
        kept=(replace(KEPT, status="failed"),), told=[("m-1", "failed"), ("m-1", "sent")]
    ),
    "delivered and failed by receipts": records(
        kept=(after_all("delivered"),), told=[("m-1", "failed"), ("m-1", "delivered")]
    ),
    "a receipt of a MessageId that was never told": records(
        (FORWARDED,), (UNKNOWN,), (RETRIED,), told=[("m-0", "delivered")]
    ),
    "cancelled, and a receipt came for another": records(
        (), (CANCELLED,), (), stops=[CANCEL], told=[("m-9", "read")]
    ),
}
BAD = {
    "P1 nowhere": records((), (), ()),
    "P1 in two rows": records(kept=(KEPT, replace(KEPT, id="id-2"))),
    "P1 never ended": records((), (replace(KEPT, status="queued", message_id=None),), ()),
    "P1 given up for nothing": records((), (FAILED,), ()),
    "P1 expired with all the time": records((), (replace(KEPT, status="expired", message_id=None),), ()),
    "P1 cancelled unasked": records((), (CANCELLED,), ()),
    "P1 cancelled by a pause": records((), (CANCELLED,), (), stops=[PAUSE]),
    "P1 suppressed unasked": records((), (replace(KEPT, status="suppressed", message_id=None),), ()),
    "P2 posted after no answer": records(
        (replace(REFUSED, verdict="dropped", ret_code=None), POSTED), opened=AGAIN
    ),
    "P2 posted after a 503 that was forwarded": records((FORWARDED, POSTED), opened=AGAIN),
    "P2 posted after a 503 that was forwarded, and not sent then": records(
        (FORWARDED, replace(REFUSED, at_ms=1000)), (UNKNOWN,), opened=AGAIN
    ),
    "P2 posted after a RetCode 150 of what was sent": records(
        (replace(FORWARDED, http_status=200, ret_code=150), POSTED), opened=AGAIN
    ),
    "P2 sent twice": records(
        (replace(POSTED, at_ms=990.0), POSTED), opened=(replace(OPENED, started_at=1),) * 2
    ),
    "P2 resent three times as its campaign asks": records(
        (POSTED,) * 3, opened=(replace(OPENED, started_at=1),) * 3, resend=True
    ),
    "P2 resent before a person said so": records((FORWARDED, POSTED), opened=AGAIN, said=[("resend", 1001)]),
    "P2 resent after a person said failed": records(
        (FORWARDED, POSTED), opened=AGAIN, said=[("failed", 950)]
    ),
    "P2 resent twice by one word of a person": records(
        (replace(FORWARDED, at_ms=800), FORWARDED, POSTED),
        opened=(replace(RETRIED, started_at=700), *AGAIN),
        said=[("resend", 750)],
    ),
    "P3 unknown and plainly accepted": records(kept=(UNKNOWN,)),
    "P3 unknown and plainly refused": records((REFUSED,), (UNKNOWN,), (RETRIED,)),
    "P3 unknown, and the fault was long before": records(kept=(UNKNOWN,), faults=[(-90_000, -80_000)]),
    "P3 unknown and never tried": records((), (UNKNOWN,), (), faults=[(900, 900)]),
    "P4 no attempt": records(opened=()),
    "P4 attempt after the POST left, before it arrived": records(left=[990]),
    "P4 attempt after the POST": records(opened=(replace(OPENED, started_at=1100),)),
    "P5 another MessageId": records(kept=(replace(KEPT, message_id="m-2"),)),
    "P5 lost MessageId": records(kept=(FAILED,)),
    "P5 accepted and lost its MessageId": records(kept=(replace(KEPT, message_id=None),)),
    "P5 cancelled and lost its MessageId": records(kept=(CANCELLED,), stops=[CANCEL]),
    "P15 failed with its campaign's cancel, unasked": records(
        (), (replace(FAILED, campaign_status="cancelled"),), said=[("accepted", 1300)], stops=[CANCEL]
    ),
    "P13 said to be sent": records((), (KEPT,), (OPENED,)),
    "P13 said to be sent after a refusal": records((REFUSED,), (KEPT,), (RETRIED,)),
    "P13 said not to be sent": records(kept=(replace(KEPT, status="failed"),)),
    "P13 cancelled though delivered": records(
        kept=(replace(CANCELLED, message_id="m-1"),), stops=[CANCEL], told=[("m-1", "delivered")]
    ),
    "P13 cancelled, its answer lost": records((FORWARDED,), (CANCELLED,), (RETRIED,), stops=[CANCEL]),
    "P13 expired though delivered": records(
        (FORWARDED,), (replace(KEPT, status="expired", message_id=None, expires_at=5),), (RETRIED,)
    ),
    "P13 failed though delivered on an earlier attempt": records(
        (FORWARDED, replace(REFUSED, at_ms=1000)), (FAILED,), AGAIN, resend=True
    ),
    "P13 failed though only the second attempt is said to be": records(
        (FORWARDED, POSTED), (replace(KEPT, status="failed"),), AGAIN, resend=True, told=[("m-1", "failed")]
    ),
    "P13 a person said accepted of another": records(
        (), (replace(KEPT, message_id=None, status="delivered"),), said=[("accepted", 1500)]
    ),
    "P13 delivered without a receipt": records(kept=(after_all("delivered"),), told=[("m-1", "sent")]),
    "P13 read without a receipt": records(kept=(after_all("read"),), told=[("m-1", "delivered")]),
    "P6 late": records(kept=(replace(KEPT, expires_at=999),)),
    "P6 left late": records(kept=(replace(KEPT, expires_at=998),), left=[999]),
    "P6 left late after one that never arrived": records(
        kept=(replace(KEPT, expires_at=998),), left=[500, 999]
    ),
    "P6 left late after one that arrived in time": records(
        (replace(REFUSED, at_ms=600, steady_s=0.6), POSTED),
        (replace(KEPT, expires_at=998),),
        (replace(RETRIED, started_at=400), OPENED),
        left=[500, 999],
    ),
    "P6 late, and only what came after it is known to have left": records(
        kept=(replace(KEPT, expires_at=999),), left=[1500]
    ),
    "P8 too fast": records(
        [replace(POSTED, to=f"1201555{n:04d}", message_id=f"m{n}", steady_s=n / 11) for n in range(11)],
        [replace(KEPT, to=f"1201555{n:04d}", message_id=f"m{n}") for n in range(11)],
        [replace(OPENED, to=f"1201555{n:04d}") for n in range(11)],
        (),
    ),
    "P15 sent after the cancel": records(
        (LATER,), (replace(KEPT, campaign_status="cancelled"),), stops=[CANCEL]
    ),
    "P15 sent while paused": records((LATER,), stops=[PAUSE]),
    "P15 its campaign went on": records(
        (), (replace(CANCELLED, campaign_status="running"),), (), stops=[CANCEL]
    ),
    "P15 never sent and said to have failed": records(
        (), (replace(FAILED, campaign_status="cancelled"),), (), stops=[CANCEL]
    ),
    "P21 superseded by nothing": records(kept=(replace(KEPT, status="superseded", message_id=None),)),
    "P21 superseded by one that was never sent": records((), (SUPERSEDED, FAILED), (), pairs=[PAIR]),
    "P21 superseded by one that was refused": records(
        (REFUSED,), (SUPERSEDED, FAILED), (RETRIED,), pairs=[PAIR]
    ),
    "P21 the newer one superseded": records(
        (OLDER_SENT[0],),
        (OLDER_SENT[1], replace(KEPT, status="superseded", message_id=None)),
        (OLDER_SENT[2],),
        pairs=[PAIR],
    ),
    "P21 an older code sent after the newer one": records(
        (POSTED, LATER_OLDER[0]), (KEPT, LATER_OLDER[1]), (OPENED, LATER_OLDER[2]), pairs=[PAIR]
    ),
    "P22 the rest before its canary was delivered": with_canary(1001.0),
    "P22 the rest after a canary of which nothing is known": with_canary(None),
    "P22 the rest before a person let it go": with_canary(None, replace(CANARY, released_ms=1001.0)),
    "P16 delivered and not raised": records(told=[("m-1", "delivered")]),
    "P16 read and only delivered": records(kept=(after_all("delivered"),), told=[("m-1", "read")]),
    "P16 lowered again": records(
        kept=(replace(KEPT, status="failed"),), told=[("m-1", "failed"), ("m-1", "delivered")]
    ),
    "P16 failed and not noted": records(told=[("m-1", "failed")]),
    "P16 cancelled, not raised by its receipt": records(
        (FORWARDED,),
        (replace(CANCELLED, message_id="m-0"),),
        (RETRIED,),
        stops=[CANCEL],
        told=[("m-0", "sent")],
    ),
}


def test_a_call_that_sends_nothing_is_in_no_second() -> None:
    calls = [Left("", 0.99, 990.0)] * 20
    case = records(left=[1000])
    assert judge(replace(case, left=[*case.left, *calls])).figures["fullest_second"] == 1


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
    kept = [replace(UNKNOWN, to=o.to) for o in lost]
    posted = [replace(POSTED, to=lost[0].to, verdict="lost_answer")]
    figures = judge(records(posted, kept, [*lost[:2], replace(lost[2], lease="lease-2")])).figures
    assert figures["most_unknown_of_one_lost_worker"] == 2
    assert figures["unknown_of_lost_workers"] == 3
    assert figures["lost_and_never_posted"] == 2
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
