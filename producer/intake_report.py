"""What an intake answers: its report, and the errors that end it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from bulksend.errors import InvalidInput
from bulksend.ledger import campaign_creation
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.suppressions import SUPPRESSED
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import CampaignStatus
from bulksend.messaging.units import counted, format_age, format_instant


@dataclass(slots=True)
class IntakeReport:
    """The result of an intake: the counts of the whole campaign, and what this run did."""

    campaign_id: str
    rows: int = 0
    messages: int = 0
    duplicates: int = 0
    suppressed: int = 0
    suppressed_by: dict[str, int] = field(default_factory=dict)
    """The suppressed by what ended them: ``suppressed``, ``cap``, ``exclude``, ``only``."""
    refused: list[RefusedRow] = field(default_factory=list)
    """The first refused rows."""
    refused_count: int = 0
    repeated: bool = False
    """All rows were stored before: nothing is sent twice."""
    resumed_at: int = 0
    """Rows that an earlier, interrupted run has stored."""
    new_sender: bool = False
    notes: list[str] = field(default_factory=list)
    """About the rows that this run has read."""
    superseded: int = 0
    """One-time codes of this run that a newer row for the same number replaced."""
    continued: Continued | None = None
    _campaign: Campaign | None = None

    @property
    def campaign(self) -> Campaign:
        """The campaign after the intake. Raises RuntimeError before its end."""
        if self._campaign is None:
            raise RuntimeError("the intake is not finished")
        return self._campaign

    def as_json(self) -> dict[str, object]:
        """The JSON of ``send --json``."""
        shown: dict[str, object] = {
            "campaign_id": self.campaign_id,
            "rows": self.rows,
            "messages": self.messages,
            "duplicates": self.duplicates,
            "suppressed": self.suppressed,
            "suppressed_by": self.suppressed_by,
            "refused": [row._asdict() for row in self.refused],
            "refused_count": self.refused_count,
            "superseded": self.superseded,
            "repeated": self.repeated,
            "resumed_at": self.resumed_at,
            "notes": self.notes,
        }
        return shown if self.continued is None else shown | {"continued": asdict(self.continued)}


@dataclass(slots=True)
class Continued:
    """The result of a continuation's rows: ``rows`` = ``messages`` + ``already`` + refused rows."""

    rows: int = 0
    messages: int = 0
    already: int = 0
    """Rows that this campaign, or another one with the same message, has already."""


def with_rules(suppressed: int, by: Mapping[str, int]) -> str:
    """Text: how many messages were left out, and by what where a rule of the campaign left out any."""
    rules = ", ".join(f"{rule} {count:,}" for rule, count in by.items())
    return f"{suppressed:,}" + (f" ({rules})" if by.keys() - {SUPPRESSED} else "")


class SamePeople(InvalidInput):
    """Some rows are for people who have this message of an earlier campaign, or will get it."""


class IntakeInterrupted(InvalidInput):
    """The campaign was cancelled during its intake, or another command took it over. Stored rows are kept."""

    exit_code = 1


def repeated_text(campaign: Campaign) -> str:
    """Text about a campaign that the same command made before."""
    if campaign.intake_done_at is None:
        return f"campaign {campaign.id} has {counted(campaign.rows_read, 'row')} of this file and gets the other rows"
    return (
        f"this was sent before, at {format_instant(campaign.created_at)}, as campaign {campaign.id} "
        f"({campaign.name}), which is {campaign.status.value}: nothing is sent twice. "
        "--again sends it as a new campaign"
    )


def same_people(
    rows: int, found: Counter[str], alike: Sequence[Campaign], new: NewCampaign, now_ms: int
) -> SamePeople | None:
    """The error for rows that campaigns of ``alike`` have already, counted in ``found`` by campaign id; else None."""
    if not found:
        return None
    # The campaign that is easiest to continue: of the same kind, and not cancelled.
    most = max(
        alike,
        key=lambda campaign: (
            campaign.id in found,
            campaign.kind is new.kind,
            campaign.status is not CampaignStatus.CANCELLED,
            found.get(campaign.id, 0),
            campaign.id,
        ),
    )
    are_for = "is for a person who has" if found.total() == 1 else "are for people who have"
    others = f", and {len(found) - 1:,} more," if len(found) > 1 else ""
    return SamePeople(
        f"{found.total():,} of {counted(rows, 'row')} {are_for} this message already: campaign {most.id} "
        f"({most.name}) of {format_age(max(0, now_ms - most.created_at))} ago{others} has the same sender and content. "
        f"Nothing was changed. {campaign_creation.next_steps(most, new)}"
    )
