"""Which fault rule applies to a request: the first in their order that matches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from simulator.faults import Match, Rule

#: The documentation calls the action SendMessage, all SDKs send SendWhatsappMessage (docs/vendor.md).
SEND_ACTIONS = frozenset({"SendMessage", "SendWhatsappMessage"})


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The facts that a rule can match. ``number`` and ``attempt`` count from 1."""

    action: str
    to: str
    sender: str
    type: str
    template: str
    number: int
    attempt: int


@dataclass(slots=True)
class _Entry:
    rule: Rule
    pattern: re.Pattern[str] | None
    fired: int = 0


class FaultRules:
    """The current rules, how often each fired, and their dice. ``since`` is monotonic seconds."""

    def __init__(self, rules: tuple[Rule, ...], seed: int, since: float) -> None:
        self.rules = rules
        self._dice = Random(seed)
        self._since = since
        self._connections = 0
        entries = [_Entry(rule, _pattern(rule.match)) for rule in rules]
        self._entries = entries
        self._at_connection = [entry for entry in entries if entry.rule.is_before_reading]
        self._at_request = [entry for entry in entries if not entry.rule.is_before_reading]
        self.needs_attempts = any(
            rule.match.attempt is not None or rule.match.attempt_up_to is not None for rule in rules
        )
        """Whether a rule matches by a recipient's attempt number; counting attempts costs memory."""

    @property
    def fired(self) -> list[int]:
        """How often each rule fired, in their order."""
        return [entry.fired for entry in self._entries]

    @property
    def has_request_rules(self) -> bool:
        """Whether any rule applies to requests and not only to connections."""
        return bool(self._at_request)

    def for_connection(self, now: float) -> Rule | None:
        """The rule that applies to a new connection, if any."""
        self._connections += 1
        for entry in self._at_connection:
            if self._matches_count_and_time(entry, self._connections, now) and self._falls_in_share(entry):
                return _fired(entry)
        return None

    def for_request(self, facts: RequestFacts, now: float) -> Rule | None:
        """The rule that applies to a request, if any."""
        for entry in self._at_request:
            if (
                self._matches_count_and_time(entry, facts.number, now)
                and _matches_content(entry, facts)
                and self._falls_in_share(entry)
            ):
                return _fired(entry)
        return None

    def _matches_count_and_time(self, entry: _Entry, number: int, now: float) -> bool:
        match, times = entry.rule.match, entry.rule.times
        elapsed = now - self._since
        return (
            (times is None or entry.fired < times)
            and (match.nth is None or number == match.nth)
            and (match.every is None or number % match.every == 0)
            and (match.from_seconds is None or elapsed >= match.from_seconds)
            and (match.until_seconds is None or elapsed < match.until_seconds)
        )

    def _falls_in_share(self, entry: _Entry) -> bool:
        share = entry.rule.match.share
        return share >= 1 or self._dice.random() < share


def _pattern(match: Match) -> re.Pattern[str] | None:
    return None if match.to_regex is None else re.compile(match.to_regex)


def _fired(entry: _Entry) -> Rule:
    entry.fired += 1
    return entry.rule


def _matches_content(entry: _Entry, facts: RequestFacts) -> bool:
    match = entry.rule.match
    if match.action is None:
        if facts.action not in SEND_ACTIONS:
            return False
    elif match.action not in {"*", facts.action}:
        return False
    return (
        (match.to_prefix is None or facts.to.startswith(match.to_prefix))
        and (match.to_suffix is None or facts.to.endswith(match.to_suffix))
        and (entry.pattern is None or entry.pattern.search(facts.to) is not None)
        and (match.sender is None or facts.sender == match.sender)
        and (match.type is None or facts.type == match.type)
        and (match.template is None or facts.template == match.template)
        and (match.attempt is None or facts.attempt == match.attempt)
        and (match.attempt_up_to is None or facts.attempt <= match.attempt_up_to)
    )
