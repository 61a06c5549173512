"""Tables fit every width: no line is too long, no word is broken that fits, ids stay whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ops.cli.layout import IDS, LONGEST_WORD, lay_out, lines_of, wrap

ID = "019d2c1f-7a55-7cc0-8f5a-1f1f0d5ce111"
WAMID = "wamid.HBgMNDQ3NzAwOTAwMTIzFQIAERgSM0E1RkQ4QjJBMTY5NzU5RkE2AA=="
NAME = "Spring sale for everyone who bought shoes in Amsterdam in May"
ERROR = "131047: Re-engagement message: more than 24 hours have passed since the recipient last replied to the sender"

words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=LONGEST_WORD // 2)
cells = st.lists(words, max_size=20).map(" ".join)
names = st.sampled_from(["id", "to", "status", "error", "why", "message_id", "http_status", "name", "at"])
tables = st.lists(names, min_size=1, max_size=6, unique=True).flatmap(
    lambda columns: st.tuples(
        st.just(columns), st.lists(st.tuples(*[cells] * len(columns)), min_size=1, max_size=4)
    )
)


@given(tables, st.integers(44, 200))
def test_no_line_is_too_long_and_no_word_is_broken(
    table: tuple[list[str], list[tuple[str, ...]]], width: int
) -> None:
    columns, rows = table
    lines = lay_out(columns, rows, width).text()
    assert max(map(cell_len, lines)) <= width
    shown = {word for line in lines for word in line.split()}
    for row in rows:
        for cell in row:
            assert {word for word in cell.split() if cell_len(word) <= width - 4} <= shown


@given(st.lists(words, max_size=30), st.integers(2, 100))
def test_wrapping_keeps_every_character_in_order(parts: list[str], width: int) -> None:
    lines = wrap(" ".join(parts), width)
    assert max(map(cell_len, lines)) <= width
    assert "".join(lines).replace(" ", "") == "".join(parts)


FOUND = ["id", "to", "status", "attempts", "message_id", "queued_at", "error"]
ROW = [ID, "447700900123", "delivered", "1", WAMID, "2030-03-01 09:00:00", ERROR]


@pytest.mark.parametrize(
    ("width", "dropped"),
    [
        (300, []),
        (120, ["message_id"]),
        (80, ["message_id", "attempts", "queued_at"]),
        (60, ["message_id", "attempts", "queued_at"]),
    ],
)
def test_less_important_columns_go_first_and_only_where_they_must(width: int, dropped: list[str]) -> None:
    made = lay_out(FOUND, [ROW], width, optional=("message_id", "attempts", "queued_at"))
    assert made.dropped == dropped
    text = "\n".join(made.text())
    assert ID in text
    assert "447700900123" in text
    assert "recipient last" in " ".join(text.split())


def test_the_longest_text_stands_below_its_row_and_numbers_are_aligned() -> None:
    made = lay_out(["id", "name", "total"], [[ID, NAME, "12"], [ID, "May", "2,000"]], 60)
    assert made.text() == [
        "id                                    total",
        "───────────────────────────────────────────",
        f"{ID}     12",
        "    Spring sale for everyone who bought shoes in Amsterdam",
        "    in May",
        f"{ID}  2,000",
        "    May",
    ]


def test_where_not_even_ids_fit_side_by_side_each_row_is_a_block() -> None:
    made = lay_out(["id", "message_id", "error"], [[ID, WAMID, ERROR]] * 2, 70)
    text = made.text()
    assert text[0] == f"id          {ID}"
    assert text[1:3] == ["message id", f"  {WAMID}"]
    assert "" in text


def test_a_command_to_paste_stays_on_one_line() -> None:
    text = "settle it with `bulksend messages resolve ID --as failed --why X`, or wait for a receipt"
    assert wrap(text, 60)[1].startswith("`bulksend messages resolve ID --as failed --why X`,")


def test_values_are_wrapped_beside_their_names() -> None:
    lines = list(lines_of([("name", NAME), ("none", ""), ("message_id", WAMID)], 64, indent=2))
    assert ["".join(text for text, _ in line) for line in lines] == [
        "  name        Spring sale for everyone who bought shoes in",
        "              Amsterdam in May",
        "  message id",
        f"  {WAMID}",
    ]


def test_the_columns_whose_words_stay_whole_are_those_of_ids() -> None:
    assert {"id", "message_id", "request_id", "to"} <= IDS


def test_an_empty_column_goes_before_any_other() -> None:
    made = lay_out(
        ["id", "to", "status", "queued_at", "error"],
        [[ID, "447700900123", "queued", "2030-03-01 09:00:00", ""]],
        80,
        optional=("queued_at",),
    )
    assert made.dropped == []
    assert "2030-03-01 09:00:00" in made.text()[-1]


def test_a_last_column_is_left_out_only_where_a_text_below_its_row_does_not_make_room() -> None:
    columns, row = ["id", "campaign", "error"], ["a" * 30, "spring", "it could not be sent to them at all"]
    assert lay_out(columns, [row], 40, optional=("campaign",)).dropped == ["campaign"]
    wide = lay_out(columns, [row], 40, last=("campaign",))
    assert (wide.dropped, wide.text()[2]) == ([], "a" * 30 + "  spring")
    assert lay_out(columns, [row], 36, last=("campaign",)).dropped == ["campaign"]
