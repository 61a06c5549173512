"""Which fault strikes this request: rules in order, the first that matches decides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from simulator.faults import Match, Rule

#: The page calls the action SendMessage, all published SDKs send SendWhatsappMessage (reference 1.3).
SEND_ACTIONS = frozenset({"SendMessage", "SendWhatsappMessage"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule may look at. ``number`` and ``attempt`` count from 1."""

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
    """The rules in force, how often each fired, and the dice. ``since`` is a monotonic time in seconds."""

    def __init__(self, rules: tuple[Rule, ...], seed: int, since: float) -> None:
        self.rules = rules
        self._dice = Random(seed)
        self._since = since
        self._connections = 0
        entries = [_Entry(rule, _pattern(rule.match)) for rule in rules]
        self._entries = entries
        self._at_connection = [entry for entry in entries if entry.rule.is_before_reading]
        self._at_request = [entry for entry in entries if not entry.rule.is_before_reading]
        self.counts_attempts = any(
            rule.match.attempt is not None or rule.match.attempt_up_to is not None for rule in rules
        )
        """Whether any rule asks for a recipient's attempt number; counting them costs memory."""

    @property
    def fired(self) -> list[int]:
        """How often each rule struck, in the order of the rules."""
        return [entry.fired for entry in self._entries]

    @property
    def looks_at_requests(self) -> bool:
        """False when no rule can strike a request, which spares the gathering of facts."""
        return bool(self._at_request)

    def for_connection(self, now: float) -> Rule | None:
        """The rule that strikes a connection just made."""
        self._connections += 1
        for entry in self._at_connection:
            if self._holds_by_count_and_time(entry, self._connections, now) and self._falls_in_share(entry):
                return _struck(entry)
        return None

    def for_request(self, facts: Facts, now: float) -> Rule | None:
        """The rule that strikes a request just read."""
        for entry in self._at_request:
            if (
                self._holds_by_count_and_time(entry, facts.number, now)
                and _holds_by_content(entry, facts)
                and self._falls_in_share(entry)
            ):
                return _struck(entry)
        return None

    def _holds_by_count_and_time(self, entry: _Entry, number: int, now: float) -> bool:
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


def _struck(entry: _Entry) -> Rule:
    entry.fired += 1
    return entry.rule


def _holds_by_content(entry: _Entry, facts: Facts) -> bool:
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
