"""The spool: results survive the process that could not write them to the ledger."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bulksend.ledger.settle import Settlement
from bulksend.messaging.outcome import (
    Accepted,
    Evidence,
    NotSent,
    Outcome,
    Refused,
    Scope,
    Throttled,
    Unknown,
)
from bulksend.messaging.states import Status
from worker.recovery.spool import Spool


def settlement(outcome: Outcome, message: str = "m") -> Settlement:
    evidence = Evidence(bytes_sent=True, http_status=200, ret_code=0)
    return Settlement(message, f"a-{message}", outcome, evidence, 12.5, Status.ACCEPTED, 1_700, 1, 2, "why")


OUTCOMES: list[Outcome] = [
    Accepted("wamid.1", "request-1"),
    Refused("17115", "undeliverable"),
    Throttled("131056", "pair rate", Scope.SENDER),
    NotSent("no connection"),
    Unknown("the connection dropped", "110"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_a_result_is_read_as_it_was_saved(tmp_path: Path, outcome: Outcome) -> None:
    spool = Spool(tmp_path)
    assert spool.load(spool.save([settlement(outcome)])) == [settlement(outcome)]


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.save([settlement(OUTCOMES[0], "m1"), settlement(OUTCOMES[1], "m2")])
    path.write_text(path.read_text()[:-20])
    assert [result.message for result in spool.load(path)] == ["m1"]


def test_a_line_that_is_no_result_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.save([settlement(OUTCOMES[0])])
    path.write_text('{"outcome": 1, "evidence": 2}\n[]\n\n{}\n' + path.read_text())
    assert spool.load(path) == [settlement(OUTCOMES[0])]


def test_no_content_is_written(tmp_path: Path) -> None:
    result = settlement(OUTCOMES[4])._replace(payload=b"an encrypted code")
    (loaded,) = Spool(tmp_path).load(Spool(tmp_path).save([result]))
    assert loaded.payload is None
    assert b"code" not in next(tmp_path.iterdir()).read_bytes().replace(b'"code"', b"").replace(b"_code", b"")


def test_only_the_user_of_the_worker_can_read_it(tmp_path: Path) -> None:
    path = Spool(tmp_path / "spool").save([settlement(OUTCOMES[0])])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_files_are_replayed_by_age_and_gone_when_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    older, newer = spool.save([settlement(OUTCOMES[0])]), spool.save([settlement(OUTCOMES[1])])
    os.utime(older, (1, 1))
    (tmp_path / "worker-1.flight").write_text("another file")
    assert spool.files() == [older, newer]
    spool.remove(older)
    spool.remove(older)
    assert spool.files() == [newer]
