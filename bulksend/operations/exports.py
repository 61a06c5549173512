"""Exports as background jobs: requested, shown, and given to the one that requested them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import AccessDenied, InvalidValue
from bulksend.ledger import jobs, operator_log
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import is_id, new_id
from bulksend.ledger.jobs import Job
from bulksend.ledger.search import Query
from bulksend.messaging.audience import parse_audience
from bulksend.messaging.units import format_instant
from bulksend.operations.access import Principal, Role
from bulksend.operations.export import REFUSED_COLUMNS, Export, Row, found_messages
from bulksend.operations.export import masked as masked_row
from bulksend.operations.json_shape import Page, checked_after
from bulksend.operations.messages import Filter

KIND = "export"
#: Formats of an audience.
AUDIENCE_FORMATS = ("jsonl", "xlsx")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The messages of a campaign or of a search, or a campaign's refused rows, in a format."""

    format: str
    campaign: str | None
    query: Query
    refused: bool
    masked: bool
    audience: str | None = None
    """People of the campaign instead of its messages."""

    @classmethod
    def from_job(cls, job: Job) -> ExportRequest:
        """The request that a job was made of."""
        arguments = dict(job.arguments)
        return cls(**{**arguments, "query": Query(**arguments["query"])})

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The header; None: that of the first row."""
        return REFUSED_COLUMNS if self.refused else None

    def rows(self, tx: Connection, cipher: Cipher) -> tuple[Iterator[Row], int | None]:
        """The rows one after another, and how many there are, where that is known.

        Raises CampaignNotFound.
        """
        if self.campaign is None:
            found = found_messages(tx, self.query)
            return (map(masked_row, found) if self.masked else found), None
        export = Export(tx, self.campaign, cipher)
        if self.refused:
            return export.refused_rows(), export.campaign.refused
        if self.audience is not None:
            return export.audience(parse_audience(self.audience)), None
        rows = export.masked_messages() if self.masked else export.messages()
        return rows, None if export.campaign.is_direct else export.campaign.messages


def request_export(
    database: Database,
    principal: Principal,
    wanted: Filter,
    *,
    format: str,
    refused: bool,
    masked: bool,
    audience: str | None = None,
    check_fits: Callable[[int], None],
) -> dict[str, Any]:
    """Queue an export, on record. ``check_fits`` raises InvalidInput when its format cannot hold that many rows.

    Raises AccessDenied, CampaignNotFound, InvalidInput.
    """
    if audience is not None:
        parse_audience(audience)
        check_audience_format(format, "format")
        if masked or refused or not wanted.is_a_campaign:
            why = 'is of one campaign: give campaign and no other filter, and "masked": false, since it is to be sent'
            raise InvalidValue("audience", audience[:40], why)
    if not masked and not refused:
        principal.check_role(Role.SENDER)
    if refused and not wanted.is_a_campaign:
        raise InvalidValue("refused", "", "rows are refused of a campaign; give campaign and no other filter")
    id = new_id()
    with database.write() as tx:
        query = wanted.query(tx)
        campaign = query.campaign_id if wanted.is_a_campaign else None
        request = ExportRequest(format, campaign, query, refused, masked, audience)
        # The rows are not read here.
        _, count = request.rows(tx, Cipher([]))
        check_fits(count or 0)
        jobs.add(tx, KIND, asdict(request), requested_by=principal.id, actor=principal.actor, id=id)
        operator_log.record(
            tx,
            actor=principal.actor,
            act="export",
            scope="campaign" if campaign else "search",
            subject=campaign or id,
            why=f"{format}, {export_content(refused=refused, audience=audience, masked=masked)}",
        )
        return as_json(jobs.get(tx, id, KIND))


def check_audience_format(format: str, field: str) -> None:
    """Raises InvalidValue for a format that cannot be sent as it was stored.

    In a CSV text that would be a formula gets an apostrophe, and ``send`` does not read Parquet.
    """
    if format not in AUDIENCE_FORMATS:
        raise InvalidValue(field, format[:40], f"an audience is written as {' or '.join(AUDIENCE_FORMATS)}")


def export_content(*, refused: bool, audience: str | None, masked: bool) -> str:
    """What an exported file holds, for the operator log."""
    if refused:
        return "refused rows"
    if audience is not None:
        return f"audience {audience}, numbers in full"
    return "numbers masked" if masked else "numbers in full"


def note_export(database: Database, campaign: Campaign, *, actor: str, format: str, content: str) -> None:
    """Put on record that a person exported a campaign at the terminal."""
    database.retrying(
        lambda tx: operator_log.record(
            tx, actor=actor, act="export", scope="campaign", subject=campaign.id, why=f"{format}, {content}"
        )
    )


def show_export(database: Database, principal: Principal, id: str) -> Job:
    """An export. Raises NotFound, and AccessDenied for any other than its requester and admins."""
    with database.read() as tx:
        job = jobs.get(tx, id, KIND)
    if job.requested_by != principal.id and not principal.role.includes(Role.ADMIN):
        raise AccessDenied("an export is for the key that requested it, and for admins")
    return job


def list_exports(database: Database, principal: Principal | None, *, limit: int, after: str | None) -> Page:
    """The newest exports first: the principal's own, for an admin or a person at the terminal (None) all.

    Raises InvalidValue.
    """
    requester = None if principal is None or principal.role.includes(Role.ADMIN) else principal.id
    with database.read() as tx:
        found = jobs.newest(tx, KIND, requested_by=requester, limit=limit, before=checked_after(after))
    return Page([as_json(job) for job in found], found[-1].id if len(found) == limit else None)


def delete_expired(database: Database, ids: Sequence[str]) -> dict[str, str | None]:
    """Delete expired jobs. Returns the run that has, or ended, each of these jobs that still exists."""
    with database.write() as tx:
        jobs.delete_expired(tx)
        return jobs.owners(tx, [id for id in ids if is_id(id)])


def as_json(job: Job) -> dict[str, Any]:
    """The interface's answer about an export."""
    result: Mapping[str, Any] = job.result or {}
    return {
        "id": job.id,
        "status": job.status,
        "progress": {"rows": job.rows_done, "of": job.rows_total},
        "format": job.arguments["format"],
        "url": f"/v1/exports/{job.id}/file" if job.result else None,
        "expires_at": None if job.expires_at is None else format_instant(job.expires_at),
        "sha256": result.get("sha256"),
        "bytes": result.get("bytes"),
        "error": job.error,
        "created_at": format_instant(job.created_at),
        "requested_by": job.actor,
        "campaign_id": job.arguments["campaign"],
        **{name: job.arguments.get(name) for name in ("refused", "masked", "audience")},
    }
