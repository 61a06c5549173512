"""Server-sent events, a line at a time."""

from __future__ import annotations

import pytest

from bulksend.client.event_stream import StreamReader


def fed(reader: StreamReader, *lines: str) -> list[object]:
    """What each line ends."""
    return [item for line in lines if (item := reader.feed(line)) is not None]


def test_an_event_ends_at_an_empty_line_and_names_where_the_stream_goes_on() -> None:
    reader = StreamReader("6")
    assert fed(reader, ": alive", "", "id: 7", 'data: {"seq": 7}') == []
    assert reader.last_id == "6"
    assert fed(reader, "") == [{"seq": 7}]
    assert reader.last_id == "7"


def test_what_a_lost_connection_cut_is_not_taken_for_an_event() -> None:
    reader = StreamReader("6")
    assert fed(reader, "id: 7", 'data: {"se') == []
    reader.break_off()
    assert fed(reader, "", "id: 7", 'data: {"seq": 7}', "") == [{"seq": 7}]


def test_an_event_that_cannot_be_read_comes_again() -> None:
    reader = StreamReader("6")
    with pytest.raises(ValueError, match="delimiter"):
        fed(reader, "id: 7", 'data: {"seq"', "")
    assert reader.last_id == "6"
    reader.break_off()
    assert fed(reader, "id: 7", 'data: {"seq": 7}', "") == [{"seq": 7}]
