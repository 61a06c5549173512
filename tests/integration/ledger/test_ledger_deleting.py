"""The statements of docs/scale.md that delete a campaign delete all of it and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bulksend.ledger import campaign_control, campaigns
from bulksend.ledger.receipts import Receipt
from bulksend.messaging.plan import RefusedRow

PAGE = Path(__file__).parents[3] / "docs" / "scale.md"
TABLES = ("campaigns", "refusals", "messages", "attempts", "receipts", "campaign_counts")


def statements() -> list[str]:
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line for line in block.split(";\n") if line.strip()]


def one_of_everything(desk: Any) -> str:
    """An ended campaign with a refused row, an accepted message with a receipt, and a failed one."""
    campaign = desk.campaign()
    taken = desk.take(
        campaign, *(desk.new_message(n) for n in (1, 2)), refused=[RefusedRow(3, "to", "", "is empty")]
    )
    desk.write(campaigns.finish_intake, campaign.id)
    (message_id,) = desk.accepted(taken.ready[:1])
    desk.receive(Receipt(message_id, "delivered", 1))
    campaign_control.cancel(desk.database, campaign.id, actor="ada", why="because")
    return str(campaign.id)


def rows(desk: Any) -> dict[str, int]:
    return {table: desk.scalar(f"SELECT count(*) FROM {table}") for table in TABLES}  # noqa: S608


def test_after_deleting_a_campaign_the_audit_of_the_others_holds(desk: Any) -> None:
    kept = one_of_everything(desk)
    before = rows(desk)
    assert all(before.values())
    gone = one_of_everything(desk)
    with desk.database.write() as tx:
        for statement in statements():
            tx.execute(text(statement), {"campaign": gone})
    assert rows(desk) == before
    assert desk.broken() == {}
    assert [campaign.id for campaign in desk.read(campaigns.newest)] == [kept]
