"""Which browser the tests take, and what is done where the machine has none."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import pytest

from tests.browser.finding import Machine, NoBrowser, find

OWN = "/playwright/chrome"
INSTALL = (sys.executable, "-m", "playwright", "install", "chromium")
APT = [("apt-get", "update", "-q"), ("apt-get", "install", "-y", "-q", "chromium")]


@dataclass
class Fake:
    """A machine with these programs, of which ``broken`` do not start; ``offers`` is what a command installs."""

    programs: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    offers: dict[str, str] = field(default_factory=dict)
    is_root: bool = False
    ran: list[tuple[str, ...]] = field(default_factory=list)

    def machine(self) -> Machine:
        return Machine(
            which=lambda name: f"/bin/{name}" if f"/bin/{name}" in self.programs else None,
            exists=lambda path: path in self.programs,
            complaint=lambda path: "no libnss3" if path in self.broken else None,
            run=self._run,
            is_root=self.is_root,
        )

    def _run(self, *command: str) -> None:
        self.ran.append(command)
        name = "apt-get install" if command[:2] == ("apt-get", "install") else command[0]
        if name in self.offers:
            self.programs.add(self.offers[name])


def test_a_browser_on_the_path_is_taken_and_nothing_installed() -> None:
    fake = Fake({"/bin/google-chrome", OWN})
    assert (find(OWN, fake.machine()), fake.ran) == ("/bin/google-chrome", [])


def test_one_that_does_not_start_is_passed_over() -> None:
    fake = Fake({"/bin/chromium", OWN}, broken={"/bin/chromium"})
    assert (find(OWN, fake.machine()), fake.ran) == (OWN, [])


def test_playwright_installs_its_own() -> None:
    fake = Fake(offers={sys.executable: OWN}, is_root=True)
    assert (find(OWN, fake.machine()), fake.ran) == (OWN, [INSTALL])


def test_root_installs_that_of_the_system_where_playwright_has_none_that_starts() -> None:
    offers = {sys.executable: OWN, "apt-get install": "/bin/chromium"}
    fake = Fake({"/bin/apt-get"}, {OWN}, offers, is_root=True)
    assert (find(OWN, fake.machine()), fake.ran) == ("/bin/chromium", [INSTALL, *APT])


def test_without_any_the_one_command_is_said_and_why() -> None:
    fake = Fake({"/bin/apt-get"}, {OWN}, {sys.executable: OWN})
    with pytest.raises(NoBrowser, match=r"playwright install --with-deps chromium` \(no libnss3\)"):
        find(OWN, fake.machine())
    assert fake.ran == [INSTALL], "apt-get is for root alone"
