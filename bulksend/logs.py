"""Logs: one event a line on stderr, JSON unless it is a terminal; phone numbers are masked in every event."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

from bulksend.messaging.masking import mask_digits

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
#: Fields that are never private and have digits that look like phone numbers.
_PLAIN = frozenset(
    {"timestamp", "level", "event", "logger", "message", "campaign", "campaign_id", "worker", "file"}
)
#: A failure that lasts is logged again after this long.
REMIND_S = 60.0
#: Below WARNING these log their arguments, phone numbers included, or a line for each job.
_NOISY = (
    "celery.worker.strategy",
    "celery.app.trace",
    "httpx",
    "httpcore",
    "kombu",
    "amqp",
    "sqlalchemy",
    "asyncio",
    "sse_starlette",
)


def configure(level: str = "INFO", format: str = "auto", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to ``stream`` (stderr), masked.

    ``format`` is ``json``, ``console`` or ``auto``: console on a terminal.
    """
    out = stream if stream is not None else sys.stderr
    console = format == "console" or (format == "auto" and out.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_event,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=out.isatty() and "NO_COLOR" not in os.environ)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=not writes_unicode(out))
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(
        out, None if console else json.JSONEncoder(ensure_ascii=not writes_unicode(out)).encode
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


class _Handler(logging.StreamHandler[TextIO]):
    """``encode`` makes JSON of an event; None where events are written for people."""

    def __init__(self, stream: TextIO, encode: Callable[[object], str] | None) -> None:
        super().__init__(stream)
        self.encode = encode

    def write(self, line: str) -> None:
        """Write a line as it is. A stream that takes nothing loses it, as it loses every other event."""
        self.acquire()
        try:
            self.stream.write(line)
            self.flush()
        except (OSError, ValueError):
            pass
        finally:
            self.release()


class InfoLines:
    """An event that is logged for every request: the same line as by structlog, at a fifth of its cost."""

    def __init__(self, logger: str, event: str) -> None:
        self._logger = logging.getLogger(logger)
        self._structlog = structlog.get_logger(logger)
        self._event = event
        self._tail = {"event": event, "logger": logger, "level": "info"}

    def write(self, fields: Mapping[str, Any]) -> None:
        """Log the event; texts in its fields are masked. Fields that are bound to the log are not added."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        handlers = logging.getLogger().handlers
        if len(handlers) != 1 or not isinstance(handler := handlers[0], _Handler) or handler.encode is None:
            self._structlog.info(self._event, **fields)
            return
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        event = {**mask_event(None, "info", {**fields}), **self._tail, "timestamp": now}
        line = handler.encode(event) + "\n"
        handler.write(line)


class Reminders:
    """Which failures are logged of those that are tried again and again: the first one, one with another text, and one
    a minute while it lasts. Belongs to one thread."""

    def __init__(self, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._steady_s = steady_s
        self._logged: dict[str, tuple[str, float]] = {}

    def is_due(self, name: str, text: str) -> bool:
        """Whether this failure of ``name`` is to be logged."""
        now = self._steady_s()
        before, at = self._logged.get(name, ("", 0.0))
        if text == before and now - at < REMIND_S:
            return False
        self._logged[name] = (text, now)
        return True

    def clear(self, name: str) -> bool:
        """It has succeeded: its next failure is the first one of another trouble. Returns whether it failed before."""
        return self._logged.pop(name, None) is not None


def writes_unicode(stream: TextIO) -> bool:
    """Whether its encoding has every character."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def mask_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask digits that could be a phone number and replace control characters in every text."""
    for key, value in event.items():
        if isinstance(value, str):
            text = value if value.isprintable() else _CONTROL.sub(" ", value)
            event[key] = text if key in _PLAIN and key != "event" else mask_digits(text)
    return event
