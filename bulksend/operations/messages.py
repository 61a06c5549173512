"""Messages: find them by filters in pages, show one with all that happened to it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidValue
from bulksend.ledger import campaigns, media, messages, search
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.search import Query
from bulksend.messaging import Kind, Status, parse_recipient
from bulksend.messaging.media_references import our_files, reference
from bulksend.messaging.sentences import say
from bulksend.messaging.states import MessageType
from bulksend.messaging.units import parse_choice, parse_instant_ms
from bulksend.operations import export
from bulksend.operations.acts import acts_on
from bulksend.operations.contents import content_of
from bulksend.operations.json_shape import Page, masked_texts, to_json

_ATTEMPT_FIELDS = (
    *("n", "started_at", "finished_at", "outcome", "http_status", "ret_code", "whatsapp_code"),
    *(
        "vendor_message",
        "request_id",
        "message_id",
        "worker",
        "latency_ms",
        "bytes_sent",
        "reply_began",
        "error",
    ),
)
_RECEIPT_FIELDS = ("status", "at", "received_at", "code", "why")
#: The lists of a message whose texts may hold a number.
_LISTS = ("attempts", "receipts", "acts")
CONTENT_HIDDEN = say("the content is shown to the roles that may send")
#: Fields of the ledger's row that are not shown; ``attempts`` is the list of them instead.
_HIDDEN = ("attempt_id", "attempts")


_FILTERS = ("campaign", "phone", "since", "until", "message_id", "request_id", "status", "kind", "sender")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages, each field as a person or a program writes it; None does not filter.

    ``campaign`` is an id or a name, ``since`` and ``until`` bound the intake in ISO 8601. ``default_region`` and
    ``timezone`` complete numbers and times that are written without.
    """

    campaign: str | None = None
    phone: str | None = None
    since: str | None = None
    until: str | None = None
    message_id: str | None = None
    request_id: str | None = None
    status: str | None = None
    kind: str | None = None
    sender: str | None = None
    default_region: str | None = None
    timezone: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it lets every message through."""
        return not self.given

    @property
    def given(self) -> list[str]:
        """The names of what filters."""
        return [name for name in _FILTERS if getattr(self, name) is not None]

    @property
    def is_a_campaign(self) -> bool:
        """Whether it lets all messages of one campaign through, and no others."""
        return self.campaign is not None and replace(self, campaign=None).is_empty

    def query(self, tx: Connection) -> Query:
        """The ledger's query. Raises InvalidValue, which names the field; CampaignNotFound."""
        since, until = self._instant("since", self.since), self._instant("until", self.until)
        if since is not None and until is not None and until < since:
            raise InvalidValue(
                "until", self.until or "", f"is before {self.since}, the start; exchange the two times"
            )
        phone, status, kind, sender = self.phone, self.status, self.kind, self.sender
        region = self.default_region
        return Query(
            phone=None if phone is None else parse_recipient(phone, default_region=region, field="phone"),
            message_id=_vendor_id("message_id", self.message_id),
            request_id=_vendor_id("request_id", self.request_id),
            campaign_id=None if self.campaign is None else campaigns.find(tx, self.campaign).id,
            status=None if status is None else parse_choice(Status, status, field="status"),
            kind=None if kind is None else parse_choice(Kind, kind, field="kind"),
            sender=None if sender is None else parse_recipient(sender, field="sender"),
            since=since,
            until=until,
        )

    def _instant(self, field: str, text: str | None) -> int | None:
        if text is None:
            return None
        now = int(time.time() * 1000)
        return parse_instant_ms(text, timezone=self.timezone or "UTC", now_ms=now, field=field)


def _vendor_id(field: str, text: str | None) -> str | None:
    """The id without the blanks or the line end that came along when it was copied."""
    if text is None:
        return None
    if not text.strip():
        raise InvalidValue(field, "", "is empty")
    return text.strip()


def find(tx: Connection, filter: Filter, *, limit: int, before: str | None = None) -> Page:
    """The newest matching messages; ``before`` is the ``next`` of the page before.

    Raises InvalidValue, CampaignNotFound.
    """
    return Page.of(search.find(tx, filter.query(tx), limit=limit, before=before), limit)


def campaign_names(tx: Connection, items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The name of the campaign of each message."""
    names = campaigns.names_of(tx, {item["campaign_id"] for item in items})
    return [names[item["campaign_id"]] for item in items]


def show(tx: Connection, id: str, cipher: Cipher) -> dict[str, Any]:
    """One message: ``find``'s fields, its campaign's name, its content, and all its attempts, receipts and acts.

    ``cipher`` decrypts the content. A one-time code is never shown. Raises MessageNotFound.
    """
    row = messages.get(tx, id)
    id, campaign = str(row["id"]), campaigns.get(tx, row["campaign_id"])
    payload = None if campaign.kind is Kind.OTP else messages.payload_of(tx, id)
    content, why_not = content_of(campaign, id, row["type"], payload, cipher)
    return {
        **to_json({name: value for name, value in row.items() if name not in _HIDDEN}),
        "campaign": campaign.name,
        "content": content,
        "content_why": why_not,
        "test": campaign.is_test,
        "attempts": [_fields(attempt, _ATTEMPT_FIELDS) for attempt in messages.attempts_of(tx, id)],
        "receipts": [_fields(receipt, _RECEIPT_FIELDS) for receipt in messages.receipts_of(tx, id)],
        "acts": acts_on(tx, "message", id),
    }


def named_files(tx: Connection, shown: Mapping[str, Any]) -> dict[str, str]:
    """What the content of a message, as ``show`` gives it, writes for files of ours, each with the file's name."""
    ids = our_files(MessageType(shown["type"]), shown["content"]) if shown["content"] else ()
    return {reference(id): f"{reference(id)} ({name})" for id, name in media.names(tx, ids).items()}


def statuses(tx: Connection, ids: Sequence[str]) -> dict[str, Status]:
    """The status of each of these messages that exists."""
    return messages.statuses(tx, ids)


def masked(shown: Mapping[str, Any]) -> dict[str, Any]:
    """A message as it is shown to those who do not see numbers; its content is left out."""
    row = {**export.masked(shown), **{name: masked_texts(shown[name]) for name in _LISTS if name in shown}}
    return row | {"content": None, "content_why": CONTENT_HIDDEN} if "content" in row else row


def zone_of(tx: Connection, id: str, default: str | None) -> str:
    """The time zone in which the times of a message are shown: its campaign's, else ``default``, else UTC."""
    return campaigns.get(tx, messages.get(tx, id)["campaign_id"]).timezone or default or "UTC"


def _fields(row: Mapping[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    return to_json({name: row[name] for name in names})
