"""A posted campaign: its options, checked as ``send`` checks them, and put on record with its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidInput
from bulksend.failpoints import reach
from bulksend.ledger import campaigns, uploads
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database
from bulksend.ledger.uploads import Upload, UploadState
from bulksend.messaging import Kind, MessageType
from bulksend.messaging.argument_naming import ArgumentNaming, as_json_field
from bulksend.messaging.units import parse_choice
from bulksend.operations.media import place_uploaded
from bulksend.settings import Settings
from producer.files import FilePlan, plan_file
from producer.forecast import LedgerState, read_state
from producer.intake import Intake
from producer.intake_report import IntakeReport
from producer.uploads.store import StoredFile, UploadStore


@dataclass(frozen=True, slots=True)
class Poster:
    """The one that posts: a key or a user."""

    id: str
    actor: str
    """Its name in the operator log."""
    check_send: Callable[[Kind, str], None]
    """Raises AccessDenied when it may not send this kind from this sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignOptions:
    """The options of ``send`` by their JSON names. ``content`` is the vendor's Content as JSON text."""

    sender: str
    kind: str
    type: str
    content: str
    name: str | None = None
    key: str | None = None
    send_at: str | None = None
    ttl_seconds: float | None = None
    rate: str | None = None
    on_unknown: str | None = None
    cap: str | None = None
    default_cap: str | None = None
    """The installation's, when the campaign was posted."""
    exclude: Sequence[str] = ()
    only: Sequence[str] = ()
    require_consent: bool = False
    media: str | None = None
    """The id of an uploaded file for the content; None once it is in it."""
    timezone: str | None = None
    local_time: str | None = None
    region: str | None = None
    map: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    sheet: str | None = None
    again: bool = False
    into: str | None = None
    canary: str | None = None
    max_failed: str | None = None
    weight: int | None = None

    def plan(self, path: Path, *, created_by: str, naming: ArgumentNaming = as_json_field) -> FilePlan:
        """The file with these options. Raises InvalidInput as ``plan_file``."""
        return plan_file(
            path,
            sender=self.sender,
            type=self.type,
            content=self.content.encode("utf-8", "surrogatepass"),
            kind=self.kind,
            name=self.name,
            at=self.send_at,
            local_time=self.local_time,
            ttl=None if self.ttl_seconds is None else f"{self.ttl_seconds:.3f}s",
            rate=self.rate,
            on_unknown=self.on_unknown,
            cap=self.cap,
            exclude=self.exclude,
            only=self.only,
            require_consent=self.require_consent,
            default_cap=self.default_cap,
            key=self.key,
            again=self.again,
            into=self.into,
            region=self.region,
            timezone=self.timezone,
            encoding=self.encoding,
            sheet=self.sheet,
            canary=self.canary,
            max_failed=self.max_failed,
            weight=self.weight,
            columns=[f"{name}={column}" for name, column in self.map.items()],
            created_by=created_by,
            naming=naming,
        )


