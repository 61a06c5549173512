"""Tokens of the address to which the vendor sends receipts: make, list and revoke them, and check a presented one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidValue, NotFound
from bulksend.ledger import receipt_tokens
from bulksend.ledger.database import Database
from bulksend.ledger.receipt_tokens import ReceiptToken
from bulksend.messaging.secret_text import ID_BYTES, SECRET_BYTES, base62, compose
from bulksend.operations.api_keys import checked_name
from bulksend.operations.json_shape import to_json

PREFIX = "bsr"
_HIDDEN = ("hash", "ips")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. ``token`` is shown once; the ledger keeps its hash."""

    id: str
    token: str


def add(
    tx: Connection,
    *,
    name: str,
    ips: Sequence[str] = (),
    actor: str,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> NewToken:
    """Make a token. ``ips``: addresses and networks that may use it; empty: all. Raises InvalidValue."""
    id = base62(random(ID_BYTES), 9)
    token = compose(PREFIX, id, random(SECRET_BYTES))
    allowed = ",".join(str(_network(ip)) for ip in ips)
    receipt_tokens.add(tx, id=id, name=name, hash=_hash(token), ips=allowed, actor=actor)
    return NewToken(id, token)


def add_token(database: Database, *, name: str, ips: Sequence[str] = (), actor: str) -> dict[str, Any]:
    """Make a token, on record: its fields, and as ``token`` the token itself, which is shown once, with its ``path``.

    Raises InvalidValue, which names the field.
    """
    with database.write() as tx:
        made = add(tx, name=checked_name(name), ips=ips, actor=actor)
        shown = as_json(_existing(tx, made.id))
    return shown | {"token": made.token, "path": f"/v1/receipts/{made.token}"}


def rotate_token(database: Database, id: str, *, actor: str) -> dict[str, Any]:
    """Make a token of the same name and addresses, as ``add_token`` does; the one of that id stays live beside it.

    It is to be revoked once the vendor has the new address. Raises NotFound.
    """
    with database.read() as tx:
        old = _existing(tx, id)
    return add_token(database, name=old.name, ips=old.ips.split(",") if old.ips else (), actor=actor)


def show_token(tx: Connection, id: str) -> dict[str, Any]:
    """One token without its hash. Raises NotFound."""
    return as_json(_existing(tx, id))


def revoke_token(database: Database, id: str, *, actor: str, why: str) -> dict[str, Any]:
    """Refuse a token from now on, on record. Raises NotFound."""
    with database.write() as tx:
        _existing(tx, id)
        return {"id": id, "revoked": True, "changed": receipt_tokens.revoke(tx, id, actor=actor, why=why)}


def list_tokens(tx: Connection) -> list[dict[str, Any]]:
    """Every token without its hash, the oldest first."""
    return [as_json(token) for token in receipt_tokens.all_tokens(tx)]


def as_json(token: ReceiptToken) -> dict[str, Any]:
    """A token as lists show it."""
    shown = {name: value for name, value in to_json(token).items() if name not in _HIDDEN}
    return shown | {"ips": token.ips.split(",") if token.ips else []}


def _existing(tx: Connection, id: str) -> ReceiptToken:
    token = receipt_tokens.get(tx, id)
    if token is None:
        raise NotFound("no token has this id; `bulksend tokens list` shows the ids")
    return token


class TokenRing:
    """The live tokens at one moment. Answers from memory: the ledger may be away when a receipt comes."""

    def __init__(self, tokens: Sequence[ReceiptToken] = ()) -> None:
        self._tokens = {
            token.hash: (token.id, [ip_network(ip) for ip in token.ips.split(",") if ip])
            for token in tokens
            if token.revoked_at is None
        }

    def id_of(self, presented: str, ip: str) -> str | None:
        """The id of a presented token; None when it is unknown, revoked, or not allowed from this address.

        The time it takes depends on the hash alone, of which nothing leads back to a token.
        """
        id, networks = self._tokens.get(_hash(presented), (None, ()))
        return id if not networks or _is_in(ip, networks) else None


def read_tokens(database: Database) -> TokenRing:
    """The live tokens in the ledger now. Raises LedgerUnreachable."""
    with database.translated_errors(), database.read() as tx:
        return TokenRing(receipt_tokens.all_tokens(tx))


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text.strip())
    except ValueError:
        raise InvalidValue(
            "ips", text[:40], "is not an address or network, e.g. 203.0.113.7 or 203.0.113.0/24"
        ) from None


def _is_in(ip: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
