"""What a person likes: language, time zone, colours. Kept in cookies, so it needs no session."""

from __future__ import annotations

import zoneinfo
from functools import cache

from fastapi import APIRouter, Request, Response

from ops.web import catalogues, cookies
from ops.web.forms import read_fields
from ops.web.local import local_path
from ops.web.locale import known_zone
from ops.web.pages import THEMES, AnyVisit, Visit, a_visit, signed_in

router = APIRouter()


@router.get("/preferences")
async def preferences(visit: AnyVisit, back: str = "/") -> Response:
    """Choose them."""
    return (await _with_user(visit)).render("preferences.html", zones=_zones(), back=local_path(back))


@router.post("/preferences")
async def choose(request: Request) -> Response:
    """Keep what the form names."""
    visit = await a_visit(request)
    fields = await read_fields(request)
    response = visit.redirect(local_path(fields.text("back")))
    language, zone, theme = fields.text("language"), fields.text("zone"), fields.text("theme")
    if language in catalogues.LANGUAGES:
        cookies.set_liked(request, response, cookies.LANGUAGE, language)
    if known_zone(zone):
        cookies.set_liked(request, response, cookies.ZONE, zone)
    elif zone:
        page = await _with_user(visit)
        return page.render(
            "preferences.html", status=422, zones=_zones(), back=local_path(fields.text("back")), wrong=zone
        )
    if theme in THEMES:
        cookies.set_liked(request, response, cookies.THEME, theme)
    return response


async def _with_user(visit: Visit) -> Visit:
    """The same with the menu, where there is a session."""
    return await signed_in(visit) if cookies.SESSION.read(visit.request) else visit


@cache
def _zones() -> list[str]:
    return sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone or zone == "UTC")
