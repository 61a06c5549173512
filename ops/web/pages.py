"""A page: who asks for it, in which language and zone, and how it is answered.

An endpoint takes one by the role that it needs::

    @router.get("/campaigns")
    def campaigns(page: ViewerPage) -> Response:
        with page.database.read() as tx:
            found = campaigns.find_page(tx, ...)
        return page.render("campaigns.html", found=found)
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode, urlsplit

import structlog
from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from bulksend import __version__
from bulksend.errors import NotSignedIn
from bulksend.messaging.masking import mask_phone
from bulksend.operations import sessions
from bulksend.operations.access import Origin, Principal, Role, record_reading
from bulksend.operations.campaigns import left_in
from bulksend.operations.users import host_of
from ops.http.services import Services, address_of
from ops.web import catalogues, cookies, csrf
from ops.web.console import Console
from ops.web.local import local_path
from ops.web.locale import Locale, known_zone

if TYPE_CHECKING:
    from bulksend.ledger.database import Database

log = structlog.get_logger(__name__)

#: Asks for the contents of a page only, to put what has changed into the one that is shown.
LIVE_HEADER = "x-live"
THEMES = ("auto", "light", "dark")


@dataclass(frozen=True)
class Visit:
    """One request of a browser, signed in or not."""

    request: Request
    console: Console
    locale: Locale

    @property
    def services(self) -> Services:
        """The services of this process."""
        return self.console.services

    @property
    def database(self) -> Database:
        """The ledger."""
        return self.services.database

    @property
    def origin(self) -> Origin:
        """Where the request comes from."""
        return Origin(address_of(self.request), self.request.state.request_id)

    @property
    def is_live(self) -> bool:
        """Whether only the contents are asked for."""
        return LIVE_HEADER in self.request.headers

    def render(
        self, template: str, *, problem: Any = None, status: int | None = None, **values: Any
    ) -> Response:
        """The page of a template. One with a problem has its status, where no other is given."""
        if status is None:
            status = 200 if problem is None else problem.status
        values["problem"] = problem
        text = self.console.templates.get_template(template).render(self._context() | values)
        response = HTMLResponse(text, status)
        if not self.is_live and cookies.said(self.request):
            cookies.forget_said(self.request, response)
        return response

    def redirect(self, path: str, said: str | None = None, **values: Any) -> Response:
        """Send the browser to another page after a form; ``said`` is a text's key, which that page shows.

        The values are never private: a cookie holds them.
        """
        response = RedirectResponse(path, 303)
        if said is not None:
            cookies.say_next(self.request, response, said, values)
        return response

    def _context(self) -> dict[str, Any]:
        locale, url = self.locale, self.request.url
        here = url.path + (f"?{url.query}" if url.query else "")
        return {
            "page": self,
            "locale": locale,
            "t": locale.t,
            "rich": locale.rich,
            "word": locale.word,
            "sentence": locale.sentence,
            "words": locale.words,
            "number": locale.number,
            "percent": locale.percent,
            "duration": locale.duration,
            "time": locale.time,
            "asset": self.console.assets.url,
            "left_in": left_in,
            "host_of": host_of,
            "is_live": self.is_live,
            "made_at": f"{time.time():.1f}",
            "user": None,
            "csrf": "",
            "theme": self.theme,
            "languages": catalogues.LANGUAGES,
            "here": here if self.request.method == "GET" else self._came_from(),
            "path": url.path,
            "said": self._said(),
            "query": query,
            "options": lambda kind, values: [(str(each), locale.word(kind, each)) for each in values],
            "menu": self.console.menu,
            "version": __version__,
        }

    def _came_from(self) -> str:
        """The page whose form this request is: its own address may show nothing by itself."""
        came = urlsplit(self.request.headers.get("referer", ""))
        if came.netloc != self.request.url.netloc:
            return "/"
        return local_path(came.path + (f"?{came.query}" if came.query else ""))

    def _said(self) -> str | None:
        found = cookies.said(self.request)
        if self.is_live or found is None or not self.locale.has(found[0]):
            return None
        try:
            return self.locale.t(found[0], **found[1])
        except (KeyError, IndexError, ValueError, AttributeError):
            # Not a cookie of ours.
            return None

    @property
    def theme(self) -> str:
        """As its user chose it; ``auto``: as the system has it."""
        wished = self.request.cookies.get(cookies.THEME, "")
        return wished if wished in THEMES else "auto"


def query(values: Mapping[str, Any]) -> str:
    """The part of an address behind the ?, without what is empty; empty where nothing is left."""
    text = urlencode({name: value for name, value in values.items() if value not in (None, "")})
    return f"?{text}" if text else ""


@dataclass(frozen=True)
class Page(Visit):
    """A request of a user who is signed in."""

    user: Principal
    token: str

    def may(self, role: str) -> bool:
        """Whether the user's role is at least this one: what it may not do is not shown."""
        return self.user.role.includes(Role(role))

    def phone(self, digits: str | None) -> str:
        """A recipient's number as this user may see it."""
        if not digits:
            return "–"
        return f"+{digits}" if self.user.sees_numbers else f"+{mask_phone(digits)}"

    def note_reading(self, what: str, *, subject: str = "", why: str = "") -> None:
        """Put on record that this page shows numbers, as ``record_reading`` does; a refresh of it is no new reading.

        The browser says what is a refresh: it is one only of an address that this session was shown.
        """
        url, is_refresh = self.request.url, self.is_live and self.request.method == "GET"
        address = f"{self.request.method} {url.path}?{url.query}"
        if self.console.readings.is_new(sessions.hash_of(self.token), address, is_refresh=is_refresh):
            record_reading(self.database, self.user, what, subject=subject, why=why)

    def _context(self) -> dict[str, Any]:
        return super()._context() | {
            "user": self.user,
            "may": self.may,
            "phone": self.phone,
            "csrf": csrf.token_of(self.token),
        }


