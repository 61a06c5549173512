"""Receipt tokens: several live at once, hashed in the ledger, optionally only from some addresses."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import InvalidValue, NotFound
from bulksend.ledger import receipt_tokens as ledger_tokens
from bulksend.operations import receipt_tokens
from bulksend.operations.receipt_tokens import TokenRing, read_tokens


def make(desk: Any, name: str = "vendor", *ips: str) -> receipt_tokens.NewToken:
    made = desk.write(receipt_tokens.add, name=name, ips=ips, actor="ada")
    assert isinstance(made, receipt_tokens.NewToken)
    return made


def ring(desk: Any) -> TokenRing:
    return read_tokens(desk.database)


def test_two_tokens_live_side_by_side_until_one_is_revoked(desk: Any) -> None:
    old, new = make(desk, "old"), make(desk, "new")
    known = ring(desk)
    assert (known.id_of(old.token, "192.0.2.1"), known.id_of(new.token, "192.0.2.1")) == (old.id, new.id)
    assert receipt_tokens.revoke_token(desk.database, old.id, actor="ada", why="rotated")["changed"] is True
    known = ring(desk)
    assert (known.id_of(old.token, "192.0.2.1"), known.id_of(new.token, "192.0.2.1")) == (None, new.id)
    assert receipt_tokens.revoke_token(desk.database, old.id, actor="ada", why="rotated")["changed"] is False


def test_a_token_that_was_never_made_is_unknown(desk: Any) -> None:
    token = make(desk).token
    strange = token[:-1] + ("0" if token[-1] != "0" else "1")
    for presented in ("", "bsr_x", strange, token.swapcase(), "\ud83d", token + "x"):
        assert ring(desk).id_of(presented, "192.0.2.1") is None


@pytest.mark.parametrize(
    ("ip", "allowed"),
    [
        ("203.0.113.9", True),
        ("::ffff:203.0.113.9", True),
        ("198.51.100.7", True),
        ("198.51.100.8", False),
        ("no address", False),
    ],
)
def test_a_token_may_be_bound_to_addresses(desk: Any, ip: str, allowed: bool) -> None:
    token = make(desk, "bound", "203.0.113.0/24", "198.51.100.7").token
    assert (ring(desk).id_of(token, ip) is not None) is allowed


def test_the_list_shows_no_secret_and_no_hash(desk: Any) -> None:
    made = make(desk, "vendor", "203.0.113.7")
    (shown,) = desk.read(receipt_tokens.list_tokens)
    assert (shown["id"], shown["ips"], "hash" in shown) == (made.id, ["203.0.113.7/32"], False)
    assert made.token not in str(desk.read(ledger_tokens.all_tokens))


def test_a_wrong_address_and_a_wrong_id_are_named(desk: Any) -> None:
    with pytest.raises(InvalidValue, match="ips"):
        make(desk, "vendor", "not-an-ip")
    with pytest.raises(NotFound, match="tokens list"):
        receipt_tokens.revoke_token(desk.database, "nothing", actor="ada", why="")
