"""The rows of a table, marked for narrow windows, where each row is a card.

A cell gets the name of its column, which the style sheet shows before it. Rows and cells get their roles: a browser
takes what is laid out as a card for no table otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from ops.web.locale import NOTHING

Head = str | Mapping[str, object]
#: Without <, which is escaped in an attribute: an open tag is not looked for behind the next one.
_TAG = re.compile(r"<(tr|td|th)\b([^<>]*)>")
_NOTHING = re.compile(rf"<td\b(?=[^<>]*>\s*(?:{NOTHING}\s*)?</td>)")
_SPAN = re.compile(r'\bcolspan="(\d+)"')


def marked(rows: Markup, heads: Sequence[Head]) -> Markup:
    """These rows with ``role`` and ``data-label``, and ``data-none`` where there is no value.

    A cell of several columns, or of a hidden head, has no label.
    """
    labels, column = [_label(head) for head in heads], 0

    def with_marks(match: re.Match[str]) -> str:
        nonlocal column
        tag, more = match.groups()
        if tag == "tr":
            column = 0
            return f'<tr role="row"{more}>'
        role = "rowheader" if tag == "th" else "cell"
        span = int(found[1]) if (found := _SPAN.search(more)) else 1
        label = labels[column] if span == 1 and column < len(labels) else ""
        column += span
        name = f' data-label="{label}"' if label else ""
        return f'<{tag} role="{role}"{name}{more}>'

    # Every value was escaped: a tag can only be one of the templates.
    return Markup(_TAG.sub(with_marks, _NOTHING.sub('<td data-none=""', rows)))  # noqa: S704


def _label(head: Head) -> str:
    if isinstance(head, str):
        return str(escape(head))
    return "" if head.get("hidden") else str(escape(head["text"]))
