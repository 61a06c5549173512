"""What is kept for months is deleted by age, a part at a time, and nothing else goes with it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from bulksend.ledger import campaign_timeline, operator_log, uploads
from bulksend.ledger.ids import new_ids
from bulksend.ledger.schema import acts, campaign_minutes
from bulksend.ledger.schema import uploads as uploads_table

DAY_MS = 86_400_000


def id_made(at: int) -> str:
    """The id of something made at that instant."""
    return new_ids(1, at)[0]


def test_acts_of_reading_have_an_age_and_all_others_stay(desk: Any) -> None:
    now = desk.now()
    with desk.database.write() as tx:
        tx.execute(
            insert(acts),
            [
                {"id": id_made(at), "at": at, "actor": "a", "act": "show", "scope": scope, "subject": "s"}
                | {"why": str(days)}
                for days in (1, 91, 92, 93)
                for at in (now - days * DAY_MS,)
                for scope in ("read", "sender")
            ],
        )

    def kept(scope: str) -> list[str]:
        return [act.why for act in desk.read(operator_log.of, scope, "s")]

    assert desk.write(operator_log.delete_old_readings, 90 * DAY_MS, 2) == 2
    assert kept("read") == ["91", "1"]
    assert [desk.write(operator_log.delete_old_readings, 90 * DAY_MS) for _ in range(2)] == [1, 0]
    assert kept("read") == ["1"]
    assert kept("sender") == ["93", "92", "91", "1"]


def test_a_file_that_ended_leaves_the_record_and_a_live_one_stays(desk: Any) -> None:
    old = desk.now() - uploads.KEPT_MS - DAY_MS
    made: dict[str, str] = {}
    with desk.database.write() as tx:
        for name, begun, ended in (
            ("old", old, old),
            ("ended late", old, desk.now()),
            ("live", old, None),
            ("young", desk.now(), desk.now()),
        ):
            made[name] = id_made(begun)
            tx.execute(
                insert(uploads_table).values(
                    id=made[name],
                    state="stored" if ended is None else "done",
                    options="{}",
                    campaign_key=name,
                    source_hash="h",
                    file="f",
                    sha256="s",
                    bytes=1,
                    created_at=begun,
                    created_by="a",
                    failures=0,
                    ended_at=ended,
                )
            )
    assert [desk.write(uploads.delete_old) for _ in range(2)] == [1, 0]
    assert {name for name, id in made.items() if desk.read(uploads.get, id)} == {
        "ended late",
        "live",
        "young",
    }


def test_old_minutes_of_old_campaigns_go_and_younger_ones_stay(desk: Any) -> None:
    campaign, aged = str(desk.campaign().id), str(desk.campaign().id)
    now = desk.now()
    old = now - campaign_timeline.KEPT_MS
    older = id_made(old - DAY_MS)
    desk.sql("UPDATE campaigns SET id = :to WHERE id = :id", to=older, id=aged)
    with desk.database.write() as tx:
        tx.execute(
            insert(campaign_minutes),
            [
                {"campaign_id": id, "minute": minute, "statuses": "{}", "attempts": 0}
                for id, minute in ((older, old - 1), (older, old - 2), (older, old + DAY_MS), (campaign, now))
            ],
        )
    assert [desk.write(campaign_timeline.delete_old, 1) for _ in range(3)] == [1, 1, 0]
    assert [m.minute for m in desk.read(campaign_timeline.of, older, limit=9)] == [old + DAY_MS]
    assert len(desk.read(campaign_timeline.of, campaign, limit=9)) == 1
