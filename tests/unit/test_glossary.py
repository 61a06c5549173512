"""The glossary leads: the names of modules are made of its words."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROOMS = (
    *("bulksend/limits", "bulksend/ledger", "bulksend/gateway", "bulksend/broker", "bulksend/operations"),
    *("worker", "producer", "notifier", "simulator", "ops"),
)
#: Words that join others.
JOINING = {"by", "in", "of", "and", "is", "ahead"}


#: Words that a reader whose second language is English stumbles over, or that hide who does what.
UNPLAIN = re.compile(
    r"\b(anew|so many|somebody|nobody|whoever|everybody|anybody|or rather|no one(?!-))\b", re.IGNORECASE
)
PROSE = (
    "*.md",
    "bulksend/**",
    "producer/**",
    "worker/**",
    "notifier/**",
    "simulator/**",
    "ops/**",
    "migrations/**",
    "docs/**",
    "bench/**",
)
#: The user of that name.
EXCEPTIONS = {"ops/local/postgres.py"}


def _stem(word: str) -> str:
    """One form for singular and plural."""
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _words(text: str) -> set[str]:
    return {_stem(word) for word in re.findall(r"[a-z]+", text.lower())}


def glossary_words() -> set[str]:
    """The words of the tables' first columns, and those that are the field's."""
    table, _, field = GLOSSARY.partition("## Words of the field")
    defined = (
        " ".join(re.findall(r"\*\*([^*]+)\*\*", table))
        + " "
        + " ".join(re.findall(r"^\| `(\w+)`", table, re.M))
    )
    return _words(defined) | _words(field.partition("\n\n")[2].partition("\n\n")[2])


def module_names() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if not path.name.startswith("__")
    )


def test_a_module_is_named_by_words_of_the_glossary() -> None:
    known = glossary_words() | JOINING
    strange = {name: words for name in module_names() if (words := words_of(Path(name)) - known)}
    assert strange == {}, "add the word to docs/glossary.md, or use one that is there"


def words_of(path: Path) -> set[str]:
    """The words of its folders, below the first, and of its name."""
    return _words(" ".join((*path.parent.parts[1:], path.stem)).replace("_", " "))


def test_a_word_has_one_line_in_the_glossary() -> None:
    words = re.findall(r"^\| \*\*([^*]+)\*\*", GLOSSARY, re.M)
    assert len(words) == len(set(words))
    assert len(words) > 40


def test_prose_is_free_of_words_that_are_hard_to_read() -> None:
    told = subprocess.run(
        ["git", "ls-files", "-z", "--", *PROSE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name in filter(None, told.stdout.split("\0"))
        if Path(name).suffix in (".py", ".md", ".lua") and name not in EXCEPTIONS
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1)
        if UNPLAIN.search(line)
    ]
    assert found == []
