"""A rehearsal is the same send, faster, and due now."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulksend.messaging.states import Kind
from bulksend.messaging.time_rules import TimeRules
from ops.rehearsal import faster
from producer.files import plan_file
from producer.reading import RawRow


@pytest.mark.parametrize(
    ("kind", "ttl", "expected_ms"),
    [("marketing", None, None), ("marketing", "10m", 60_000), ("otp", None, 60_000)],
)
def test_its_times_are_shorter_its_rate_is_higher_and_it_is_due_now(
    tmp_path: Path, kind: str, ttl: str | None, expected_ms: int | None
) -> None:
    file = tmp_path / "people.csv"
    file.write_text("to,send_at,ttl\n447700900001,2090-01-01T00:00Z,5m\n447700900002,,soon\n")
    plan = plan_file(
        file,
        sender="15550100100",
        type="text",
        content=b'{"body": "Hello"}',
        kind=kind,
        at="2090-01-01T00:00Z",
        ttl=ttl,
        rate="20/s",
        created_by="ada",
    )
    made = faster(plan, 10, TimeRules({Kind.OTP: 600_000}))
    assert (made.due_at_ms, made.ttl_ms, made.rate, made.hash) == (None, expected_ms, 200, plan.hash)
    assert "due_at" not in made.given
    rows = [row.values for row in made.rows(0) if isinstance(row, RawRow)]
    assert [row["ttl"] for row in rows] == ["30000ms", "soon"]
    assert not any("send_at" in row for row in rows)
    (rest,) = made.rows(1)
    assert rest.row == 3