def locale_of(request: Request, console: Console) -> Locale:
    """The language and zone of a request: by its cookies, else by its browser and the settings."""
    cookie = request.cookies.get
    language = catalogues.chosen(cookie(cookies.LANGUAGE), request.headers.get("accept-language", ""))
    zone = known_zone(cookie(cookies.ZONE)) or console.services.settings.timezone or "UTC"
    return Locale(language, zone)


async def a_visit(request: Request) -> Visit:
    """A parameter of an endpoint that needs no session."""
    console: Console = request.app.state.console
    return Visit(request, console, locale_of(request, console))


AnyVisit = Annotated[Visit, Depends(a_visit)]


async def signed_in(visit: AnyVisit) -> Page:
    """The page of a user. Raises NotSignedIn."""
    token = cookies.SESSION.read(visit.request)
    if token is None:
        raise NotSignedIn("sign in")
    principal = await run_in_threadpool(_principal, visit, token)
    visit.request.state.principal = principal
    visit.services.request_rate.check(f"user {principal.name}")
    return Page(visit.request, visit.console, visit.locale, principal, token)


def _principal(visit: Visit, token: str) -> Principal:
    database = visit.database
    with database.translated_errors():
        with database.read() as tx:
            found = sessions.find(tx, token, visit.origin)
        if not found.is_seen:
            sessions.note_seen(database, token)
    return found.principal


class PageOf:
    """A dependency that lets users of a role pass. ``role`` is read by the test of who may do what."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, page: Annotated[Page, Depends(signed_in)]) -> Page:
        page.user.check_role(self.role)
        return page


#: Parameters of an endpoint that shows something: its user has at least this role.
ViewerPage = Annotated[Page, Depends(PageOf(Role.VIEWER))]
SenderPage = Annotated[Page, Depends(PageOf(Role.SENDER))]
OperatorPage = Annotated[Page, Depends(PageOf(Role.OPERATOR))]
AdminPage = Annotated[Page, Depends(PageOf(Role.ADMIN))]
