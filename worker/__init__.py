"""Jobs out: the Celery app (``celery -A worker worker``) and the engine that sends.

``worker.app`` is made from the environment when Celery first reads it; importing the package reads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    app: Celery


def __getattr__(name: str) -> object:
    if name == "app":
        import os
        import sys
        from pathlib import Path

        from bulksend.errors import InvalidInput
        from bulksend.settings import Settings
        from worker.celery_app import BAD_SETUP, build_app

        try:
            made = build_app(Settings.from_env(os.environ, Path(".env")))
        except InvalidInput as error:
            # Celery would print its own advice and a traceback instead.
            sys.stderr.write(f"bulksend: {error}\n")
            raise SystemExit(BAD_SETUP) from None
        globals()["app"] = made
        return made
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
