"""The process that takes large files in: started for a file, again where it fails, and ended with ``serve``."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.http.upload_process import LargeUploads
from ops.local.process import ChildProcess, RestartPauses


class Children:
    """Starts these shell scripts, one after another; then there is nothing left to do."""

    def __init__(self, *scripts: str) -> None:
        self.scripts = list(scripts)
        self.children: list[ChildProcess] = []
        self.done = threading.Event()

    def waits(self) -> bool:
        if not self.scripts:
            self.done.set()
        return bool(self.scripts)

    def start(self) -> ChildProcess:
        self.children.append(ChildProcess(["sh", "-c", self.scripts.pop(0)]))
        return self.children[-1]


@contextmanager
def running(children: Children, stop_s: float = 30) -> Iterator[LargeUploads]:
    large = LargeUploads(children.waits, children.start, stop_s)
    large.start()
    try:
        yield large
    finally:
        large.stop()


def until(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_fails_is_started_again() -> None:
    children = Children("kill -9 $$", "exit 0", "exit 0")
    with running(children):
        assert children.done.wait(60)
    assert [child.reap() for child in children.children] == [-9, 0, 0]


def test_the_waits_grow_and_begin_again_after_a_time_without_failure() -> None:
    pauses = RestartPauses()
    assert [pauses.after(1) for _ in range(7)] == [0, 2, 4, 8, 16, 30, 30]
    assert [pauses.after(61), pauses.after(1)] == [0, 2]


def test_without_a_file_there_is_no_process_and_a_new_file_is_found_at_once() -> None:
    children = Children()
    with running(children) as large:
        assert children.done.wait(30)
        assert children.children == []
        children.scripts.append("exit 0")
        large.wake()
        until(lambda: children.children)


def test_the_process_is_asked_to_end_and_killed_if_it_does_not(tmp_path: Path) -> None:
    obeys = Children("sleep 60")
    with running(obeys):
        until(lambda: obeys.children)
    assert obeys.children[0].reap() == -signal.SIGTERM
    ready = tmp_path / "ready"
    refuses = Children(f"trap '' TERM; : >'{ready}'; while :; do sleep 1; done")
    with running(refuses, stop_s=0.2):
        until(ready.exists)
    assert refuses.children[0].reap() == -signal.SIGKILL
