"""What the operations say has a text in each language of the console, with the same values."""

from __future__ import annotations

import ast
import html
import string
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from bulksend.gateway.error_codes import TABLE, UNLISTED, explain_code
from bulksend.ledger.audit_rules import RULES
from bulksend.ledger.suppressions import SCOPES
from bulksend.messaging.sentences import RECALLED, Sentence, say
from bulksend.settings import Settings
from ops.web import catalogues
from ops.web.locale import Locale

ROOT = Path(__file__).parents[4]
ROOMS = ("bulksend", "producer", "worker", "notifier", "ops")
#: Modules whose reasons stand beside a row of a file or a field of a form.
READ_BY_PEOPLE = (
    *(f"bulksend/messaging/{name}.py" for name in ("canary", "local_time", "plan", "recipient", "units")),
    *(f"bulksend/messaging/{name}.py" for name in ("media_files", "rendering", "time_rules", "value_checks")),
    *("producer/reading/csv_rows.py", "producer/row_sends.py", "bulksend/ledger/intake.py", "ops/web/"),
    "bulksend/operations/doctor.py",
    "bulksend/operations/doctor_rules.py",
)
LANGUAGES = sorted(set(catalogues.LANGUAGES) - {catalogues.DEFAULT})
CHINESE = Locale("zh-CN", "UTC")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name and name.isidentifier()}


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
    recall = catalogues.recall(language)
    for key in catalogues.sentences(language):
        letters = "".join(literal for literal, *_ in string.Formatter().parse(key))
        # One word, or hardly a letter, may be anything.
        if " " not in key or sum(map(str.isalpha, letters)) < 9:
            continue
        values = {
            name: "it may have gone out" if name in RECALLED else f"<{name}>" for name in placeholders(key)
        }
        text = str(Sentence(key, values))
        found = recall.sentence(text)
        assert found is not None, key
        # A key that is two others with a semicolon between them has the same words.
        assert found == text
        assert found.key in (key, "{first}; {next}")


@cache
def reasons() -> dict[str, str]:
    """What is said of wrong fields, rows, files and states, and by doctor, by its place. Every value in it is a 7."""
    found: dict[str, str] = {}
    for name, tree in trees().items():
        module = import_module(name.removesuffix(".py").replace("/", "."))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                # On the pages of what they are about.
                told = dict.fromkeys(("WrongState", "AccessDenied"), node.args[:1])
                if name.startswith(READ_BY_PEOPLE):
                    told |= dict.fromkeys(("InvalidValue", "RefusedRow", "_refusal"), node.args[-1:])
                    told |= {"blocker": node.args[1:], "Check": node.args[2:]}
                if name.startswith("producer/reading/"):
                    told |= {"InvalidInput": node.args[:1], "BadXml": node.args[:1]}
                for n, each in enumerate(told.get(node.func.id, ())):
                    found[f"{name}:{node.lineno}:{n}"] = _text(each, module)
    return found


def _text(node: ast.expr, module: ModuleType) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.Name(id=id) if isinstance(known := getattr(module, id, "7"), str | int):
            return str(known)
        case ast.JoinedStr(values=values):
            return "".join(_text(each, module) for each in values)
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="format_age"))):
            return "7 minutes"
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="counted"))):
            return "7 messages"
        case ast.FormattedValue(
            value=ast.Subscript(value=ast.Name(id="refused"), slice=ast.Constant(value=1))
        ):
            return "is missing"
        case ast.FormattedValue(value=value):
            return _text(value, module)
    return "7"


def _english_in(sentence: str) -> list[str]:
    """The parts of a sentence that should be sentences and are none."""
    if not isinstance(sentence, Sentence):
        return [] if set(sentence) <= set("7: ") else [sentence]
    return [
        part for name, value in sentence.values.items() if name in RECALLED for part in _english_in(value)
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_meaning_of_every_setting_has_a_text_in_each_language(language: str) -> None:
    meanings = {field.description or "" for field in Settings.model_fields.values()}
    assert sorted(meanings - catalogues.sentences(language).keys()) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_of_the_audit_has_a_text_in_each_language(language: str) -> None:
    known = catalogues.sentences(language)
    assert [rule.name for rule in RULES if rule.name not in known or rule.promise not in known] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_act_has_a_word_in_each_language(language: str) -> None:
    acts = {
        str(node.value.value)
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "act" and isinstance(node.value, ast.Constant)
    }
    acts |= {
        str(node.args[at].value)
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for at in [{"note_reading": 0, "record_reading": 2}.get(ast.unparse(node.func).rpartition(".")[2], 9)]
        if at < len(node.args) and isinstance(node.args[at], ast.Constant)
    }
    acts |= {f"{act} {scope}" for act in ("suppress", "import") for scope in SCOPES}
    assert len(acts) > 30
    known = catalogues.texts(language)
    assert sorted(act for act in acts - {"Act"} if f"words.act.{act}" not in known) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_wrong_with_a_field_or_a_row_has_a_text_in_each_language(language: str) -> None:
    recall = catalogues.recall(language)
    assert len(reasons()) > 100
    missing = {where: text for where, text in reasons().items() if _english_in(recall.sentence(text) or text)}
    assert missing == {}


def test_every_code_of_the_vendor_is_explained_in_chinese() -> None:
    for row in (*TABLE, *UNLISTED.values()):
        found = explain_code(row.family, row.codes[0] if row.codes else -1)
        for text in (found.meaning, found.consequence):
            assert not any(letter in CHINESE.sentence(text) for letter in ("<", " the ", " a ")), text


def test_an_error_that_the_ledger_keeps_is_shown_in_chinese() -> None:
    error = "the vendor's server failed (HTTP 502); it may have gone out"
    assert CHINESE.sentence(error) == "服务商服务器出错（HTTP 502）；可能已发出"
    assert html.unescape(Locale("en", "UTC").sentence(error)) == error


@pytest.mark.parametrize(
    ("note", "chinese"),
    [
        ("71 rows have NULL in name, which is sent as it stands", "有 71 行的 name 为 NULL，将原样发送"),
        (
            "2 of 5 rows are hidden, by a filter or by hand; they are used too",
            "5 行中有 2 行被筛选或手动隐藏；这些行同样会使用",
        ),
        (
            "1,000 cells of 'day' are sent as their values, not as shown: the date or time in D2 is sent as "
            "2026-12-24; format the column as text to send what it shows",
            "列 'day' 有 1,000 个单元格按实际值发送，而不是表中显示的样子：D2 的日期或时间按 2026-12-24 发送；"
            "如需按显示内容发送，请将该列设为文本格式",
        ),
        (
            "read the sheet 'March', the first of 2, 1 more is hidden (sheet takes another)",
            "读取的是工作表 'March'，共 2 个中的第一个，另有 1 个已隐藏（可用 sheet 选择其他工作表）",
        ),
    ],
)
def test_what_a_file_is_noted_for_is_said_in_chinese(note: str, chinese: str) -> None:
    """A plan keeps its notes as texts."""
    assert html.unescape(CHINESE.sentence(note)) == chinese


def test_words_that_are_no_sentence_are_marked_as_english() -> None:
    assert (
        CHINESE.sentence("Message <undeliverable>") == '<span lang="en">Message &lt;undeliverable&gt;</span>'
    )
    assert CHINESE.sentence(say("resolved as failed: {why}", why="<b>")) == "已人工判定为失败：&lt;b&gt;"
    assert CHINESE.sentence(None) == "–"
