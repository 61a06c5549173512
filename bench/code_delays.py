"""The forecast delay of a one-time code beside its real one: from ``Producer.send`` returning to its POST.

    python -m bench.code_delays [--backend postgresql|sqlite] [--rates 20,50] [--seconds 4,10] [--blast 2000]
                                [--only warm|cold]

Each case queues codes for some seconds of the sender's rate, and asks: a code that lives a millisecond is refused and
tells its forecast, the next one is sent and timed. ``warm``: at once, and when half of them are gone. ``cold``: after
the first start of a worker, after Redis restarted, lost all, or a worker was away, each at once and a little later; and
while the vendor throttles or the circuit breaker is open. Both also beside a blast. Prints each case, and how many
forecasts are within 20 % (or 250 ms) of the real delay.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis

from bench.stand import SENDER, Stand, number, people, stand
from bulksend import bootstrap
from bulksend.limits import RedisPermits
from bulksend.messaging.outcome import Scope
from bulksend.settings import Settings
from producer import Producer, TooLate

FIRST_CODE = 8_000_000
_numbers = itertools.count(FIRST_CODE)


@dataclass(frozen=True, slots=True)
class Case:
    """A forecast and what it became, in seconds."""

    what: str
    forecast: float
    real: float

    @property
    def is_right(self) -> bool:
        """Within 20 %; a quarter of a second is as good as none."""
        return abs(self.forecast - self.real) <= max(0.25, self.real * 0.2)


def code(to: int) -> dict[str, Any]:
    """A code to a person of its own."""
    return {
        "to": number(to),
        "sender": SENDER,
        "kind": "otp",
        "type": "text",
        "content": {"body": "123456 is your code"},
    }


def forecast() -> float:
    """The forecast delay of a code now, by a process that has just begun."""
    producer = Producer.from_env()
    try:
        producer.send(**code(next(_numbers)), ttl=timedelta(milliseconds=1))
    except TooLate as late:
        return late.wait_seconds or 0.0
    finally:
        producer.close()
    return 0.0


def asked(at: Stand, producer: Producer, what: str) -> Case:
    """A forecast, and the delay of a code that is sent at once."""
    told = forecast()
    to = next(_numbers)
    producer.send(**code(to), ttl=timedelta(hours=1))
    sent_at, wanted = time.monotonic(), int(number(to))

    def posted() -> float | None:
        return next((when for when, who in at.vendor.arrivals() if who == wanted), None)

    when = at.wait("the code is POSTed", posted, 120, 0.2)
    assert when is not None
    return Case(what, told, when - sent_at)


@dataclass(frozen=True, slots=True)
class Bench:
    """A stand at work, a producer, and how many codes a case queues."""

    at: Stand
    producer: Producer
    queued: int
    seconds: float

    def queue(self) -> None:
        """Queue the codes of a case."""
        many = [code(next(_numbers)) | {"ttl_seconds": 3600} for _ in range(self.queued)]
        for first in range(0, self.queued, 1000):
            self.producer.send_many(many[first : first + 1000])

    def ask(self, what: str) -> Case:
        """A case."""
        return asked(self.at, self.producer, f"{self.queued} codes, {what}")

    def at_once_and_later(
        self, what: str, happens: Callable[[], object], *, before: float = 0
    ) -> Iterator[Case]:
        """It happens ``before`` seconds after codes were queued; asked at once, and in a second run after 3 s."""
        for later in (0.0, 3.0):
            self.queue()
            time.sleep(before)
            happens()
            time.sleep(later)
            yield self.ask(f"{what}{f', {later:g} s later' if later else ''}")


def warm(of: Bench) -> Iterator[Case]:
    """The limiter knows all, and the worker has run for some time."""
    of.queue()
    yield of.ask("just queued")
    of.queue()
    time.sleep(of.seconds / 2)
    yield of.ask("half of them gone")


def cold(of: Bench) -> Iterator[Case]:
    """After each loss."""
    at = of.at
    half = of.seconds / 2
    yield from of.at_once_and_later("Redis restarts", lambda: _restart(at), before=half)
    yield from of.at_once_and_later("Redis loses all", lambda: _wipe(at), before=half)
    yield from of.at_once_and_later("the worker was away", lambda: _replace_worker(at, 6), before=half)
    limiter = _limiter(at)
    yield from of.at_once_and_later(
        "throttled", lambda: limiter.report(slow=[(Scope.SENDER, SENDER)]), before=half
    )
    time.sleep(20)  # the sender has its whole rate again
    yield from of.at_once_and_later("the breaker opens", lambda: _outage(at, limiter), before=half)


def _restart(at: Stand) -> None:
    at.valkey.stop()
    at.valkey.start()


def _wipe(at: Stand) -> None:
    with redis.Redis.from_url(at.valkey.url) as client:
        client.flushall()


def _replace_worker(at: Stand, away_s: float) -> None:
    old = next(each for each in at.children if each.pid == at.parts["worker"][-1])
    old.ask_to_stop()
    old.wait_or_kill(40)
    time.sleep(away_s)
    at.worker()


def _outage(at: Stand, limiter: RedisPermits) -> None:
    at.vendor.break_for(1)
    at.wait("the circuit breaker opens", limiter.circuit_breaker_is_open)


def _limiter(at: Stand) -> RedisPermits:
    settings = Settings.from_env(at.environ, Path(os.devnull))
    return bootstrap.limiter(settings, bootstrap.database(settings))


def cases(at: Stand, seconds: list[float], rate: float, blast: int, only: str | None) -> Iterator[Case]:
    """All cases of a rate."""
    os.environ.update(at.environ)
    at.relay()
    producer = Producer.from_env()
    benches = [Bench(at, producer, int(rate * each), each) for each in seconds]
    first = benches[0]
    first.queue()
    time.sleep(6)  # codes wait for longer than POSTs are counted
    at.worker()
    case = first.ask("a first worker starts")
    if only != "warm":
        yield case
    for beside in ("", " beside a blast"):
        if beside and not blast:
            continue
        if beside:
            at.send(people(at.folder / "people.csv", blast))
        for of in benches:
            for run in (warm, cold):
                if only in (None, run.__name__):
                    for each in run(of):
                        yield Case(each.what + beside, each.forecast, each.real)
    producer.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="postgresql", choices=["postgresql", "sqlite"])
    parser.add_argument("--rates", default="20,50")
    parser.add_argument("--seconds", default="4,10")
    parser.add_argument("--blast", type=int, default=20_000)
    parser.add_argument("--only", choices=["warm", "cold"])
    options = parser.parse_args()
    found: list[Case] = []
    for rate in map(float, options.rates.split(",")):
        seconds = [float(each) for each in options.seconds.split(",")]
        with stand(options.backend, rate=rate) as at:
            for case in cases(at, seconds, rate, options.blast, options.only):
                found.append(case)
                sys.stdout.write(
                    f"{rate:g}/s, {case.what:55} forecast {case.forecast:6.2f} s  real {case.real:6.2f} s"
                    f"  {'' if case.is_right else 'wrong'}\n"
                )
                sys.stdout.flush()
    right = sum(case.is_right for case in found)
    sys.stdout.write(f"{right} of {len(found)} forecasts are right within 20 %\n")


if __name__ == "__main__":
    main()
