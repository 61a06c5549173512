"""The console as an application of its own, beside the HTTP API in the same process.

Its addresses are all that are not the API's, see ``ops.http.faces``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from bulksend.errors import AccessDenied
from bulksend.operations.access import Role
from ops.http.problems import Crashes
from ops.http.services import Services
from ops.web import csrf, problems, routes
from ops.web.console import Console

#: The menu: path, key of its text behind ``base.menu.``, role, whether it stands in the bar: the others stand under
#: "More". Of these, the pages that there are.
MENU = (
    ("/", "overview", Role.VIEWER, True),
    ("/campaigns", "campaigns", Role.VIEWER, True),
    ("/codes", "codes", Role.VIEWER, True),
    ("/messages", "messages", Role.VIEWER, True),
    ("/unknown", "unknown", Role.VIEWER, True),
    ("/replies", "replies", Role.VIEWER, True),
    ("/senders", "senders", Role.VIEWER, True),
    ("/templates", "templates", Role.VIEWER, True),
    ("/media", "media", Role.VIEWER, False),
    ("/suppressions", "suppressions", Role.VIEWER, False),
    ("/persons", "persons", Role.ADMIN, False),
    ("/statistics", "statistics", Role.VIEWER, True),
    ("/exports", "exports", Role.VIEWER, False),
    ("/webhooks", "webhooks", Role.ADMIN, False),
    ("/keys", "keys", Role.ADMIN, False),
    ("/users", "users", Role.ADMIN, False),
    ("/acts", "acts", Role.ADMIN, False),
    ("/system", "system", Role.VIEWER, False),
)


def routers() -> list[APIRouter]:
    """The router of each module in ``routes``. One with fixed words in its paths comes before one with an id there."""
    names = sorted(each.name for each in pkgutil.iter_modules(routes.__path__))
    return [import_module(f"{routes.__name__}.{name}").router for name in names]


def create_console(services: Services) -> FastAPI:
    """The console over these services."""
    pages = [route for router in routers() for route in router.routes]
    app = FastAPI(
        title="bulksend console",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        routes=pages,
    )
    problems.install(app)
    app.add_middleware(_OurPagesOnly, pages=pages)
    app.add_middleware(Crashes, answer=problems.crashed)
    paths = {route.path for route in pages if isinstance(route, APIRoute)}
    menu = [(path, key, role.value, daily) for path, key, role, daily in MENU if path in paths]
    app.state.console = Console(services, services.live, menu)
    return app


class _OurPagesOnly:
    """ASGI middleware: a request that may change something comes from a page of ours.

    An address that there is not changes nothing: a program with a mistyped one is told so.
    """

    def __init__(self, app: ASGIApp, pages: Sequence[BaseRoute]) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in csrf.SAFE_METHODS and self._is_page(scope):
            request = Request(scope)
            try:
                csrf.check_origin(request)
            except AccessDenied as error:
                await problems.answer(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_page(self, scope: Scope) -> bool:
        return any(page.matches(scope)[0] is not Match.NONE for page in self._pages)
