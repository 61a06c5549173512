"""The received requests, in memory only: the evidence for every promise about what was sent.

Each request keeps a compact row (about 50 bytes, in arrays); the last ``keep_bodies`` keep the rest too. All of it is
private data: inspection shows it, logs never do.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from simulator.fault_rules import SEND_ACTIONS
from simulator.replies import Ids
from simulator.windows import PeakRate


class Verdict(StrEnum):
    """The result of a request."""

    ACCEPTED = "accepted"
    """Sent to the recipient, and the client was told so."""
    LOST_ANSWER = "lost_answer"
    """Sent to the recipient, but the client got no clear reply."""
    SERVED = "served"
    """An action other than the send call, answered."""
    REFUSED = "refused"
    """Not sent, and the client was told why."""
    THROTTLED = "throttled"
    """Not sent: the client exceeded a rate and was told so."""
    HTTP_ERROR = "http_error"
    """Not sent, answered by the HTTP status of a fault."""
    DROPPED = "dropped"
    """Not sent, and the reply was not complete."""


#: The message was sent to the recipient.
STORED = frozenset({Verdict.ACCEPTED, Verdict.LOST_ANSWER})

_VERDICTS = tuple(Verdict)
_CODE = {verdict: code for code, verdict in enumerate(_VERDICTS)}
_STORED_CODES = frozenset(_CODE[verdict] for verdict in STORED)


def with_lost_reply(verdict: Verdict) -> Verdict:
    """The verdict when its reply is not complete."""
    return Verdict.LOST_ANSWER if verdict in STORED else Verdict.DROPPED


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request to record. ``message_number`` 0: no message; ``ret_code`` None: a reply without RetCode."""

    received_at_ms: float
    now: float
    action: str
    to: str
    sender: str
    type: str
    verdict: Verdict
    ret_code: int | None
    http_status: int
    message_number: int
    fault: str
    content: object
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Body:
    """The part of a record that is kept for the newest requests only."""

    content: object
    headers: dict[str, str]
    fault: str
    to: str


#: Without the signature: with the body it would be enough to send the request again.
_KEPT_HEADERS = ("content-type", "user-agent", "x-access-key-id", "x-nonce", "x-timestamp", "connection")

_NO_RET_CODE = -1


