"""What a message says, put together again from the ledger. A one-time code is never shown, nor read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.messaging import ContentTemplate, Kind, MessageType
from bulksend.messaging.plan import RefusedRow, as_text
from producer.reading import RawRow, RowSource

CODE_WITHHELD = "a one-time code is not shown"
WIPED = "its content was wiped"


@dataclass(frozen=True, slots=True)
class Said:
    """The vendor's Content object with its variables filled in; or None and why it cannot be shown."""

    content: dict[str, Any] | None
    why: str | None = None


def content_of(campaign: Campaign, id: str, type: str, payload: bytes | None, cipher: Cipher) -> Said:
    """What the message of that id and type says. ``payload`` is as stored, maybe encrypted."""
    if campaign.kind is Kind.OTP:
        return Said(None, CODE_WITHHELD)
    if payload is None:
        return Said(None, WIPED)
    try:
        body = cipher.decrypt(payload, id)
        text = str(body["c"]) if not campaign.content else _filled_in(campaign, type, body["v"])
    except CannotDecrypt as error:
        return Said(None, str(error))
    except (InvalidValue, KeyError) as error:
        return Said(None, f"it cannot be put together: {error}")
    content: dict[str, Any] = json.loads(text)
    return Said(content)


def _filled_in(campaign: Campaign, type: str, variables: Any) -> str:
    return ContentTemplate.from_json(MessageType(type), campaign.content).render(variables)


class Variables:
    """The columns of a campaign's file that its content uses, and what a message has in them; none of a code's."""

    def __init__(self, campaign: Campaign, cipher: Cipher) -> None:
        self._cipher = cipher
        self.names: list[str] = []
        self.unreadable = 0
        """Messages whose variables are encrypted by a key that is not at hand."""
        if campaign.content and campaign.kind is not Kind.OTP:
            template = ContentTemplate.from_json(MessageType(campaign.type), campaign.content)
            self.names = sorted(template.variables)

    def of(self, id: str, payload: bytes | None) -> Mapping[str, str | None]:
        """The values of one message by their names; None where it has none."""
        values: Any = {}
        if self.names and payload is not None:
            try:
                values = self._cipher.decrypt(payload, id).get("v", {})
            except CannotDecrypt:
                self.unreadable += 1
        return {name: values.get(name) for name in self.names}


class FileColumns:
    """Every column of the file that a campaign was made of: found again by the numbers of its rows, in flat memory."""

    def __init__(self, source: RowSource, name: str) -> None:
        self._name = name
        self._to = next((own for own, ours in source.columns().names.items() if ours == "to"), "to")
        self.names = list(source.header)
        self._rows = iter(source)
        self._at: RawRow | RefusedRow | None = next(self._rows, None)

    def of(self, row: int, recipient: str) -> Mapping[str, str | None]:
        """The cells of a row; called with rising numbers. Raises InvalidInput where it is another person's."""
        while self._at is not None and self._at.row < row:
            self._at = next(self._rows, None)
        found = self._at
        if not isinstance(found, RawRow) or found.row != row:
            raise InvalidInput(
                f"--file: {self._name} has no row {row}: it is not the file that this campaign has"
            )
        text = as_text(self._to, found.values.get(self._to)) or ""
        digits = "".join(str(int(c)) for c in text if c.isdecimal())
        if recipient[-6:] not in digits:
            raise InvalidInput(
                f"--file: row {row} of {self._name} is another number than the campaign's: it is not the file that "
                "this campaign has"
            )
        return {name: as_text(name, found.values.get(name)) for name in self.names}


def leaves(content: Any, path: str = "") -> list[tuple[str, str]]:
    """Every text and number of a content with its path, such as ``components[0].parameters[1].text``."""
    if isinstance(content, Mapping):
        parts = [(f"{path}.{key}".lstrip("."), value) for key, value in content.items()]
    elif isinstance(content, list):
        parts = [(f"{path}[{number}]", value) for number, value in enumerate(content)]
    else:
        return [(path, str(content))]
    return [leaf for name, value in parts for leaf in leaves(value, name)]
