"""Why a sign-in at an issuer fails. The texts are for the log and for `doctor`; a person is told by the ``Refusal``."""

from __future__ import annotations

from enum import StrEnum

from bulksend.errors import NotSignedIn, Unavailable


class Refusal(StrEnum):
    """What the sign-in page says; each is a text of the catalogues."""

    EXPIRED = "expired"
    """The browser began no such sign-in, or too long ago."""
    DENIED = "denied"
    """The issuer says that it did not sign the user in."""
    INVALID = "invalid"
    """What the issuer says is not what it must say."""
    NO_ROLE = "no_role"
    """Its claims give no role here."""
    NO_NAME = "no_name"
    """Its claims have no name that a user may have."""
    NAME_TAKEN = "name_taken"
    """Another user has the name."""
    DISABLED = "disabled"
    """An admin disabled the user here."""
    UNAVAILABLE = "unavailable"
    """The issuer does not answer as it should."""
    TOO_MANY = "too_many"
    """Too many sign-ins from this address failed."""


class SignInRefused(NotSignedIn):
    """The issuer did not sign a user in, or the user may not come in."""

    def __init__(self, why: Refusal, text: str) -> None:
        self.why = why
        super().__init__(text)


class IssuerUnavailable(Unavailable):
    """The issuer gave no answer, or one that is none. The text names the address."""
