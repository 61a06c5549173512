"""The flight recorder: the file of a killed worker tells what it was doing; no other file is evidence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from worker.recovery.flight_recorder import Flight, FlightRecorder, discard, read_flight

ROOT = Path(__file__).resolve().parents[3]
LEASE, OTHER = (f"01a207c3-b289-77da-8bc2-43000000000{n}" for n in (1, 2))
MESSAGE = "01a207c3-b289-77da-8bc2-430000000003"
ATTEMPTS = [f"01a207c3-b289-77da-8bc2-4300000001{n:02d}" for n in range(20)]
BOOT = "00000000-0000-4000-8000-000000000000"


def recorder(folder: Path, most: int = 4, boot: str = BOOT) -> FlightRecorder:
    return FlightRecorder(folder, most=most, boot=boot)


def fly(folder: Path, words: str, *, most: int = 4, boot: str = BOOT) -> None:
    """A process that does this with its recorder, then kills itself."""
    program = f"""
        import os, signal
        from pathlib import Path
        from worker.recovery.flight_recorder import FlightRecorder
        r = FlightRecorder(Path({str(folder)!r}), most={most}, boot={boot!r})
        r.open()
        {words}
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL


def found(folder: Path) -> list[Flight]:
    mine = recorder(folder)
    mine.open()
    flights = [flight for flight, _ in mine.dead()]
    mine.close()
    return flights


def test_a_killed_process_leaves_its_lease_and_what_it_was_doing(tmp_path: Path) -> None:
    words = f"r.hold_lease({LEASE!r}); r.begin_render({MESSAGE!r});"
    fly(tmp_path, words + f"r.begin_post({ATTEMPTS[0]!r}); r.begin_post({ATTEMPTS[1]!r})")
    assert found(tmp_path) == [Flight(LEASE, MESSAGE, frozenset(ATTEMPTS[:2]))]


def test_what_was_settled_or_rendered_is_no_longer_on_record(tmp_path: Path) -> None:
    words = f"r.hold_lease({LEASE!r}); r.begin_render({MESSAGE!r}); r.end_render(); r.begin_post({ATTEMPTS[0]!r});"
    fly(
        tmp_path,
        words + f"r.end_post({ATTEMPTS[0]!r}); r.hold_lease({OTHER!r}); r.begin_post({ATTEMPTS[1]!r})",
    )
    assert found(tmp_path) == [Flight(OTHER, None, frozenset(ATTEMPTS[1:2]))]


def test_more_posts_than_it_has_room_for_are_reported_as_unknown(tmp_path: Path) -> None:
    fly(tmp_path, f"r.hold_lease({LEASE!r}); [r.begin_post(a) for a in {ATTEMPTS[:3]!r}]", most=2)
    assert found(tmp_path) == [Flight(LEASE, None, None)]


def test_the_file_of_a_living_worker_is_not_read_and_a_clean_stop_deletes_it(tmp_path: Path) -> None:
    living = recorder(tmp_path)
    living.open()
    living.hold_lease(LEASE)
    assert found(tmp_path) == []
    living.close()
    assert list(tmp_path.iterdir()) == []


def test_two_workers_never_handle_the_same_dead_one(tmp_path: Path) -> None:
    fly(tmp_path, f"r.hold_lease({LEASE!r})")
    first, second = recorder(tmp_path), recorder(tmp_path)
    dealing = first.dead()
    flight, path = next(dealing)
    assert list(second.dead()) == []
    discard(path)
    dealing.close()
    assert (flight.lease, list(second.dead())) == (LEASE, [])


def test_a_file_of_another_boot_is_no_evidence(tmp_path: Path) -> None:
    # After a power cut its pages may never have reached the disk.
    fly(tmp_path, f"r.hold_lease({LEASE!r})", boot="11111111-0000-4000-8000-000000000000")
    assert found(tmp_path) == []


def test_an_incomplete_or_foreign_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "worker-1-aa.flight").write_bytes(b"")
    (tmp_path / "worker-2-bb.flight").write_bytes(os.urandom(500))
    assert found(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 2


def test_an_id_that_was_cut_off_while_written_does_not_count() -> None:
    data = bytearray(192 + 36)
    data[80:116] = LEASE.encode()
    data[192:210] = ATTEMPTS[0].encode()[:18]
    assert read_flight(bytes(data)) == Flight(LEASE, None, frozenset())


def test_without_a_writable_folder_it_records_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    silent = recorder(tmp_path / "file" / "spool")
    silent.open()
    silent.hold_lease(LEASE)
    silent.begin_post(ATTEMPTS[0])
    silent.end_post(ATTEMPTS[0])
    silent.close()


@pytest.mark.parametrize("times", [1000])
def test_slots_are_used_again(tmp_path: Path, times: int) -> None:
    one = recorder(tmp_path, most=2)
    one.open()
    for n in range(times):
        one.begin_post(ATTEMPTS[n % 20])
        one.end_post(ATTEMPTS[n % 20])
    one.begin_post(ATTEMPTS[0])
    (file,) = tmp_path.iterdir()
    assert read_flight(file.read_bytes()).begun == {ATTEMPTS[0]}
    one.close()
