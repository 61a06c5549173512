"""The application: its endpoints, its errors, its documentation without any outside address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from bulksend import __version__
from bulksend.metrics import HttpMetrics
from bulksend.operations.receipt_tokens import read_tokens
from ops.http import problems, request_ids
from ops.http.access_log import AccessLog
from ops.http.body_limits import BodyLimits
from ops.http.parts import Parts
from ops.http.receipts_in import ReceiptsIn, is_callback
from ops.http.response_headers import ResponseHeaders
from ops.http.routes import (
    campaigns,
    events,
    exports,
    health,
    inbound,
    keys,
    messages,
    receipt_tokens,
    receipts,
    senders,
    stats,
    suppressions,
    users,
    webhooks,
)
from ops.http.sending import Sending

STATIC = Path(__file__).parent / "static"
#: What scripts of other origins may send and read, where BULKSEND_CORS_ORIGINS allows them at all.
_CORS_REQUEST = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-Id")
_CORS_ANSWER = ("Idempotent-Replayed", "Location", "Retry-After", "X-Request-Id")
_ROUTERS = (
    messages.router,
    health.router,
    campaigns.router,
    events.router,
    exports.router,
    inbound.router,
    keys.router,
    webhooks.router,
    senders.router,
    stats.router,
    suppressions.router,
    users.router,
    receipt_tokens.router,
    receipts.router,
)


def create_app(parts: Parts) -> FastAPI:
    """The API over these parts. What runs beside its requests starts and stops with it."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        parts.start()
        yield
        await run_in_threadpool(parts.stop)

    app = _Application(
        title="bulksend",
        version=__version__,
        description="Send WhatsApp messages in bulk, and see what happened to each one.",
        docs_url=None,
        redoc_url=None,
        lifespan=running,
    )
    app.state.parts = parts
    app.receipts = _receipts(parts)
    app.state.sending = Sending(parts)
    problems.install(app)
    _add_middleware(app, parts)
    app.router.routes.append(messages.shortcut())
    for router in _ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    return app


class _Application(FastAPI):
    """Hands callbacks to ``receipts`` before anything else sees them: they are in no access log, and cost little."""

    receipts: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_callback(scope):
            await self.receipts(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _receipts(parts: Parts) -> ASGIApp:
    taken: Any = ReceiptsIn(parts.receipts, lambda: read_tokens(parts.database))
    proxies = parts.settings.trusted_proxies
    # uvicorn and starlette name the same types differently.
    return cast("ASGIApp", ProxyHeadersMiddleware(taken, trusted_hosts=proxies)) if proxies else taken


def _add_middleware(app: FastAPI, parts: Parts) -> None:
    """The last one added is the first to see a request."""
    of = parts.settings
    app.add_middleware(BodyLimits)
    app.add_middleware(problems.Crashes)
    if of.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=of.cors_origins.split(","),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=_CORS_REQUEST,
            expose_headers=_CORS_ANSWER,
        )
    app.add_middleware(ResponseHeaders)
    app.add_middleware(AccessLog, metrics=HttpMetrics(parts.registry), tracing=parts.tracing)
    app.add_middleware(request_ids.RequestIds)
    if of.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=of.trusted_proxies)
