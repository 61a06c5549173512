"""Sign in at an issuer: the browser goes there, and comes back with its answer.

A page of ours links to the begin. Another site may not begin it: it could sign a person in who has just signed out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from bulksend.errors import TooManyRequests
from bulksend.oidc import Answer, IssuerUnavailable, Refusal, SignIn, SignInRefused
from bulksend.operations import issuer_sign_in
from ops.web import cookies, csrf
from ops.web.local import local_path
from ops.web.pages import AnyVisit, Visit
from ops.web.sealed import seal, unseal
from ops.web.sign_in import begin_session

if TYPE_CHECKING:
    from bulksend.oidc.issuer import Issuer

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/sign-in/oidc")


@router.get("")
async def begin(visit: AnyVisit, next: str = "/") -> Response:
    """Send the browser to the issuer."""
    issuer, request = _issuer(visit), visit.request
    if csrf.is_of_another_site(request):
        return _to_form(visit, local_path(next))
    try:
        async with visit.console.issuing:
            address, begun = await run_in_threadpool(issuer.begin, _callback(visit), local_path(next))
    except IssuerUnavailable as error:
        return _refused(visit, local_path(next), Refusal.UNAVAILABLE, str(error))
    response = RedirectResponse(address, 303)
    cookies.BEGUN.keep(request, response, seal(begun.to_text(), issuer.sealing_key))
    return response


@router.get("/callback")
async def finish(visit: AnyVisit) -> Response:
    """Take the issuer's answer. Its code stays in no page: each outcome leads to another address."""
    issuer, answer = _issuer(visit), _answer(visit)
    begun = _begun(visit, issuer)
    if begun is None or not issuer.is_answer_to(begun, answer):
        # It may be another site's doing: a sign-in that this browser began goes on.
        return _refused(visit, "/", Refusal.EXPIRED, "this browser began no such sign-in, or too long ago")
    try:
        response = await begin_session(
            visit, begun.next, lambda: _session(visit, issuer, begun, answer), visit.console.issuing
        )
    except TooManyRequests as error:
        response = _refused(visit, begun.next, Refusal.TOO_MANY, str(error))
    except IssuerUnavailable as error:
        visit.console.sign_in_rate.forgive(visit.origin.ip)
        response = _refused(visit, begun.next, Refusal.UNAVAILABLE, str(error))
    except SignInRefused as error:
        if error.why is not Refusal.INVALID:
            # The issuer knows the person: it is no guess.
            visit.console.sign_in_rate.forgive(visit.origin.ip)
        response = _refused(visit, begun.next, error.why, str(error))
    cookies.BEGUN.drop(visit.request, response)
    return response


def _issuer(visit: Visit) -> Issuer:
    issuer = visit.services.issuer
    if issuer is None:
        raise HTTPException(404)
    return issuer


def _session(visit: Visit, issuer: Issuer, begun: SignIn, answer: Answer) -> str:
    identity = issuer.finish(begun, answer)
    return issuer_sign_in.sign_in(visit.database, identity, origin=visit.origin)


def _answer(visit: Visit) -> Answer:
    given = visit.request.query_params
    return Answer(dict(given), is_plain=len(given.multi_items()) == len(given))


def _begun(visit: Visit, issuer: Issuer) -> SignIn | None:
    sealed = cookies.BEGUN.read(visit.request)
    text = None if sealed is None else unseal(sealed, issuer.sealing_key)
    return None if text is None else SignIn.from_text(text)


def _callback(visit: Visit) -> str:
    """Where the issuer sends the browser back: it takes an address only that it knows."""
    return f"{str(visit.request.base_url).rstrip('/')}/sign-in/oidc/callback"


def _refused(visit: Visit, next: str, why: Refusal, detail: str) -> Response:
    log.warning("sign_in_refused", why=why.value, detail=detail, request_id=visit.origin.request_id)
    return _to_form(visit, next, refusal=why.value)


def _to_form(visit: Visit, next: str, **more: str) -> Response:
    wanted = ({} if next == "/" else {"next": next}) | more
    return visit.redirect("/sign-in" + (f"?{urlencode(wanted)}" if wanted else ""))
