"""What is installed from a wheel works without the checkout: the demo, and the migrations (D26)."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from rich.cells import cell_len
from sqlalchemy.engine import make_url

from ops.stack import ROOT
from tests.acceptance.many_commands import terminal


def wheel_contents(folder: Path, to: Path) -> None:
    """What a wheel holds, laid out as pip would: built where the build backend is at hand, else as it is told to."""
    if importlib.util.find_spec("hatchling") is not None:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(to)
        return
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in {**{name: name for name in told["packages"]}, **told["force-include"]}.items():
        shutil.copytree(ROOT / source, to / target, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A Python that has the wheel's contents and the libraries, and knows nothing of the checkout."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    asked = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        text=True,
        capture_output=True,
        check=True,
    )
    site = Path(asked.stdout.strip())
    (tmp_path / "wheel").mkdir()
    wheel_contents(tmp_path / "wheel", site)
    # The path file of a folder that was added by a path file is not read: the checkout's stays out.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python: Path, folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [python, "-c", "from ops.cli.main import main; main()", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environ},
        text=True,
        capture_output=True,
        timeout=280,
        check=False,
    )


@pytest.mark.timeout(300)
def test_the_demo_runs_from_the_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path / "empty", "--version")
    assert where.returncode == 0, where.stderr
    asked = [installed, "-c", "import ops.demo, bulksend; print(ops.demo.__file__, bulksend.__file__)"]
    told = subprocess.run(asked, text=True, capture_output=True, check=True, cwd=tmp_path)
    assert str(ROOT) not in told.stdout
    with terminal(80) as (its, read):
        demo = subprocess.Popen(
            [installed, "-c", "from ops.cli.main import main; main()", "demo", "--rows", "60"],
            cwd=tmp_path / "empty",
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm-256color"},
            stdin=its,
            stdout=its,
            stderr=its,
        )
        said = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", read())
    assert demo.wait() == 0, said
    assert "the audit holds" in said
    # The screen is redrawn over itself; what follows it is lines.
    report = said[said.rindex("spring-sale (marketing)\n") :].splitlines()
    assert [line for line in report if cell_len(line) > 80] == []
    # Its last lines are to be pasted, one at a time.
    after = report[report.index("export DATABASE_URL=sqlite:///.bulksend/demo/ledger.db") + 1 :]
    assert all(line.startswith(("# ", "bulksend ")) for line in after if line)


@pytest.mark.timeout(120)
def test_the_migrations_are_in_the_wheel(installed: Path, tmp_path: Path, postgres_url: str) -> None:
    for url in ("sqlite:///ledger.db", make_url(postgres_url).render_as_string(hide_password=False)):
        done = run(installed, tmp_path / "ops", "migrate", "--json", DATABASE_URL=url)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["revision"]
