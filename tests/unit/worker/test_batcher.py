"""Group commit: what gathers while one batch runs goes into the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.batcher import Batcher


def test_what_comes_in_while_a_batch_runs_goes_together_into_the_next() -> None:
    sizes: list[int] = []
    first_runs, go_on = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(sizes) == 1:
            first_runs.set()
            go_on.wait(10)
        return [item * 2 for item in items]

    async def main() -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(work, pool)
            first = batcher.put(1)
            await asyncio.get_running_loop().run_in_executor(None, first_runs.wait, 10)
            rest = [batcher.put(n) for n in range(2, 7)]
            await asyncio.sleep(0)
            go_on.set()
            return await asyncio.gather(first, *rest)

    assert asyncio.run(main()) == [2, 4, 6, 8, 10, 12]
    assert sizes == [1, 5]


def test_no_batch_is_larger_than_allowed() -> None:
    sizes: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return list(items)

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(work, pool, most=10)
            await asyncio.gather(*(batcher.put(n) for n in range(95)))

    asyncio.run(main())
    assert sum(sizes) == 95
    assert max(sizes) <= 10


def test_a_batch_that_fails_tells_each_of_its_callers_and_the_next_goes_on() -> None:
    class Broken(Exception):
        pass

    def work(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise Broken
        return list(items)

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(work, pool)
            results = await asyncio.gather(batcher.put(13), batcher.put(14), return_exceptions=True)
            assert [type(r) for r in results] == [Broken, Broken]
            assert await batcher.put(15) == 15

    asyncio.run(main())


def test_a_caller_that_gave_up_does_not_disturb_the_others() -> None:
    release = threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        release.wait(10)
        return list(items)

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(work, pool)
            leaving, staying = batcher.put(1), batcher.put(2)
            await asyncio.sleep(0)
            leaving.cancel()
            release.set()
            assert await staying == 2
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await batcher.idle()

    asyncio.run(main())
