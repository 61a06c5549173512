"""Files for the browser."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

from ops.web.assets import PREFIX
from ops.web.pages import AnyVisit

router = APIRouter()


@router.get(PREFIX + "/{hash}/{name:path}")
async def asset(hash: str, name: str, visit: AnyVisit) -> Response:
    """A file of ``static``. It needs no session: the page of the sign-in has files too."""
    found = visit.console.assets.answer(hash, name, visit.request.headers.get("accept-encoding", ""))
    if found is None:
        raise HTTPException(404)
    return found
