"""Who may do what: the roles of keys and users, and the one that acts in a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bulksend.errors import AccessDenied
from bulksend.messaging.states import Kind


class Role(StrEnum):
    """What a key or user may do. Each role may do what those before it may."""

    VIEWER = "viewer"
    """Reads; numbers are masked."""
    SENDER = "sender"
    """Sends messages and campaigns; sees the numbers of messages."""
    OPERATOR = "operator"
    """Pauses, resumes, cancels, retries, resolves, suppresses."""
    ADMIN = "admin"
    """Manages keys, users, webhooks and receipt tokens."""

    def includes(self, other: Role) -> bool:
        """Whether this role may do all that ``other`` may."""
        ladder = list(Role)
        return ladder.index(self) >= ladder.index(other)


@dataclass(frozen=True, slots=True)
class Principal:
    """A key or user that makes requests. Empty ``kinds`` or ``senders``: all of them."""

    id: str
    name: str
    role: Role
    kinds: frozenset[Kind] = frozenset()
    senders: frozenset[str] = frozenset()

    @property
    def actor(self) -> str:
        """Its name in the operator log."""
        return f"{self.name} ({self.id})"

    @property
    def sees_numbers(self) -> bool:
        """Whether phone numbers are shown to it in full."""
        return self.role.includes(Role.SENDER)

    def check_role(self, needed: Role) -> None:
        """Raises AccessDenied when the role is not enough."""
        if not self.role.includes(needed):
            raise AccessDenied(f"{self.name} has the role {self.role}; this needs {needed}")

    def check_send(self, kind: Kind, sender: str) -> None:
        """Raises AccessDenied when it may not send this kind, or from this sender (digits)."""
        self.check_role(Role.SENDER)
        if self.kinds and kind not in self.kinds:
            raise AccessDenied(f"{self.name} may send {', '.join(sorted(self.kinds))}, not {kind}")
        if self.senders and sender not in self.senders:
            raise AccessDenied(f"{self.name} may not send from {sender}")
