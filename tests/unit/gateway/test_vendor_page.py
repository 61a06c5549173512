"""docs/vendor.md shows the table of codes that the product goes by. Run as a module it writes the table."""

from __future__ import annotations

from pathlib import Path

from bulksend.gateway import table_rows

PAGE = Path(__file__).resolve().parents[3] / "docs" / "vendor.md"
BEGIN, END = "<!-- codes -->\n", "<!-- end of codes -->\n"


def table() -> str:
    lines = ["| family | codes | meaning | what follows | source |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table_rows()]
    return "\n".join(lines) + "\n"


def page_with(codes: str) -> str:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + codes + END + rest.partition(END)[2]


def test_the_vendor_page_shows_the_table_of_codes_that_the_product_uses() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_with(table())


if __name__ == "__main__":
    PAGE.write_text(page_with(table()), encoding="utf-8")
