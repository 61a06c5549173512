"""For callers on an event loop: the messages of all requests of a moment are stored in one transaction.

A request whose messages include a one-time code does not wait for a transaction of other kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from bulksend.batcher import Batcher
from bulksend.errors import LedgerUnreachable
from bulksend.ledger.direct_sends import DirectResult, SendRequest
from bulksend.messaging.states import LANES, Kind
from producer.direct_sends import DirectSends, ReadySend

#: About how many messages one transaction stores.
MOST_MESSAGES = 1000
#: At most how many requests one transaction takes.
_MOST_REQUESTS = 200

#: What became of each message of a request; None: another request has its Idempotency-Key.
Taken = list[DirectResult] | None


@dataclass(frozen=True, slots=True)
class _Lane:
    executor: ThreadPoolExecutor
    batcher: Batcher[SendRequest, Taken | Exception]


class SendBatches:
    """Belongs to one event loop. Each kind has one thread, which commits for all requests that wait."""

    def __init__(self, direct: DirectSends) -> None:
        self._direct = direct
        self._lanes = {kind: self._lane(kind) for kind in LANES}

    async def take(self, request: SendRequest) -> Taken:
        """Store the messages of a request, and have them published. Raises LedgerUnreachable."""
        kinds = {kind for kind, _ in request.sends}
        lane = self._lanes[next(kind for kind in LANES if kind in kinds)]
        taken = await lane.batcher.put(request)
        if isinstance(taken, Exception):
            raise taken
        return taken

    async def idle(self) -> None:
        """Wait until no request is left."""
        for lane in self._lanes.values():
            await lane.batcher.idle()

    def close(self) -> None:
        """Let the threads end when they are idle."""
        for lane in self._lanes.values():
            lane.executor.shutdown(wait=False)

    def _lane(self, kind: Kind) -> _Lane:
        executor = ThreadPoolExecutor(1, thread_name_prefix=f"send-{kind}")
        return _Lane(executor, Batcher(partial(_commit, self._direct), executor, most=_MOST_REQUESTS))


def _commit(direct: DirectSends, requests: Sequence[SendRequest]) -> list[Taken | Exception]:
    done: list[Taken | Exception] = []
    for group in _groups(requests):
        done += _commit_group(direct, group)
    return done


def _groups(requests: Sequence[SendRequest]) -> list[list[SendRequest]]:
    """The requests in groups of about MOST_MESSAGES messages."""
    groups: list[list[SendRequest]] = [[]]
    many = 0
    for request in requests:
        if groups[-1] and many + len(request.sends) > MOST_MESSAGES:
            groups.append([])
            many = 0
        groups[-1].append(request)
        many += len(request.sends)
    return groups


def _commit_group(direct: DirectSends, group: Sequence[SendRequest]) -> list[Taken | Exception]:
    """A request that fails by itself does not fail the others."""
    try:
        taken = direct.take(group)
    except LedgerUnreachable as error:
        return [error] * len(group)
    except Exception as error:  # noqa: BLE001 - each caller gets it raised
        return (
            [error] if len(group) == 1 else [each for one in group for each in _commit_group(direct, [one])]
        )
    direct.hand_over(
        [
            (ReadySend(*send), result)
            for request, results in zip(group, taken, strict=True)
            if results is not None
            for send, result in zip(request.sends, results, strict=True)
        ]
    )
    return list(taken)
