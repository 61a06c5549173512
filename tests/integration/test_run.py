"""``./run``: installs what the locks pin, once, wherever it lies; says what is missing where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Stands in for uv: makes environments, and writes down what it was to install.
UV = f"""#!/bin/sh
case "$1" in
    --version) echo uv 0 ;;
    venv) for folder; do :; done; exec "{sys.executable}" -m venv --without-pip "$folder" ;;
    pip) echo "$@" >>"$UV_LOG"; [ ! -e "$UV_LOG.broken" ] ;;
esac
"""


class Checkout:
    """A folder with ``run`` and two locks in it, and a machine that has Python, uv and the usual programs."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.elsewhere = folder / "elsewhere"
        self.log = folder / "uv.log"
        self.bin = folder / "bin"
        for made in (self.root, self.elsewhere, self.bin):
            made.mkdir()
        shutil.copy2(ROOT / "run", self.root / "run")
        for lock in ("requirements.lock", "requirements-dev.lock"):
            (self.root / lock).write_text("one==1\n    # via two\ntwo==2\n")
        package = self.root / "ops" / "cli"
        package.mkdir(parents=True)
        (package / "main.py").write_text("import sys\ndef main():\n    print('bulksend', *sys.argv[1:])\n")
        (self.bin / "uv").write_text(UV)
        (self.bin / "uv").chmod(0o755)
        (self.bin / "python3").symlink_to(sys.executable)

    def run(self, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run it from another folder, with an empty HOME."""
        usual = f"{self.bin}:/usr/bin:/bin" if path is None else str(path)
        return subprocess.run(
            [str(self.root / "run"), *arguments],
            cwd=self.elsewhere,
            env={"PATH": usual, "HOME": "", "UV_LOG": str(self.log)},
            capture_output=True,
            text=True,
            check=False,
        )

    def installed(self) -> list[str]:
        """The locks that were installed, in their order."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        assert all("--require-hashes -r " in line for line in lines)
        return [Path(line.rpartition("-r ")[2]).name for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_alone_it_says_what_there_is_and_installs_nothing(checkout: Checkout, arguments: list[str]) -> None:
    told = checkout.run(*arguments)
    assert told.returncode == 0
    assert all(word in told.stdout for word in ("demo", "test", "lint", "./run bulksend --help"))
    assert checkout.installed() == []


def test_the_first_run_says_in_one_line_what_it_installs_and_where(checkout: Checkout) -> None:
    told = checkout.run("bulksend", "send", "a file")
    assert told.stdout == "bulksend send a file\n"
    assert told.stderr == (
        f"run: installing the 2 packages of requirements.lock into {checkout.root / '.venv'} (once; by uv)\n"
    )


def test_a_second_run_installs_nothing_and_says_nothing(checkout: Checkout) -> None:
    checkout.run("bulksend")
    told = checkout.run("bulksend")
    assert (told.stdout, told.stderr) == ("bulksend\n", "")
    assert checkout.installed() == ["requirements.lock"]


def test_a_changed_lock_is_installed(checkout: Checkout) -> None:
    checkout.run("bulksend")
    (checkout.root / "requirements.lock").write_text("one==1.1\n")
    checkout.run("bulksend")
    assert checkout.installed() == ["requirements.lock"] * 2


def test_what_developers_need_is_installed_when_they_need_it_and_covers_the_rest(checkout: Checkout) -> None:
    checkout.run("bulksend")
    checkout.run("ruff")
    checkout.run("mypy")
    checkout.run("bulksend")
    assert checkout.installed() == ["requirements.lock", "requirements-dev.lock"]


def test_a_failed_installation_is_said_and_tried_again(checkout: Checkout) -> None:
    broken = Path(f"{checkout.log}.broken")
    broken.touch()
    told = checkout.run("bulksend")
    assert told.returncode == 1
    assert "not everything could be installed" in told.stderr
    broken.unlink()
    assert checkout.run("bulksend").stdout == "bulksend\n"


def test_a_checkout_that_was_moved_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.run("bulksend")
    checkout.root = checkout.root.rename(checkout.root.parent / "moved")
    assert checkout.run("bulksend").stdout == "bulksend\n"
    assert checkout.installed() == ["requirements.lock"] * 2
    assert str(checkout.root) in (checkout.root / ".venv" / "bin" / "bulksend").read_text()


def test_the_environments_own_commands_work_without_run(checkout: Checkout) -> None:
    checkout.run("bulksend")
    told = subprocess.run(
        [str(checkout.root / ".venv" / "bin" / "bulksend"), "--version"],
        cwd=checkout.elsewhere,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "bulksend --version\n"


def test_two_first_runs_at_once_install_once(checkout: Checkout) -> None:
    runs = [
        subprocess.Popen(
            [str(checkout.root / "run"), "bulksend", str(n)],
            env={"PATH": f"{checkout.bin}:/usr/bin:/bin", "UV_LOG": str(checkout.log)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for n in range(3)
    ]
    assert [run.communicate()[0] for run in runs] == [f"bulksend {n}\n" for n in range(3)]
    assert checkout.installed() == ["requirements.lock"]


def test_any_command_runs_in_the_environment_with_its_own_exit_code(checkout: Checkout) -> None:
    told = checkout.run(
        "python", "-c", "import sys, os; print(os.environ['VIRTUAL_ENV'], sys.prefix); sys.exit(7)"
    )
    assert told.stdout.strip() == f"{checkout.root / '.venv'} {checkout.root / '.venv'}"
    assert told.returncode == 7


def test_a_machine_without_a_python_that_is_new_enough_is_told_so(checkout: Checkout, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for program in ("sh", "dirname", "cat", "cksum", "grep", "rm", "tr"):
        found = shutil.which(program)
        assert found is not None
        (bare / program).symlink_to(found)
    told = checkout.run("bulksend", path=bare)
    assert told.returncode == 1
    assert "Python 3.11 or newer is needed" in told.stderr
    old = bare / "python3"
    old.write_text("#!/bin/sh\necho 3.9.2\nexit 1\n")
    old.chmod(0o755)
    assert "python3 here is 3.9.2" in checkout.run("bulksend", path=bare).stderr


def test_it_is_plain_posix_shell() -> None:
    shell = shutil.which("dash") or "/bin/sh"
    subprocess.run([shell, "-n", str(ROOT / "run")], check=True)
    assert (ROOT / "run").read_text().startswith("#!/bin/sh\n")
    assert os.access(ROOT / "run", os.X_OK)
