"""The report of consents: whose, where and when given, and whether the person is suppressed since."""

from __future__ import annotations

from typing import Any

from bulksend.ledger import suppressions
from bulksend.messaging.exclusions import Consent
from bulksend.operations.consents import COLUMNS, list_consents, report

ADA, BOB = "447700900123", "447700900124"
GIVEN = 1_800_000_000_000


def test_a_report_has_every_consent_or_those_of_one_person(desk: Any) -> None:
    campaign = desk.campaign()
    rows = [
        desk.new_message(n, recipient=phone, consent=Consent(source, at))
        for n, (phone, source, at) in enumerate(
            [(BOB, "shop", GIVEN), (ADA, "form", GIVEN), (ADA, "=call", GIVEN - 1)], 1
        )
    ]
    desk.take(campaign, *rows)
    named = {"scope": "all", "reason": "asked", "source": "hand", "actor": "ada"}
    desk.write(suppressions.add, {BOB: None}, **named)
    found = desk.read(lambda tx: list(report(tx)))
    assert [(row["to"], row["consent_source"], row["suppressed"]) for row in found] == [
        (ADA, "=call", None),
        (ADA, "form", None),
        (BOB, "shop", "all"),
    ]
    assert all(tuple(row) == COLUMNS and row["campaign_id"] == campaign.id for row in found)
    assert found[1]["consent_at"] == "2027-01-15T08:00:00.000+00:00"
    assert desk.read(lambda tx: list(report(tx, subject=BOB))) == found[2:]
    # The consents of one person are never on two pages.
    page = list_consents(desk.database, limit=1)
    assert (page.items, page.next) == (found[:2], ADA)
    assert list_consents(desk.database, after=ADA, limit=2).items == found[2:]
