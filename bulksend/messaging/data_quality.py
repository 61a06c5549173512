"""Notes about values that are sent unchanged but are probably mistakes: null words, garbled text, merge tags."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from bulksend.messaging.column_names import letters_and_digits
from bulksend.messaging.sentences import say

#: Programs write these words for a missing value.
_WORDS = (
    "null, none, undefined, nan, nil, nat, n/a, <na>, (null), <null>, [null], (none), (blank), (empty), "
    "[object object], \\n, -, --, #n/a, #null!, #ref!, #value!, #name?, #div/0!, #num!, #error!, #####"
)
NULL_WORDS = frozenset(
    made for word in _WORDS.split(", ") for made in (word, word.upper(), word.capitalize(), word.title())
) | {"NaN", "NaT", "\\N", "[object Object]"}
#: UTF-8 text that was read as Windows-1252: ``Ã©`` for é, ``â€™`` for an apostrophe.
_GARBLED = re.compile("[\u00c3\u00c2][\u0080-\u00bf‚ƒ„…†‡ˆ‰Š‹Œ‘’“”•–—˜™š›œžŸ€]|â€|ï»¿")
#: Brackets in a row, and the two signs that Mailchimp puts around a name.
_BRACKETS = re.compile(r"(\*\||\|\*|[{}｛｝()\[\]［］<>＜＞%#$«»‹›〈〉《》【】「」]+)")
_CLOSES = dict(zip("{｛([［<＜%#$«‹〈《【「", "}｝)]］>＞%#$»›〉》】」", strict=True))
#: Other template languages write these around a name within their braces.
_AROUND = " \t=$.-@%"
_SIGNS = "%#$"
_PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}")
_MOST = 10


class DataQualityNotes:
    """Counts suspect values in the variables of a campaign's rows."""

    def __init__(self) -> None:
        self._words: Counter[tuple[str, str]] = Counter()
        self._garbled: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def inspect(self, name: str, text: str) -> None:
        """Check a value that is a null word or not ASCII."""
        word = text.strip()
        if word in NULL_WORDS:
            self._words[name, word] += 1
        elif found := _GARBLED.search(text):
            self._garbled[name] += 1
            self._examples.setdefault(name, found[0])

    def sentences(self) -> list[str]:
        """A sentence for each kind of suspect value in each variable."""
        words = [_null_word(count, word, name) for (name, word), count in self._words.most_common(_MOST)]
        garbled = [
            say(
                "{messages} text in {name} that was read in another encoding ({example}); {next}",
                messages=_rows(count),
                name=name,
                example=repr(self._examples[name]),
                next=say("export the data as UTF-8 again"),
            )
            for name, count in self._garbled.most_common(_MOST)
        ]
        return [*words, *garbled]


def _null_word(count: int, word: str, name: str) -> str:
    """The count and the word are apart by words of the key, so that the console finds each of them in a kept text."""
    if count == 1:
        return say("1 row has {word} in {name}, which is sent as it stands", word=word, name=name)
    return say(
        "{count} rows have {word} in {name}, which is sent as it stands",
        count=f"{count:,}",
        word=word,
        name=name,
    )


def _rows(count: int) -> str:
    return say("{count} row has", count="1") if count == 1 else say("{count} rows have", count=f"{count:,}")


def merge_tag_notes(content: str, names: Iterable[str]) -> list[str]:
    """A sentence for each column's name that stands in other brackets than ``{{ }}`` in a content, given as JSON."""
    columns = {letters_and_digits(name): name for name in names if letters_and_digits(name)}
    found: dict[str, str] = {}
    for text in _strings(json.loads(content)):
        for written, name in _find_merge_tags(text, columns):
            found.setdefault(written, name)
    return [
        f"{written} is sent as it stands; write {{{{{name}}}}} to fill in the column"
        for written, name in list(found.items())[:_MOST]
    ]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _find_merge_tags(text: str, columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(as written, column) of each merge tag that names a column."""
    parts = _BRACKETS.split(_PLACEHOLDER.sub("\n", text))
    for n in range(2, len(parts) - 1, 2):
        inner = parts[n]
        name = columns.get(letters_and_digits(re.split("[|:,]", inner[:200], maxsplit=1)[0].strip(_AROUND)))
        if name is not None:
            written = _as_written(parts[n - 1], inner, parts[n + 1])
            if written is not None:
                yield written, name


def _as_written(before: str, inner: str, after: str) -> str | None:
    """The name with its brackets; None when it has none."""
    if before == "*|" or after == "|*":
        return before + inner + after if (before, after) == ("*|", "|*") else None
    if before[-1] in _SIGNS and before[-1] != after[0] and len(before) > 1:  # {$name}
        before, inner = before[:-1], before[-1] + inner
    depth = 0
    while depth < min(len(before), len(after), 3) and _CLOSES.get(before[-1 - depth]) == after[depth]:
        depth += 1
    opened, closed = before[len(before) - depth :], after[:depth]
    if not depth or opened == "(" or (not set(opened) - set(_SIGNS) and inner != inner.strip()):
        return None
    if opened[0] == "{" and before[: len(before) - depth][-1:] in tuple(_SIGNS):  # ${name}, #{name}, %{name}
        opened = before[len(before) - depth - 1 :]
    return opened + inner + closed
