"""The README in Chinese has the commands, links and names of the English one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s+)# .*$")
_LINK = re.compile(r"\]\(([^)]+)\)")
_CODE = re.compile(r"`([^`]+)`")
#: Each links the other.
_OTHER = {ENGLISH, CHINESE}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[tuple[str, list[str]]]:
    """The language and the lines of each block of code; of a comment only that it is there."""
    return [
        (language, [_COMMENT.sub(r"\1#", line) for line in code.splitlines()])
        for language, code in _BLOCK.findall(text_of(name))
    ]


def prose(name: str) -> str:
    return _BLOCK.sub("", text_of(name))


def links(name: str) -> list[str]:
    """Those to other pages; a picture is the same one in each language."""
    found = [link for link in _LINK.findall(prose(name)) if not link.startswith("#") and link not in _OTHER]
    return [link.replace(".zh-CN.", ".en.") for link in found]


def anchors(name: str) -> set[str]:
    """The anchors of its headings, as the forges make them."""
    titles = re.findall(r"^#+ (.+)$", prose(name), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_both_have_the_same_blocks_in_the_same_order() -> None:
    assert len(blocks(ENGLISH)) > 5
    assert blocks(CHINESE) == blocks(ENGLISH)


def test_both_link_the_same_pages() -> None:
    assert sorted(links(CHINESE)) == sorted(links(ENGLISH))


def test_both_name_the_same_options_settings_and_columns() -> None:
    def named(name: str) -> set[str]:
        return {" ".join(code.split()) for code in _CODE.findall(prose(name))}

    assert named(CHINESE) == named(ENGLISH)


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_its_links_into_itself_lead_to_its_headings(name: str) -> None:
    inner = [link for link in _LINK.findall(prose(name)) if link.startswith("#")]
    assert len(inner) == 4
    assert set(inner) <= anchors(name)


def test_each_links_the_other() -> None:
    assert f"]({CHINESE})" in text_of(ENGLISH)
    assert f"]({ENGLISH})" in text_of(CHINESE)
