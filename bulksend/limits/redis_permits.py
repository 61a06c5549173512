"""Permits from Redis: one script call for many messages, shared by any number of workers.

Redis may lose its memory: wiped, restarted from an old file, failed over to a replica that lagged. lua/state.lua
notices it: the epoch's key is gone, the memory is another process's, or it does not know this caller's newest answer.
Then a new epoch begins, cold (docs/decisions/0002).
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis

from bulksend.limits.ask_groups import Group, group_asks
from bulksend.limits.keyed_hashes import KeyedHashes
from bulksend.limits.rules import DAY_MS, FARTHEST_MS, LimitRules
from bulksend.limits.scripts import Scripts
from bulksend.limits.types import Ask, Gate, Grant, Permit, Reported, Slowed, Wait
from bulksend.messaging.code_delay import FULL, LimiterState, Pace, Places
from bulksend.messaging.outcome import Scope

_RESTORE_CHUNK = 2000
_PLACES = 1000
"""How many places that get free are looked up: a forecast for more people than that is too early."""
_KEEP_MS = 2 * FARTHEST_MS
"""How long a process remembers its permits that a quota counts, for a Redis that lost them."""


class RedisPermits:
    """The limiter. Threads may share it. Every method raises redis.RedisError when Redis does not answer."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        hash_key: bytes,
        account: str,
        rules: LimitRules | None = None,
        scripts: Scripts | None = None,
    ) -> None:
        self.hashes = KeyedHashes(hash_key, account)
        self._client = client
        self._rules = rules or LimitRules()
        self._scripts = scripts or Scripts.build(self.hashes.account_tag)
        self._shas = {
            text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for text in self._texts()
        }
        self._key = self.hashes.prefix + "state"
        self._quota_key = self.hashes.prefix + "quota"
        self._lock = threading.Lock()
        self._epoch = ""
        self._seen: tuple[str | int, str | int] = (0, 0)
        """Epoch and time of the newest answer, as Redis wrote them."""
        self._counted: deque[tuple[float, str]] = deque()
        """(begin, hash of the recipient) of the last permits that the quota counts."""

    # -- see Permits --------------------------------------------------------------------------------------

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        """See Permits."""
        groups = group_asks(asks)
        args = self._arguments(lead_ms, per_slice, _order(groups, len(asks)))
        recipients = [self._recipients(group, asks) for group in groups]
        for group, hashed in zip(groups, recipients, strict=True):
            args += self._group(group, hashed)
        reply = self._run(self._scripts.ask, args, restarted_arg=1)
        now_ms, epoch, needs_restore = float(reply[0]), _text(reply[1]), bool(reply[2])
        self._seen = (epoch, _text(reply[0]))
        answers: list[Permit | Wait] = [_NO_ANSWER] * len(asks)
        flat = iter(reply[3])
        waits: dict[bytes, Wait] = {}
        for group in groups:
            for place in group.places:
                answers[place] = _answer(next(flat), waits)
        self._remember_counted(epoch, now_ms, groups, recipients, answers)
        return Grant(tuple(answers), now_ms, needs_restore, epoch, _instant(reply[4]))

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """See Permits."""
        group = group_asks([ask])[0]
        args = [*self._arguments(0.0), *self._group(group, self._recipients(group, [ask]))]
        return tuple(_wait(text) for text in self._run(self._scripts.peek, args))

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> Reported:
        """See Permits."""
        fields = {self.hashes.field(scope, id): (scope, id) for scope, id in slow}
        arguments = [self._tolerance(), outages, successes, int(probe_over), *fields]
        opened, flat = self._run(self._scripts.report, arguments)
        parts = [_text(part) for part in flat]
        slowed = [
            Slowed(*fields[field], float(before), float(after))
            for field, before, after in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        ]
        return Reported(_instant(opened), tuple(slowed))

    def pace_of(self, sender: str) -> float:
        """The part of its rate that a sender may use now: less than 1 for some time after the vendor throttled it."""
        return self.outlook([sender]).paces.get(sender, FULL).part

    def circuit_breaker_is_open(self) -> bool:
        """Whether the circuit breaker is open: POSTs failed, and one at a time is sent until one succeeds."""
        return float(self._client.hget(self._key, "open_ms") or 0) > 0

    def outlook(self, senders: Iterable[str], quota: int | None = None) -> LimiterState:
        """What a new code of one of these senders can expect; ``quota`` is the account's. Changes nothing."""
        senders = list(senders)
        tags = [self.hashes.sender(sender) for sender in senders]
        cold, outage, opened, used, flat = self._run(
            self._scripts.outlook, [-1 if quota is None else quota, *tags]
        )
        numbers = iter(map(float, flat))
        found = [
            (Pace(part, climb), free) for part, climb, free in zip(numbers, numbers, numbers, strict=True)
        ]
        of_account, of_all_ms = found[0] if found else (Pace(), 0.0)
        known = dict(zip(senders, found[1:], strict=False))
        return LimiterState(
            cold_ms=float(cold),
            outage_ms=float(outage),
            open_ms=float(opened),
            paces={
                sender: pace for sender, (own, _) in known.items() if (pace := own.both(of_account)).part < 1
            },
            free_in_ms={sender: max(of_all_ms, known[sender][1] if known else 0.0) for sender in senders},
            quota_used=int(used),
        )

    def counted(self, recipients: Iterable[str]) -> frozenset[str]:
        """Those of them that the account's quota counts: they need no further place."""
        since_ms, found = self._now_ms() - DAY_MS, set[str]()
        rest = iter(recipients)
        while chunk := list(itertools.islice(rest, _RESTORE_CHUNK)):
            scores = self._client.zmscore(self._quota_key, [self.hashes.recipient(each) for each in chunk])
            found |= {
                each for each, at in zip(chunk, scores, strict=True) if at is not None and at > since_ms
            }
        return frozenset(found)

    def places(self, quota: int, ahead: int) -> Places:
        """The places of the account's quota behind ``ahead`` people that it does not count yet."""
        now_ms = self._now_ms()
        counted = (self._quota_key, f"({now_ms - DAY_MS}", "+inf")
        over = self._client.zcount(*counted) - quota + ahead
        leaves: Any = self._client.zrangebyscore(*counted, start=max(0, over), num=_PLACES, withscores=True)
        return Places(max(0, -over), [float(at_ms) + DAY_MS - now_ms for _, at_ms in leaves])

    def pause(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._run(self._scripts.pause, [self._tolerance(), "pause", self.hashes.field(scope, id)])

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._run(self._scripts.pause, [self._tolerance(), "resume", self.hashes.field(scope, id)])

    def paused(self) -> tuple[tuple[Scope, str], ...]:
        """See Permits."""
        epoch = self._client.hget(self._key, "epoch")
        if epoch is None:
            return ()
        flags = self._client.hgetall(f"{self.hashes.prefix}{_text(epoch)}:pauses")
        return tuple(self.hashes.unfield(_text(field)) for field, flag in flags.items() if _text(flag) != "-")

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Iterable[tuple[str, float]] | None
    ) -> None:
        """See Permits."""
        if recent is not None:
            self._load((self.hashes.recipient(recipient), at_ms) for recipient, at_ms in recent)
        fields = [self.hashes.field(scope, id) for scope, id in pauses]
        self._run(self._scripts.restore, [self._tolerance(), int(recent is not None), *fields])

    # -- calling ---------------------------------------------------------------------------------------

    def _now_ms(self) -> float:
        seconds, microseconds = self._client.time()
        return float(seconds * 1000 + microseconds / 1000)

    def _texts(self) -> tuple[str, ...]:
        s = self._scripts
        return (s.ask, s.peek, s.outlook, s.report, s.pause, s.restore)

    def _run(self, text: str, args: list[Any], *, restarted_arg: int | None = None) -> Any:
        """Run a script by its hash; where Redis does not know it, by its text.

        In that case the argument at ``restarted_arg`` becomes 1. A restart loses scripts, so where Redis hides its run
        id this shows a restart, in the same call that loads the script again.
        """
        try:
            return self._client.evalsha(self._shas[text], 1, self._key, *args)
        except redis.exceptions.NoScriptError:
            if restarted_arg is not None:
                args = [*args]
                args[restarted_arg] = 1
            reply = self._client.eval(text, 1, self._key, *args)
            # A script loaded by EVAL only could be evicted (since 7.4 Redis keeps 500 of those).
            self._client.script_load(text)
            return reply

    def _arguments(self, lead_ms: float, per_slice: int | None = None, order: str = "") -> list[Any]:
        rules = self._rules
        return [
            lead_ms,
            0,
            rules.account_rate or 0,
            rules.pair_interval_ms,
            rules.pair_burst,
            rules.otp_reserve,
            self.hashes.account_tag,
            *self._seen,
            per_slice or 0,
            rules.probe_ms,
            order,
        ]

    def _tolerance(self) -> float:
        return self._rules.pair_tolerance_ms

    def _recipients(self, group: Group, asks: Sequence[Ask]) -> list[str]:
        recipient = self.hashes.recipient
        return [recipient(asks[place].recipient) for place in group.places]

    def _group(self, group: Group, recipients: list[str]) -> list[Any]:
        quota = group.limits.quota
        return [
            group.kind.value,
            self.hashes.sender(group.sender),
            group.campaign_id,
            group.limits.rate,
            -1 if quota is None else quota,
            group.campaign_rate or 0,
            "".join(recipients),
            int(group.counted),
        ]

    # -- after a loss of memory -----------------------------------------------------------------------------------

    def _remember_counted(
        self,
        epoch: str,
        now_ms: float,
        groups: list[Group],
        recipients: list[list[str]],
        answers: list[Permit | Wait],
    ) -> None:
        """Remember the last permits that the quota counts, and load them into a Redis that lost them.

        The ledger has them only after their attempts are opened, and a restore may read it before that.
        """
        with self._lock:
            forgotten = list(self._counted) if self._epoch and epoch != self._epoch else []
            self._epoch = epoch
            for group, hashed in zip(groups, recipients, strict=True):
                if group.limits.quota is None or group.counted:
                    continue
                for place, recipient in zip(group.places, hashed, strict=True):
                    answer = answers[place]
                    if isinstance(answer, Permit):
                        self._counted.append((answer.begin_ms, recipient))
            while self._counted and self._counted[0][0] < now_ms - _KEEP_MS:
                self._counted.popleft()
        self._load((recipient, begin_ms) for begin_ms, recipient in forgotten)

    def _load(self, recipients: Iterable[tuple[str, float]]) -> None:
        """Load recipients that the quota counts, any number of them."""
        for chunk in _chunks(recipients, _RESTORE_CHUNK):
            pipeline = self._client.pipeline(transaction=False)
            newest = dict(sorted(chunk, key=_at))
            # GT: an entry that Redis has already is newer.
            pipeline.zadd(self._quota_key, newest, gt=True)
            pipeline.pexpire(self._quota_key, int(DAY_MS) + 60_000)
            pipeline.execute()


_NO_ANSWER = Wait(Gate.COLD, None)


def _order(groups: list[Group], count: int) -> str:
    """The number of each ask's group, in the order of the asks."""
    numbers = [0] * count
    for number, group in enumerate(groups, 1):
        for place in group.places:
            numbers[place] = number
    return " ".join(map(str, numbers))


def _at(item: tuple[str, float]) -> float:
    return item[1]


def _chunks(items: Iterable[tuple[str, float]], size: int) -> Iterator[list[tuple[str, float]]]:
    rest = iter(items)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _answer(raw: bytes, waits: dict[bytes, Wait]) -> Permit | Wait:
    """``raw`` is a number, or a word and perhaps a time. Equal waits of one call share one object."""
    known = waits.get(raw)
    if known is not None:
        return known
    try:
        return Permit(float(raw))
    except ValueError:
        word, _, at = _text(raw).partition(" ")
        return Permit.of_probe(float(at)) if word == "probe" else waits.setdefault(raw, _wait(raw))


def _instant(raw: bytes | str) -> float | None:
    return float(raw) if raw else None


def _wait(raw: bytes | str) -> Wait:
    gate, _, until = _text(raw).partition(" ")
    return Wait(Gate(gate), float(until) if until else None)
