"""The roles of keys and users."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a key or user may do. Each role may do what those before it may."""

    VIEWER = "viewer"
    """Reads; numbers are masked."""
    SENDER = "sender"
    """Sends messages and campaigns; sees the numbers of messages."""
    OPERATOR = "operator"
    """Pauses, resumes, cancels, retries, resolves, suppresses."""
    ADMIN = "admin"
    """Manages keys, users, webhooks, receipt tokens and what persons ask for."""

    def includes(self, other: Role) -> bool:
        """Whether this role may do all that ``other`` may."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}
