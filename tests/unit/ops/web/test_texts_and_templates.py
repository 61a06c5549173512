"""Catalogues have the same keys in each language; templates have nothing that the content policy refuses."""

from __future__ import annotations

import re
import string

import pytest

from ops.web import catalogues, templating
from ops.web.assets import FOLDER as STATIC
from ops.web.locale import Locale

TEMPLATES = {
    path.relative_to(templating.FOLDER).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(templating.FOLDER.rglob("*.html"))
}
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.js"))}
#: Keys that a template or a module puts together begin with one of these.
MADE = ("words.", "base.menu.", "base.theme.", "base.key.", "base.problem.")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", sorted(set(catalogues.LANGUAGES) - {catalogues.DEFAULT}))
def test_each_language_has_the_same_keys_and_placeholders(language: str) -> None:
    english, other = catalogues.texts(catalogues.DEFAULT), catalogues.texts(language)
    assert sorted(english) == sorted(other)
    # Of a text for one thing the number may be a word.
    different = [
        key
        for key, text in english.items()
        if placeholders(text) - {"count"} != placeholders(other[key]) - {"count"}
        or (not key.endswith(".one") and placeholders(text) != placeholders(other[key]))
    ]
    assert different == []


@pytest.mark.parametrize("language", sorted(catalogues.LANGUAGES))
def test_a_text_is_plain_and_not_empty(language: str) -> None:
    wrong = [key for key, text in catalogues.texts(language).items() if not text.strip() or "<" in text]
    assert wrong == []


def test_every_key_in_a_template_or_a_route_is_in_the_catalogues() -> None:
    sources = TEMPLATES | {
        path.name: path.read_text(encoding="utf-8")
        for path in (templating.FOLDER.parent / "routes").glob("*.py")
    }
    known, missing = catalogues.texts(catalogues.DEFAULT), []
    for name, text in sources.items():
        for key in re.findall(r"""\b(?:t|rich)\(\s*["']([\w.]+)["'](?!\s*~)""", text):
            missing += [f"{name}: {key}"] if key not in known else []
    assert missing == []


def test_every_text_is_used() -> None:
    everything = "\n".join([*TEMPLATES.values(), *_modules()])
    keys = {key.removesuffix(".one") for key in catalogues.texts(catalogues.DEFAULT)}
    unused = [key for key in keys if not key.startswith(MADE) and f'"{key}"' not in everything]
    # Put together from a beginning: "campaign.act." ~ act
    unused = [key for key in unused if f'"{key.rpartition(".")[0]}."' not in everything]
    assert sorted(unused) == []


def _modules() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in templating.FOLDER.parent.rglob("*.py")]


def test_every_template_compiles() -> None:
    environment = templating.environment()
    for name in TEMPLATES:
        environment.get_template(name)


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a style", r"\sstyle\s*="),
        ("a handler", r"\son[a-z]+\s*="),
        ("a script inside of the page", r"<script(?![^>]*\ssrc=)"),
        ("an attribute without quotes", r"\s[\w-]+=VALUE"),
        ("a value that is not escaped", r"\|\s*safe\b|Markup|autoescape"),
        ("a link that a value begins", r"(?:href|src|action)=\"\{\{\s*(?:found|each|item|message)\."),
    ],
)
def test_no_template_has(what: str, pattern: str) -> None:
    found = [name for name, text in TEMPLATES.items() if re.search(pattern, _without_comments(text))]
    assert found == [], what


def _without_comments(text: str) -> str:
    """The template without comments and statements; what stands unquoted behind a = is VALUE."""
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}", "", text, flags=re.S)
    return re.sub(r"=\{\{", "=VALUE{{", text)


def test_every_form_that_changes_something_has_a_token() -> None:
    wrong = []
    for name, text in TEMPLATES.items():
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.S):
            is_free = re.match(r"<form[^>]*action=\"/(?:sign-in|preferences)", form)
            if not is_free and "token()" not in form and 'name="csrf"' not in form:
                wrong.append(name)
    assert wrong == []


def test_scripts_make_no_element_of_a_text_and_evaluate_none() -> None:
    for name, text in SCRIPTS.items():
        assert text.lstrip().startswith(("/*", "//", '"use strict"')), name
        assert '"use strict"' in text, name
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            outside = re.sub(r"region\.rendered [!=]==? next\.innerHTML|= next\.innerHTML", "", text)
            assert word not in outside, f"{name}: {word}"
        assert "http://" not in text, name
        assert "https://" not in text, name


def test_what_is_not_all_is_never_written_as_all() -> None:
    english = Locale("en", "UTC")
    assert english.percent(999_999, 1_000_000) == "99.9\u202f%"
    assert english.percent(1, 1_000_000) == "0.1\u202f%"
    assert english.percent(0, 10) == "0\u202f%"
    assert english.percent(10, 10) == "100\u202f%"
    assert english.percent(1, 0) == "–"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.25, "250 ms"), (59.6, "1 min"), (3_660, "1 h 1 min"), (90_061, "1 d 1 h"), (None, "–")],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float | None, said: str) -> None:
    assert Locale("en", "UTC").duration(seconds) == said


def test_a_time_is_in_the_viewers_zone_and_says_which() -> None:
    at = "2026-11-29T23:16:05+00:00"
    assert Locale("en", "UTC").when(at) == "29 Nov 2026, 23:16:05 UTC"
    assert Locale("en", "Asia/Kolkata").when(at) == "30 Nov 2026, 04:46:05 UTC+5:30"
    assert Locale("zh-CN", "Asia/Shanghai").when(at, seconds=False) == "2026-11-30 07:16 UTC+8"
    assert 'datetime="2026-11-29T18:16:05.000-05:00"' in Locale("en", "America/New_York").time(at)
    assert Locale("en", "UTC").when(1_790_000_000_000).endswith("UTC")
    assert str(Locale("en", "UTC").time(None)) == "–"


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("zh-CN", "en", "zh-CN"),
        ("xx", "zh-CN,zh;q=0.9", "zh-CN"),
        (None, "zh", "zh-CN"),
        (None, "zh-TW,zh;q=0.9", "en"),
        (None, "fr-FR,zh-CN;q=0.5", "zh-CN"),
        (None, "de", "en"),
        (None, "", "en"),
    ],
)
def test_the_language_is_that_of_the_person_or_its_browser(
    cookie: str | None, accepted: str, language: str
) -> None:
    assert catalogues.chosen(cookie, accepted) == language
