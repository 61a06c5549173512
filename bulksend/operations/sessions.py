"""Sessions of browsers: sign in by password or by a link, tell whose a session is, sign out."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import NotFound, NotSignedIn
from bulksend.ledger import operator_log, sessions, users
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.operator_log import Actor
from bulksend.messaging.secret_text import ID_BYTES, SECRET_BYTES, base62, compose, id_of
from bulksend.operations.access import Origin, Principal, Role
from bulksend.operations.json_shape import to_json
from bulksend.operations.passwords import Passwords
from bulksend.operations.users import check_password

SESSION, LINK = "bsn", "bsl"
#: A link may be used within this time.
LINK_MS = 15 * 60_000
#: A browser keeps a session's token for this long.
LIFE_S = sessions.LIFE_MS // 1000

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The principal of a session, and whether ``note_seen`` is due."""

    principal: Principal
    is_seen: bool


def sign_in(
    database: Database,
    name: str,
    password: str,
    *,
    passwords: Passwords,
    origin: Origin,
    random: Random = secrets.token_bytes,
) -> str:
    """The token of a new session of the user with that password, on record. Raises NotSignedIn."""
    user = check_password(database, name, password, passwords=passwords, origin=origin)
    with database.write() as tx:
        return begin(tx, user, why="by password", random=random)


def begin(
    tx: Connection,
    user: Principal,
    *,
    why: str,
    life_ms: int = sessions.LIFE_MS,
    random: Random = secrets.token_bytes,
) -> str:
    """The token of a new session of the user, on record. It ends after ``life_ms`` at the latest."""
    token = _new_token(SESSION, random)
    sessions.add(tx, user.name, hash_of(token), actor=user.actor, why=why, life_ms=life_ms)
    return token


def make_link(
    database: Database, name: str, *, actor: str, random: Random = secrets.token_bytes
) -> dict[str, object]:
    """``link_token`` signs the user in once, within LINK_MS; one that was not used is void. Raises NotFound."""
    token = _new_token(LINK, random)
    with database.write() as tx:
        user = users.get(tx, name)
        if user is None or user.disabled_at is not None:
            raise NotFound("no user of this name may sign in; `bulksend users list` shows the names")
        expires_at = read_clock(tx) + LINK_MS
        users.set_link(tx, name, hash=_digest(token), expires_at=expires_at, actor=actor)
    return {"name": name, "link_token": token, "seconds": LINK_MS // 1000}


def use_link(
    database: Database, link_token: str, *, origin: Origin, random: Random = secrets.token_bytes
) -> str:
    """The token of a new session of the user of a link, which is used up, on record. Raises NotSignedIn."""
    with database.write() as tx:
        user = users.by_link_hash(tx, _digest(link_token)) if id_of(link_token, LINK) else None
        if user is None or user.link_expires_at is None or user.link_expires_at <= read_clock(tx):
            raise _unusable()
        if not users.use_link(tx, user):
            raise _unusable()
        principal = Principal.of_user(user.name, user.role, user.kinds, user.senders, origin)
        return begin(tx, principal, why="by link", random=random)


def find(tx: Connection, token: str, origin: Origin) -> SignedIn:
    """Whose session this is, with what the user may do now. Raises NotSignedIn."""
    found = sessions.get(tx, hash_of(token)) if id_of(token, SESSION) else None
    if found is None:
        raise NotSignedIn("the session has ended; sign in again")
    principal = Principal.of_user(found.user, found.role, found.kinds, found.senders, origin)
    return SignedIn(principal, found.is_seen)


def live_roles(tx: Connection, hashes: Sequence[str]) -> dict[str, Role]:
    """The role that each of these sessions has now, by ``hash_of`` its token; those that have ended are left out."""
    return {hash: Role(role) for hash, role in sessions.live_roles(tx, hashes).items()}


def note_seen(database: Database, token: str) -> None:
    """A request came with this session: it does not end for lack of use. Only a loss of power may lose this."""
    with database.write(durable=False) as tx:
        sessions.note_seen(tx, hash_of(token))


def list_own(tx: Connection, user: str, token: str) -> list[dict[str, Any]]:
    """The live sessions of a user, the newest first; ``is_this``: that of the token."""
    this = hash_of(token)
    return [
        to_json(row) | {"hash": None, "is_this": row["hash"] == this} for row in sessions.of_user(tx, user)
    ]


def sign_out_elsewhere(database: Database, token: str, *, user: str, actor: Actor) -> int:
    """End the sessions of a user but that of the token, on record; returns how many."""
    with database.write() as tx:
        count = sessions.end_others(tx, user, hash_of(token))
        if count:
            operator_log.record(
                tx,
                actor=actor,
                act="sign out",
                scope="user",
                subject=user,
                why=f"elsewhere: {count} sessions",
            )
    return count


def sign_out(database: Database, token: str, *, actor: Actor) -> None:
    """End the session, on record where it was live."""
    with database.write() as tx:
        sessions.end(tx, hash_of(token), actor=actor)


def hash_of(token: str) -> str:
    """What the ledger keeps of a session's token."""
    return _digest(token).hex()


def _new_token(prefix: str, random: Random) -> str:
    return compose(prefix, base62(random(ID_BYTES), 9), random(SECRET_BYTES))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _unusable() -> NotSignedIn:
    return NotSignedIn(
        "the link is unknown, used or older than 15 minutes; `bulksend users link NAME` gives another"
    )
