"""What a permit costs: 250 messages a call against one a call, and where the time goes.

    python -m bench.permits [--messages 20000] [--calls 250]

Starts a Valkey of its own, unless REDIS_URL names one (its limiter's keys of account ``bench`` are used). Prints
microseconds a message as this process sees them, the part of it that Redis works, and how dear the ways of
packing the arguments would be.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from bench.output import say
from bulksend.limits import Ask, Grant, KeyedHashes, Permit, RedisPermits, SenderLimits
from bulksend.messaging.states import Kind
from ops.local.valkey import EmbeddedValkey

KEY = b"the hash key of this bench ....."
#: So wide that no rate holds anything: only the work is measured.
RATE = 200_000.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--calls", type=int, default=250, help="messages a call")
    options = parser.parse_args()
    with a_client() as client:
        permits = warm(client)
        say(f"{'':44}{'us a message':>14}{'of it Redis':>14}{'permits':>10}")
        many, one = (
            measure(
                client,
                permits,
                f"{size} a call, {quota_text}",
                size,
                options.messages // (1 if size > 1 else 10),
                quota,
            )
            for size, quota, quota_text in ((options.calls, None, "no quota"), (1, None, "no quota"))
        )
        permits.restore(pauses=[], recent=[])
        measure(
            client,
            permits,
            f"{options.calls} a call, with a quota",
            options.calls,
            options.messages,
            1_000_000,
        )
        measure(
            client,
            permits,
            f"{options.calls} a call, campaign of its own rate",
            options.calls,
            options.messages,
            None,
            RATE,
        )
        waiting(permits, options.calls)
        say(f"\none a call costs {one / many:.1f} times as much")
    packing(options.calls)


@contextmanager
def a_client() -> Iterator[redis.Redis]:
    """REDIS_URL's server, or one of our own."""
    url = os.environ.get("REDIS_URL")
    if url:
        with redis.Redis.from_url(url) as client:
            yield client
        return
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedValkey(Path(folder), durable=False)
        try:
            with redis.Redis.from_url(server.start()) as client:
                yield client
        finally:
            server.stop()


def warm(client: redis.Redis) -> RedisPermits:
    """A limiter that gives permits."""
    permits = RedisPermits(client, hash_key=KEY, account="bench")
    permits.ask([], lead_ms=0)
    permits.restore(pauses=[], recent=[])
    while not permitted(permits.ask([message("warm", None, None)], lead_ms=0)):
        time.sleep(0.1)
    return permits


def message(recipient: str, quota: int | None, campaign_rate: float | None) -> Ask:
    """One message of a blast. After one without a quota, a quota waits for a restore."""
    return Ask(Kind.MARKETING, "447700900001", "bench", recipient, SenderLimits(RATE, quota), campaign_rate)


def permitted(grant: Grant) -> int:
    """How many permits it holds."""
    return sum(isinstance(answer, Permit) for answer in grant.answers)


def measure(
    client: redis.Redis,
    permits: RedisPermits,
    title: str,
    size: int,
    messages: int,
    quota: int | None,
    campaign_rate: float | None = None,
) -> float:
    """Microseconds a message, round trip included."""
    run = f"{time.time_ns()}"
    asks = [message(f"{run}{n}", quota, campaign_rate) for n in range(messages)]
    batches = [asks[at : at + size] for at in range(0, messages, size)]
    client.config_resetstat()
    given = 0
    begun = time.perf_counter()
    for batch in batches:
        given += permitted(permits.ask(batch, lead_ms=5))
    each = (time.perf_counter() - begun) / messages * 1e6
    stats = client.info("commandstats")
    in_redis = stats.get("cmdstat_evalsha", {"usec": 0})["usec"] / messages
    say(f"{title:44}{each:>14.1f}{in_redis:>14.1f}{given / messages:>10.0%}")
    return each


def waiting(permits: RedisPermits, size: int) -> None:
    """Asking for more than there is: most of the answers are one wait."""
    asks = [
        Ask(Kind.MARKETING, "447700900003", "slow", f"{n}", SenderLimits(80.0, None), None)
        for n in range(size)
    ]
    each = timed(lambda: permits.ask(asks, lead_ms=5), 40) / size
    say(f"{f'{size} a call, 80/s used up':44}{each:>14.1f}")


def timed(work: Callable[[], object], times: int) -> float:
    """Microseconds a time."""
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times * 1e6


def packing(size: int) -> None:
    """This process's part, by how arguments are packed. Redis would have to unpack JSON besides."""
    tags = KeyedHashes(KEY, "bench")
    recipients = [f"4477009{n:05}" for n in range(size)]
    hashes = [tags.recipient(recipient) for recipient in recipients]
    rows = [{"s": "0" * 16, "c": "bench", "p": hashed, "r": 80.0, "q": -1} for hashed in hashes]
    hashing = timed(lambda: [tags.recipient(recipient) for recipient in recipients], 50)
    say("\npacking, us a message")
    say(f"  keyed hash of a recipient      {hashing / size:.2f}")
    say(f"  one string a call (in use)     {timed(lambda: ''.join(hashes), 50) / size:.3f}")
    say(f"  one JSON object a message      {timed(lambda: json.dumps(rows), 50) / size:.2f}")


if __name__ == "__main__":
    main()
