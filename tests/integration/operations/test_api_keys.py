"""Keys of programs: what is stored of them, whose a presented one is, and how soon a revoked one is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bulksend.errors import InvalidValue, NotFound, NotSignedIn
from bulksend.ledger import operator_log
from bulksend.ledger.database import Database
from bulksend.messaging.secret_text import compose
from bulksend.messaging.states import Kind
from bulksend.operations import api_keys
from bulksend.operations.access import Origin, Role
from bulksend.operations.api_keys import REMEMBERED_S, USE_KEPT_S, KeyRequest, KeyRing

FROM = Origin("203.0.113.7", "r-1")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(ledger: Database, **asked: Any) -> dict[str, Any]:
    return api_keys.add_key(ledger, KeyRequest(**{"name": "shop", "role": "sender"} | asked), actor="ann")


def test_a_key_has_what_was_asked_for_and_only_its_hash_is_stored(ledger: Database) -> None:
    key = made(ledger, kinds=["otp", "otp"], senders=["+1 555 010 0100"], expires="2099-01-01T00:00:00Z")
    ring = KeyRing(ledger)
    principal = ring.principal(key["key"], FROM)
    assert (principal.id, principal.name, principal.role) == (key["id"], "shop", Role.SENDER)
    assert (principal.kinds, principal.senders) == (frozenset({Kind.OTP}), frozenset({"15550100100"}))
    assert principal.origin == FROM
    with ledger.read() as tx:
        (act,) = operator_log.of(tx, "key", key["id"])
        rows = str(tx.execute(text("SELECT * FROM api_keys")).all())
    assert (act.actor, act.act, (act.after or {})["role"]) == ("ann", "add", "sender")
    assert key["key"].rpartition("_")[2] not in rows
    ring.close()


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"role": "boss"}, "role"),
        ({"kinds": ["spam"]}, "kinds"),
        ({"senders": ["12"]}, "senders"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expires"),
        ({"expires": "soon"}, "expires"),
    ],
)
def test_a_wrong_field_is_named_and_no_key_is_made(
    ledger: Database, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidValue) as error:
        made(ledger, **asked)
    assert error.value.field == field
    with ledger.read() as tx:
        assert api_keys.list_keys(tx) == []


def test_a_revoked_key_is_refused_within_a_second(ledger: Database, clock: Clock) -> None:
    key = made(ledger)
    ring = KeyRing(ledger, steady=clock)
    assert ring.principal(key["key"]).id == key["id"]
    api_keys.revoke_key(ledger, key["id"], actor="ann", why="leaked")
    assert ring.remembered(key["key"]) is not None, "it is remembered for a moment"
    clock.seconds += REMEMBERED_S
    assert REMEMBERED_S < 1
    assert ring.remembered(key["key"]) is None
    with pytest.raises(NotSignedIn, match="revoked"):
        ring.principal(key["key"])
    ring.close()


def test_a_key_in_use_is_read_again_before_a_request_would_wait_for_it(
    ledger: Database, clock: Clock
) -> None:
    key = made(ledger)
    ring = KeyRing(ledger, steady=clock)
    ring.principal(key["key"])
    api_keys.revoke_key(ledger, key["id"], actor="ann", why="leaked")
    clock.seconds += REMEMBERED_S / 2
    assert ring.remembered(key["key"]) is not None
    ring.close()  # the read that this began has ended
    clock.seconds += REMEMBERED_S / 2
    with pytest.raises(NotSignedIn, match="revoked"):
        ring.remembered(key["key"])


def test_a_key_that_was_changed_here_is_read_again_at_once(ledger: Database, clock: Clock) -> None:
    key = made(ledger)
    ring = KeyRing(ledger, steady=clock)
    ring.principal(key["key"])
    api_keys.revoke_key(ledger, key["id"], actor="ann", why="leaked")
    ring.forget(key["id"])
    assert ring.remembered(key["key"]) is None
    with pytest.raises(NotSignedIn, match="revoked"):
        ring.principal(key["key"])
    ring.close()


class Meanwhile(Database):
    """A ledger where something happens after a read, before its reader goes on."""

    happens: Callable[[], object] = staticmethod(lambda: None)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with super().read() as tx:
            yield tx
        self.happens()


def test_what_was_read_before_a_change_is_not_remembered_after_it(ledger_url: str, clock: Clock) -> None:
    ledger = Meanwhile(ledger_url)
    key = made(ledger)
    ring = KeyRing(ledger, steady=clock)
    ledger.happens = lambda: ring.forget(key["id"])
    assert ring.principal(key["key"]).id == key["id"], "it came before the change"
    assert ring.remembered(key["key"]) is None
    ring.close()
    ledger.close()


def test_keys_that_do_not_exist_displace_none_that_does_and_fill_no_memory(
    ledger: Database, clock: Clock
) -> None:
    key = made(ledger)["key"]
    ring = KeyRing(ledger, steady=clock, most_unknown=10)
    ring.principal(key)
    for n in range(25):
        with pytest.raises(NotSignedIn):
            ring.principal(compose("bsk", f"{n:09}", bytes(32)))
    assert ring.remembered(key) is not None
    assert ring.has_seen(key)
    assert len(ring._unknown) <= 10
    ring.close()


def test_an_expired_key_is_refused_though_it_is_remembered(ledger: Database, clock: Clock) -> None:
    key = made(ledger, expires="2099-01-01T00:00:00Z")
    now_ms = [0.0]
    ring = KeyRing(ledger, steady=clock, now_ms=lambda: now_ms[0])
    ring.principal(key["key"])
    now_ms[0] = 4_100_000_000_000
    with pytest.raises(NotSignedIn, match="expired"):
        ring.remembered(key["key"])
    ring.close()


def test_a_key_with_another_secret_a_typing_error_or_no_row_is_refused(ledger: Database) -> None:
    mine, other = made(ledger), made(ledger, name="other")
    ring = KeyRing(ledger)
    typo = mine["key"][:-1] + ("y" if mine["key"].endswith("x") else "x")
    for wrong in (typo, "bsk_nothing", "", f"bsk_{mine['id']}_é"):
        with pytest.raises(NotSignedIn):
            ring.principal(wrong)
    with ledger.write() as tx:
        tx.execute(
            text("UPDATE api_keys SET hash = (SELECT hash FROM api_keys WHERE id = :id)"), {"id": other["id"]}
        )
    with pytest.raises(NotSignedIn, match="unknown"):
        ring.principal(mine["key"])
    ring.close()


def use(ledger: Database, id: str) -> tuple[Any, Any]:
    with ledger.read() as tx:
        key = api_keys.show_key(tx, id)
    return key["last_used_at"], key["last_ip"]


def test_the_last_use_is_kept_once_a_minute(ledger: Database, clock: Clock) -> None:
    key = made(ledger)
    ring = KeyRing(ledger, steady=clock)
    ring.principal(key["key"], FROM)
    ring.close()
    first = use(ledger, key["id"])
    assert first[0] is not None
    assert first[1] == "203.0.113.7"

    ring = KeyRing(ledger, steady=clock)
    ring.principal(key["key"], Origin("198.51.100.1"))
    ring.principal(key["key"], Origin("198.51.100.2"))
    clock.seconds += USE_KEPT_S
    ring.principal(key["key"], Origin("198.51.100.3"))
    ring.principal(key["key"], Origin("198.51.100.4"))
    ring.close()
    assert use(ledger, key["id"])[1] == "198.51.100.3"


def test_a_request_does_not_fail_by_the_note_of_its_use(ledger: Database) -> None:
    key = made(ledger)
    ring = KeyRing(ledger)
    with ledger.write() as tx:
        # Longer than the column on PostgreSQL; SQLite takes it.
        ring.principal(key["key"], Origin("x" * 100))
        tx.execute(text("SELECT 1"))
    ring.close()
    assert ring.principal(key["key"]).id == key["id"], "after its close it still answers"


def test_an_unknown_id_is_not_found(ledger: Database) -> None:
    with pytest.raises(NotFound):
        api_keys.revoke_key(ledger, "nothing", actor="ann", why="w")
