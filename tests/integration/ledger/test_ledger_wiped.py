"""A wiped code is gone from the file itself, encrypted or not: SQLite alone would leave it in free space."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from bulksend.ledger import campaign_control, campaigns, due
from bulksend.ledger.database import Database
from bulksend.messaging.outcome import Refused, Unknown
from bulksend.messaging.states import Kind

CODES = 120


def _leaving_traces(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA secure_delete=OFF")


def sealed_codes(desk: Any) -> tuple[list[str], list[bytes]]:
    """Codes that wait, every third too long for a page of the file, and how each lies in the ledger."""
    campaign = desk.campaign(Kind.OTP)
    planned = [
        desk.new_message(n, body={"v": {"code": f"c4n4ry-{n:04}", "more": "x" * (9_000 if n % 3 else 60)}})
        for n in range(CODES)
    ]
    ids = list(desk.take(campaign, *planned).ready)
    desk.write(campaigns.finish_intake, campaign.id)
    return ids, [desk.payload(id) for id in ids]


def end_in_every_way(desk: Any, ids: list[str]) -> None:
    """Accepted, refused, in doubt, under a lost worker, expired, cancelled: a sixth each."""
    accepted, refused, doubted, lost, expired, cancelled = (ids[n::6] for n in range(6))
    desk.accepted(accepted)
    for outcome, some in ((Refused("17009", "no such template"), refused), (Unknown("ReadTimeout"), doubted)):
        for opening in desk.sent(desk.lease(), some):
            desk.settle(opening, outcome)
    lease = desk.lease()
    desk.sent(lease, lost)
    desk.lapse(lease)
    desk.rescue()
    for id in expired:
        desk.sql("UPDATE messages SET expires_at = 1 WHERE id = :id", id=id)
    desk.write(due.expire)
    campaign_control.cancel(desk.database, desk.row(cancelled[0])["campaign_id"], actor="ada", why="because")


@pytest.mark.parametrize("wiping", [True, False], ids=["as we open it", "as SQLite opens it"])
def test_nothing_of_an_ended_code_rests_in_the_file(
    sqlite_template: Path, tmp_path: Path, desk_of: Callable[[Database], Any], wiping: bool
) -> None:
    file = tmp_path / "ledger.db"
    shutil.copyfile(sqlite_template, file)
    database = Database(f"sqlite:///{file}")
    if not wiping:
        event.listen(database.engine, "connect", _leaving_traces)
    desk = desk_of(database)
    ids, codes = sealed_codes(desk)
    end_in_every_way(desk, ids)
    assert desk.scalar("SELECT count(*) FROM messages WHERE payload IS NOT NULL") == 0
    database.close()
    # The last connection takes the write-ahead log with it.
    assert [f.name for f in tmp_path.iterdir()] == ["ledger.db"]
    raw = file.read_bytes()
    # A piece is enough: pages cut a long one up.
    left = [code for code in codes if code[40:80] in raw or code[-40:] in raw]
    assert bool(left) is not wiping
