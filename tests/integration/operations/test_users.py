"""Users: a setup token sets the first password once, failures lock, and no answer tells which names there are."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from bulksend.errors import AccessDenied, InvalidValue, NotFound, NotSignedIn
from bulksend.ledger import operator_log
from bulksend.ledger import sessions as sessions_of
from bulksend.ledger.database import Database
from bulksend.messaging import Kind
from bulksend.operations import sessions, users
from bulksend.operations.access import Origin, Role
from bulksend.operations.passwords import FREE_FAILURES, Passwords
from bulksend.operations.restore import mark_restored

PASSWORD = "correct horse battery"
#: As cheap as argon2 may be.
CHEAP = Passwords(passes=1, memory_kib=8)


def added(ledger: Database, name: str = "ann", role: str = "operator") -> dict[str, Any]:
    return users.add_user(ledger, name=name, role=role, actor="root")


@pytest.fixture
def ann(ledger: Database) -> str:
    """A user with PASSWORD."""
    return users.set_password(ledger, added(ledger)["setup_token"], PASSWORD, passwords=CHEAP)


def sign_in(ledger: Database, name: str, password: str) -> Role | None:
    """The role of the user, None where it is refused."""
    try:
        return users.check_password(ledger, name, password, passwords=CHEAP).role
    except NotSignedIn:
        return None


def later(ledger: Database, ms: int) -> None:
    """Let that much time pass for all locks and tokens."""
    with ledger.write() as tx:
        tx.execute(
            text(
                "UPDATE users SET locked_until = locked_until - :ms, setup_expires_at = setup_expires_at - :ms"
            ),
            {"ms": ms},
        )


def test_a_new_user_sets_its_password_by_its_token_and_signs_in(ledger: Database) -> None:
    made = added(ledger)
    assert made["setup_token"].startswith("bss_")
    assert sign_in(ledger, "ann", "") is None, "without a password none is right"
    assert users.set_password(ledger, made["setup_token"], PASSWORD, passwords=CHEAP) == "ann"
    principal = users.check_password(
        ledger, "ann", PASSWORD, passwords=CHEAP, origin=Origin("203.0.113.7", "r-1")
    )
    assert (principal.id, principal.role, principal.actor.ip) == ("ann", Role.OPERATOR, "203.0.113.7")
    with ledger.read() as tx:
        shown = users.show_user(tx, "ann")
        acts = [act.act for act in operator_log.of(tx, "user", "ann")]
        row = str(tx.execute(text("SELECT * FROM users")).all())
    assert (shown["has_password"], shown["signed_in_at"] is not None) == (True, True)
    assert acts == ["add", "set password"]
    assert "$argon2id$" in row
    assert PASSWORD not in row + str(shown)
    assert not shown.keys() & {"password_hash", "setup_hash"}


def test_a_token_is_used_up_expires_and_is_replaced_by_a_reset(ledger: Database) -> None:
    first = added(ledger)["setup_token"]
    second = users.reset_user(ledger, "ann", actor="root", why="lost")["setup_token"]
    third = users.reset_user(ledger, "ann", actor="root", why="lost")["setup_token"]
    later(ledger, users.SETUP_MS)
    for token in (first, second, third, "bss_nothing", ""):
        with pytest.raises(NotSignedIn):
            users.set_password(ledger, token, PASSWORD, passwords=CHEAP)
    last = users.reset_user(ledger, "ann", actor="root", why="lost")["setup_token"]
    users.set_password(ledger, last, PASSWORD, passwords=CHEAP)
    with pytest.raises(NotSignedIn):
        users.set_password(ledger, last, "another password", passwords=CHEAP)
    assert sign_in(ledger, "ann", PASSWORD) is Role.OPERATOR


@pytest.mark.parametrize("name", ["", "ann/bob", "ann bob", "..", "x" * 101, "a\nb"])
def test_a_name_that_no_path_could_have_is_refused(ledger: Database, name: str) -> None:
    with pytest.raises(InvalidValue, match="name"):
        added(ledger, name)


@pytest.mark.parametrize("weak", ["short", "x" * 201, "ann-ann-ann-", ""])
def test_a_weak_password_is_refused_and_the_token_stays_good(ledger: Database, weak: str) -> None:
    token = added(ledger)["setup_token"]
    with pytest.raises(InvalidValue, match="password") as error:
        users.set_password(ledger, token, weak, passwords=CHEAP)
    assert error.value.value == ""
    assert users.set_password(ledger, token, PASSWORD, passwords=CHEAP) == "ann"


def test_failures_lock_a_user_for_longer_each_time_and_a_sign_in_forgives_them(
    ledger: Database, ann: str
) -> None:
    for _ in range(FREE_FAILURES):
        assert sign_in(ledger, ann, "wrong") is None
    assert sign_in(ledger, ann, PASSWORD) is None, "it is locked"
    later(ledger, 31_000)
    assert sign_in(ledger, ann, "wrong") is None
    later(ledger, 31_000)
    assert sign_in(ledger, ann, PASSWORD) is None, "the second lock is longer"
    later(ledger, 31_000)
    assert sign_in(ledger, ann, PASSWORD) is Role.OPERATOR
    for _ in range(FREE_FAILURES - 1):
        assert sign_in(ledger, ann, "wrong") is None
    assert sign_in(ledger, ann, PASSWORD) is Role.OPERATOR


def test_attempts_at_the_same_time_count_too(ledger: Database, ann: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: sign_in(ledger, ann, "wrong"), range(16))) == {None}
    assert sign_in(ledger, ann, PASSWORD) is None


def test_a_refusal_says_the_same_of_no_user_a_wrong_password_a_lock_and_a_disabled_one(
    ledger: Database, ann: str
) -> None:
    def refusal(name: str, password: str) -> str:
        with pytest.raises(NotSignedIn) as error:
            users.check_password(ledger, name, password, passwords=CHEAP)
        return str(error.value)

    said = {refusal("nothing", PASSWORD), refusal(ann, "wrong")}
    users.disable_user(ledger, ann, actor="root", why="left")
    assert said | {refusal(ann, PASSWORD)} == {refusal("nothing", "")}


class Counting(Passwords):
    """Counts how often a hash is computed to check a password."""

    checks = 0

    def is_right(self, password: str, hash: str | None) -> bool:
        type(self).checks += 1
        return super().is_right(password, hash)


@pytest.mark.parametrize("name", ["ann", "nothing"])
def test_an_unknown_name_costs_the_same_work(
    ledger: Database, ann: str, name: str, count_statements: Callable[[], list[str]]
) -> None:
    passwords = Counting(passes=1, memory_kib=8)
    before = Counting.checks
    statements = count_statements()
    with pytest.raises(NotSignedIn):
        users.check_password(ledger, name, "wrong", passwords=passwords)
    assert Counting.checks - before == 1
    assert [statement.split()[0] for statement in statements] == ["SELECT", "SELECT", "UPDATE"]


@pytest.fixture
def count_statements(ledger: Database) -> Callable[[], list[str]]:
    """Begins to collect the statements that reach the database."""
    from sqlalchemy import event

    def begin() -> list[str]:
        seen: list[str] = []

        @event.listens_for(ledger.engine, "before_cursor_execute")
        def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.split()[0] in ("SELECT", "UPDATE", "INSERT", "DELETE"):
                seen.append(statement)

        return seen

    return begin


def test_a_disabled_user_can_be_added_again_and_one_that_is_not_cannot(ledger: Database, ann: str) -> None:
    with pytest.raises(InvalidValue, match="is a user"):
        added(ledger)
    assert users.disable_user(ledger, ann, actor="root", why="left")["changed"] is True
    assert users.disable_user(ledger, ann, actor="root", why="left")["changed"] is False
    with pytest.raises(NotFound):
        users.reset_user(ledger, ann, actor="root", why="back")
    again = added(ledger, role="viewer")
    assert (again["role"], again["has_password"], again["disabled_at"]) == ("viewer", False, None)
    assert sign_in(ledger, ann, PASSWORD) is None
    with pytest.raises(NotFound):
        users.disable_user(ledger, "nothing", actor="root", why="w")


def session(ledger: Database) -> str:
    link = str(sessions.make_link(ledger, "ann", actor="root")["link_token"])
    return sessions.use_link(ledger, link, origin=Origin("203.0.113.7", "r-1"))


def is_live(ledger: Database, token: str) -> bool:
    with ledger.read() as tx:
        try:
            return sessions.find(tx, token, Origin()).principal.name == "ann"
        except NotSignedIn:
            return False


def test_of_a_session_and_a_link_the_ledger_has_hashes_alone(ledger: Database, ann: str) -> None:
    link = str(sessions.make_link(ledger, ann, actor="root")["link_token"])
    token = session(ledger)
    with ledger.read() as tx:
        of_users = tx.execute(text("SELECT * FROM users")).all()
        of_sessions = tx.execute(text("SELECT * FROM sessions")).all()
        rows = str([of_users, of_sessions, tx.execute(text("SELECT * FROM acts")).all()])
    assert token.rpartition("_")[2] not in rows
    assert link.rpartition("_")[2] not in rows
    assert is_live(ledger, token)


@pytest.mark.parametrize(
    ("column", "ms"), [("seen_at", sessions_of.IDLE_MS), ("expires_at", sessions_of.LIFE_MS)]
)
def test_a_session_ends_when_it_is_old_or_was_not_used(
    ledger: Database, ann: str, column: str, ms: int
) -> None:
    token = session(ledger)
    with ledger.write() as tx:
        tx.execute(text(f"UPDATE sessions SET {column} = {column} - :ms"), {"ms": ms})  # noqa: S608
    assert not is_live(ledger, token)
    session(ledger)
    with ledger.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM sessions")).scalar() == 1, "what has ended is deleted"


def test_a_session_that_is_used_goes_on(ledger: Database, ann: str) -> None:
    token = session(ledger)
    with ledger.write() as tx:
        tx.execute(text("UPDATE sessions SET seen_at = seen_at - 3600000"))
    with ledger.read() as tx:
        assert not sessions.find(tx, token, Origin()).is_seen
    sessions.note_seen(ledger, token)
    with ledger.read() as tx:
        assert sessions.find(tx, token, Origin()).is_seen


def test_a_link_is_good_for_a_quarter_of_an_hour_and_for_users_alone(ledger: Database, ann: str) -> None:
    link = str(sessions.make_link(ledger, ann, actor="root")["link_token"])
    with ledger.write() as tx:
        tx.execute(text("UPDATE users SET link_expires_at = link_expires_at - :ms"), {"ms": sessions.LINK_MS})
    for token in (link, "bsl_nothing", ""):
        with pytest.raises(NotSignedIn):
            sessions.use_link(ledger, token, origin=Origin())
    users.disable_user(ledger, ann, actor="root", why="left")
    for name in (ann, "nothing"):
        with pytest.raises(NotFound):
            sessions.make_link(ledger, name, actor="root")


def test_two_uses_of_a_link_at_once_make_one_session(ledger: Database, ann: str) -> None:
    link = str(sessions.make_link(ledger, ann, actor="root")["link_token"])

    def use(_: int) -> bool:
        try:
            return bool(sessions.use_link(ledger, link, origin=Origin()))
        except NotSignedIn:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(use, range(4))) == [False, False, False, True]


def test_a_restore_ends_every_session_and_link(ledger: Database, ann: str) -> None:
    token = session(ledger)
    link = str(sessions.make_link(ledger, ann, actor="root")["link_token"])
    mark_restored(ledger, "account", actor="root", why="disk")
    assert not is_live(ledger, token)
    with pytest.raises(NotSignedIn):
        sessions.use_link(ledger, link, origin=Origin())


def test_a_user_may_be_for_some_kinds_and_senders_alone(ledger: Database) -> None:
    limits = {"kinds": ["otp", "utility"], "senders": ["+44 7700 900123"]}
    made = users.add_user(ledger, name="ann", role="sender", actor="root", **limits)
    assert (made["kinds"], made["senders"]) == (["otp", "utility"], ["447700900123"])
    users.set_password(ledger, made["setup_token"], PASSWORD, passwords=CHEAP)
    by_password = users.check_password(ledger, "ann", PASSWORD, passwords=CHEAP)
    with ledger.read() as tx:
        by_session = sessions.find(tx, session(ledger), Origin()).principal
    for principal in (by_password, by_session):
        principal.check_send(Kind.OTP, "447700900123")
        with pytest.raises(AccessDenied):
            principal.check_send(Kind.MARKETING, "447700900123")
        with pytest.raises(AccessDenied):
            principal.check_send(Kind.OTP, "447700900124")
    for wrong in ({"kinds": ["sms"]}, {"senders": ["abc"]}):
        with pytest.raises(InvalidValue, match=next(iter(wrong))):
            users.add_user(ledger, name="bob", role="sender", actor="root", **wrong)
