"""Rows of a table that are cards in a narrow window: each cell knows its column, and what it is."""

from __future__ import annotations

from markupsafe import Markup

from ops.web.table_rows import marked

HEADS = [{"text": "Tick", "hidden": True}, "Name & sender", {"text": "Sent", "class": "n"}, "End"]


def test_a_cell_has_its_role_and_the_name_of_its_column() -> None:
    rows = Markup('<tr><td><input></td><th scope="row">spring</th><td class="n">3</td><td>later</td></tr>')
    assert marked(rows, HEADS) == (
        '<tr role="row"><td role="cell"><input></td>'
        '<th role="rowheader" data-label="Name &amp; sender" scope="row">spring</th>'
        '<td role="cell" data-label="Sent" class="n">3</td><td role="cell" data-label="End">later</td></tr>'
    )


def test_each_row_begins_with_the_first_column_and_a_cell_of_several_has_no_name() -> None:
    rows = Markup('<tr><td colspan="2">a</td><td>b</td></tr>\n<tr class="x"><td>c</td><td>d</td></tr>')
    assert marked(rows, HEADS) == (
        '<tr role="row"><td role="cell" colspan="2">a</td><td role="cell" data-label="Sent">b</td></tr>\n'
        '<tr role="row" class="x"><td role="cell">c</td><td role="cell" data-label="Name &amp; sender">d</td></tr>'
    )


def test_a_cell_without_a_value_is_marked() -> None:
    found = marked(Markup("<tr><td>–</td><td class='x'>\n</td><td>–1</td><td><b>–</b></td></tr>"), HEADS)
    assert [cell.split(">")[0].count("data-none") for cell in found.split("<td")[1:]] == [1, 1, 0, 0]


def test_what_a_person_typed_is_no_cell() -> None:
    typed = Markup("<tr><td>{}</td></tr>").format("<td>–</td><tr>")
    assert marked(typed, ["<b>"]) == (
        '<tr role="row"><td role="cell" data-label="&lt;b&gt;">&lt;td&gt;–&lt;/td&gt;&lt;tr&gt;</td></tr>'
    )
