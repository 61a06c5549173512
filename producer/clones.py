"""A file with the content and options of an earlier campaign, and the rest of a cancelled one from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import RowMapping

from bulksend.bootstrap import reading_cipher
from bulksend.ledger import counters, search
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.messaging import ContentTemplate, MessageType
from bulksend.messaging.argument_naming import ArgumentNaming, as_python_argument
from bulksend.messaging.audience import parse_audience
from bulksend.messaging.number_forms import number_forms
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import UNSENT
from bulksend.messaging.units import NEVER_MS, format_instant, parse_instant_ms
from bulksend.messaging.value_checks import check_name
from bulksend.operations.clones import check_rest, clone_options
from bulksend.operations.contents import Variables
from bulksend.settings import Settings
from producer.files import FilePlan
from producer.intake import Intake, source_hash
from producer.intake_report import IntakeReport
from producer.reading import RawRow
from producer.uploads.requests import CampaignOptions


def plan_clone(
    database: Database,
    id_or_name: str,
    path: Path,
    *,
    of: Settings,
    created_by: str,
    name: str | None = None,
    at: str | None = None,
    again: bool = False,
    into: str | None = None,
    naming: ArgumentNaming = as_python_argument,
) -> FilePlan:
    """The file, to be sent as an earlier campaign was.

    Raises CampaignNotFound, WrongState as ``clone_options``, and InvalidInput as ``plan_file``.
    """
    with database.read() as tx:
        options = clone_options(tx, id_or_name)
    options |= {
        "content": json.dumps(options["content"]),
        "timezone": options.get("timezone") or of.timezone,
        "region": of.default_region,
        "default_cap": of.cap,
    }
    clone = CampaignOptions(**options, name=name, send_at=at, again=again, into=into)
    return clone.plan(path, created_by=created_by, naming=naming)


@dataclass(frozen=True, slots=True)
class RestPlan:
    """The people whom a cancelled campaign surely did not reach, with what its content needs of their rows."""

    campaign: Campaign
    template: ContentTemplate
    cipher: Cipher
    created_by: str
    name: str | None
    due_at_ms: int | None
    naming: ArgumentNaming
    notes: tuple[str, ...]
    people: int
    """How many there are at most: some may have got the same message in another campaign."""
    now_ms: int

    @property
    def sender(self) -> str:
        """The business number that sends."""
        return self.campaign.sender

    def run(self, intake: Intake) -> IntakeReport:
        """Take them in. Raises InvalidInput as ``Intake.run``."""
        report = intake.run(
            self._new(),
            self.template,
            lambda after: islice(self._rows(intake.database), after, None),
            timezone=self.campaign.timezone,
            into=self.campaign.id,
        )
        report.notes[:0] = self.notes
        return report

    def _new(self) -> NewCampaign:
        """What ``continuation`` makes the campaign of the rest of; its key is made there."""
        old = self.campaign
        content = self.template.to_json()
        given = {"name": self.name, "due_at": self.due_at_ms}
        return NewCampaign(
            key=f"rest of {old.id}",
            name=self.name or old.name,
            kind=old.kind,
            sender=old.sender,
            type=old.type,
            content=content,
            source_hash=source_hash(
                [old.id.encode()], content=content, type=old.type, sender=old.sender, kind=old.kind.value
            ),
            source_name=f"rest of {old.source_name}",
            due_at=self.due_at_ms or self.now_ms,
            ttl_ms=old.ttl_ms,
            rate=old.rate,
            on_unknown=old.on_unknown,
            created_by=self.created_by,
            timezone=old.timezone,
            given={
                column: "at" if column == "due_at" else column
                for column in given
                if given[column] is not None
            },
            naming=self.naming,
        )

    def _rows(self, database: Database) -> Iterator[RawRow | RefusedRow]:
        """A page in a transaction, so that none stays open while rows are stored."""
        variables, unsent, after = Variables(self.campaign, self.cipher), parse_audience("unsent"), None
        while True:
            with database.read() as tx:
                page = search.audience(tx, self.campaign.id, unsent, after=after)
            for row in page:
                unreadable = variables.unreadable
                values: dict[str, object] = {
                    **variables.with_zone(row["id"], row["payload"]),
                    **self._times(row),
                    "to": row["recipient"],
                }
                if row["payload"] is None:
                    yield RefusedRow(row["row"], "row", "", "has no content any more: it was deleted")
                    continue
                if variables.unreadable > unreadable:
                    why = "is encrypted with a key that BULKSEND_ENCRYPTION_KEY does not list; add it and repeat this"
                    yield RefusedRow(row["row"], "row", "", why)
                    continue
                if row["key"] not in number_forms(row["recipient"]):
                    values["key"] = row["key"]
                yield RawRow(row["row"], values)
            if not page:
                return
            after = str(page[-1]["id"])

    def _times(self, row: RowMapping) -> dict[str, object]:
        """What a row has of its own: a time that is still to come; and a time to live, there or without a campaign's.

        Else its end tells only when it was taken in.
        """
        own: dict[str, object] = {}
        campaign, due_at = self.campaign, row["due_at"]
        if row["attempts"]:
            return own
        has_other = campaign.local_time is None and due_at != campaign.due_at
        if has_other and (self.due_at_ms or self.now_ms) < due_at < NEVER_MS:
            own["send_at"] = format_instant(due_at)
        lives_ms = None if row["expires_at"] is None else row["expires_at"] - due_at
        if lives_ms is not None and lives_ms > 0 and (own or campaign.ttl_ms is None):
            own["ttl"] = f"{lives_ms / 1000:.3f}s"
        return own


def plan_rest(
    database: Database,
    id_or_name: str,
    *,
    of: Settings,
    created_by: str,
    name: str | None = None,
    at: str | None = None,
    naming: ArgumentNaming = as_python_argument,
) -> RestPlan:
    """The rest of a cancelled campaign. Raises CampaignNotFound, InvalidInput, WrongState as ``check_rest``."""
    with database.read() as tx:
        campaign, now_ms = check_rest(tx, id_or_name), read_clock(tx)
        statuses = counters.of(tx, [campaign.id])[campaign.id].statuses
    zone = campaign.timezone or of.timezone
    return RestPlan(
        campaign,
        ContentTemplate.from_json(MessageType(campaign.type), campaign.content),
        reading_cipher(of),
        created_by,
        None if name is None else check_name(name, naming("name"), 200),
        None if at is None else parse_instant_ms(at, timezone=zone, now_ms=now_ms, field=naming("at")),
        naming,
        _notes(campaign),
        sum(statuses.get(status, 0) for status in UNSENT),
        now_ms,
    )


def _notes(campaign: Campaign) -> tuple[str, ...]:
    if campaign.intake_done_at is not None:
        return ()
    return (
        f"the campaign was cancelled while its file was taken in, after row {campaign.rows_read:,}; `bulksend send "
        f"FILE … --continue {campaign.id}` sends to the people of the other rows",
    )
