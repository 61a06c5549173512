"""The content of a message, rebuilt from the ledger. A one-time code is neither read nor shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bulksend.errors import InvalidValue
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.messaging import ContentTemplate, Kind, MessageType
from bulksend.messaging.sentences import say

CODE_WITHHELD = "a one-time code is not shown"
WIPED = "its content was wiped"


def content_of(
    campaign: Campaign, id: str, type: str, payload: bytes | None, cipher: Cipher
) -> tuple[dict[str, Any] | None, str | None]:
    """The vendor's Content object with its variables filled in; or None, and why it cannot be shown.

    ``payload`` is as stored, encrypted or not.
    """
    if campaign.kind is Kind.OTP:
        return None, CODE_WITHHELD
    if payload is None:
        return None, WIPED
    try:
        body: dict[str, Any] = cipher.decrypt(payload, id)
        if not campaign.content:
            return json.loads(str(body["c"])), None
        template = ContentTemplate.from_json(MessageType(type), campaign.content)
        return json.loads(template.render(body["v"])), None
    except CannotDecrypt as error:
        return None, str(error)
    except (InvalidValue, KeyError) as error:
        return None, say("it cannot be rebuilt: {why}", why=error)


class Variables:
    """The file's columns that a campaign's content uses, and a message's values for them; none for codes."""

    def __init__(self, campaign: Campaign, cipher: Cipher) -> None:
        self._cipher = cipher
        self.names: list[str] = []
        self.unreadable = 0
        """Messages whose variables are encrypted with a key that is not set."""
        if campaign.content and campaign.kind is not Kind.OTP:
            template = ContentTemplate.from_json(MessageType(campaign.type), campaign.content)
            self.names = sorted(template.variables)

    def of(self, id: str, payload: bytes | None) -> Mapping[str, str | None]:
        """The values of one message by their names; None where it has none."""
        values = self._body(id, payload).get("v", {}) if self.names else {}
        return {name: values.get(name) for name in self.names}

    def with_zone(self, id: str, payload: bytes | None) -> dict[str, str | None]:
        """The same, and as ``timezone`` the row's own zone, if it had one."""
        body = self._body(id, payload)
        values = body.get("v", {})
        return {"timezone": body.get("z"), **{name: values.get(name) for name in self.names}}

    def _body(self, id: str, payload: bytes | None) -> dict[str, Any]:
        if payload is None:
            return {}
        try:
            return self._cipher.decrypt(payload, id)
        except CannotDecrypt:
            self.unreadable += 1
            return {}
