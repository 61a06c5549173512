"""Whether this process runs, and whether it can do its work."""

from __future__ import annotations

from fastapi import APIRouter

from ops.http.parts import P

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """This process runs."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(parts: P) -> dict[str, str]:
    """The ledger answers; else 503. Redis may be away: what is taken in waits in the ledger."""
    parts.database.check()
    return {"status": "ok"}
