"""What the console has once in a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment

from bulksend.operations import installation
from bulksend.operations.alert_rules import Alert, fingerprint
from bulksend.operations.alerts import find_alerts
from bulksend.operations.blockers import Check, RedisCheck, check_redis, known_blockers
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

#: What costs much to find out is found out at most this often.
FOUND_S = 5.0


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
    redis: Remembered[RedisCheck | None] = field(init=False)
    """How Redis does now, which takes seconds where it is away; None where REDIS_URL is not set."""
    blockers: Remembered[list[Check]] = field(init=False)
    """What holds messages back now."""
    alerts: Remembered[list[Alert]] = field(init=False)
    """What each rule says now of what needs a person."""
    system: Remembered[dict[str, Any]] = field(init=False)
    """Processes, ledger, Redis and limiter now."""
    examined: Examined = field(init=False)
    sign_in_rate: SignInRate = field(default_factory=SignInRate)
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """A password takes 19 MiB and 30 ms of a core: no flood of sign-ins has all of the machine."""

    issuing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    """An issuer that does not answer holds no more threads than this."""

    def __post_init__(self) -> None:
        of, database = self.services.settings, self.services.database
        self._remember("redis", lambda: None if of.redis_url is None else check_redis(of))
        self._remember("blockers", lambda: known_blockers(of, database, self.redis.now()))
        self._remember("alerts", lambda: find_alerts(of, database, self.services.limiter, self.redis.now()))
        self._remember("system", lambda: installation.state(of, database, self.redis.now()))
        object.__setattr__(self, "examined", Examined(lambda: examine(of)))
        self.live.watch("alerts", lambda: fingerprint(self.alerts.now()))

    def _remember(self, name: str, find: Callable[[], object]) -> None:
        object.__setattr__(self, name, Remembered(find, FOUND_S))
