"""What the console has once in a process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment

from bulksend.operations import installation
from bulksend.operations.blockers import Check, find_blockers
from bulksend.operations.doctor import examine
from bulksend.operations.passwords import Passwords
from ops.http.services import Services
from ops.web.assets import Assets
from ops.web.live import LiveTabs
from ops.web.readings import Readings
from ops.web.remembered import Remembered
from ops.web.remembered_doctor import Examined
from ops.web.sign_in_rate import SignInRate
from ops.web.templating import environment

#: Blockers are looked for at most this often.
BLOCKERS_S = 5.0


@cache
def _passwords() -> Passwords:
    """Made once in a process: that hashes a password."""
    return Passwords()


@dataclass(frozen=True)
class Console:
    """Beside the services of the process, which the HTTP API uses too."""

    services: Services
    live: LiveTabs
    menu: Sequence[tuple[str, str, str, bool]] = ()
    """Pages of the menu: path, key of its text behind ``base.menu.``, role that it needs, whether the bar shows it."""
    assets: Assets = field(default_factory=Assets)
    templates: Environment = field(default_factory=environment)
    passwords: Passwords = field(default_factory=_passwords)
    readings: Readings = field(default_factory=Readings)
    blockers: Remembered[list[Check]] = field(init=False)
    """What holds messages back now. It asks Redis, which takes seconds where that is away."""
    system: Remembered[dict[str, Any]] = field(init=False)
    """Processes, ledger, Redis and limiter now. It asks Redis too."""
    examined: Examined = field(init=False)
    sign_in_rate: SignInRate = field(default_factory=SignInRate)
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """A password takes 19 MiB and 30 ms of a core: no flood of sign-ins has all of the machine."""

    issuing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    """An issuer that does not answer holds no more threads than this."""

    def __post_init__(self) -> None:
        of, database = self.services.settings, self.services.database
        object.__setattr__(self, "blockers", Remembered(lambda: find_blockers(of, database), BLOCKERS_S))
        object.__setattr__(self, "system", Remembered(lambda: installation.state(of, database), BLOCKERS_S))
        object.__setattr__(self, "examined", Examined(lambda: examine(of)))
