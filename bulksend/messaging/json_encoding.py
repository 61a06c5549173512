"""JSON text by encoders that are reused: ``json.dumps`` with options creates one for each text, which takes 2 us."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as parts
from typing import Any

#: A string as JSON text with its quotes. Letters of all scripts are kept.
encode_json_string: Callable[[str], str] = parts.encode_basestring


def make_json_encoder(
    *, separators: tuple[str, str], sort_keys: bool = False, allow_nan: bool = True
) -> Callable[[object], str]:
    """A function as ``json.dumps(value, ensure_ascii=False, separators=…, sort_keys=…, allow_nan=…)``.

    ``separators`` are those of items and of keys. The function raises TypeError for a type that JSON does not have. It
    does not check for a value that contains itself.
    """
    encoder = json.JSONEncoder(
        ensure_ascii=False, separators=separators, sort_keys=sort_keys, allow_nan=allow_nan
    )
    make: Any = getattr(parts, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    item, key = separators
    write = make(None, encoder.default, parts.encode_basestring, None, key, item, sort_keys, False, allow_nan)
    return lambda value: "".join(write(value, 0))
