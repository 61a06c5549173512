"""Placeholders are names and nothing else; the quick way gives what the slow way gives (faults, 7: 27 to 33)."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulksend.errors import InvalidValue
from bulksend.messaging import (
    ContentTemplate,
    MessageType,
    compile_content,
    load_content_json,
    normal_name,
    parse_content,
)
from bulksend.messaging.rendering import is_name

T = MessageType


def otp_template(code: str = "{{code}}", button: str = "{{code}}") -> dict[str, object]:
    return {
        "name": "otp_test_02",
        "language": {"policy": "deterministic", "code": "zh_CN"},
        "components": [
            {"type": "body", "parameters": [{"type": "text", "text": code}]},
            {
                "type": "button",
                "sub_type": "url",
                "index": "0",
                "parameters": [{"type": "text", "text": button}],
            },
        ],
    }


def text(body: str) -> ContentTemplate:
    return compile_content(T.TEXT, {"body": body})


def refusal(template: ContentTemplate, variables: Mapping[str, str], *, otp: bool = False) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        template.render(variables, otp=otp)
    return caught.value


def fault(template: ContentTemplate, variables: Mapping[str, str]) -> tuple[str, str, str] | None:
    """What checking alone finds."""
    try:
        template.check(variables)
    except InvalidValue as error:
        return error.field, error.value, error.why
    return None


def test_a_template_renders_to_the_vendors_compact_json() -> None:
    template = compile_content(T.TEMPLATE, otp_template())
    assert template.variables == template.required == {"code"}
    assert template.render({"code": "123456"}, otp=True) == (
        '{"name":"otp_test_02","language":{"code":"zh_CN","policy":"deterministic"},"components":['
        '{"type":"body","parameters":[{"type":"text","text":"123456"}]},{"type":"button","sub_type":"url",'
        '"index":"0","parameters":[{"type":"text","text":"123456"}]}]}'
    )


def test_letters_of_every_script_stay_letters_and_json_is_escaped() -> None:
    rendered = text('«{{name}}» "{{thing}}"\n🎉').render({"name": "Zoë 张", "thing": 'a"b\\c'})
    assert rendered == '{"body":"«Zoë 张» \\"a\\"b\\\\c\\"\\n🎉"}'


def test_a_default_stands_in_where_a_variable_is_absent_or_blank() -> None:
    template = text("Hi {{name|friend}}{{ tail | }}")
    assert template.required == frozenset()
    assert template.variables == {"name", "tail"}
    for variables in ({}, {"name": ""}, {"name": " \t"}):
        assert template.render(variables) == '{"body":"Hi friend"}'
    assert template.render({"name": "David", "tail": "!"}) == '{"body":"Hi David!"}'


def test_a_variable_with_a_default_in_one_place_only_is_required() -> None:
    template = text("{{name|friend}} {{name}}")
    assert template.required == {"name"}
    assert refusal(template, {}).field == "name"


@pytest.mark.parametrize("variables", [{}, {"first name": ""}, {"first name": "  "}])
def test_a_missing_variable_is_refused_by_the_name_it_is_written_with(variables: dict[str, str]) -> None:
    error = refusal(text("Hi {{ First  Name }}"), variables)
    assert (error.field, error.value) == ("First Name", "")
    assert error.why == (
        "is empty, but the content needs it; fill the column, or give a default: {{First Name|…}}"
    )


@pytest.mark.parametrize(
    "name",
    ["नाम", "ชื่อ", "שָׁם", "اِسم", "prénom", "pre\u0301nom", "Tên khách", "姓名", "_name", "first-name", "a.b 2"],
)
def test_a_name_of_any_script_with_its_marks_is_a_columns_name(name: str) -> None:
    assert text(f"Hi {{{{{name}}}}}").render({normal_name(name): "Zoë"}) == '{"body":"Hi Zoë"}'


@pytest.mark.parametrize("name", ["", "1", "1 + 1", "'a'", "x" * 101, "a\u2028b\u0000"])
def test_a_placeholder_can_only_be_a_column_name(name: str) -> None:
    with pytest.raises(InvalidValue, match="is not a column name"):
        text(f"Hi {{{{{name}}}}}")


def test_variables_are_found_by_name_whatever_their_order_and_others_do_not_matter() -> None:
    template = text("{{b}}-{{a}}")
    assert template.render({"a": "1", "extra": "x", "b": "2"}) == template.render({"b": "2", "a": "1"})


@pytest.mark.parametrize(
    "value",
    [
        "{{7*7}}",
        "{{code}}",
        "{% for x in y %}",
        "{{''.__class__}}",
        "=HYPERLINK(1)",
        "<script>alert(1)</script>",
    ],
)
def test_the_value_of_a_variable_is_text_and_never_a_placeholder(value: str) -> None:
    assert json.loads(text("Hi {{name}} {{code|}}").render({"name": value}))["body"] == f"Hi {value} "


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("{{ 7*7 }}", "{{ 7*7 }}"),
        ("Hello {{ 'a'*10**9 }}", "{{ 'a'*10**9 }}"),
        ("{{''.__class__}}", "{{''.__class__}}"),
        ("{{}}", "{{}}"),
        ("{{ | }}", "{{ | }}"),
        ("{{1}}", "{{1}}"),
        ("{{a|{{b}}}}", "{{a|{{b}}"),
        ("{{a}} {{{b}}}", "{{{b}}"),
        ("{{20.5 %}}", "{{20.5 %}}"),
        ("{{a\x07}}", "{{a\x07}}"),
    ],
)
def test_a_placeholder_that_is_not_a_column_name_is_refused_at_compile_time(body: str, shown: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        text(body)
    assert (caught.value.field, caught.value.value) == ("body", shown)
    assert caught.value.why == (
        "has a placeholder that is not a column name; use {{column}} or {{column|default}}"
    )


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Rabatt in %",
            "Stadt/City",
            "Mobil (WhatsApp)",
            "Customer's name",
            "R&D",
            "Name, first",
            "1st choice",
        ),
        *(
            "Price [€]",
            "a()",
            "Phone*",
            "#ref",
            "Gr\u00f6\u00dfe: cm",
            "\u0939\u093f\u0928\u094d\u0926\u0940",
        ),
    ],
)
def test_any_heading_with_a_letter_can_be_filled_in(name: str) -> None:
    compiled = text(f"Hi {{{{{name}|}}}}!")
    assert json.loads(compiled.render({normal_name(name): "Ann"}))["body"] == "Hi Ann!"
    assert is_name(name)


@pytest.mark.parametrize(("body", "shown", "place"), [("Hi {{name", "{{", 4), ("Hi }} {{name}}", "}}", 4)])
def test_braces_without_matching_braces_are_refused_with_their_position(
    body: str, shown: str, place: int
) -> None:
    with pytest.raises(InvalidValue) as caught:
        text(body)
    assert (caught.value.value, caught.value.why) == (
        shown,
        f"at character {place} has no matching braces; write {{{{column}}}}",
    )


@pytest.mark.parametrize(
    ("type", "content", "field", "why"),
    [
        (T.TEXT, {"body": "{{a}}\0"}, "body", "has a NUL character; remove it"),
        (T.TEXT, {"body": "{{a}}" + "x" * 4097}, "body", "may have at most 4,096 characters; shorten it"),
        (T.TEXT, {"bodi": "{{a}}"}, "bodi", "is not a field here; did you mean body?"),
        (
            T.TEXT,
            {"body": "a", "preview_url": "{{a}}"},
            "preview_url",
            "is the same for the whole campaign; no placeholder is allowed here",
        ),
        (
            T.TEMPLATE,
            otp_template() | {"name": "{{a}}"},
            "name",
            "is the same for the whole campaign; no placeholder is allowed here",
        ),
        (
            T.TEMPLATE,
            otp_template() | {"components": [{"type": "{{a}}"}]},
            "components[0].type",
            "is the same for the whole campaign; no placeholder is allowed here",
        ),
        (
            T.TEMPLATE,
            otp_template("{{a}}\n"),
            "components[0].parameters[0].text",
            "has a newline or tab, which WhatsApp refuses in a template's variable (132018); remove it",
        ),
        (
            T.IMAGE,
            {"link": "http://169.254.169.254/{{a}}"},
            "link",
            "names its host by an IP address; use a public host name",
        ),
        (T.TEXT, ["{{a}}"], "content", "must be a JSON object, like the vendor's Content"),
        (T.TEXT, {"body": b"{{a}}"}, "body", "must be a string"),
    ],
)
def test_an_error_in_the_fixed_parts_is_refused_at_compile_time(
    type: MessageType, content: Any, field: str, why: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        compile_content(type, content)
    assert (caught.value.field, caught.value.why) == (field, why)


def test_a_content_nested_without_end_is_refused() -> None:
    endless: dict[str, object] = {}
    endless["body"] = endless
    with pytest.raises(InvalidValue, match="is nested more than 32 levels deep"):
        compile_content(T.TEXT, endless)


FILLS = "(it fills {} of the content)"


@pytest.mark.parametrize(
    ("type", "content", "variables", "field", "value", "why"),
    [
        (
            T.TEXT,
            {"body": "Hi {{name}}"},
            {"name": "a" * 1_000_000},
            "name",
            "1,000,000 characters",
            "may have at most 4,096 characters; shorten it (it fills body of the content)",
        ),
        (
            T.TEMPLATE,
            otp_template(),
            {"code": "12\n34"},
            "code",
            "5 characters",
            "has a newline or tab, which WhatsApp refuses in a template's variable (132018); remove it "
            "(it fills components[0].parameters[0].text of the content)",
        ),
        (
            T.TEXT,
            {"body": "{{a}} {{b}}"},
            {"a": "xy", "b": "\0"},
            "b",
            "1 character",
            "has a NUL character; remove it (it fills body of the content)",
        ),
        (
            T.IMAGE,
            {"link": "{{url}}"},
            {"url": "http://secret.local/token"},
            "url",
            "25 characters",
            "has a host that is known only in a private network; use a public host name (it fills link of the content)",
        ),
        (
            T.LOCATION,
            {"latitude": "{{lat}}", "longitude": 0},
            {"lat": "north"},
            "lat",
            "5 characters",
            "is not a number of degrees, like 51.5072 (it fills latitude of the content)",
        ),
        (
            T.LOCATION,
            {"latitude": "{{lat}}", "longitude": 0},
            {"lat": "91"},
            "lat",
            "2 characters",
            "must be between -90 and 90 (it fills latitude of the content)",
        ),
    ],
)
def test_a_wrong_variable_is_refused_by_name_and_only_its_length_is_shown(
    type: MessageType, content: dict[str, object], variables: dict[str, str], field: str, value: str, why: str
) -> None:
    error = refusal(compile_content(type, content), variables)
    assert (error.field, error.value, error.why) == (field, value, why)


def test_where_no_single_variable_is_to_blame_the_place_is_named() -> None:
    template = compile_content(T.TEMPLATE, otp_template("{{a}}{{b}}"))
    error = refusal(template, {"a": "x\n", "b": "\ty", "code": "1"})
    assert (error.field, error.value) == ("components[0].parameters[0].text", "")
    long = refusal(text("{{a}}{{b}}{{c}}"), {"a": "a" * 4000, "b": "b" * 4000, "c": "c" * 4000})
    assert (long.field, long.value) == ("body", "12,000 characters")


def test_a_place_given_by_columns_becomes_numbers() -> None:
    template = compile_content(
        T.LOCATION, {"latitude": "{{lat}}", "longitude": "{{ lon | 0 }}", "name": "{{n}}"}
    )
    assert template.render({"lat": " 51,5072 ", "lon": "-0.1276", "n": "London"}) == (
        '{"latitude":51.5072,"longitude":-0.1276,"name":"London"}'
    )
    assert template.render({"lat": "51", "n": "London"}).startswith('{"latitude":51.0,"longitude":0.0,')


@pytest.mark.parametrize("number", ["nan", "inf", "1e1", "1_0", "0x10", "--1", "1,2,3", "1.000,5"])
def test_degrees_are_plain_decimal_numbers(number: str) -> None:
    template = compile_content(T.LOCATION, {"latitude": "{{lat}}", "longitude": 0})
    assert refusal(template, {"lat": number}).field == "lat"


CODE = "is a one-time code, which"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("1234567890123456", f"{CODE} has at most 15 characters"),
        ("https://x.co/1", f"{CODE} must not be a link"),
        ("www.x.co/1", f"{CODE} must not be a link"),
        ("1234🎉", f"{CODE} must not have emoji or invisible characters"),
        ("1234\u200b5", f"{CODE} must not have emoji or invisible characters"),
    ],
)
def test_a_one_time_code_is_short_and_plain_whether_from_a_column_or_fixed(code: str, why: str) -> None:
    error = refusal(compile_content(T.TEMPLATE, otp_template()), {"code": code}, otp=True)
    assert (error.field, error.value) == ("code", f"{len(code)} characters")
    assert error.why == f"{why} (it fills components[1].parameters[0].text of the content)"
    fixed = refusal(compile_content(T.TEMPLATE, otp_template(code, code)), {}, otp=True)
    assert (fixed.field, fixed.why) == ("components[1].parameters[0].text", why)
    assert code not in str(fixed)


def test_a_buttons_variable_of_another_kind_may_be_longer_than_a_code() -> None:
    template = compile_content(T.TEMPLATE, otp_template())
    assert "a-very-long-path-of-a-button" in template.render({"code": "a-very-long-path-of-a-button"})
    assert template.render({"code": "A" * 15}, otp=True)


def test_a_stored_content_compiles_to_the_same_template() -> None:
    for type, content in (
        (T.TEMPLATE, otp_template()),
        (T.TEXT, {"body": "{{ a | b }} 🎉", "preview_url": True}),
    ):
        template = compile_content(type, content)
        again = ContentTemplate.from_json(type, template.to_json())
        assert again == template
        assert load_content_json(template.to_json()) == content


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("First Name", "first name"),
        ("  first\tNAME ", "first name"),
        ("Stra\u00dfe", "strasse"),
        ("E\u0301", "\u00e9"),
    ],
)
def test_names_are_the_same_whatever_their_case_blanks_and_accents_marks(name: str, same: str) -> None:
    assert normal_name(name) == same


# -- the quick way gives what the slow way gives ------------------------------------------------------------------

_SLOW = re.compile(r"\{\{\s*(\w+)\s*(?:\|([^{}]*))?\}\}")


def slowly(type: MessageType, content: object, variables: Mapping[str, str]) -> str:
    """Render by replacing in the object, then check all of it."""

    def replaced(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {k: replaced(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [replaced(v) for v in value]
        if not isinstance(value, str):
            return value
        filled = _SLOW.sub(value_of, value)
        if key in ("latitude", "longitude") and filled != value:
            if not re.fullmatch(r"[+-]?\d{1,3}([.,]\d{1,17})?", filled.strip(), re.ASCII):
                raise InvalidValue(key, "", "is no number")
            return float(filled.strip().replace(",", "."))
        return filled

    def value_of(found: re.Match[str]) -> str:
        value = variables.get(found[1], "")
        if value.strip():
            return value
        if found[2] is None:
            raise InvalidValue(found[1], "", "is missing")
        return found[2].strip()

    made = replaced(content)
    assert isinstance(made, dict)
    return parse_content(type, made).to_json()


CONTENTS: list[tuple[MessageType, dict[str, object]]] = [
    (T.TEXT, {"body": "Hi {{a}}, {{b|there}}!", "preview_url": True}),
    (T.TEXT, {"body": "{{a|}}"}),
    (T.TEXT, {"body": "  {{a|}}{{b|}}"}),
    (T.IMAGE, {"link": "https://cdn.example.com/{{a}}?x={{b|1}}", "caption": "{{b|c}}"}),
    (T.VIDEO, {"link": "{{a}}"}),
    (T.AUDIO, {"id": "{{a}}"}),
    (T.DOCUMENT, {"link": "https://{{a}}/x.pdf", "filename": "{{b|invoice}}.pdf"}),
    (T.STICKER, {"link": "https://example.com/{{a}}"}),
    (T.LOCATION, {"latitude": "{{a}}", "longitude": "{{b|12,5}}", "name": "at {{a}}"}),
    (T.TEMPLATE, otp_template("{{a}}", "{{a}}")),
    (
        T.TEMPLATE,
        {
            "name": "spring_1",
            "language": {"code": "en_GB", "policy": "deterministic"},
            "components": [
                {
                    "type": "header",
                    "parameters": [{"type": "image", "image": {"link": "https://example.com/{{b}}"}}],
                },
                {
                    "type": "body",
                    "parameters": [{"type": "text", "text": "{{a}} {{b|x}}"}, {"type": "text", "text": "£"}],
                },
                {
                    "type": "button",
                    "sub_type": "quick_reply",
                    "index": "1",
                    "parameters": [{"type": "payload", "payload": "{{a}}\n{{b}}"}],
                },
            ],
        },
    ),
]
_VALUES = (
    st.text(max_size=20)
    | st.sampled_from(
        [
            "",
            " ",
            "\ud800",
            "{{a}}",
            "{{7*7}}",
            "a\nb",
            "     ",
            "127.0.0.1",
            "cdn.example.com",
            "51.5",
            "-91",
            "5,5",
        ]
    )
    | st.sampled_from(
        ["a" * 61, "a" * 1025, "a" * 4097, "https://example.com/x", "https://u:p@example.com/", "nan", "1e5"]
    )
    | st.floats(-200, 200).map(lambda x: f"{x:.6f}")
)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(CONTENTS), st.dictionaries(st.sampled_from("ab"), _VALUES))
@example((T.TEXT, {"body": "{{a}}{{b}}"}), {"a": "{{b}}", "b": "{{a}}"})
def test_rendering_is_replacing_and_then_checking_everything(
    case: tuple[MessageType, dict[str, object]], variables: dict[str, str]
) -> None:
    type, content = case
    template = compile_content(type, content)
    quick = slow = wrong = None
    with contextlib.suppress(InvalidValue):
        slow = slowly(type, content, variables)
    try:
        quick = template.render(variables)
    except InvalidValue as error:
        wrong = error
    assert quick == slow
    assert fault(template, variables) == (wrong and (wrong.field, wrong.value, wrong.why))
    if quick is not None:
        parse_content(type, load_content_json(quick))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("{}|ab 7*'._\n"), max_size=24))
def test_any_text_compiles_or_is_refused_and_never_computes(body: str) -> None:
    try:
        template = text(body)
    except InvalidValue:
        return
    assert all(name in normal_name(body) for name in template.variables)
    variables = dict.fromkeys(template.variables, "V")
    try:
        rendered = json.loads(template.render(variables))["body"]
    except InvalidValue:
        return
    assert "{{" not in rendered
    assert "49" not in rendered
