"""Permits from Redis: one script call for many messages, over any number of workers.

Redis may lose what it remembers: wiped, restarted from an old file, failed over to a replica that lagged. It
is noticed by the signs in lua/state.lua: the epoch's key is gone, the memory was another process's, or it does
not know what this caller was told. Each begins a new epoch, cold (docs/decisions/0002).
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis

from bulksend.limits.ask_groups import Group, grouped, rates_of
from bulksend.limits.keyed_hashes import KeyedHashes
from bulksend.limits.rules import DAY_MS, FARTHEST_MS, LimitRules, late_ms
from bulksend.limits.scripts import Scripts
from bulksend.limits.types import Ask, Gate, Grant, Paused, Permit, Spacing, Wait
from bulksend.messaging.outcome import Scope

_RESTORE_CHUNK = 2000
_KEEP_MS = 2 * FARTHEST_MS
"""How long a process remembers its own permits to quota'd senders, to tell a Redis that forgot them."""


class RedisPermits:
    """The limiter. Threads may share it. Raises redis.RedisError, from every method, when Redis does not
    answer.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        hash_key: bytes,
        account: str,
        rules: LimitRules | None = None,
        scripts: Scripts | None = None,
    ) -> None:
        self.tags = KeyedHashes(hash_key, account)
        self._client = client
        self._rules = rules or LimitRules()
        self._scripts = scripts or Scripts.build(self.tags.account_tag)
        self._shas = {
            text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for text in self._texts()
        }
        self._key = self.tags.prefix + "state"
        self._lock = threading.Lock()
        self._epoch = ""
        self._seen: tuple[str | int, str | int] = (0, 0)
        """Epoch and instant of the newest answer, as Redis wrote them."""
        self._counted: deque[tuple[float, str, str]] = deque()
        """(slot, sender tag, recipient tag) of the last permits that a quota counts."""

    # -- the door --------------------------------------------------------------------------------------

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, spread: Spacing | None = None) -> Grant:
        """See Permits."""
        groups = grouped(asks)
        args = self._arguments(lead_ms, spread)
        pairs = [self._pairs(group, asks) for group in groups]
        for group, tags in zip(groups, pairs, strict=True):
            args += self._group(group, asks, tags)
        reply = self._run(self._scripts.ask, args, restarted_arg=1)
        now_ms, epoch, needs_restore = float(reply[0]), _text(reply[1]), bool(reply[2])
        self._seen = (epoch, _text(reply[0]))
        answers: list[Permit | Wait] = [_NO_ANSWER] * len(asks)
        flat = iter(reply[3])
        waits: dict[bytes, Wait] = {}
        for group in groups:
            late = late_ms(rates_of(group, self._rules))
            for place in group.places:
                answers[place] = _answer(next(flat), late, waits)
        self._notice(epoch, now_ms, groups, pairs, answers)
        return Grant(tuple(answers), now_ms, needs_restore, epoch, _instant(reply[4]))

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """See Permits."""
        group = grouped([ask])[0]
        args = [*self._arguments(0.0), *self._group(group, [ask], self._pairs(group, [ask]))]
        return tuple(_wait(text) for text in self._run(self._scripts.peek, args))

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> float | None:
        """See Permits."""
        fields = list(dict.fromkeys(self.tags.field(scope, id) for scope, id in slow))
        arguments = [self._tolerance(), outages, successes, int(probe_over), *fields]
        return _instant(self._run(self._scripts.report, arguments))

    def breaker_is_open(self) -> bool:
        """Whether the last POSTs of all workers failed, so that one at a time is tried until one goes well."""
        return float(self._client.hget(self._key, "open_ms") or 0) > 0

    def pause(self, scope: Scope, id: str, why_code: str = "") -> None:
        """See Permits. Raises ValueError for a ``why_code`` that is not a word."""
        if why_code and not (why_code.replace("_", "").isalnum() and len(why_code) <= 40):
            raise ValueError(
                "why_code must be a word of at most 40 letters, digits and _, such as vendor_131031"
            )
        self._run(self._scripts.pause, [self._tolerance(), "pause", self.tags.field(scope, id), why_code])

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._run(self._scripts.pause, [self._tolerance(), "resume", self.tags.field(scope, id), ""])

    def paused(self) -> tuple[Paused, ...]:
        """See Permits."""
        flat = iter(
            _text(part) for part in self._run(self._scripts.pause, [self._tolerance(), "list", "", ""])
        )
        found = []
        for field, flag in zip(flat, flat, strict=True):
            if flag != "-":
                since, _, why = flag.partition(" ")
                found.append(Paused(*self.tags.unfield(field), float(since), why))
        return tuple(found)

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, float]]]
    ) -> None:
        """See Permits."""
        senders = []
        for sender, recipients in recent.items():
            tag = self.tags.sender(sender)
            senders.append(tag)
            self._load(tag, ((self.tags.pair(sender, recipient), at_ms) for recipient, at_ms in recipients))
        fields = [self.tags.field(scope, id) for scope, id in pauses]
        self._run(self._scripts.restore, [self._tolerance(), len(senders), *senders, *fields])

    # -- calling ---------------------------------------------------------------------------------------

    def _texts(self) -> tuple[str, ...]:
        s = self._scripts
        return (s.ask, s.peek, s.report, s.pause, s.restore)

    def _run(self, text: str, args: list[Any], *, restarted_arg: int | None = None) -> Any:
        """Run a script by its hash; where Redis does not know it, by its text.

        In the same call that makes the script known again, the argument at ``restarted_arg`` says so: where
        Redis hides which process it is, that is the sign of a restart (scripts are not kept over one), and no
        other worker can slip in between.
        """
        try:
            return self._client.evalsha(self._shas[text], 1, self._key, *args)
        except redis.exceptions.NoScriptError:
            if restarted_arg is not None:
                args = [*args]
                args[restarted_arg] = 1
            reply = self._client.eval(text, 1, self._key, *args)
            # Known by EVAL alone it could be pushed out by other scripts (Redis keeps 500 of them since 7.4).
            self._client.script_load(text)
            return reply

    def _arguments(self, lead_ms: float, spread: Spacing | None = None) -> list[Any]:
        rules = self._rules
        together, apart_ms = (spread.together, spread.apart_ms) if spread is not None else (0, 0)
        return [
            lead_ms,
            0,
            rules.account_rate or 0,
            rules.pair_interval_ms,
            rules.pair_burst,
            rules.otp_reserve,
            self.tags.account_tag,
            *self._seen,
            together,
            apart_ms,
            rules.probe_ms,
        ]

    def _tolerance(self) -> float:
        return self._rules.pair_tolerance_ms

    def _pairs(self, group: Group, asks: Sequence[Ask]) -> list[str]:
        pair, sender = self.tags.pair, group.sender
        return [pair(sender, asks[place].recipient) for place in group.places]

    def _group(self, group: Group, asks: Sequence[Ask], pairs: list[str]) -> list[Any]:
        quota = group.limits.quota
        missed = [asks[place].missed_ms for place in group.places] if group.exchange else []
        return [
            group.kind.value,
            self.tags.sender(group.sender),
            group.campaign_id,
            group.limits.rate,
            -1 if quota is None else quota,
            group.campaign_rate or 0,
            "".join(pairs),
            " ".join([f"{slot:.4f}" for slot in missed if slot]) or ("0" if group.exchange else ""),
        ]

    # -- memory lost -----------------------------------------------------------------------------------

    def _notice(
        self,
        epoch: str,
        now_ms: float,
        groups: list[Group],
        pairs: list[list[str]],
        answers: list[Permit | Wait],
    ) -> None:
        """Keep the last permits that a quota counts; give them to a Redis that has forgotten them.

        The ledger knows them only once their attempts are opened, and may be read just before that.
        """
        with self._lock:
            forgotten = list(self._counted) if self._epoch and epoch != self._epoch else []
            self._epoch = epoch
            for group, tags in zip(groups, pairs, strict=True):
                if group.limits.quota is None or group.exchange:
                    continue
                tag = self.tags.sender(group.sender)
                for place, recipient in zip(group.places, tags, strict=True):
                    answer = answers[place]
                    if isinstance(answer, Permit):
                        self._counted.append((answer.slot_ms, tag, recipient))
            while self._counted and self._counted[0][0] < now_ms - _KEEP_MS:
                self._counted.popleft()
        by_sender: dict[str, list[tuple[str, float]]] = {}
        for slot_ms, tag, recipient in forgotten:
            by_sender.setdefault(tag, []).append((recipient, slot_ms))
        for tag, recipients in by_sender.items():
            self._load(tag, recipients)

    def _load(self, sender_tag: str, recipients: Iterable[tuple[str, float]]) -> None:
        """Recipients that a quota counts, any number of them."""
        key = f"{self.tags.prefix}quota:{sender_tag}"
        for chunk in _chunks(recipients, _RESTORE_CHUNK):
            pipeline = self._client.pipeline(transaction=False)
            newest = dict(sorted(chunk, key=_at))
            # GT: what was noted meanwhile is newer than what the ledger told.
            pipeline.zadd(key, newest, gt=True)
            pipeline.pexpire(key, int(DAY_MS) + 60_000)
            pipeline.execute()


_NO_ANSWER = Wait(Gate.COLD, None)


def _at(item: tuple[str, float]) -> float:
    return item[1]


def _chunks(items: Iterable[tuple[str, float]], size: int) -> Iterator[list[tuple[str, float]]]:
    rest = iter(items)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _answer(raw: bytes, late_ms: float, waits: dict[bytes, Wait]) -> Permit | Wait:
    """``raw`` is a number, or a word and perhaps an instant; many waits of one call are alike."""
    known = waits.get(raw)
    if known is not None:
        return known
    try:
        return Permit(float(raw), late_ms)
    except ValueError:
        word, _, at = _text(raw).partition(" ")
        return Permit.of_probe(float(at)) if word == "probe" else waits.setdefault(raw, _wait(raw))


def _instant(raw: bytes | str) -> float | None:
    return float(raw) if raw else None


def _wait(raw: bytes | str) -> Wait:
    gate, _, until = _text(raw).partition(" ")
    return Wait(Gate(gate), float(until) if until else None)
