"""Rows that leave the ledger as files: no cell is a formula."""

from __future__ import annotations

import pytest

from ops.export_files import safe_cell


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert safe_cell(cell) == "'" + cell


def test_a_phone_number_stays_as_it_is() -> None:
    assert safe_cell("447700900851") == "447700900851"
