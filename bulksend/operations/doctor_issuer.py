"""What `doctor` finds of the OpenID provider at which users of the console sign in."""

from __future__ import annotations

from collections.abc import Iterator

from bulksend import bootstrap
from bulksend.errors import IncompleteSetup
from bulksend.messaging.sentences import say
from bulksend.oidc import LEEWAY_S, IssuerUnavailable
from bulksend.operations.blockers import Check, blocker
from bulksend.settings import Settings

_ABOUT = "OIDC issuer"
SKEW_WARN_S = 10


def check_issuer(of: Settings) -> Iterator[Check]:
    """Whether users can sign in there: its addresses and keys can be read, and its clock is ours."""
    if of.oidc_issuer is not None and of.oidc_client_secret is None:
        yield Check(_ABOUT, True, say("BULKSEND_OIDC_CLIENT_SECRET is not set here: `serve` alone needs it"))
        return
    try:
        issuer = bootstrap.issuer(of)
    except IncompleteSetup as error:
        yield blocker(_ABOUT, error.what, say("`serve` does not start: {remedy}", remedy=error.remedy))
        return
    if issuer is None:
        return
    try:
        found = issuer.look()
    except IssuerUnavailable as error:
        yield blocker(
            _ABOUT, str(error), say("correct BULKSEND_OIDC_ISSUER, or see the network and the provider")
        )
        return
    finally:
        issuer.close()
    yield Check(
        _ABOUT,
        True,
        say("{issuer} answers; it signs with {count} keys", issuer=issuer.settings.issuer, count=found.keys),
    )
    if found.skew_s is not None and abs(found.skew_s) > SKEW_WARN_S:
        yield Check(
            "clock of the OIDC issuer",
            abs(found.skew_s) < LEEWAY_S,
            say(
                "it is {skew} s off this machine's; sign-ins fail from {most} s on",
                skew=f"{found.skew_s:+.0f}",
                most=LEEWAY_S,
            ),
            say("set the clock, e.g. by NTP"),
        )
