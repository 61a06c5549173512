"""The kept encoder writes what json.dumps writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.messaging.json_encoding import make_json_encoder

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(ANYTHING, st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_whatever_the_value_the_text_is_that_of_json_dumps(
    value: object, sort_keys: bool, separators: tuple[str, str]
) -> None:
    write = make_json_encoder(separators=separators, sort_keys=sort_keys)
    assert write(value) == json.dumps(value, ensure_ascii=False, separators=separators, sort_keys=sort_keys)


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(TypeError):
        make_json_encoder(separators=(",", ":"))({"name": object()})
