"""What an act changed is said with the values before and after."""

from __future__ import annotations

from bulksend.operations.act_changes import change_text


def test_each_value_is_said_as_it_was_and_as_it_is() -> None:
    changed = change_text(
        {"rate": 80.0, "paused": False, "weight": None}, {"rate": 40.0, "paused": True, "weight": 3}
    )
    assert changed == "rate: 80 to 40, paused: no to yes, weight: none to 3"


def test_what_was_not_on_record_before_is_said_alone_and_nothing_where_nothing_is() -> None:
    assert change_text(None, {"quality": "RED", "max_failed": ""}) == "quality: RED, max_failed: none"
    assert change_text(None, None) == ""
