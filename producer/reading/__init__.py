"""Files in: CSV, XLSX and JSON lines, read row by row in flat memory. A row is read whole, or refused with a reason.

A row's number is the one that a spreadsheet shows: the header is row 1, and empty rows count. In a text editor it is
the line, unless a cell holds a line break. JSON lines have no header: their first line is row 1.
"""

from producer.reading.file_formats import open_rows
from producer.reading.rows import RawRow, RowSource

__all__ = ["RawRow", "RowSource", "open_rows"]
