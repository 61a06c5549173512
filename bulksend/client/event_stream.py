"""Reads server-sent events, a line at a time. Pure."""

from __future__ import annotations

import json
from typing import Any


class StreamReader:
    """``last_id`` is where the stream goes on after a reconnect (the Last-Event-ID of the standard)."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, line: str) -> Any:
        """The JSON of an event that this line ends; None for every other line. Raises ValueError for bad JSON."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self._id = value
            elif name == "data":
                self._data.append(value)
            return None
        id, data = self._id, "\n".join(self._data)
        self._data, self._id = [], None
        item = json.loads(data) if data else None
        # Only now: an event that cannot be read comes again.
        if id is not None:
            self.last_id = id
        return item

    def break_off(self) -> None:
        """The connection ended: what has no end yet comes again."""
        self._data, self._id = [], None
