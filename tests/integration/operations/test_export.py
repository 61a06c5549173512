"""Exports: every message or refused row of a campaign."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bulksend.errors import CampaignNotFound
from bulksend.ledger.encryption import Cipher
from bulksend.messaging import RefusedRow
from bulksend.messaging.states import Kind
from bulksend.operations.export import REFUSED_COLUMNS, Export
from tests.integration.ledger.conftest import Desk


def test_every_message_is_exported_with_the_columns_that_its_content_uses(desk: Desk) -> None:
    ids = desk.queued(n=3)
    with desk.database.read() as tx:
        rows = list(Export(tx, "spring", desk.cipher).messages())
    assert [row["id"] for row in rows] == sorted(ids)
    assert [row["name"] for row in rows] == ["Ada"] * 3
    assert "payload" not in rows[0]


def test_a_masked_export_has_neither_numbers_nor_columns_of_the_file(desk: Desk) -> None:
    desk.queued()
    with desk.database.read() as tx:
        (row,) = Export(tx, "spring", desk.cipher).masked_messages()
    assert "447700900001" not in str(row)
    assert "name" not in row


def test_codes_are_never_exported(desk: Desk) -> None:
    desk.queued(Kind.OTP, name="codes")
    with desk.database.read() as tx:
        export = Export(tx, "codes", desk.cipher)
        assert "Ada" not in str(list(export.messages()))
        assert export.is_otp


def test_columns_of_the_file_never_hide_a_field_of_the_message(desk: Desk) -> None:
    class File:
        def of(self, row: int, recipient: str) -> Mapping[str, str | None]:
            return {"status": "gold", "city": f"{row} {recipient[-3:]}"}

    desk.queued()
    with desk.database.read() as tx:
        (row,) = Export(tx, "spring", desk.cipher).messages(File())
    assert (row["status"], row["status (file)"], row["city"]) == ("queued", "gold", "1 001")


def test_messages_whose_key_is_missing_are_counted(desk: Desk) -> None:
    campaign = desk.campaign(Kind.UTILITY)
    with desk.database.write() as tx:
        from bulksend.ledger import intake

        intake.store_chunk(
            tx,
            campaign,
            after_row=0,
            planned=[desk.new_message(1)],
            refused=[],
            cipher=desk.cipher,
            encrypts=lambda kind: True,
        )
    with desk.database.read() as tx:
        export = Export(tx, campaign.id, Cipher([]))
        (row,) = export.messages()
        assert (row["name"], export.unreadable) == (None, 1)


def test_every_refused_row_is_exported(desk: Desk) -> None:
    campaign = desk.campaign()
    desk.take(campaign, refused=[RefusedRow(2, "to", "44***", "is too short")])
    with desk.database.read() as tx:
        (row,) = Export(tx, campaign.id, desk.cipher).refused_rows()
    assert tuple(row) == REFUSED_COLUMNS
    assert row["row"] == 2


def test_a_campaign_that_is_not_on_record_raises(desk: Desk) -> None:
    with desk.database.read() as tx, pytest.raises(CampaignNotFound):
        Export(tx, "none", desk.cipher)
