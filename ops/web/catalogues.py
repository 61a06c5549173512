"""The texts of the console: flat files of JSON, one for each page and language, with the same keys in each language.

``catalogues/en/campaigns.json`` holds the keys that begin with ``campaigns.``.

``catalogues/sentences/zh-CN/*.json`` hold what the operations say: their keys are the English words of each sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bulksend.messaging.sentences import Recall

FOLDER = Path(__file__).parent / "catalogues"
#: By the value of ``lang``, as each language calls itself.
LANGUAGES: Mapping[str, str] = {"en": "English", "zh-CN": "简体中文"}
DEFAULT = "en"


@cache
def texts(language: str) -> Mapping[str, str]:
    """Every text of a language by its key. Raises ValueError where a key stands in the file of another page."""
    found: dict[str, str] = {}
    for file in sorted((FOLDER / language).glob("*.json")):
        for key, text in json.loads(file.read_text(encoding="utf-8")).items():
            if not key.startswith(f"{file.stem}."):
                raise ValueError(f"{language}/{file.name}: {key} must begin with {file.stem}.")
            found[key] = text
    return found


@cache
def sentences(language: str) -> Mapping[str, str]:
    """What the operations say, in a language, by its English words; empty for English.

    Raises ValueError where a sentence stands in two files.
    """
    found: dict[str, str] = {}
    for file in sorted((FOLDER / "sentences" / language).glob("*.json")):
        for key, text in json.loads(file.read_text(encoding="utf-8")).items():
            if key in found:
                raise ValueError(f"{language}/{file.name}: {key} stands in another file too")
            found[key] = text
    return found


@cache
def recall(language: str) -> Recall:
    """Finds the sentences of texts that the ledger keeps."""
    return Recall(sentences(language))


def chosen(cookie: str | None, accepted: str) -> str:
    """The language of a request: the one that its cookie names, else the first that it accepts and we have."""
    if cookie in LANGUAGES:
        return str(cookie)
    for part in accepted[:200].split(","):
        tag = part.partition(";")[0].strip().lower()
        for language in LANGUAGES:
            # Traditional characters are another language; English is nearer to its readers than simplified ones.
            if tag == language.lower() or tag.partition("-")[0] == language.partition("-")[0].lower():
                return DEFAULT if tag in ("zh-tw", "zh-hk", "zh-hant") else language
    return DEFAULT
