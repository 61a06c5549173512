"""What the page of a campaign is made of: the acts that are possible, and its throughput beside its limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert

from bulksend.errors import WrongState
from bulksend.ledger import campaign_settings, campaign_timeline, campaigns
from bulksend.ledger.clock import read_clock
from bulksend.ledger.schema import campaign_minutes
from bulksend.messaging.states import CampaignStatus, Kind
from bulksend.messaging.units import NEVER_MS, format_instant
from bulksend.operations import campaign_overview as overview
from tests.integration.ledger.conftest import Desk

MINUTE = campaign_timeline.MINUTE_MS


def minutes(desk: Desk, id: str, counts: dict[int, tuple[int, int]], start: int) -> None:
    """Keep minutes: attempts and delivered messages at the end of each."""
    rows = [
        {
            "campaign_id": id,
            "minute": start + n * MINUTE,
            "statuses": f'{{"delivered": {delivered}}}',
            "attempts": attempts,
        }
        for n, (attempts, delivered) in counts.items()
    ]
    with desk.database.write() as tx:
        tx.execute(insert(campaign_minutes), rows)


def test_a_part_of_the_time_has_its_newest_minute(desk: Desk) -> None:
    id, start = desk.campaign().id, 1_790_000_040_000
    minutes(desk, id, {-500: (0, 0), **{n: (n + 1, n) for n in range(400)}, 5000: (400, 400)}, start)
    with desk.database.read() as tx:
        step, found = campaign_timeline.condensed(tx, id, 100)
    # It begins with the first POST, and what came days after the last one is left out.
    assert step == 5 * MINUTE
    assert [each.attempts for each in found] == list(range(5, 401, 5))
    with desk.database.read() as tx:
        assert campaign_timeline.condensed(tx, desk.campaign(key="other").id, 100) == (MINUTE, [])


def test_throughput_is_by_the_second_beside_the_limit_of_that_time(desk: Desk) -> None:
    id, start = desk.campaign().id, 1_790_000_040_000
    minutes(desk, id, {0: (60, 0), 1: (180, 60), 3: (300, 240)}, start)
    change = {"at": format_instant(start + 90_000), "before": {"rate": 5.0}, "after": {"rate": 2.0}}
    other = {"at": format_instant(start + 100_000), "before": {"name": "a"}, "after": {"name": "b"}}
    with desk.database.read() as tx:
        campaign = replace(campaigns.get(tx, id), rate=2.0)
        found = overview.throughput(tx, campaign, [change, other], 3.0)
    assert found["step_seconds"] == 60
    assert [(each["posts"], each["delivered"], each["limit"]) for each in found["items"]] == [
        (1.0, 0.0, 3.0),
        (2.0, 1.0, 2.0),
        (0.0, 0.0, 2.0),
        (2.0, 3.0, 2.0),
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"status": CampaignStatus.RUNNING},
            {"pause": None, "resume": "not_paused", "schedule": "begun", "retry": None},
        ),
        ({"status": CampaignStatus.PAUSED}, {"pause": "paused", "resume": None, "rest": "not_cancelled"}),
        ({"status": CampaignStatus.PAUSED, "due_at": NEVER_MS}, {"resume": "unscheduled", "schedule": None}),
        ({"status": CampaignStatus.RUNNING, "due_at": NEVER_MS - 1}, {"unschedule": None, "schedule": None}),
        ({"intake_done_at": None}, {"schedule": "intake"}),
        ({"local_time": "09:00"}, {"schedule": "local_time"}),
        ({"moved_from": 1}, {"unschedule": "moving"}),
        (
            {"status": CampaignStatus.CANCELLED},
            {"cancel": "cancelled", "retry": "cancelled", "rest": None, "rename": None},
        ),
        ({"status": CampaignStatus.FINISHED}, {"change": "finished", "resume": "finished", "retry": None}),
        ({"retry_until": 1}, {"retry": "retrying"}),
        ({"kind": Kind.OTP}, {"retry": "codes", "audience": "codes"}),
        (
            {"key": "direct:utility"},
            {"pause": "direct", "cancel": "direct", "breakdown": "direct", "clone": "direct"},
        ),
    ],
)
def test_what_is_not_possible_has_its_reason(
    desk: Desk, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    with desk.database.read() as tx:
        campaign, now = desk.campaign(), read_clock(tx)
    campaign = replace(campaign, **({"intake_done_at": 1} | changes))
    found = overview.why_not(campaign, {"failed": 2}, now)
    assert {name: found[name] for name in expected} == expected
    assert overview.why_not(replace(campaign, status=CampaignStatus.RUNNING), {}, now)["retry"] is not None


def test_what_is_called_movable_can_be_moved(desk: Desk) -> None:
    id = desk.campaign().id
    with desk.database.read() as tx:
        campaign, now = campaigns.get(tx, id), read_clock(tx)
    assert overview.why_not(campaign, {}, now)["schedule"] in ("intake", "begun")
    new = campaign_settings.NewSettings(due_at=now + 3_600_000)
    with pytest.raises(WrongState):
        campaign_settings.change(desk.database, id, new, actor="test", why="test")


def test_who_was_left_out_is_counted_by_rule() -> None:
    reasons = [
        ("suppressed", "cap: 2/7d", 3),
        ("suppressed", "cap: 1/1d", 1),
        ("suppressed", "suppressed: STOP", 2),
    ]
    assert overview.left_out([*reasons, ("failed", "cap: x", 9), ("suppressed", "", 1)]) == {
        "cap": 4,
        "suppressed": 2,
        "other": 1,
    }
