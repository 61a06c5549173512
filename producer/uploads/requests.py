"""A posted campaign: its options, checked as ``send`` checks them, and put on record with its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidInput
from bulksend.failpoints import reach
from bulksend.ledger import campaigns, uploads
from bulksend.ledger.database import Database
from bulksend.ledger.uploads import Upload
from bulksend.messaging import Kind
from bulksend.messaging.argument_naming import as_json_field
from bulksend.settings import Settings
from producer.files import FilePlan, plan_file
from producer.forecast import LedgerState, forecast, read_state
from producer.intake import Intake
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
    timezone: str | None = None
    region: str | None = None
    map: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    sheet: str | None = None
    again: bool = False
    into: str | None = None

    def plan(self, path: Path, *, created_by: str) -> FilePlan:
        """The file with these options. Raises InvalidInput as ``plan_file``."""
        return plan_file(
            path,
            sender=self.sender,
            type=self.type,
            content=self.content.encode("utf-8", "surrogatepass"),
            kind=self.kind,
            name=self.name,
            at=self.send_at,
            ttl=None if self.ttl_seconds is None else f"{self.ttl_seconds:.3f}s",
            rate=self.rate,
            on_unknown=self.on_unknown,
            key=self.key,
            again=self.again,
            into=self.into,
            region=self.region,
            timezone=self.timezone,
            encoding=self.encoding,
            sheet=self.sheet,
            columns=[f"{name}={column}" for name, column in self.map.items()],
            created_by=created_by,
            naming=as_json_field,
        )


@dataclass(frozen=True, slots=True)
class Uploads:
    """Checks posted campaigns and puts them on record."""

    settings: Settings
    database: Database
    store: UploadStore
    intake: Intake

    def accept(
        self,
        options: CampaignOptions,
        file: StoredFile,
        by: Poster,
        *,
        idempotency_key: str | None,
    ) -> str:
        """Put the campaign of a file on record; returns the id under which it is found. It is taken in from now on.

        ``idempotency_key`` finds the campaign of an earlier request of the same poster. Raises InvalidInput when the
        options or the file are wrong or the key belongs to another campaign, AccessDenied.
        """
        options = self._resolved(options)
        plan = self._checked(options, file, by)
        if idempotency_key is not None and options.key is None:
            plan = replace(plan, given_key=_derived_key(by.id, idempotency_key))
        elif options.again:
            raise InvalidInput(
                '"again": true needs an Idempotency-Key header, so that a repeated request does not send once more'
            )
        with self.database.read() as tx:
            state = read_state(plan, tx)
        id = self.database.retrying(lambda tx: self._record(tx, plan, state, options, file))
        reach("upload_accepted")
        return id

    def forecast(self, options: CampaignOptions, file: StoredFile, by: Poster) -> dict[str, object]:
        """What the campaign would be; nothing is changed. Raises as ``accept``, and SamePeople."""
        plan = self._checked(self._resolved(options), file, by)
        made = forecast(plan, self.database, self.intake.cipher)
        if made.refusal is not None:
            raise made.refusal
        return {**made.as_json(), "refused_count": made.refused_count}

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

    def _resolved(self, options: CampaignOptions) -> CampaignOptions:
        """With the installation's region and zone, which may be others when the file is taken in."""
        of = self.settings
        return replace(
            options,
            region=of.default_region if options.region is None else options.region,
            timezone=of.timezone if options.timezone is None else options.timezone,
        )

    def _checked(self, options: CampaignOptions, file: StoredFile, by: Poster) -> FilePlan:
        plan = replace(options.plan(file.path, created_by=by.actor), campaign_id=file.id)
        by.check_send(plan.kind, plan.sender)
        self.intake.check_can_store(plan.kind)
        return plan

    def _record(
        self, tx: Connection, plan: FilePlan, state: LedgerState, options: CampaignOptions, file: StoredFile
    ) -> str:
        if (again := uploads.get(tx, file.id)) is not None:
            # The first COMMIT took place, and only its answer was lost.
            return again.campaign_id or again.id
        campaign_id = self._campaign_id(tx, plan, state)
        uploads.add(
            tx,
            id=file.id,
            campaign_id=campaign_id,
            options=json.dumps(asdict(options)),
            campaign_key=plan.key,
            source_hash=plan.hash,
            file=file.path.name,
            sha256=file.sha256,
            bytes=file.bytes,
            created_by=plan.created_by[:100],
        )
        if campaign_id is not None:
            return campaign_id
        earlier = uploads.by_key(tx, plan.key) if plan.into is None else None
        return earlier.id if earlier is not None else file.id

    def _campaign_id(self, tx: Connection, plan: FilePlan, state: LedgerState) -> str | None:
        """The campaign that gets the rows, made here where that needs no look at them; else None."""
        if plan.into is not None:
            into = None if state.continues is None else state.continues.into
            return None if into is None else into.id
        if state.alike and campaigns.by_key(tx, plan.key) is None:
            # Some of the rows may be for people who have this message.
            return None
        return self.intake.create(tx, plan.campaign(state.now_ms))[0].id


def _derived_key(scope: str, idempotency_key: str) -> str:
    """A campaign's key for an Idempotency-Key, which two posters may both use."""
    return f"http:{scope}:{hashlib.sha256(idempotency_key.encode()).hexdigest()[:40]}"


def report_json(report: Mapping[str, Any]) -> str:
    """What an upload keeps of its intake's report: the campaign has the counts and the refused rows."""
    kept = ("superseded", "repeated", "resumed_at", "notes", "continued")
    return json.dumps({name: report[name] for name in kept if name in report})
