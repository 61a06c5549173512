"""Failpoints: nothing unless armed, then exactly the named action."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulksend import failpoints
from bulksend.errors import InvalidInput
from bulksend.failpoints import STEPS, FailpointReached, arm, reach
from bulksend.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm(None)


def test_nothing_happens_if_none_is_armed() -> None:
    for step in STEPS:
        reach(step, "anything")


def test_it_acts_at_the_nth_visit_only() -> None:
    arm("after_open:raise:3")
    reach("after_open")
    reach("after_open")
    with pytest.raises(FailpointReached, match="after_open"):
        reach("after_open")
    reach("after_open")
    reach("after_claim")


def test_a_star_acts_at_each_visit_and_a_subject_limits_it_to_that_one() -> None:
    arm("rendering@poison:raise:*")
    reach("rendering", "innocent")
    for _ in range(2):
        with pytest.raises(FailpointReached):
            reach("rendering", "poison")


def test_arming_again_replaces_what_was_armed() -> None:
    arm("after_open:raise")
    arm("after_claim:nospace")
    reach("after_open")
    with pytest.raises(OSError, match="No space left"):
        reach("after_claim")


def test_kill_is_a_kill_9() -> None:
    program = "from bulksend.failpoints import arm, reach\narm('after_open:kill')\nreach('after_open')\nprint('alive')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("after_opn:kill", "did you mean after_open"),
        ("nowhere_at_all_x:kill", "one of upload_written"),
        ("after_open", "write NAME"),
        ("after_open:explode", "the action is one of kill, stop, raise"),
        ("after_open:kill:0", "counts the visits"),
        ("after_open:sleep", "the action is one of"),
        ("after_open:sleep=long", "seconds are not a number"),
    ],
)
def test_an_invalid_failpoint_is_refused_with_the_remedy(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Settings.from_env({"BULKSEND_FAILPOINTS": text})


def test_the_code_reaches_each_step_and_no_other() -> None:
    rooms = ("bulksend", "producer", "worker", "notifier", "ops")
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    used = {name for p in sources for name in re.findall(r"\breach\(\"(\w+)\"", p.read_text())}
    assert used == set(failpoints.STEPS)
