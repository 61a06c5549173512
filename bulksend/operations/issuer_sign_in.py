"""Sign in as an identity of an issuer: its user is made at the first time, and has the role of its claims."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection

from bulksend.errors import InvalidValue
from bulksend.ledger import operator_log, sessions, users
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.operator_log import Actor
from bulksend.ledger.users import User
from bulksend.messaging.roles import Role
from bulksend.oidc import Identity, Refusal, SignInRefused
from bulksend.operations.access import Origin, Principal
from bulksend.operations.sessions import Random, begin
from bulksend.operations.users import checked_user_name, host_of

#: A session ends after this long: who has left is let in no more by the issuer, which is not asked before.
LIFE_MS = 12 * 3_600_000


@dataclass(frozen=True, slots=True)
class _Arrival:
    """An identity at the door: its user, or why it stays out."""

    user: User | None = None
    refused: SignInRefused | None = None


def sign_in(
    database: Database, identity: Identity, *, origin: Origin, random: Random = secrets.token_bytes
) -> str:
    """The token of a new session of the identity's user, on record. Raises SignInRefused.

    A user is its issuer and subject: the name is taken from no other user, and stays when the issuer tells another one.
    Where the claims give no role, the sessions that the user has end.
    """
    by = Actor(host_of(identity.issuer), ip=origin.ip, request_id=origin.request_id)
    with database.translated_errors(), database.write() as tx:
        arrival = _arrive(tx, identity, by)
        token = None if arrival.user is None else _enter(tx, arrival.user, origin, by, random)
    if arrival.refused is not None:
        # After the end of the transaction, which may have ended sessions.
        raise arrival.refused
    assert token is not None
    return token


def _arrive(tx: Connection, identity: Identity, by: Actor) -> _Arrival:
    user = users.by_subject(tx, identity.issuer, identity.subject)
    if identity.role is None:
        return _without_role(tx, user, by)
    if user is None:
        return _first_time(tx, identity, identity.role, by)
    if user.disabled_at is not None:
        return _refused(
            Refusal.DISABLED, f"{user.name} is disabled; `bulksend users enable` lets the user in again"
        )
    users.set_role(tx, user, identity.role.value, actor=by, why="by the claims of its issuer")
    return _Arrival(users.get(tx, user.name))


def _without_role(tx: Connection, user: User | None, by: Actor) -> _Arrival:
    if user is not None and (count := sessions.end_all(tx, user.name)):
        why = f"its issuer gives it no role any more: {count} sessions"
        operator_log.record(tx, actor=by, act="sign out", scope="user", subject=user.name, why=why)
    return _refused(Refusal.NO_ROLE, "no value of the claim is in BULKSEND_OIDC_ROLES")


def _first_time(tx: Connection, identity: Identity, role: Role, by: Actor) -> _Arrival:
    try:
        name = checked_user_name(identity.name or "")
    except InvalidValue:
        return _refused(
            Refusal.NO_NAME, "no claim has a name that a user may have; see BULKSEND_OIDC_NAME_CLAIM"
        )
    is_new = users.add_of_issuer(
        tx,
        name=name,
        role=role.value,
        issuer=identity.issuer,
        subject=identity.subject,
        actor=by,
        why=f"{role} by the claims of its issuer",
    )
    # A second browser of the same person may have come first.
    user = users.get(tx, name) if is_new else users.by_subject(tx, identity.issuer, identity.subject)
    if user is None:
        return _refused(Refusal.NAME_TAKEN, f"{name} is another user, who does not sign in as this subject")
    return _Arrival(user)


def _enter(tx: Connection, user: User, origin: Origin, by: Actor, random: Random) -> str:
    users.set_values(tx, user.name, signed_in_at=read_clock(tx))
    principal = Principal.of_user(user.name, user.role, user.kinds, user.senders, origin)
    return begin(tx, principal, why=f"at {by}", life_ms=LIFE_MS, random=random)


def _refused(why: Refusal, text: str) -> _Arrival:
    return _Arrival(refused=SignInRefused(why, text))
