"""Permits from Redis: one script call for many messages, over any number of workers."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import redis

from bulksend.limits.words import (
    BLACKOUT_MS,
    CLIMB_MS,
    DAY_MS,
    HORIZON_MS,
    OPEN_MOST_MS,
    OPEN_MS,
    OUTAGES,
    PROBE_MS,
    SLOW_EVERY_MS,
    SLOWEST,
    USED,
    Ask,
    Gate,
    Grant,
    Permit,
    Wait,
)
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind

_HERE = Path(__file__).parent
#: A worker that has not asked for so long no longer shares the limits.
WORKER_MS = 120_000


class RedisPermits:
    """The limiter. ``hash_key`` keys the hashes of recipients and senders. Raises redis.RedisError."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        hash_key: bytes,
        worker_id: str = "",
        account: str = "default",
        account_rate: float | None = None,
        otp_reserve: float = 0.05,
        pair_interval_ms: float = 6000.0,
        pair_burst: int = 45,
    ) -> None:
        self._client = client
        self._key = hash_key
        self._prefix = "bs:{" + self._hash("account", account) + "}:"
        self._ask_script = client.register_script((_HERE / "permits.lua").read_text())
        self._report_script = client.register_script((_HERE / "report.lua").read_text())
        self._constants: dict[str, object] = {
            "worker": self._hash("worker", worker_id) if worker_id else "",
            "worker_ms": WORKER_MS,
            "account_rate": account_rate or -1,
            "reserve": otp_reserve,
            "pair_ms": pair_interval_ms,
            "pair_burst": pair_burst,
            "blackout_ms": BLACKOUT_MS,
            "day_ms": DAY_MS,
            "climb_ms": CLIMB_MS,
            "outages": OUTAGES,
            "probe_ms": PROBE_MS,
            "used": USED,
        }

    def ask(self, asks: Sequence[Ask], *, lead_ms: float) -> Grant:
        """See Permits."""
        now_ms, workers, warm, answers = self._call(asks, lead_ms, peek=False)
        given = tuple(_answer(text) for text in answers)
        return Grant(given, now_ms, workers, needs_restore=not warm)

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """Every gate that holds this message now. Changes nothing."""
        _, _, _, answers = self._call([ask], 0.0, peek=True)
        text = answers[0]
        return tuple(_wait(part) for part in text[1:].split(";")) if text.startswith("w") else ()

    def _call(self, asks: Sequence[Ask], lead_ms: float, *, peek: bool) -> tuple[float, int, bool, list[str]]:
        constants = self._constants | {"lead_ms": lead_ms, "peek": peek}
        reply = self._ask_script(
            keys=[self._prefix], args=[json.dumps(constants), json.dumps([self._written(a) for a in asks])]
        )
        text = reply.decode() if isinstance(reply, bytes) else str(reply)
        now_ms, workers, warm, *answers = text.split(",")
        return float(now_ms), int(workers), warm == "1", answers

    def _written(self, ask: Ask) -> dict[str, object]:
        sender = self._hash("sender", ask.sender)
        return {
            "s": sender,
            "c": ask.campaign_id,
            "h": self._hash("recipient", ask.recipient),
            "p": self._hash("pair", ask.sender + ">" + ask.recipient),
            "r": ask.sender_limits.rate,
            "q": -1 if ask.sender_limits.quota is None else ask.sender_limits.quota,
            "cr": ask.campaign_rate or -1,
            "x": ask.exchange,
            "o": ask.kind is Kind.OTP,
            "z": HORIZON_MS[ask.kind],
        }

    def report(self, *, slow: Iterable[tuple[Scope, str]] = (), outages: int = 0, successes: int = 0) -> None:
        """See Permits."""
        body = {
            "slow": [self._field(scope, id) for scope, id in slow],
            "failures": outages,
            "successes": successes,
            "outages": OUTAGES,
            "open_ms": OPEN_MS,
            "open_most_ms": OPEN_MOST_MS,
            "climb_ms": CLIMB_MS,
            "slow_every_ms": SLOW_EVERY_MS,
            "slowest": SLOWEST,
        }
        self._report_script(keys=[self._prefix], args=[json.dumps(body)])

    def pause(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._client.sadd(self._prefix + "paused", self._field(scope, id))

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._client.srem(self._prefix + "paused", self._field(scope, id))

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, int]]]
    ) -> None:
        """See Permits. Two workers may restore at once: both bring the same."""
        fields = [self._field(scope, id) for scope, id in pauses]
        if fields:
            self._client.sadd(self._prefix + "paused", *fields)
        for sender, recipients in recent.items():
            key = self._prefix + "q:" + self._hash("sender", sender)
            rest = iter(recipients)
            while chunk := list(itertools.islice(rest, 5000)):
                # GT: what was written meanwhile is newer than what the ledger told.
                self._client.zadd(key, {self._hash("recipient", r): at for r, at in chunk}, gt=True)
        self._client.hset(self._prefix + "state", "warm", "1")

    def _field(self, scope: Scope, id: str) -> str:
        if scope is Scope.ACCOUNT:
            return "a"
        return f"s:{self._hash('sender', id)}" if scope is Scope.SENDER else f"c:{id}"

    def _hash(self, what: str, text: str) -> str:
        return hashlib.blake2b(f"{what} {text}".encode(), key=self._key, digest_size=10).hexdigest()


def _answer(text: str) -> Permit | Wait:
    return Permit(float(text[1:])) if text.startswith("p") else _wait(text[1:].split(";")[0])


def _wait(text: str) -> Wait:
    gate, _, until = text.partition(":")
    instant = float(until)
    return Wait(Gate(gate), None if instant < 0 else instant)
