"""Statistics over HTTP, from the roll-up."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import event_numbers, stats
from bulksend.operations.access import Role
from tests.integration.http.conftest import ON_ONE_DATABASE
from tests.integration.ledger.conftest import SENDER, Desk

PATH = "/v1/stats"


def test_the_sums_of_the_last_days_are_shown_by_what_is_asked(api: Any) -> None:
    desk = Desk(api.ledger)
    desk.accepted(desk.queued(n=3))
    assert api.get(PATH, Role.VIEWER).json()["items"] == []
    desk.write(event_numbers.number_committed)
    desk.write(stats.roll_up, lag_ms=0)
    shown = api.get(PATH, Role.VIEWER, params={"by": "sender,kind"}).json()
    assert shown["by"] == ["sender", "kind"]
    (item,) = shown["items"]
    assert (item["sender"], item["kind"], item["accepted"], item["failed"]) == (SENDER, "marketing", 3, 0)
    (hour,) = api.get(PATH, params={"by": "hour"}).json()["items"]
    assert hour["hour"][14:] == "00:00.000+00:00"
    assert (hour["accepted"], "kind" in hour) == (3, False)
    assert api.get(PATH, params={"by": "hour", "to": "2020-01-01T00:00Z"}).json()["items"] == []


@ON_ONE_DATABASE
@pytest.mark.parametrize(
    "asked",
    [
        {"by": "minute"},
        {"by": "hour,hour"},
        {"by": ""},
        {"from": "yesterday"},
        {"from": "2030-01-02T00:00Z", "to": "2030-01-01T00:00Z"},
    ],
)
def test_what_is_wrong_is_refused_by_its_name(api: Any, asked: dict[str, str]) -> None:
    answer = api.get(PATH, params=asked)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in asked
