"""The application: its endpoints, its errors, its documentation without any outside address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from bulksend import __version__
from bulksend.operations.receipt_tokens import read_tokens
from ops.http import problems, request_ids
from ops.http.parts import Parts
from ops.http.receipts_in import ReceiptsIn
from ops.http.routes import campaigns, exports, health

STATIC = Path(__file__).parent / "static"
_ROUTERS = (health.router, campaigns.router, exports.router)


def create_app(parts: Parts) -> FastAPI:
    """The API over these parts. What runs beside its requests starts and stops with it."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        parts.start()
        yield
        await run_in_threadpool(parts.stop)

    app = FastAPI(
        title="bulksend",
        version=__version__,
        description="Send WhatsApp messages in bulk, and see what happened to each one.",
        docs_url=None,
        redoc_url=None,
        lifespan=running,
    )
    app.state.parts = parts
    problems.install(app)
    app.add_middleware(request_ids.RequestIds)
    # The last one added is the first to see a request: a callback passes through nothing else, and is in no access log.
    app.add_middleware(ReceiptsIn, commit=parts.receipts, read_tokens=lambda: read_tokens(parts.database))
    for router in _ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    return app
