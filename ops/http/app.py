"""The application: its endpoints, its errors, its documentation without any outside address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import structlog
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from bulksend import __version__
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import log_text
from bulksend.metrics import HttpMetrics
from bulksend.operations.health import SERVE, SIGN_S, leave_sign
from bulksend.operations.receipt_tokens import read_tokens
from ops.http import problems
from ops.http.access_log import AccessLog
from ops.http.api_schema import described
from ops.http.body_limits import BodyLimits
from ops.http.faces import is_of_the_api
from ops.http.messages_in import MessagesIn
from ops.http.receipts_in import ReceiptsIn, is_callback
from ops.http.requests import Requests
from ops.http.routes import (
    audits,
    campaign_reports,
    campaigns,
    consents,
    events,
    exports,
    health,
    inbound,
    keys,
    media,
    messages,
    persons,
    plans,
    receipt_tokens,
    receipts,
    senders,
    stats,
    suppressions,
    users,
    webhooks,
)
from ops.http.sending import Sending
from ops.http.services import Services
from ops.web.app import create_console

log = structlog.get_logger(__name__)

STATIC = Path(__file__).parent / "static"
#: What scripts of other origins may send and read, where BULKSEND_CORS_ORIGINS allows them at all.
_CORS_REQUEST = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-Id")
_CORS_ANSWER = ("Idempotent-Replayed", "Location", "Retry-After", "X-Request-Id")
ROUTERS = (
    messages.router,
    health.router,
    campaigns.router,
    campaign_reports.router,
    consents.router,
    events.router,
    exports.router,
    plans.router,
    inbound.router,
    keys.router,
    media.router,
    webhooks.router,
    senders.router,
    stats.router,
    audits.router,
    suppressions.router,
    persons.router,
    users.router,
    receipt_tokens.router,
    receipts.router,
)


def create_app(services: Services) -> FastAPI:
    """The API over these services. What runs beside its requests starts and stops with it."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        signs = asyncio.create_task(_leave_signs(services.database))
        yield
        signs.cancel()
        await asyncio.wait([signs])
        await run_in_threadpool(services.stop)

    app = _Application(
        title="bulksend",
        version=__version__,
        description="Send WhatsApp messages in bulk, and see what happened to each one.",
        docs_url=None,
        redoc_url=None,
        # To an address that the Host header names, by http:// behind a proxy: the key would go with it.
        redirect_slashes=False,
        lifespan=running,
        routes=[route for router in ROUTERS for route in router.routes],
    )
    app.state.services = services
    app.receipts = _receipts(services)
    app.state.sending = Sending(services)
    api = MessagesIn(services, app.state.sending, app.framework)
    app.requests = _requests(services, _Faces(api, create_console(services)))
    problems.install(app)
    app.add_middleware(BodyLimits)
    app.add_middleware(problems.Crashes)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    return app


class _Faces:
    """The HTTP API and the console, each at its addresses."""

    def __init__(self, api: ASGIApp, console: ASGIApp) -> None:
        self._api, self._console = api, console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._api if is_of_the_api(scope["path"]) else self._console)(scope, receive, send)


async def _leave_signs(database: Database) -> None:
    """Signs of life for `doctor`: the event loop runs, and the ledger takes writes."""
    while True:
        try:
            await run_in_threadpool(leave_sign, database, SERVE)
        except Exception as error:  # noqa: BLE001 - the ledger may be away for long, and requests tell so
            log.debug("sign_not_left", error=log_text(error))
        await asyncio.sleep(SIGN_S)


class _Application(FastAPI):
    """Hands a request to ``receipts`` or ``requests`` first. Callbacks are in no access log, and cost little."""

    receipts: ASGIApp
    requests: ASGIApp

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = described(super().openapi())
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await (self.receipts if is_callback(scope) else self.requests)(scope, receive, send)

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's own way to an endpoint."""
        await super().__call__(scope, receive, send)


def _receipts(services: Services) -> ASGIApp:
    taken: Any = ReceiptsIn(services.receipts, lambda: read_tokens(services.database))
    return _behind_proxies(services, taken)


def _requests(services: Services, app: ASGIApp) -> ASGIApp:
    """What comes before the application for every request that is no callback."""
    of = services.settings
    if of.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=of.cors_origins.split(","),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=_CORS_REQUEST,
            expose_headers=_CORS_ANSWER,
        )
    return _behind_proxies(
        services, Requests(app, AccessLog(HttpMetrics(services.registry), services.tracing))
    )


def _behind_proxies(services: Services, app: Any) -> ASGIApp:
    proxies = services.settings.trusted_proxies
    # uvicorn and starlette name the same types differently.
    return cast("ASGIApp", ProxyHeadersMiddleware(app, trusted_hosts=proxies) if proxies else app)
