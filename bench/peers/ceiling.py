"""The ceiling: a bare loop of a Rust HTTP client, pyreqwest, that does nothing but POST the same bytes.

    python ceiling.py URL IN_FLIGHT SECONDS

Not ours: it runs in the environment of ``requirements.lock`` beside this file. Prints POSTs a second, CPU µs a POST.
"""

from __future__ import annotations

import asyncio
import sys
import time

from pyreqwest.client import ClientBuilder
from tasks import request_of


async def main(url: str, in_flight: int, seconds: float) -> None:
    """As many lanes as may be in flight, each a POST after the other."""
    body, headers = request_of(1, "447410000001")
    done, until = 0, float("inf")
    async with ClientBuilder().max_connections(in_flight).build() as client:

        async def lane() -> None:
            nonlocal done
            while time.perf_counter() < until:
                reply = await client.post(url).headers(headers).body_bytes(body).build().send()
                await reply.bytes()
                done += 1

        async def first() -> None:
            reply = await client.post(url).headers(headers).body_bytes(body).build().send()
            await reply.bytes()

        await asyncio.gather(*(first() for _ in range(in_flight)))
        began, cpu = time.perf_counter(), time.process_time()
        until = began + seconds
        await asyncio.gather(*(lane() for _ in range(in_flight)))
        took = time.perf_counter() - began
    sys.stdout.write(f"{done / took} {(time.process_time() - cpu) / done * 1e6}\n")


asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
