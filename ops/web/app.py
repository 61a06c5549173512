"""The console as an application of its own, beside the HTTP API in the same process.

Its addresses are all that are not the API's, see ``ops.http.faces``.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from bulksend.errors import AccessDenied
from bulksend.operations.access import Role
from ops.http.problems import Crashes
from ops.http.services import Services
from ops.web import csrf, problems, routes
from ops.web.console import Console

#: The menu: path, key of its text behind ``base.menu.``, role. Of these, the pages that there are.
MENU = (
    ("/", "overview", Role.VIEWER),
    ("/campaigns", "campaigns", Role.VIEWER),
    ("/codes", "codes", Role.VIEWER),
    ("/messages", "messages", Role.VIEWER),
    ("/unknown", "unknown", Role.VIEWER),
    ("/replies", "replies", Role.VIEWER),
    ("/senders", "senders", Role.VIEWER),
    ("/templates", "templates", Role.VIEWER),
    ("/media", "media", Role.VIEWER),
    ("/suppressions", "suppressions", Role.VIEWER),
    ("/persons", "persons", Role.ADMIN),
    ("/statistics", "statistics", Role.VIEWER),
    ("/exports", "exports", Role.VIEWER),
    ("/webhooks", "webhooks", Role.ADMIN),
    ("/keys", "keys", Role.ADMIN),
    ("/users", "users", Role.ADMIN),
    ("/acts", "acts", Role.ADMIN),
    ("/system", "system", Role.VIEWER),
)


def routers() -> list[APIRouter]:
    """The router of each module in ``routes``. One with fixed words in its paths comes before one with an id there."""
    names = sorted(each.name for each in pkgutil.iter_modules(routes.__path__))
    return [import_module(f"{routes.__name__}.{name}").router for name in names]


def create_console(services: Services) -> FastAPI:
    """The console over these services."""
    app = FastAPI(
        title="bulksend console", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    problems.install(app)
    app.add_middleware(_OurPagesOnly)
    app.add_middleware(Crashes, answer=problems.crashed)
    for router in routers():
        app.include_router(router)
    paths = {route.path for route in iter_route_contexts(app.routes)}
    menu = [(path, key, role.value) for path, key, role in MENU if path in paths]
    app.state.console = Console(services, services.live, menu)
    return app


class _OurPagesOnly:
    """ASGI middleware: a request that may change something comes from a page of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in csrf.SAFE_METHODS:
            request = Request(scope)
            try:
                csrf.check_origin(request)
            except AccessDenied as error:
                await problems.answer(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
