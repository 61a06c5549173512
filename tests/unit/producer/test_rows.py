"""Rows between reading and storing."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.encryption import Cipher, clear
from bulksend.messaging import PlannedMessage
from producer.rows import new_message


class _Campaign:
    sender, type = "15550100100", "text"


@pytest.mark.parametrize("timezone", [None, "Europe/Berlin"])
@pytest.mark.parametrize(
    "variables", [{}, {"b": "2", "a": 'a "quote", \\ and \n'}, {"name": "Zoë 😀 \ud83d"}]
)
def test_the_body_as_json_is_the_body(variables: dict[str, str], timezone: str | None) -> None:
    plan = PlannedMessage(2, "447700900123", "447700900123", variables, 0, None, timezone=timezone)
    message = new_message(plan, cast(Campaign, _Campaign()))
    expected: dict[str, Any] = {"v": variables} if timezone is None else {"v": variables, "z": timezone}
    assert message.body == expected
    assert message.body_json is None or json.loads(message.body_json) == expected
    assert Cipher([]).decrypt(clear(message.body_json or message.body), "id") == expected
