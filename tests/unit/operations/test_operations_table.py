"""The package's docstring is the list of what there is."""

from __future__ import annotations

import pkgutil

from bulksend import operations


def test_the_table_of_operations_names_every_module() -> None:
    words = set((operations.__doc__ or "").split())
    assert [
        module.name for module in pkgutil.iter_modules(operations.__path__) if module.name not in words
    ] == []
