"""The forecast delay of a one-time code beside its real one: from ``Producer.send`` returning to its POST.

    python -m bench.code_delays [--backend postgresql|sqlite] [--rates 20,50] [--seconds 4,10] [--blast 2000]

Each case queues codes for some seconds of the sender's rate, and asks at once and when half of them are gone: a
code that lives a millisecond is refused and tells its forecast, the next one is sent and timed. Prints each case, and
how many forecasts are within 20 % (or 250 ms) of the real delay.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bench.stand import SENDER, Stand, number, people, stand
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


def cases(at: Stand, rate: float, seconds: list[float], blast: int) -> Iterator[Case]:
    """All cases of a rate."""
    os.environ.update(at.environ)
    at.worker()
    at.relay()
    producer = Producer.from_env()
    asked(at, producer, "the limiter gives no slot for its first two seconds")
    for each in seconds:
        queued = int(rate * each)
        producer.send_many([code(next(_numbers)) | {"ttl_seconds": 3600} for _ in range(queued)])
        yield asked(at, producer, f"{rate:g}/s, {queued} codes")
        producer.send_many([code(next(_numbers)) | {"ttl_seconds": 3600} for _ in range(queued)])
        time.sleep(each / 2)
        yield asked(at, producer, f"{rate:g}/s, {queued} codes, half of them gone")
    if blast:
        at.send(people(at.folder / "people.csv", blast))
        queued = int(rate * max(seconds))
        producer.send_many([code(next(_numbers)) | {"ttl_seconds": 3600} for _ in range(queued)])
        yield asked(at, producer, f"{rate:g}/s, {queued} codes beside a blast")
    producer.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="postgresql", choices=["postgresql", "sqlite"])
    parser.add_argument("--rates", default="20,50")
    parser.add_argument("--seconds", default="4,10")
    parser.add_argument("--blast", type=int, default=2000)
    options = parser.parse_args()
    found: list[Case] = []
    for rate in map(float, options.rates.split(",")):
        with stand(options.backend, rate=rate) as at:
            for case in cases(at, rate, [float(each) for each in options.seconds.split(",")], options.blast):
                found.append(case)
                sys.stdout.write(
                    f"{case.what:45} forecast {case.forecast:6.2f} s  real {case.real:6.2f} s"
                    f"  {'' if case.is_right else 'wrong'}\n"
                )
                sys.stdout.flush()
    right = sum(case.is_right for case in found)
    sys.stdout.write(f"{right} of {len(found)} forecasts are right within 20 %\n")


if __name__ == "__main__":
    main()
