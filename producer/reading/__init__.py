"""Files in: CSV, XLSX and JSON lines, read row by row in flat memory, each row whole or refused with its
reason.

A row's number is the one that a spreadsheet shows: the header is row 1 and blank rows count. In a text
editor it is the line, as long as no cell holds a line break. JSON lines have no header, their first line is
row 1.
"""

from producer.reading.file_formats import open_rows
from producer.reading.rows import RawRow, RowSource

__all__ = ["RawRow", "RowSource", "open_rows"]
