"""What a template consists of, from the vendor's components."""

from __future__ import annotations

from bulksend.messaging.template_shape import (
    TemplateText,
    fill,
    read_shape,
    shape_from_json,
    variables_in,
)


def test_variables_are_counted_once_each_in_the_order_of_their_parameters() -> None:
    assert variables_in("{{2}} and {{1}} and {{2}}") == ("1", "2")
    assert variables_in("{{ 10 }} {{9}}") == ("9", "10")
    assert variables_in("{{name}} {{code}} {{name}}") == ("name", "code")
    assert variables_in("{{}} {{ {{1}} {{{ x") == ()
    assert variables_in("no {1} here") == ()


def test_a_text_is_filled_and_an_unknown_variable_stays_visible() -> None:
    text = TemplateText("Dear {{1}}, {{ 2 }} {{3}}", ("name", "order", "x"))
    assert fill(text, {"1": "Ada {{2}}", "2": "7"}).endswith("7 {{3}}")


def test_a_shape_survives_the_ledger() -> None:
    components = [
        {"Type": "HEADER", "Format": "TEXT", "Text": "Hi {{1}}"},
        {"type": "body", "text": "x {{a}}"},
        {"Type": "BUTTONS", "Buttons": [{"Type": "URL", "URL": "https://a.example/{{1}}"}, 5]},
    ]
    shape = read_shape(components, [{"Type": "header", "NamedVar": ["who", "more"]}, 7, {"Type": "BODY"}])
    assert shape is not None
    assert shape.header.variables == ("who",)
    assert shape.body.variables == ("a",)
    assert shape_from_json(shape.to_json()) == shape
    assert shape_from_json(None) is None


def test_what_is_no_list_of_components_has_no_shape() -> None:
    for odd in (None, "x", [], [5], [{"Type": "CAROUSEL"}], {"Type": "BODY"}):
        assert read_shape(odd) is None
