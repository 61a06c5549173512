"""The messages of a campaign or of a search, or refused rows, one after another in flat memory, for a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from sqlalchemy import Connection

from bulksend.errors import InvalidInput
from bulksend.ledger import campaigns, search
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.search import Query
from bulksend.messaging import Kind, mask_digits, mask_phone
from bulksend.messaging.audience import Audience
from bulksend.messaging.masking import mask_key
from bulksend.operations.contents import Variables
from bulksend.operations.json_shape import to_json

Row = Mapping[str, Any]
REFUSED_COLUMNS = ("row", "field", "value", "why")
#: Fields of an exported message that hold whole numbers; all others are text or instants.
WHOLE_NUMBERS = frozenset({"row", "attempts", "ret_code"})


class FileColumns(Protocol):
    """The columns of the file that a campaign was made of."""

    def of(self, row: int, recipient: str) -> Mapping[str, str | None]:
        """The cells of a row; called with rising row numbers. Raises InvalidInput where it is another recipient's."""
        ...


class Export:
    """One campaign, by id or name, of which rows are read. Raises CampaignNotFound."""

    def __init__(self, tx: Connection, id_or_name: str, cipher: Cipher) -> None:
        self._tx = tx
        self.campaign: Campaign = campaigns.find(tx, id_or_name)
        self._variables = Variables(self.campaign, cipher)

    @property
    def is_otp(self) -> bool:
        """Whether it is a campaign of one-time codes, whose file must not be exported."""
        return self.campaign.kind is Kind.OTP

    @property
    def unreadable(self) -> int:
        """Messages whose variables are encrypted with a key that is not set; they are empty."""
        return self._variables.unreadable

    def refused_rows(self) -> Iterator[Row]:
        """Every row that was refused, in the order of the file, with REFUSED_COLUMNS."""
        yield from map(dict, campaigns.refused_rows(self._tx, self.campaign.id))

    def masked_messages(self) -> Iterator[Row]:
        """Every message, without its recipient's number and without columns of the file."""
        for row in search.export(self._tx, self.campaign.id):
            yield masked(to_json(row))

    def messages(self, file: FileColumns | None = None) -> Iterator[Row]:
        """Every message with the columns that the content uses; with ``file``, with all columns of the file."""
        payloads = bool(self._variables.names)
        for row in search.export(self._tx, self.campaign.id, payloads=payloads):
            shown = to_json(row)
            payload = shown.pop("payload", None)
            own = (
                self._variables.of(shown["id"], payload)
                if file is None
                else file.of(shown["row"], shown["to"])
            )
            # A column of the file may have the name of one of ours.
            yield shown | {name if name not in shown else f"{name} (file)": own[name] for name in own}

    def audience(self, of: Audience) -> Iterator[Row]:
        """``to`` and the columns that the content uses, of people for whom another message is meant.

        What it yields can be sent as a file. Raises InvalidInput for one-time codes and single sends, which have no
        such columns, and for a message whose variables cannot be decrypted.
        """
        campaign, after = self.campaign, None
        if self.is_otp or campaign.is_direct:
            raise InvalidInput(
                f"campaign {campaign.id} ({campaign.name}) has no audience: it is of "
                f"{'one-time codes, which are wiped' if self.is_otp else 'single sends'}"
            )
        while rows := search.audience(self._tx, campaign.id, of, after=after):
            for row in rows:
                variables = self._variables.of(row["id"], row["payload"])
                if self.unreadable:
                    raise InvalidInput(
                        f"message {row['id']} is encrypted with a key that BULKSEND_ENCRYPTION_KEY does not list; "
                        "add it"
                    )
                yield {"to": row["recipient"]} | {
                    name: variables[name] for name in self._variables.names if name != "to"
                }
            after = str(rows[-1]["id"])


def found_messages(tx: Connection, query: Query) -> Iterator[Row]:
    """Every message that matches, of any campaign, newest first, without columns of a file."""
    return map(to_json, search.find_all(tx, query))


def masked(row: Row) -> Row:
    """The row without its recipient's number: masked in ``to``, and in a key or words that hold it."""
    to = str(row["to"])
    words = (name for name in ("error", "purpose") if row.get(name) is not None)
    return {
        **row,
        "to": mask_phone(to),
        "key": mask_key(str(row["key"]), to),
        **{name: mask_digits(str(row[name])) for name in words},
    }
