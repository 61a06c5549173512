"""Our side of an OpenID provider: authorization code flow with PKCE, and what its ID token says. It holds no users.

``bulksend.oidc.issuer`` needs joserfc, which is an extra: ``pip install 'bulksend[oidc]'``.
"""

from bulksend.oidc.claims import Identity
from bulksend.oidc.refusals import IssuerUnavailable, Refusal, SignInRefused
from bulksend.oidc.sign_in import LEEWAY_S, LIFE_S, Answer, SignIn

__all__ = [
    "LEEWAY_S",
    "LIFE_S",
    "Answer",
    "Identity",
    "IssuerUnavailable",
    "Refusal",
    "SignIn",
    "SignInRefused",
]
