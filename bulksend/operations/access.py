"""Who may do what: the roles of keys and users, and the one that acts in a request."""

from __future__ import annotations

from dataclasses import dataclass

from bulksend.errors import AccessDenied
from bulksend.ledger import operator_log
from bulksend.ledger.database import Database
from bulksend.ledger.operator_log import Actor
from bulksend.messaging.roles import Role
from bulksend.messaging.states import Kind

__all__ = ["Origin", "Principal", "Role", "record_reading"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: the caller's address, and the request's id."""

    ip: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """A key or user that makes requests. Empty ``kinds`` or ``senders``: all of them."""

    id: str
    name: str
    role: Role
    kinds: frozenset[Kind] = frozenset()
    senders: frozenset[str] = frozenset()
    origin: Origin = Origin()

    @classmethod
    def of_user(cls, name: str, role: str, kinds: str, senders: str, origin: Origin) -> Principal:
        """A user as the ledger has it: ``kinds`` and ``senders`` separated by commas."""
        of_kinds = frozenset(Kind(kind) for kind in kinds.split(",") if kind)
        of_senders = frozenset(sender for sender in senders.split(",") if sender)
        return cls(name, name, Role(role), of_kinds, of_senders, origin)

    @property
    def actor(self) -> Actor:
        """Its name in the operator log, with the request that the act comes by."""
        name = self.name if self.name == self.id else f"{self.name} ({self.id})"
        return Actor(name, ip=self.origin.ip, request_id=self.origin.request_id)

    @property
    def sees_numbers(self) -> bool:
        """Whether phone numbers are shown to it in full."""
        return self.role.includes(Role.SENDER)

    def as_json(self) -> dict[str, object]:
        """What a program is told about its own key."""
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role.value,
            "kinds": sorted(self.kinds),
            "senders": sorted(self.senders),
            "sees_numbers": self.sees_numbers,
            "ip": self.origin.ip,
        }

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

    def check_sender(self, sender: str) -> None:
        """Raises AccessDenied when it may not act on this sender (digits)."""
        if self.senders and sender not in self.senders:
            raise AccessDenied(f"{self.name} may act on {', '.join(sorted(self.senders))}, not on {sender}")

    def check_unlimited(self) -> None:
        """Raises AccessDenied when it is only for some kinds or senders."""
        if self.kinds or self.senders:
            raise AccessDenied(f"{self.name} is for some kinds or senders; this is about all of them")


def record_reading(
    database: Database, principal: Principal, what: str, *, subject: str = "", why: str = ""
) -> None:
    """Put on record that a request reads phone numbers; nothing where the principal sees none.

    ``what`` is the act (``show message``, ``find messages``, ``export``), ``subject`` the id of what is read, ``why``
    how it was chosen, without a number. To be called once a request, before its answer. Only a loss of power may lose
    the act, so the answer waits for no disk.
    """
    if not principal.sees_numbers:
        return
    with database.translated_errors(), database.write(durable=False) as tx:
        operator_log.record(
            tx, actor=principal.actor, act=what, scope="read", subject=subject or what, why=why
        )
