"""The flight recorder: what a killed worker was doing, from the file it left, and nobody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from worker.recovery.flight_recorder import Flight, FlightRecorder, read_flight, reap

ROOT = Path(__file__).resolve().parents[3]
LEASE, OTHER = (f"01a207c3-b289-77da-8bc2-43000000000{n}" for n in (1, 2))
MESSAGE = "01a207c3-b289-77da-8bc2-430000000003"
ATTEMPTS = [f"01a207c3-b289-77da-8bc2-4300000001{n:02d}" for n in range(20)]
BOOT = "00000000-0000-4000-8000-000000000000"


def recorder(folder: Path, most: int = 4, boot: str = BOOT) -> FlightRecorder:
    return FlightRecorder(folder, most=most, boot=boot)


def fly(folder: Path, words: str, *, most: int = 4, boot: str = BOOT) -> None:
    """A process that does this with its recorder, and is killed."""
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
    fly(
        tmp_path,
        f"r.lease({LEASE!r}); r.rendering({MESSAGE!r}); r.begin({ATTEMPTS[0]!r}); r.begin({ATTEMPTS[1]!r})",
    )
    assert found(tmp_path) == [Flight(LEASE, MESSAGE, frozenset(ATTEMPTS[:2]))]


def test_what_was_settled_or_rendered_is_no_longer_on_record(tmp_path: Path) -> None:
    words = f"r.lease({LEASE!r}); r.rendering({MESSAGE!r}); r.rendered(); r.begin({ATTEMPTS[0]!r});"
    fly(tmp_path, words + f"r.settled({ATTEMPTS[0]!r}); r.lease({OTHER!r}); r.begin({ATTEMPTS[1]!r})")
    assert found(tmp_path) == [Flight(OTHER, None, frozenset(ATTEMPTS[1:2]))]


def test_more_under_way_than_it_holds_is_told_and_never_taken_for_nothing(tmp_path: Path) -> None:
    fly(tmp_path, f"r.lease({LEASE!r}); [r.begin(a) for a in {ATTEMPTS[:3]!r}]", most=2)
    assert found(tmp_path) == [Flight(LEASE, None, None)]


def test_the_living_are_left_alone_and_a_clean_end_leaves_nothing(tmp_path: Path) -> None:
    living = recorder(tmp_path)
    living.open()
    living.lease(LEASE)
    assert found(tmp_path) == []
    living.close()
    assert list(tmp_path.iterdir()) == []


def test_two_who_look_at_once_never_deal_with_the_same_one(tmp_path: Path) -> None:
    fly(tmp_path, f"r.lease({LEASE!r})")
    first, second = recorder(tmp_path), recorder(tmp_path)
    dealing = first.dead()
    flight, path = next(dealing)
    assert list(second.dead()) == []
    reap(path)
    dealing.close()
    assert (flight.lease, list(second.dead())) == (LEASE, [])


def test_another_boot_is_no_evidence(tmp_path: Path) -> None:
    # After a power cut its pages may never have reached the disk.
    fly(tmp_path, f"r.lease({LEASE!r})", boot="11111111-0000-4000-8000-000000000000")
    assert found(tmp_path) == []


def test_a_half_made_file_or_a_strangers_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "worker-1-aa.flight").write_bytes(b"")
    (tmp_path / "worker-2-bb.flight").write_bytes(os.urandom(500))
    assert found(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_cut_off_in_mid_write_is_not_an_id() -> None:
    data = bytearray(192 + 36)
    data[80:116] = LEASE.encode()
    data[192:210] = ATTEMPTS[0].encode()[:18]
    assert read_flight(bytes(data)) == Flight(LEASE, None, frozenset())


def test_without_a_folder_to_write_it_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    silent = recorder(tmp_path / "file" / "spool")
    silent.open()
    silent.lease(LEASE)
    silent.begin(ATTEMPTS[0])
    silent.settled(ATTEMPTS[0])
    silent.close()


@pytest.mark.parametrize("times", [1000])
def test_slots_are_used_again(tmp_path: Path, times: int) -> None:
    one = recorder(tmp_path, most=2)
    one.open()
    for n in range(times):
        one.begin(ATTEMPTS[n % 20])
        one.settled(ATTEMPTS[n % 20])
    one.begin(ATTEMPTS[0])
    (file,) = tmp_path.iterdir()
    assert read_flight(file.read_bytes()).begun == {ATTEMPTS[0]}
    one.close()
