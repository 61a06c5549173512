"""Permits from Redis: one script call for many messages, shared by any number of workers.

Redis may lose its memory: wiped, restarted from an old file, failed over to a replica that lagged. lua/state.lua
notices it, and a new epoch begins, cold (docs/decisions/0002).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

import redis

from bulksend.limits.keyed_hashes import KeyedHashes
from bulksend.limits.rules import DAY_MS, KEPT_MS, SLICE_MS, LimitRules
from bulksend.limits.script import build_script
from bulksend.limits.types import Ask, Gate, Grant, Permit, Reported, Slowed, Wait
from bulksend.messaging.code_delay import FULL, LimiterState, Pace, Places
from bulksend.messaging.outcome import Scope

_T = TypeVar("_T")
_CHUNK = 2000
"""How many recipients are read or written in one command."""
_PLACES = 1000
"""How many places that get free are looked up: a forecast for more people than that is too early."""


_GROUP = ("kind", "sender", "campaign", "rate", "quota", "campaign_rate", "counted")


class RedisPermits:
    """The limiter. Threads may share it. Every method raises redis.RedisError when Redis does not answer."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        hash_key: bytes,
        account: str,
        rules: LimitRules | None = None,
        clock: str | None = None,
    ) -> None:
        """``clock``: see build_script."""
        self.hashes = KeyedHashes(hash_key, account)
        self._client = client
        self._script = build_script(self.hashes, rules or LimitRules(), clock)
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._key = self.hashes.prefix + "state"
        self._quota_key = self.hashes.prefix + "quota"
        self._lock = threading.Lock()
        self._seen = (0, 0.0)
        """Epoch and time of the newest answer."""
        self._counted: deque[tuple[str, float]] = deque()
        """(hash of the recipient, begin) of the last permits that the quota counts."""

    # -- see Permits --------------------------------------------------------------------------------------

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        """See Permits."""
        recipients = [self.hashes.recipient(ask.recipient) for ask in asks]
        now, epoch, needs_restore, opened, told = self._call(
            "ask", lead_ms=lead_ms, per_slice=per_slice, **self._grouped(asks, recipients)
        )
        now_ms, opened_ms = float(now), _instant(opened)
        answers: list[Permit | Wait] = []
        counted = []
        for ask, recipient, answer in zip(asks, recipients, told, strict=True):
            if not isinstance(answer, int):
                answers.append(_wait(answer))
                continue
            answers.append(Permit(answer * SLICE_MS, probe=opened_ms is not None))
            if ask.sender_limits.quota is not None and not ask.counted:
                counted.append((recipient, answer * SLICE_MS))
        self._load(self._remember(int(epoch), now_ms, counted))
        return Grant(tuple(answers), now_ms, bool(needs_restore), epoch.decode(), opened_ms)

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
        opened, slowed = self._call(
            "report", slow=list(fields), outages=outages, successes=successes, probe_over=probe_over
        )
        return Reported(
            _instant(opened),
            tuple(
                Slowed(*fields[field.decode()], float(before), float(after))
                for field, before, after in slowed
            ),
        )

    def pause(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._call("pause", field=self.hashes.field(scope, id))

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._call("resume", field=self.hashes.field(scope, id))

    def paused(self) -> tuple[tuple[Scope, str], ...]:
        """See Permits."""
        epoch = self._client.hget(self._key, "epoch")
        if epoch is None:
            return ()
        flags: Any = self._client.hgetall(f"{self.hashes.prefix}{int(epoch)}:pauses")
        return tuple(self.hashes.unfield(field.decode()) for field, flag in flags.items() if flag != b"-")

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Iterable[tuple[str, float]] | None
    ) -> None:
        """See Permits."""
        if recent is not None:
            self._load((self.hashes.recipient(recipient), at_ms) for recipient, at_ms in recent)
        fields = [self.hashes.field(scope, id) for scope, id in pauses]
        self._call("restore", pauses=fields, quota_known=recent is not None)

    # -- what the limiter knows ------------------------------------------------------------------------------

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """All gates that hold this message now. Changes nothing."""
        grouped = self._grouped([ask], [self.hashes.recipient(ask.recipient)])
        return tuple(_wait(text) for text in self._call("peek", **grouped))

    def pace_of(self, sender: str) -> float:
        """The part of its rate that a sender may use now: less than 1 for some time after the vendor throttled it."""
        return self.outlook([sender]).paces.get(sender, FULL).part

    def circuit_breaker_is_open(self) -> bool:
        """Whether the circuit breaker is open: POSTs failed, and one at a time is sent until one succeeds."""
        return float(self._client.hget(self._key, "open_ms") or 0) > 0

    def outlook(self, senders: Sequence[str], quota: int | None = None) -> LimiterState:
        """What a new code of one of these senders can expect; ``quota`` is the account's. Changes nothing."""
        tags = [self.hashes.sender(sender) for sender in senders]
        told = json.loads(self._call("outlook", senders=tags, quota=quota))
        (of_account, account_free_ms), *own = (
            (Pace(part, climb_ms), free_ms) for part, climb_ms, free_ms in told.pop("limits")
        )
        known = dict(zip(senders, own, strict=True))
        paces = {sender: pace.both(of_account) for sender, (pace, _) in known.items()}
        return LimiterState(
            **told,
            paces={sender: pace for sender, pace in paces.items() if pace.part < 1},
            free_in_ms={sender: max(account_free_ms, free_ms) for sender, (_, free_ms) in known.items()},
        )

    def counted(self, recipients: Iterable[str]) -> frozenset[str]:
        """Those of them that the account's quota counts: they need no further place."""
        since_ms, found = self._now_ms() - DAY_MS, set[str]()
        for chunk in _chunks(recipients):
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

    # -- calling ---------------------------------------------------------------------------------------------

    def _now_ms(self) -> float:
        seconds, microseconds = self._client.time()
        return float(seconds * 1000 + microseconds / 1000)

    def _call(self, act: str, **values: object) -> Any:
        epoch, at_ms = self._seen
        call = {"act": act, "seen_epoch": epoch, "seen_at": at_ms, **_known(values)}
        try:
            return self._client.evalsha(self._sha, 1, self._key, json.dumps(call))
        except redis.exceptions.NoScriptError:
            reply = self._client.eval(self._script, 1, self._key, json.dumps({**call, "restarted": True}))
            # A script loaded by EVAL only could be evicted (since 7.4 Redis keeps 500 of those).
            self._client.script_load(self._script)
            return reply

    def _grouped(self, asks: Sequence[Ask], recipients: list[str]) -> dict[str, object]:
        """The asks, in groups that share every limit except the recipient's: see lua/ask.lua."""
        numbers: dict[tuple[object, ...], int] = {}
        of = []
        for ask in asks:
            limits = ask.sender_limits
            group = (
                ask.kind,
                ask.sender,
                ask.campaign_id,
                limits.rate,
                limits.quota,
                ask.campaign_rate,
                ask.counted,
            )
            of.append(numbers.setdefault(group, len(numbers) + 1))
        groups = [_known(dict(zip(_GROUP, group, strict=True))) for group in numbers]
        for each in groups:
            each["sender"] = self.hashes.sender(each["sender"])
        return {"groups": groups, "of": of, "recipients": "".join(recipients)}

    # -- after a loss of memory -------------------------------------------------------------------------------

    def _remember(
        self, epoch: int, now_ms: float, counted: list[tuple[str, float]]
    ) -> list[tuple[str, float]]:
        """Remember an answer, and the permits in it that the quota counts; those that a new memory does not have.

        The ledger has them only after their attempts are opened, and a restore may read it before that.
        """
        with self._lock:
            known, self._seen = self._seen[0], (epoch, now_ms)
            forgotten = list(self._counted) if known not in (0, epoch) else []
            self._counted += counted
            while self._counted and self._counted[0][1] < now_ms - KEPT_MS:
                self._counted.popleft()
        return forgotten

    def _load(self, recipients: Iterable[tuple[str, float]]) -> None:
        """Load recipients that the quota counts, by their hashes."""
        for chunk in _chunks(recipients):
            # GT: an entry that Redis has already is newer.
            self._client.zadd(self._quota_key, dict(sorted(chunk, key=itemgetter(1))), gt=True)
            self._client.pexpire(self._quota_key, int(DAY_MS) + 60_000)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is None: to Lua, null is not nil."""
    return {name: value for name, value in values.items() if value is not None}


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(itertools.islice(rest, _CHUNK)):
        yield chunk


def _instant(raw: bytes) -> float | None:
    return float(raw) if raw else None


@lru_cache(256)
def _wait(raw: bytes) -> Wait:
    """A gate's name and perhaps an instant. Equal waits of one call share one object."""
    gate, _, until = raw.decode().partition(" ")
    return Wait(Gate(gate), float(until) if until else None)
