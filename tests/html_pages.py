"""Pages of the console as a test reads them: parsed, and held to what every page keeps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree as Tree

VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
#: Of SVG, which closes itself.
_CLOSED = frozenset(["path", "rect", "polyline", "circle", "line"])


class Html:
    """A page. Paths are those of ElementTree: ``.//form[@action='/sign-out']``."""

    def __init__(self, text: str) -> None:
        parser = _Parser()
        parser.feed(text)
        parser.close()
        assert not parser.wrong, parser.wrong
        self.root = parser.root

    def all(self, path: str) -> list[Tree.Element]:
        """Every element of that path."""
        return self.root.findall(path)

    def one(self, path: str) -> Tree.Element:
        """The only one."""
        found = self.all(path)
        assert len(found) == 1, f"{len(found)} elements of {path}"
        return found[0]

    def by_id(self, id: str) -> Tree.Element:
        """The element with that id."""
        return self.one(f".//*[@id='{id}']")

    def text(self, path: str = ".//main") -> str:
        """What the only element of that path says, in one line."""
        return words_of(self.one(path))

    def rows(self, path: str = ".//tbody/tr") -> list[list[str]]:
        """The cells of each row."""
        return [[words_of(cell) for cell in row if cell.tag in ("th", "td")] for row in self.all(path)]

    def fields(self, form: str) -> dict[str, str]:
        """What the form of that path would send as it stands; of a <select> its choice."""
        found = {}
        for each in self.one(form).iter():
            if (
                each.tag == "input"
                and each.get("type") not in ("checkbox", "radio", "file")
                and each.get("name")
            ):
                found[str(each.get("name"))] = each.get("value", "")
            elif each.tag == "textarea":
                found[str(each.get("name"))] = each.text or ""
            elif each.tag == "select":
                options = each.findall("option")
                chosen = [option for option in options if option.get("selected") is not None] or options[:1]
                found[str(each.get("name"))] = chosen[0].get("value", "") if chosen else ""
        return found

    def check(self) -> None:
        """What every page keeps, whatever it shows."""
        ids = Counter(each.get("id") for each in self.root.iter() if each.get("id") is not None)
        assert not [id for id, count in ids.items() if count > 1], (
            f"ids that come twice: {ids.most_common(3)}"
        )
        labels = {each.get("for") for each in self.all(".//label")}
        for each in self.root.iter():
            wrong = [name for name in each.attrib if name == "style" or name.startswith("on")]
            assert not wrong, f"<{each.tag} {wrong[0]}>: the content policy refuses it"
            if each.tag == "script":
                assert each.get("src"), "a script inside of the page"
            if each.tag == "form" and each.get("method") == "post":
                self._check_form(each)
            if each.tag in ("input", "select", "textarea") and each.get("type") not in ("hidden", "submit"):
                is_named = each.get("id") in labels or each.get("aria-label") or _is_in_label(self.root, each)
                assert is_named, f"a field without a label: {each.attrib}"
            if each.get("data-live") is not None:
                assert each.get("id"), "a region that follows something needs an id"

    @staticmethod
    def _check_form(form: Tree.Element) -> None:
        action = form.get("action", "")
        if action.startswith(("/sign-in", "/preferences")):
            return
        assert form.find(".//input[@name='csrf']") is not None, f"the form {action} has no token"


def words_of(element: Tree.Element) -> str:
    """All text in it, with one blank between words."""
    return re.sub(r"\s+", " ", " ".join(element.itertext())).strip()


def _is_in_label(root: Tree.Element, field: Tree.Element) -> bool:
    return any(field in set(label.iter()) for label in root.iter("label"))


class _Parser(HTMLParser):
    """Builds the tree, and notes what is not nested well."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Tree.Element("document")
        self.wrong: list[str] = []
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)
        if tag not in VOID:
            self._open.append(self._open[-1][-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID | _CLOSED:
            self.wrong.append(f"<{tag}/> closes nothing in HTML")
        self._add(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if len(self._open) == 1 or self._open[-1].tag != tag:
            self.wrong.append(f"</{tag}> where <{self._open[-1].tag}> is open, line {self.getpos()[0]}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        element = self._open[-1]
        if len(element):
            element[-1].tail = (element[-1].tail or "") + data
        else:
            element.text = (element.text or "") + data

    def close(self) -> None:
        super().close()
        self.wrong += [f"<{each.tag}> is never closed" for each in self._open[1:]]

    def _add(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.wrong.append(f"<{tag}> has an attribute twice: {names}")
        Tree.SubElement(self._open[-1], tag, {name: value or "" for name, value in attrs})


def elements(html: Html, tag: str) -> Iterator[Tree.Element]:
    """Every element of a tag."""
    return html.root.iter(tag)
