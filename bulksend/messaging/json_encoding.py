"""JSON text, made by one encoder that is kept: ``json.dumps`` with options makes a new one for each text, at 2 us."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as parts
from typing import Any

#: A string as JSON text, quotes included; letters of all scripts stay as they are.
encode_json_string: Callable[[str], str] = parts.encode_basestring


def make_json_encoder(*, separators: tuple[str, str], sort_keys: bool = False) -> Callable[[object], str]:
    """As ``json.dumps(value, ensure_ascii=False, separators=…, sort_keys=…)``, which it is held against by a test.

    ``separators`` are those of items and of keys. Raises TypeError for what JSON has no form for. A value that holds
    itself is not looked for.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, separators=separators, sort_keys=sort_keys)
    make: Any = getattr(parts, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    item, key = separators
    write = make(None, encoder.default, parts.encode_basestring, None, key, item, sort_keys, False, True)
    return lambda value: "".join(write(value, 0))