class _StringTable:
    """Interned strings: a repeated string is kept once and named by a number."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, word: str) -> int:
        number = self._numbers.get(word)
        if number is None:
            number = self._numbers[word] = len(self.words)
            self.words.append(word)
        return number

    def find(self, word: str) -> int | None:
        return self._numbers.get(word)


class Records:
    """Rows in order of arrival, numbered from 1."""

    def __init__(self, keep_bodies: int, ids: Ids) -> None:
        self._keep_bodies = keep_bodies
        self._ids = ids
        self._bodies: dict[int, _Body] = {}
        self._words = _StringTable()
        self._at_ms = array("d")
        self._now = array("d")
        self._to = array("Q")
        self._sender = array("I")
        self._type = array("I")
        self._action = array("I")
        self._verdict = array("B")
        self._ret_code = array("i")
        self._http_status = array("H")
        self._message = array("Q")
        self._content_mark = array("q")
        # Counted on arrival, so that a request for the stats does not delay the run.
        self._verdicts: Counter[int] = Counter()
        self._ret_codes: Counter[int] = Counter()
        self._statuses: Counter[int] = Counter()
        self._types: Counter[str] = Counter()
        self._overall = PeakRate()
        self._stored = PeakRate()
        self._by_sender: dict[int, tuple[PeakRate, PeakRate]] = {}

    def __len__(self) -> int:
        return len(self._now)

    def add(self, received: ReceivedRequest) -> int:
        """Record one request; returns its number."""
        words = self._words
        sender = words.number(received.sender)
        self._at_ms.append(received.received_at_ms)
        self._now.append(received.now)
        self._to.append(_as_number(received.to))
        self._sender.append(sender)
        self._type.append(words.number(received.type))
        self._action.append(words.number(received.action))
        self._verdict.append(_CODE[received.verdict])
        self._ret_code.append(_NO_RET_CODE if received.ret_code is None else received.ret_code)
        self._http_status.append(received.http_status)
        self._message.append(received.message_number)
        self._content_mark.append(hash(received.content) if isinstance(received.content, str) else 0)
        self._count(sender, received)
        number = len(self._now)
        self._keep_body(number, received)
        return number

    def _count(self, sender: int, received: ReceivedRequest) -> None:
        self._verdicts[_CODE[received.verdict]] += 1
        self._statuses[received.http_status] += 1
        self._types[received.type] += 1
        if received.ret_code is not None:
            self._ret_codes[received.ret_code] += 1
        # Reading a sender's templates or storing a file of it is no message.
        if received.sender and received.action in SEND_ACTIONS:
            self._count_window(sender, received.now, received.verdict in STORED)

    def _count_window(self, sender: int, now: float, stored: bool) -> None:
        windows = self._by_sender.get(sender)
        if windows is None:
            windows = self._by_sender[sender] = (PeakRate(), PeakRate())
        self._overall.add(now)
        windows[0].add(now)
        if stored:
            self._stored.add(now)
            windows[1].add(now)

    def _keep_body(self, number: int, received: ReceivedRequest) -> None:
        if not self._keep_bodies:
            return
        headers = received.headers
        kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
        self._bodies[number] = _Body(received.content, kept, received.fault, received.to)
        self._bodies.pop(number - self._keep_bodies, None)

    def mark_reply_lost(self, number: int) -> None:
        """Record that the reply to this request was not completely sent."""
        given = self._verdict[number - 1]
        left = _CODE[with_lost_reply(_VERDICTS[given])]
        self._verdict[number - 1] = left
        self._verdicts[given] -= 1
        self._verdicts[left] += 1

    def attempts(self) -> Counter[int]:
        """How many requests each recipient has had, by its digits as a number."""
        counted = Counter(self._to)
        counted.pop(0, None)
        return counted

    # ---- inspection ------------------------------------------------------------------------------

    def find(
        self,
        *,
        to: str | None = None,
        sender: str | None = None,
        type: str | None = None,
        verdict: Verdict | None = None,
        message_id: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Rows with a number above ``after``, oldest first, at most ``limit``."""
        found: list[dict[str, Any]] = []
        for index in self._matching(to, sender, type, verdict, message_id, after):
            found.append(self._row(index))
            if len(found) >= limit:
                break
        return found

    def _matching(
        self,
        to: str | None,
        sender: str | None,
        type: str | None,
        verdict: Verdict | None,
        message_id: str | None,
        after: int,
    ) -> Iterator[int]:
        wanted: list[tuple[array[int], int]] = []
        if to is not None:
            wanted.append((self._to, _as_number(to)))
        for column, word in ((self._sender, sender), (self._type, type)):
            if word is not None:
                number = self._words.find(word)
                if number is None:
                    return
                wanted.append((column, number))
        if verdict is not None:
            wanted.append((self._verdict, _CODE[verdict]))
        if message_id is not None:
            wanted.append((self._message, self._ids.message_number(message_id) or 0))
            if not wanted[-1][1]:
                return
        for index in range(after, len(self._now)):
            if all(column[index] == value for column, value in wanted):
                yield index

    def _row(self, index: int) -> dict[str, Any]:
        body = self._bodies.get(index + 1)
        verdict = _VERDICTS[self._verdict[index]]
        ret_code = self._ret_code[index]
        return {
            "n": index + 1,
            "received_at_ms": self._at_ms[index],
            "monotonic": self._now[index],
            "request_id": self._ids.request_id(index + 1),
            "action": self._words.words[self._action[index]],
            "sender": self._words.words[self._sender[index]],
            "to": body.to if body else _as_digits(self._to[index]),
            "type": self._words.words[self._type[index]],
            "verdict": verdict.value,
            "stored": verdict in STORED,
            "ret_code": None if ret_code == _NO_RET_CODE else ret_code,
            "http_status": self._http_status[index],
            "message_id": self._message_id(index),
            "fault": body.fault if body else None,
            "content": _as_json_value(body.content) if body else None,
            "headers": body.headers if body else None,
        }

    def _message_id(self, index: int) -> str | None:
        number = self._message[index]
        return self._ids.message_id(number) if number else None

    def duplicates(
        self, *, of: str = "stored", same_content: bool = False, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Recipients with more than one message from one sender.

        ``of`` is ``stored`` (sent messages) or ``requests`` (all that were received); with ``same_content`` only
        messages with the same Content count as duplicates.
        """
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        seen: set[tuple[int, ...]] = set()
        # Two passes, so that only duplicates take memory.
        for index in self._counted(of):
            key = self._duplicate_key(index, same_content)
            if key in seen:
                groups[key] = []
            else:
                seen.add(key)
        for index in self._counted(of):
            rows = groups.get(self._duplicate_key(index, same_content))
            if rows is not None:
                rows.append(index)
        return [self._duplicate(rows) for rows in list(groups.values())[:limit]]

    def _counted(self, of: str) -> Iterator[int]:
        for index, to in enumerate(self._to):
            if to and (of != "stored" or self._verdict[index] in _STORED_CODES):
                yield index

    def _duplicate_key(self, index: int, same_content: bool) -> tuple[int, ...]:
        key = (self._to[index], self._sender[index])
        return (*key, self._content_mark[index]) if same_content else key

    def _duplicate(self, rows: list[int]) -> dict[str, Any]:
        first = rows[0]
        return {
            "to": _as_digits(self._to[first]),
            "sender": self._words.words[self._sender[first]],
            "times": len(rows),
            "n": [index + 1 for index in rows],
            "received_at_ms": [self._at_ms[index] for index in rows],
            "verdicts": [_VERDICTS[self._verdict[index]].value for index in rows],
            "message_ids": [self._message_id(index) for index in rows],
        }

    def stats(self, *, distinct: bool = False) -> dict[str, Any]:
        """Counts, and the most requests that send in any second, overall and per sender.

        ``distinct`` also counts the recipients, which reads every row.
        """
        verdicts = {verdict: self._verdicts[code] for verdict, code in _CODE.items()}
        return {
            "requests": len(self),
            "stored": sum(count for verdict, count in verdicts.items() if verdict in STORED),
            "distinct_recipients": len(set(self._to) - {0}) if distinct else None,
            "by_verdict": {verdict.value: count for verdict, count in verdicts.items() if count},
            "by_ret_code": _by_value(self._ret_codes),
            "by_http_status": _by_value(self._statuses),
            "by_type": {kind or "-": count for kind, count in self._types.items()},
            "first_at_ms": self._at_ms[0] if len(self) else None,
            "last_at_ms": self._at_ms[-1] if len(self) else None,
            "sends": _rates(self._overall, self._stored),
            "senders": {
                self._words.words[number]: _rates(requests, stored)
                for number, (requests, stored) in self._by_sender.items()
            },
        }


def _rates(requests: PeakRate, stored: PeakRate) -> dict[str, Any]:
    return {
        "requests": requests.count,
        "stored": stored.count,
        "max_requests_in_any_second": requests.most,
        "max_stored_in_any_second": stored.most,
        "mean_requests_per_second": requests.mean_per_second,
        "mean_stored_per_second": stored.mean_per_second,
    }


def _by_value(counted: Counter[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(counted.items())}


def _as_json_value(content: object) -> object:
    """The Content as a JSON value when it is JSON, else unchanged."""
    if not isinstance(content, str):
        return content
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content


def _as_number(to: str) -> int:
    """A recipient as an integer with a leading 1, which keeps leading zeros; 0 for no recipient."""
    return int("1" + to) if to.isascii() and to.isdigit() and len(to) <= 18 else 0


def _as_digits(number: int) -> str:
    return str(number)[1:] if number else ""
