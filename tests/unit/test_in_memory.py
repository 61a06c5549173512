"""Temporary files of a test run: in memory where there is room, and gone when it is over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.in_memory import MEMORY, has_room, make_folder


def test_a_run_removes_what_killed_runs_left_and_leaves_what_others_use(tmp_path: Path) -> None:
    if not has_room(tmp_path):
        assert make_folder(tmp_path) is None
        return
    # Above the greatest pid that Linux gives.
    killed, running = tmp_path / "bulksend-tests-99999999", tmp_path / "bulksend-tests-1"
    for folder in (killed, running):
        folder.mkdir()
        (folder / "file").touch()
    made = make_folder(tmp_path)
    assert made == tmp_path / f"bulksend-tests-{os.getpid()}"
    assert made.stat().st_mode & 0o777 == 0o711
    assert (running / "file").exists()
    assert not killed.exists()


@pytest.mark.parametrize("memory", [Path("/proc"), MEMORY / "none"])
def test_without_room_in_memory_files_are_where_they_always_are(memory: Path) -> None:
    assert make_folder(memory) is None
