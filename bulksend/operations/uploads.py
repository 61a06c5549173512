"""Posted files: the answer to one, and how far it is."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import CampaignNotFound
from bulksend.ledger import campaigns, exclusions, uploads
from bulksend.ledger.uploads import Upload, UploadState
from bulksend.messaging.states import CampaignStatus
from bulksend.messaging.units import format_instant

#: As many refused rows are part of the answer to a posted campaign.
REFUSED_ANSWERED = 100


def posted(tx: Connection, upload_id: str) -> dict[str, Any]:
    """The answer to a posted campaign. Raises CampaignNotFound."""
    upload = uploads.get(tx, upload_id)
    if upload is None:
        raise CampaignNotFound(f"no campaign was posted with the id {upload_id}")
    names = ("rows", "messages", "duplicates", "suppressed", "refused_count")
    counts: dict[str, Any] = {**dict.fromkeys(names, 0), "suppressed_by": {}}
    refused: list[dict[str, Any]] = []
    status, id = _status_without_campaign(upload), upload.campaign_id or upload.id
    if upload.campaign_id is not None:
        campaign = campaigns.get(tx, upload.campaign_id)
        status = campaign.status.value
        counts = {
            "rows": campaign.rows_read,
            "messages": campaign.messages,
            "duplicates": campaign.duplicates,
            "suppressed": campaign.suppressed,
            "suppressed_by": exclusions.left_out_by_rule(tx, campaign.id) if campaign.suppressed else {},
            "refused_count": campaign.refused,
        }
        refused = [dict(row) for row in campaigns.refused_rows(tx, campaign.id, REFUSED_ANSWERED)]
    report = {"superseded": 0, "repeated": False, "notes": []} | json.loads(upload.report or "{}")
    return {
        "campaign_id": id,
        "status": status,
        **counts,
        "refused": refused,
        **report,
        "upload": shown_upload(upload),
    }


def _status_without_campaign(upload: Upload) -> str:
    refused = upload.state is UploadState.REFUSED
    return UploadState.REFUSED.value if refused else CampaignStatus.INTAKE.value


def without_campaign(upload: Upload) -> dict[str, Any]:
    """A posted file that has no campaign: a campaign without messages."""
    options = json.loads(upload.options)
    return {
        "campaign_id": upload.id,
        "name": options["name"] or upload.file,
        "kind": options["kind"],
        "status": _status_without_campaign(upload),
        "sender": options["sender"],
        "total": 0,
        "statuses": {},
        "attempts": 0,
        "rate": 0.0,
        "eta_seconds": None,
        "created_at": format_instant(upload.created_at),
        "upload": shown_upload(upload),
    }


def shown_upload(upload: Upload | None) -> dict[str, Any] | None:
    """How far a posted file is; its rows so far are those of its campaign."""
    if upload is None:
        return None
    return {
        "id": upload.id,
        "state": upload.state.value,
        "file": upload.file,
        "bytes": upload.bytes,
        "sha256": upload.sha256,
        "created_at": format_instant(upload.created_at),
        "ended_at": None if upload.ended_at is None else format_instant(upload.ended_at),
        "error": None if upload.error is None else {"code": upload.error_code, "detail": upload.error},
    }
