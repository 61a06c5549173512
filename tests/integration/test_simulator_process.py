"""The simulator as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-the-test-only"


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "simulator", *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR", "LANG"}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    secret, faults, settings = tmp_path / "secret", tmp_path / "faults.json", tmp_path / "settings.json"
    secret.write_text(SECRET + "\n")
    faults.write_text('{"rules": [{"fault": {"do": "hang"}, "match": {"to_suffix": "7"}}]}')
    settings.write_text('{"balance": 5, "limits": {"per_sender_per_second": 80}}')
    process = start(
        *("--port", "0", "--access-key-id", "key", "--secret-file", str(secret)),
        *("--faults", str(faults), "--settings", str(settings)),
    )
    assert process.stdout
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_stops_cleanly_on_a_signal(
    running: tuple[subprocess.Popen[str], dict[str, str]], name: signal.Signals
) -> None:
    process, said = running
    assert said["url"] == said["origin"] + "/api"
    assert said["origin"].startswith("http://127.0.0.1:")
    stats = httpx.get(said["origin"] + "/_/stats", trust_env=False).json()
    assert (stats["balance"], stats["limits"]["per_sender_per_second"]) == (5, 80)
    assert len(httpx.get(said["origin"] + "/_/faults", trust_env=False).json()["rules"]) == 1
    process.send_signal(name)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err
    assert SECRET not in err


@pytest.mark.parametrize(
    ("option", "text", "named"),
    [
        ("--faults", '[{"fault": {"do": "explode"}}]', "rules[0].fault"),
        ("--faults", "[{]", "is not JSON"),
        ("--settings", '{"latencies": 1}', "settings.latencies"),
        ("--settings", '{"secret": "x"}', "settings.secret"),
        ("--secret-file", "", "is empty"),
    ],
)
def test_a_bad_file_is_refused_before_anything_listens(
    tmp_path: Path, option: str, text: str, named: str
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    process = start(option, str(path))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert named in err
    assert "Traceback" not in err


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    process = start("--faults", str(tmp_path / "nowhere.json"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "nowhere.json" in err


def test_an_address_that_is_taken_is_exit_code_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("--port", str(port))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    assert str(port) in err
    assert "Traceback" not in err
