"""Background jobs: one run has a job at a time, and a job outlives its runs."""

from __future__ import annotations

import pytest

from bulksend.errors import NotFound
from bulksend.ledger import jobs
from bulksend.ledger.jobs import Job
from tests.integration.ledger.conftest import Desk

LEASE_MS = 60_000


def a_job(desk: Desk, kind: str = "export") -> str:
    return str(desk.write(jobs.add, kind, {"format": "csv"}, requested_by="key", actor="a key"))


def claim(desk: Desk) -> Job | None:
    job: Job | None = desk.write(jobs.claim, "export", LEASE_MS)
    if job is not None:
        assert desk.write(jobs.begin, job)
    return job


def lapse(desk: Desk) -> None:
    desk.sql("UPDATE jobs SET lease_until = 1")


def test_jobs_are_run_one_by_one_in_their_order(desk: Desk) -> None:
    a_job(desk, "other")
    ids = [a_job(desk), a_job(desk)]
    claimed = [claim(desk), claim(desk)]
    assert [job.id for job in claimed if job] == ids
    assert claim(desk) is None


def test_a_job_is_found_by_its_id_in_capitals(desk: Desk) -> None:
    id = a_job(desk)
    assert desk.read(jobs.get, id.upper(), "export").id == id


def test_a_job_whose_run_died_is_begun_again_and_the_old_run_ends_nothing(desk: Desk) -> None:
    id = a_job(desk)
    dead = claim(desk)
    assert dead is not None
    lapse(desk)
    run = claim(desk)
    assert run is not None
    assert (run.id, run.runs) == (id, 2)
    assert not desk.write(jobs.renew, dead, LEASE_MS, 1, None)
    assert not desk.write(jobs.finish, dead, {"file": "old"}, 1)
    assert not desk.write(jobs.fail, dead, "old")
    assert desk.write(jobs.finish, run, {"file": "new"}, 7)
    done: Job = desk.read(jobs.get, id, "export")
    assert (done.status, done.result, done.rows_done) == ("done", {"file": "new"}, 7)


def test_a_job_that_is_given_back_is_begun_again_at_once(desk: Desk) -> None:
    a_job(desk)
    stopped = claim(desk)
    assert stopped is not None
    desk.write(jobs.give_back, stopped)
    run = claim(desk)
    assert run is not None
    assert run.runs == 1


def test_a_job_that_kills_every_run_fails(desk: Desk) -> None:
    id = a_job(desk)
    for _ in range(jobs.MAX_RUNS):
        assert claim(desk) is not None
        lapse(desk)
    next_id = a_job(desk)
    after = claim(desk)
    assert after is not None
    assert after.id == next_id
    failed: Job = desk.read(jobs.get, id, "export")
    assert failed.status == "failed"
    assert "5 times" in str(failed.error)


def test_a_claim_whose_answer_is_lost_is_no_run(desk: Desk) -> None:
    id = a_job(desk)
    for _ in range(jobs.MAX_RUNS + 1):
        assert desk.write(jobs.claim, "export", LEASE_MS).id == id
        lapse(desk)
    run = claim(desk)
    assert run is not None
    assert (run.id, run.runs) == (id, 1)


def test_a_run_that_has_lost_its_job_does_not_begin(desk: Desk) -> None:
    a_job(desk)
    late: Job = desk.write(jobs.claim, "export", LEASE_MS)
    lapse(desk)
    assert claim(desk) is not None
    assert not desk.write(jobs.begin, late)


def test_a_job_is_deleted_a_day_after_its_end(desk: Desk) -> None:
    id, open_ = a_job(desk), a_job(desk)
    run = claim(desk)
    desk.write(jobs.finish, run, {}, 0)
    assert desk.write(jobs.delete_expired) == []
    desk.sql("UPDATE jobs SET expires_at = 1 WHERE expires_at IS NOT NULL")
    assert desk.write(jobs.delete_expired) == [id]
    with pytest.raises(NotFound):
        desk.read(jobs.get, id, "export")
    assert desk.read(jobs.get, open_, "export").status == "queued"
