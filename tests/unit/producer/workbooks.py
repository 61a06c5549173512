"""Workbooks made by hand, part by part, as no library would write them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"

Parts = Mapping[str, str | bytes]


def sheet_xml(rows: str, *, before: str = "", after: str = "") -> str:
    """A sheet of rows that are written out."""
    return f'<worksheet xmlns="{MAIN}">{before}<sheetData>{rows}</sheetData>{after}</worksheet>'


def text(value: str, attributes: str = "") -> str:
    """A cell with its text in it."""
    return f'<c t="inlineStr"{attributes}><is><t>{value}</t></is></c>'


def row(*cells: str, attributes: str = "") -> str:
    """A row of cells that are written out."""
    return f"<row{attributes}>{''.join(cells)}</row>"


def row_of_texts(*values: str, attributes: str = "") -> str:
    """A row of texts."""
    return row(*map(text, values), attributes=attributes)


def parts_of(
    *sheets: str | bytes, names: tuple[str, ...] = (), styles: str = "", strings: str = ""
) -> dict[str, str | bytes]:
    """The parts of a workbook with these sheets."""
    names = names or tuple(f"Sheet{n}" for n in range(1, len(sheets) + 1))
    listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(names, 1))
    related = "".join(
        f'<Relationship Id="r{n}" Type="{RELATIONS}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    parts: dict[str, str | bytes] = {
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}"><Relationship Id="m" Type="{RELATIONS}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">{related}'
        f'<Relationship Id="t" Type="{RELATIONS}/styles" Target="styles.xml"/>'
        f'<Relationship Id="s" Type="{RELATIONS}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
    }
    if styles:
        parts["xl/styles.xml"] = styles
    if strings:
        parts["xl/sharedStrings.xml"] = f'<sst xmlns="{MAIN}">{strings}</sst>'
    for n, sheet in enumerate(sheets, 1):
        parts[f"xl/worksheets/sheet{n}.xml"] = sheet
    return parts


def styles_of(*codes: str | int) -> str:
    """Styles 0, 1, 2 … with these number formats: a code, or the number of one that is built in."""
    formats = "".join(
        f'<numFmt numFmtId="{200 + n}" formatCode="{_escaped(code)}"/>'
        for n, code in enumerate(codes)
        if isinstance(code, str)
    )
    cells = "".join(
        f'<xf numFmtId="{code if isinstance(code, int) else 200 + n}"/>' for n, code in enumerate(codes)
    )
    return f'<styleSheet xmlns="{MAIN}"><numFmts>{formats}</numFmts><cellXfs>{cells}</cellXfs></styleSheet>'


def _escaped(code: str) -> str:
    return code.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def save(path: Path, parts: Parts) -> Path:
    """Zip the parts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, data in parts.items():
            book.writestr(name, data)
    return path
