"""Jobs out: the Celery app (``celery -A worker worker``) and the engine that sends.

``worker.app`` is made when Celery first asks for it, from the environment; importing the package reads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    app: Celery


def __getattr__(name: str) -> object:
    if name == "app":
        import os
        from pathlib import Path

        from bulksend.settings import Settings
        from worker.celery_app import build_app

        made = build_app(Settings.from_env(os.environ, Path(".env")))
        globals()["app"] = made
        return made
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
