"""Whether this process runs, whether it can do its work, and what it counts."""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bulksend.errors import NotFound, NotSignedIn
from ops.http.services import ServicesDep

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """This process runs."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(services: ServicesDep) -> dict[str, str]:
    """The ledger answers; else 503. Redis may be away: what is taken in waits in the ledger."""
    services.database.check()
    return {"status": "ok"}


@router.get("/metrics", response_class=Response)
def metrics(request: Request, services: ServicesDep) -> Response:
    """What this process counts, for Prometheus, to the bearer of BULKSEND_METRICS_TOKEN; 404 if none is set."""
    token = services.settings.metrics_token
    if token is None:
        raise NotFound(
            "BULKSEND_METRICS_TOKEN is not set; set it, or BULKSEND_METRICS_PORT for a port of their own"
        )
    given = request.headers.get("authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {token.get_secret_value()}".encode()):
        raise NotSignedIn("send the token: Authorization: Bearer …")
    return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_LATEST)
