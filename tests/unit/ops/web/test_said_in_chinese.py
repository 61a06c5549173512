"""What the operations say has a text in each language of the console, with the same values."""

from __future__ import annotations

import ast
import html
import string
from functools import cache
from pathlib import Path

import pytest

from bulksend.gateway.error_codes import TABLE, UNLISTED, explain_code
from bulksend.messaging.sentences import Recall, Sentence, say
from ops.web import catalogues
from ops.web.locale import Locale

ROOT = Path(__file__).parents[4]
ROOMS = ("bulksend", "producer", "worker", "notifier", "ops")
LANGUAGES = sorted(set(catalogues.LANGUAGES) - {catalogues.DEFAULT})
CHINESE = Locale("zh-CN", "UTC")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@cache
def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
    }


@cache
def said() -> frozenset[str]:
    """The keys of all sentences that the code says."""
    keys: set[str] = {str(row.meaning) for row in (*TABLE, *UNLISTED.values())}
    for name, tree in trees().items():
        # The command line has a function of that name.
        for node in ast.walk(tree) if _imports_say(tree) else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                key = node.args[0]
                assert isinstance(key, ast.Constant), f"{name}:{node.lineno}: write the key out"
                keys.add(str(key.value))
    return frozenset(keys)


def _imports_say(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == say.__module__
        and any(each.name == "say" for each in node.names)
        for node in ast.walk(tree)
    )


@cache
def words() -> str:
    """All texts in the code: those that the ledger keeps are made by SQL too."""
    return "\n".join(
        node.value
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_has_a_text_in_each_language(language: str) -> None:
    assert sorted(said() - catalogues.sentences(language).keys()) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_has_the_values_of_its_sentence(language: str) -> None:
    known = catalogues.sentences(language)
    assert {key: text for key, text in known.items() if placeholders(key) != placeholders(text)} == {}
    assert [key for key, text in known.items() if not text.strip() or "<" in text] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_of_a_sentence_that_is_not_said(language: str) -> None:
    gone = [
        key
        for key in catalogues.sentences(language).keys() - said()
        if not all(literal in words() for literal, *_ in string.Formatter().parse(key))
    ]
    assert gone == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_that_was_kept_as_text_is_found_by_its_own_key(language: str) -> None:
    keys = [key for key in catalogues.sentences(language) if " " in key]
    recall = Recall(keys)
    for key in keys:
        names = placeholders(key)
        # Parts that are joined by marks are found by what they are.
        values = {name: "it may have gone out" if name in ("first", "why") else f"<{name}>" for name in names}
        found = recall.sentence(str(Sentence(key, values)))
        assert found is not None, key
        assert found.key == key


def test_every_code_of_the_vendor_is_explained_in_chinese() -> None:
    for row in (*TABLE, *UNLISTED.values()):
        found = explain_code(row.family, row.codes[0] if row.codes else -1)
        for text in (found.meaning, found.consequence):
            assert not any(letter in CHINESE.sentence(text) for letter in ("<", " the ", " a ")), text


def test_an_error_that_the_ledger_keeps_is_shown_in_chinese() -> None:
    error = "the vendor's server failed (HTTP 502); it may have gone out"
    assert CHINESE.sentence(error) == "服务商服务器出错（HTTP 502）；可能已发出"
    assert html.unescape(Locale("en", "UTC").sentence(error)) == error


def test_words_that_are_no_sentence_are_marked_as_english() -> None:
    assert (
        CHINESE.sentence("Message <undeliverable>") == '<span lang="en">Message &lt;undeliverable&gt;</span>'
    )
    assert CHINESE.sentence(say("resolved as failed: {why}", why="<b>")) == "已人工判定为失败：&lt;b&gt;"
    assert CHINESE.sentence(None) == "–"
