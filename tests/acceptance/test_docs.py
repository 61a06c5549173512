"""What the docs show works: their commands are run in order, their links lead somewhere, their settings exist."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bulksend.limits import Gate
from bulksend.settings import Settings
from ops.local.ports import free_port
from ops.stack import ROOT, Stack, running
from tests.acceptance.many_commands import Shell

DOCS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
#: What other tests run: the two commands themselves (tests/integration/test_run.py, the demo's own), and docker.
ELSEWHERE = (
    *("./run demo", "./run test", "./run bulksend up", "cp .env.example", "docker ", "deploy/make-secrets"),
    "./run bulksend campaigns watch",  # tests/acceptance/test_watching.py: it takes as long as the campaign
)


def commands(doc: Path) -> list[str]:
    """The commands of a doc's sh blocks, continued lines joined, comments taken off."""
    found: list[str] = []
    for block in re.findall(r"```sh\n(.*?)```", doc.read_text(), re.S):
        joined = re.sub(r"\\\n\s*", "", block)
        found += [line.split(" #")[0].strip() for line in joined.splitlines()]
    return [line for line in found if line and not line.startswith(("#", *ELSEWHERE))]


def a_checkout(folder: Path) -> Path:
    """A folder that looks like the checkout from within and takes what the commands write."""
    folder.mkdir()
    for entry in ROOT.iterdir():
        if not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)
    return folder


Run = Callable[[str], subprocess.CompletedProcess[str]]


def words_of(line: str) -> list[str]:
    words = shlex.split(line)
    assert words[:2] == ["./run", "bulksend"], f"a test cannot run this line of the docs: {line}"
    return words[2:]


@pytest.mark.timeout(300)
def test_the_commands_of_the_docs_do_what_they_say(tmp_path: Path, shell: Shell) -> None:
    folder = a_checkout(tmp_path / "checkout")
    with running(Stack(tmp_path / "stack", api_port=free_port())) as stack:
        environ = {
            **os.environ,
            **stack.settings_environ,
            "PYTHONPATH": str(ROOT),
            "BULKSEND_ACTOR": "docs",
            "BULKSEND_URL": str(stack.api_origin),
            "BULKSEND_API_KEY": stack.owner_key(),
        }

        def run(line: str) -> subprocess.CompletedProcess[str]:
            if line.startswith("curl "):
                return subprocess.run(
                    ["bash", "-c", line], env=environ, cwd=folder, text=True, capture_output=True, timeout=60
                )
            return shell.run(words_of(line), environ, folder)

        results: dict[str, int] = {}
        for doc in (ROOT / "README.md", ROOT / "docs" / "operations.md"):
            for line in commands(doc):
                done = run(_filled_in(line, run))
                results[line] = done.returncode
                assert done.returncode in _expected(line), f"{line}\n{done.stdout}\n{done.stderr}"
        # docs/webhooks.md: a receiver on this machine may be tried.
        assert run("./run bulksend webhooks add http://127.0.0.1:9000/").returncode == 0
        assert (folder / "spring-sale.csv").read_text().count("\n") == 2001
        assert (folder / "refused.csv").read_text().count("\n") == 40
        assert "bulksend_audit_holds 1.0" in (folder / "bulksend.prom").read_text()
        programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
        assert len(programs) == 2
        for program, repeated in itertools.product(programs, ("False", "True")):
            done = subprocess.run(
                [sys.executable, "-c", program],
                env=environ,
                cwd=tmp_path,
                text=True,
                capture_output=True,
                timeout=60,
                check=True,
            )
            assert done.stdout.split()[-1] == repeated
    assert len(results) >= 12


def _filled_in(line: str, run: Run) -> str:
    """A line with a real id for ID and a real MessageId for wamid.…"""
    if " ID" in line or "wamid.…" in line:
        status = "unknown" if "resolve" in line else None
        found = run(
            "./run bulksend messages find --limit 1 --json" + (f" --status {status}" if status else "")
        )
        first = found.stdout.splitlines()
        row = (
            json.loads(first[0])
            if first
            else {"id": "00000000-0000-7000-8000-000000000000", "message_id": "x"}
        )
        line = line.replace(" ID", f" {row['id']}").replace("wamid.…", str(row["message_id"]))
    return line


def _expected(line: str) -> set[int]:
    if "messages resolve" in line:
        return {0, 2}  # 2: nothing is unknown here, which it says
    if "doctor" in line or "send" in line:
        return {0, 1}  # 1: something in the job failed
    return {0}


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.name)
def test_every_link_of_the_docs_leads_to_something(doc: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", doc.read_text())
    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if not target.startswith("http")
        and not _leads_somewhere(doc.parent / target if target else doc, anchor)
    ]
    assert missing == []


def _leads_somewhere(path: Path, anchor: str) -> bool:
    if not path.exists() or not anchor:
        return path.exists()
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_that_the_docs_name_exists() -> None:
    known = {row.name for row in Settings.from_env({}).table()}
    named = {
        name for doc in DOCS for name in re.findall(r"\b(?:BULKSEND|USPEEDO)_[A-Z][A-Z_]+\b", doc.read_text())
    }
    assert {name.removesuffix("_FILE") for name in named} - known == set()


def test_every_gate_has_its_row_in_operations() -> None:
    """Besides the members of Gate, ``messages why`` names three reasons of its own."""
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page.split("| gate | what to do |", 1)[1].split("\n\n", 1)[0]
    named = {name for row in table.splitlines()[1:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == {gate.value for gate in Gate} | {"in_hand", "no_worker", "redis"}
