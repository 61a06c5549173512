"""What the texts of requests are, for the documentation. The operations check them, and say what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Query
from pydantic import BeforeValidator, Field

#: A phone number in any common notation.
Phone = Annotated[str, Field(max_length=64, json_schema_extra={"format": "phone"})]
#: A number, or a country as ``country:GB``.
Subject = Annotated[str, Field(max_length=64, json_schema_extra={"format": "phone-or-country"})]
#: ISO 8601, from the year 2000 to 2100.
Instant = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
#: ``09:00``, or ``2030-03-01 09:00`` with its day.
LocalTime = Annotated[str, Field(max_length=40, json_schema_extra={"format": "local-time"})]
#: The IANA name of a time zone.
TimeZone = Annotated[str, Field(max_length=64, json_schema_extra={"format": "time-zone"})]
#: The ``next`` of a page.
Cursor = Annotated[str, Field(max_length=600, json_schema_extra={"format": "cursor"})]
#: The ``next`` of a page that is an id.
IdCursor = Annotated[str, Field(max_length=600, json_schema_extra={"format": "uuid"})]
#: Parameters of a list, see ``json_shape.Page``: how many, and after which; its ids or another order.
Limit = Annotated[int, Query(ge=1, le=1000, description="At most this many.")]
After = Annotated[Cursor | None, Query(description="The `next` of the page before.")]
AfterId = Annotated[IdCursor | None, Query(description="The `next` of the page before.")]
#: ISO 3166.
Country = Annotated[str, Field(max_length=2, json_schema_extra={"format": "country"})]
#: A name: one line of visible characters.
Name = Annotated[str, Field(min_length=1, max_length=100, json_schema_extra={"format": "name"})]
#: The name of a campaign.
CampaignName = Annotated[str, Field(min_length=1, max_length=200, json_schema_extra={"format": "name"})]
#: The name of one who signs in.
UserName = Annotated[
    str,
    Field(min_length=1, max_length=100, json_schema_extra={"pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$"}),
]
#: An address or a network: ``192.0.2.7``, ``192.0.2.0/24``.
Network = Annotated[str, Field(json_schema_extra={"format": "network"})]


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: Recipients in 24 hours. JSON may write it as 2000.0; it is no text and no boolean.
Quota = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1), BeforeValidator(_whole)]
#: A campaign's part beside the others of its sender.
Weight = Annotated[int, Field(strict=True, ge=1, le=100), BeforeValidator(_whole)]
#: Messages a second.
RatePerSecond = Annotated[float, Field(json_schema_extra={"minimum": 1e-9, "maximum": 100_000})]
RateText = Annotated[
    str,
    Field(json_schema_extra={"pattern": r"^[1-9]\d{0,4}(\.\d{1,9})?(/(s|sec|second|m|min|minute|h|hour))?$"}),
]
#: A cap of messages to a person: ``2/7d``, or ``none``.
CapText = Annotated[
    str, Field(max_length=40, json_schema_extra={"pattern": r"^([1-9]\d{0,2}/[1-9]\d?[dhm]|none)$"})
]
#: The share of failures that pauses a campaign: ``5%``, or ``none`` for never.
MaxFailed = Annotated[
    str,
    Field(
        max_length=20,
        description='Pause when more than this share of its last messages fails, "5%"; "none": never.',
        json_schema_extra={"pattern": r"^([1-9]?\d(\.\d{1,3})?%|none)$"},
    ),
]
#: The first part of a campaign: ``1%``, or ``200`` messages.
Canary = Annotated[str, Field(max_length=20, json_schema_extra={"pattern": r"^([1-9]\d?%|[1-9]\d{2,5})$"})]
#: Campaigns by id or name, each perhaps with ``:unsent``.
PeopleOfCampaigns = Annotated[list[Annotated[str, Field(min_length=1, max_length=220)]], Field(max_length=20)]
#: A webhook's address.
Url = Annotated[str, Field(max_length=2000, json_schema_extra={"format": "uri"})]


def one_of(choices: Iterable[str]) -> Any:
    """A text that is one of these."""
    return Field(json_schema_extra={"enum": [str(each) for each in choices]})
