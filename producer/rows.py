"""Rows between reading and storing: planned, a chunk at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.message_rows import NewMessage, Prepared
from bulksend.messaging import ContentTemplate, PlannedMessage, Planner, PlanningContext, canonical_number
from bulksend.messaging.json_encoding import make_json_encoder
from bulksend.messaging.local_time import parse_local_time
from bulksend.messaging.plan import RefusedRow, default_key
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import counted
from producer.reading import RawRow


@dataclass(frozen=True, slots=True)
class Chunk:
    """``rows`` rows of a file: planned, refused or superseded."""

    rows: int
    planned: list[NewMessage]
    refused: list[RefusedRow]
    prepared: list[Prepared] | None = None
    """None with SQLite, where it is made between two transactions, so that other writers can work meanwhile."""
    turn: bytes | None = None
    """The turn under a cap that the rows of ``prepared`` hold under. Without rows, the transaction makes them."""

    @property
    def superseded(self) -> int:
        """Rows that are neither planned nor refused: a newer row replaces them."""
        return self.rows - len(self.planned) - len(self.refused)


@dataclass(frozen=True, slots=True)
class IntakeRequest:
    """Rows, and the campaign that they are for."""

    rows: Callable[[int], Iterator[RawRow | RefusedRow]]
    new: NewCampaign
    template: ContentTemplate
    default_region: str | None
    timezone: str | None
    rules: TimeRules = field(default_factory=TimeRules)


class RowPlanner:
    """Plans the rows of a request. A row's own time must not be long before ``asked_at_ms``.

    Without a ``campaign`` (nothing is stored) the rows are planned for the request's new campaign.
    """

    def __init__(
        self,
        source: IntakeRequest,
        campaign: Campaign | None,
        now_ms: int,
        asked_at_ms: int,
        superseded: Collection[int],
        due_at_ms: int | None = None,
    ) -> None:
        self.rows, self.new = source.rows, source.new
        self._of = source.new if campaign is None else campaign
        self._superseded = superseded
        local_time = self._of.local_time
        self._planner = Planner(
            PlanningContext(
                kind=source.new.kind,
                sender=source.new.sender,
                template=source.template,
                due_at_ms=self._of.due_at if due_at_ms is None else due_at_ms,
                ttl_ms=self._of.ttl_ms,
                now_ms=now_ms,
                asked_at_ms=asked_at_ms,
                default_region=source.default_region,
                timezone=source.timezone,
                local_time=None if local_time is None else parse_local_time(local_time),
                rules=source.rules,
            )
        )

    @property
    def notes(self) -> list[str]:
        """About the rows that are planned so far."""
        moved = self._planner.moved
        said = self._planner.quality.sentences()
        if moved:
            is_due = "is due" if moved == 1 else "are due"
            said.append(f"{counted(moved, 'message')} {is_due} when quiet hours at the recipient's end")
        return said

    def next(self, source: Iterator[RawRow | RefusedRow], many: int) -> Chunk:
        """The next ``many`` rows, fewer at the end."""
        rows, planned, refused = 0, list[NewMessage](), list[RefusedRow]()
        plan_row, of, superseded = self._planner.plan, self._of, self._superseded
        for row in itertools.islice(source, many):
            rows += 1
            plan = row if isinstance(row, RefusedRow) else plan_row(*row)
            if isinstance(plan, RefusedRow):
                refused.append(plan)
            elif plan.row not in superseded:
                planned.append(new_message(plan, of))
        return Chunk(rows, planned, refused)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All rows from the first."""
        source = self.rows(0)
        while (chunk := self.next(source, size)).rows:
            yield chunk


@dataclass(slots=True)
class SupersededCodes:
    """Finds the one-time codes that a newer row replaces: of two codes for one number only the last one works.

    Its memory grows with the number of recipients.
    """

    rows: set[int] = field(default_factory=set)
    """The rows that a newer row replaces."""
    _newest: dict[object, int] = field(default_factory=dict)

    def add(self, planned: Iterable[NewMessage]) -> None:
        """Add the next messages in the file's order."""
        for message in planned:
            # A chosen key belongs to one person; with another person it is a conflict.
            same = (message.key, canonical_number(message.recipient)) if message.explicit_key else message.key
            if (older := self._newest.get(same)) is not None:
                self.rows.add(older)
            self._newest[same] = message.row


_sorted_json = make_json_encoder(separators=(", ", ": "), sort_keys=True)


def new_message(plan: PlannedMessage, campaign: Campaign | NewCampaign) -> NewMessage:
    """The ledger's form of a planned row of a campaign."""
    row, to, key, variables, due_at, expires_at, consent, timezone, in_quiet_hours, purpose = plan
    text = _sorted_json(variables)
    # Positional arguments: keywords take half as long again.
    return NewMessage(
        row,
        key,
        key != to and key != default_key(to, purpose),
        to,
        campaign.sender,
        campaign.type,
        {"v": variables} if timezone is None else {"v": variables, "z": timezone},
        text,
        due_at,
        expires_at,
        consent,
        in_quiet_hours,
        purpose,
        f'{{"v":{text}}}' if timezone is None else None,
    )
