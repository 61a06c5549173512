"""The key file beside a SQLite ledger: made once, and an error with a remedy where it cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulksend.errors import InvalidInput
from bulksend.ledger.key_file import read_or_make


def test_the_first_use_makes_the_key_and_later_ones_read_it(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db.key"
    assert read_or_make(file) == read_or_make(file)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "ledger.db.key"
    with pytest.raises(InvalidInput) as caught:
        read_or_make(file)
    assert str(file) in str(caught.value)
    assert "set BULKSEND_ENCRYPTION_KEY" in str(caught.value)
