"""What processes are made of, by their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulksend.bootstrap import time_rules
from bulksend.errors import InvalidInput
from bulksend.messaging.states import Kind
from bulksend.settings import Settings


def test_time_rules_are_ten_minutes_for_codes_and_no_quiet_hours_by_default() -> None:
    rules = time_rules(Settings.from_env({}))
    assert [rules.ttl_ms(kind) for kind in (Kind.OTP, Kind.UTILITY, Kind.MARKETING)] == [600_000, None, None]
    assert not any(rules.has_quiet_hours(kind) for kind in Kind)


def test_each_kind_has_a_time_to_live_by_its_setting_and_quiet_hours_by_the_file(tmp_path: Path) -> None:
    file = tmp_path / "quiet.csv"
    file.write_text("kind,where,quiet,days\nmarketing,*,21:00-08:00,\n", encoding="utf-8-sig")
    rules = time_rules(
        Settings.from_env(
            {
                "BULKSEND_QUIET_HOURS": str(file),
                "BULKSEND_OTP_TTL_SECONDS": "60",
                "BULKSEND_MARKETING_TTL_SECONDS": "3600",
            }
        )
    )
    assert [rules.ttl_ms(kind) for kind in (Kind.OTP, Kind.UTILITY, Kind.MARKETING)] == [
        60_000,
        None,
        3_600_000,
    ]
    assert [kind for kind in Kind if rules.has_quiet_hours(kind)] == [Kind.MARKETING]


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"\xff\xfe", "is not UTF-8"), (b"kind\n", "is not the first line")],
)
def test_a_file_of_quiet_hours_that_cannot_be_used_is_refused_by_its_name(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "quiet.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match=why) as refused:
        time_rules(Settings.from_env({"BULKSEND_QUIET_HOURS": str(file)}))
    assert str(file) in str(refused.value)
