"""The templates: every value is escaped, and one that is missing is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ops.web.table_rows import marked
from producer.reading.rows import is_remark

FOLDER = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """The templates of the console, each compiled once in a process."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=200,
    )
    made.filters["marked"] = marked
    made.tests["remark"] = is_remark
    return made