@dataclass(frozen=True, slots=True)
class Uploads:
    """Checks posted campaigns and puts them on record."""

    settings: Settings
    database: Database
    store: UploadStore
    intake: Intake

    @classmethod
    def from_settings(cls, of: Settings, database: Database) -> Uploads:
        """In the folder of these settings."""
        store = UploadStore(Path(of.upload_dir), max_bytes=of.upload_max_mb << 20)
        return cls(of, database, store, Intake.from_settings(of, database))

    def accept(
        self,
        options: CampaignOptions,
        file: StoredFile,
        by: Poster,
        *,
        idempotency_key: str | None,
        campaign_key: str | None = None,
    ) -> bool:
        """Put the campaign of a file on record; returns whether rows are left to take in, which begins now.

        ``idempotency_key`` finds the campaign of an earlier request of the same poster; ``campaign_key`` is the one
        that the campaign gets, as its plan froze it. Raises InvalidInput when the options or the file are wrong or the
        key belongs to another campaign, AccessDenied.
        """
        options, plan = self.check(options, file, by)
        if campaign_key is not None:
            plan = replace(plan, given_key=campaign_key)
        elif idempotency_key is not None and options.key is None:
            plan = replace(plan, given_key=_derived_key(by.id, idempotency_key))
        elif options.again:
            raise InvalidInput(
                '"again": true needs an Idempotency-Key header, so that a repeated request does not send once more'
            )
        with self.database.read() as tx:
            now = read_state(plan, tx)
        state = self.database.retrying(lambda tx: self._record(tx, plan, now, options, file))
        reach("upload_accepted")
        if state in uploads.LIVE:
            return True
        self.delete(file.id)
        return False

    def delete(self, id: str) -> None:
        """Delete a file whose rows are all taken in, unless files are kept."""
        if not self.settings.upload_keep:
            self.store.remove(id)

    def plan(self, upload: Upload) -> FilePlan:
        """The file as it was accepted. Raises InvalidInput when it cannot be read any more."""
        options = CampaignOptions(**json.loads(upload.options))
        path = self.store.path(upload.id, upload.file)
        known: Future[str] = Future()
        known.set_result(upload.source_hash)
        return replace(
            options.plan(path, created_by=upload.created_by),
            given_key=upload.campaign_key,
            digest=known,
            campaign_id=upload.id,
        )

    def check(
        self, options: CampaignOptions, file: StoredFile, by: Poster
    ) -> tuple[CampaignOptions, FilePlan]:
        """The options with the installation's region, zone and cap, which may be others later, and the file with them.

        Raises InvalidInput for what options and header show, AccessDenied.
        """
        of = self.settings
        options = replace(
            options,
            region=of.default_region if options.region is None else options.region,
            timezone=of.timezone if options.timezone is None else options.timezone,
            default_cap=of.cap,
        )
        if options.media is not None:
            content = place_uploaded(
                self.database,
                options.media,
                type=parse_choice(MessageType, options.type, field="type"),
                content=options.content,
                field="media",
            )
            options = replace(options, content=content.decode(), media=None)
        plan = replace(options.plan(file.path, created_by=by.actor), campaign_id=file.id)
        by.check_send(plan.kind, plan.sender)
        self.intake.check_can_store(plan.kind)
        return options, plan

    def _record(
        self, tx: Connection, plan: FilePlan, now: LedgerState, options: CampaignOptions, file: StoredFile
    ) -> UploadState:
        if (again := uploads.get(tx, file.id)) is not None:
            # The first COMMIT took place, and only its answer was lost.
            return again.state
        campaign = self._campaign(tx, plan, now)
        uploads.add(
            tx,
            id=file.id,
            campaign_id=None if campaign is None else campaign.id,
            options=json.dumps(asdict(options)),
            campaign_key=plan.key,
            source_hash=plan.hash,
            file=file.path.name,
            sha256=file.sha256,
            bytes=file.bytes,
            created_by=plan.created_by[:100],
        )
        if campaign is None or plan.into is not None or campaign.intake_done_at is None:
            return UploadState.STORED
        repeated = IntakeReport(campaign.id, repeated=True, resumed_at=campaign.rows_read)
        uploads.end_repeated(tx, file.id, report_json(repeated.as_json()))
        return UploadState.DONE

    def _campaign(self, tx: Connection, plan: FilePlan, now: LedgerState) -> Campaign | None:
        """The campaign that gets the rows, made here where that needs no look at them; else None."""
        if plan.into is not None:
            return None if now.continues is None else now.continues.into
        if now.alike and campaigns.by_key(tx, plan.key) is None:
            # Some of the rows may be for people who have this message.
            return None
        return self.intake.create(tx, plan.campaign(now.now_ms))[0]


def _derived_key(scope: str, idempotency_key: str) -> str:
    """A campaign's key for an Idempotency-Key, which two posters may both use."""
    return f"http:{scope}:{hashlib.sha256(idempotency_key.encode()).hexdigest()[:40]}"


def report_json(report: Mapping[str, Any]) -> str:
    """What an upload keeps of its intake's report: the campaign has the counts and the refused rows."""
    kept = ("superseded", "repeated", "resumed_at", "notes", "continued")
    return json.dumps({name: report[name] for name in kept if name in report})
