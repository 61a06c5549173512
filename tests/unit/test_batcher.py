"""Group commit: items that arrive while one batch runs go into the next."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from bulksend.batcher import Batcher


def test_items_that_arrive_while_a_batch_runs_form_the_next_one() -> None:
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


def test_a_batch_has_at_most_most_items() -> None:
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


def test_each_caller_of_a_failed_batch_gets_the_exception_and_the_next_batch_runs() -> None:
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


def test_a_cancelled_caller_does_not_affect_the_others() -> None:
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


def test_the_interval_lets_the_next_batch_grow_and_an_item_after_a_pause_does_not_wait() -> None:
    batches: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        batches.append(len(items))
        return list(items)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(work, pool, interval_s=1.0)
            began = loop.time()
            await batcher.put(0)
            assert loop.time() - began < 0.8
            rest = [batcher.put(n) for n in range(1, 4)]
            await asyncio.sleep(0.05)
            rest += [batcher.put(n) for n in range(4, 6)]
            await asyncio.gather(*rest)
            assert loop.time() - began >= 0.95
            await batcher.idle()

    asyncio.run(main())
    assert batches == [1, 5]


def test_a_full_batch_does_not_wait_for_the_interval() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(list, pool, most=10, interval_s=30)
            began = loop.time()
            await batcher.put(0)
            few = [batcher.put(n) for n in range(5)]
            await asyncio.sleep(0.01)
            assert await asyncio.gather(*few, *(batcher.put(n) for n in range(5, 10))) == list(range(10))
            assert loop.time() - began < 10

    asyncio.run(main())


def test_other_callbacks_run_between_the_results_of_a_large_batch() -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(list, pool)
            answers = [batcher.put(n) for n in range(100)]
            answered_at_a_turn: list[int] = []
            while not answers[-1].done():
                answered_at_a_turn.append(sum(a.done() for a in answers))
                await asyncio.sleep(0)
            grown = [b - a for a, b in itertools.pairwise(answered_at_a_turn)]
            assert max(grown) <= 16
            await batcher.idle()

    asyncio.run(main())
