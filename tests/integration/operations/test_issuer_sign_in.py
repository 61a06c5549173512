"""Who an identity of an issuer is here: its user, the role, the name; on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from bulksend.errors import NotSignedIn, WrongState
from bulksend.ledger import operator_log
from bulksend.ledger.database import Database
from bulksend.messaging.roles import Role
from bulksend.oidc import Identity, Refusal, SignInRefused
from bulksend.operations import sessions, users
from bulksend.operations.access import Origin, Principal
from bulksend.operations.issuer_sign_in import LIFE_MS, sign_in
from bulksend.operations.passwords import Passwords

ISSUER = "https://login.shop.example/staff"
ANN = Identity(ISSUER, "s-1", "ann", Role.OPERATOR)


def entered(ledger: Database, identity: Identity = ANN) -> str:
    return sign_in(ledger, identity, origin=Origin("203.0.113.7", "r-1"))


def refused(ledger: Database, identity: Identity = ANN) -> Refusal:
    with pytest.raises(SignInRefused) as error:
        entered(ledger, identity)
    return error.value.why


def whose(ledger: Database, token: str) -> Principal | None:
    with ledger.read() as tx:
        try:
            return sessions.find(tx, token, Origin()).principal
        except NotSignedIn:
            return None


def shown(ledger: Database, name: str = "ann") -> dict[str, Any]:
    with ledger.read() as tx:
        return users.show_user(tx, name)


def acts(ledger: Database, name: str = "ann") -> list[tuple[str, str]]:
    with ledger.read() as tx:
        return [(act.actor, act.act) for act in operator_log.of(tx, "user", name)]


def test_the_first_sign_in_makes_the_user_and_later_ones_find_it(ledger: Database) -> None:
    first, second = entered(ledger), entered(ledger)
    assert first != second
    for token in (first, second):
        principal = whose(ledger, token)
        assert principal is not None
        assert (principal.name, principal.role) == ("ann", Role.OPERATOR)
    found = shown(ledger)
    assert (found["issuer"], found["subject"], found["has_password"]) == (ISSUER, "s-1", False)
    assert found["signed_in_at"] is not None
    host = "login.shop.example"
    assert acts(ledger) == [(host, "add"), ("ann", "sign in"), ("ann", "sign in")]


def test_the_same_subject_of_another_issuer_is_another_person(ledger: Database) -> None:
    entered(ledger)
    other = replace(ANN, issuer="https://login.other.example", role=Role.ADMIN)
    assert refused(ledger, other) is Refusal.NAME_TAKEN
    assert shown(ledger)["role"] == "operator"


def test_a_changed_role_is_on_record_with_the_issuer_that_changed_it(ledger: Database) -> None:
    token = entered(ledger, replace(ANN, role=Role.ADMIN))
    entered(ledger, replace(ANN, role=Role.VIEWER))
    principal = whose(ledger, token)
    assert principal is not None
    assert principal.role is Role.VIEWER, "in the session of before too"
    with ledger.read() as tx:
        change = next(act for act in operator_log.of(tx, "user", "ann") if act.act == "change")
    assert (change.actor, change.before, change.after) == (
        "login.shop.example",
        {"role": "admin"},
        {"role": "viewer"},
    )
    assert (change.ip, change.request_id) == ("203.0.113.7", "r-1")


def test_without_a_role_no_session_is_left_and_no_user_is_made(ledger: Database) -> None:
    token = entered(ledger)
    assert refused(ledger, replace(ANN, role=None)) is Refusal.NO_ROLE
    assert whose(ledger, token) is None
    assert acts(ledger)[-1] == ("login.shop.example", "sign out")
    assert refused(ledger, Identity(ISSUER, "s-2", "eve", None)) is Refusal.NO_ROLE
    with ledger.read() as tx:
        assert [each["name"] for each in users.list_users(tx)] == ["ann"]


@pytest.mark.parametrize("name", [None, "", "a/b", "<ann>", "x" * 101, "a\nb"])
def test_a_name_that_no_user_may_have_makes_none(ledger: Database, name: str | None) -> None:
    assert refused(ledger, replace(ANN, name=name)) is Refusal.NO_NAME


def test_a_local_user_is_not_taken_over_and_gives_its_name_up_when_it_is_disabled(ledger: Database) -> None:
    users.add_user(ledger, name="ann", role="admin", kinds=["otp"], actor="root")
    assert refused(ledger) is Refusal.NAME_TAKEN
    assert (shown(ledger)["issuer"], shown(ledger)["role"]) == (None, "admin")
    users.disable_user(ledger, "ann", actor="root", why="signs in at the issuer now")
    entered(ledger)
    found = shown(ledger)
    assert (found["issuer"], found["role"], found["kinds"]) == (ISSUER, "operator", [])


def test_a_disabled_user_is_refused_under_any_name_and_role(ledger: Database) -> None:
    token = entered(ledger)
    users.disable_user(ledger, "ann", actor="root", why="left")
    assert whose(ledger, token) is None
    assert refused(ledger, replace(ANN, name="eve", role=Role.ADMIN)) is Refusal.DISABLED
    assert refused(ledger, replace(ANN, subject="s-2")) is Refusal.NAME_TAKEN, "it stays known as disabled"
    assert users.enable_user(ledger, "ann", actor="root", why="back")["changed"]
    assert not users.enable_user(ledger, "ann", actor="root", why="back")["changed"]
    assert whose(ledger, entered(ledger)) is not None


def test_a_user_of_another_issuer_gives_its_name_up_when_it_is_disabled(ledger: Database) -> None:
    entered(ledger, replace(ANN, issuer="https://login.old.example"))
    users.disable_user(ledger, "ann", actor="root", why="the issuer has moved")
    entered(ledger)
    assert shown(ledger)["issuer"] == ISSUER


def test_a_user_of_an_issuer_has_no_password_and_no_role_of_ours(ledger: Database) -> None:
    entered(ledger)
    with pytest.raises(WrongState, match=r"signs in at login\.shop\.example"):
        users.reset_user(ledger, "ann", actor="root", why="lost")
    with pytest.raises(WrongState, match="its role comes from there"):
        users.change_role(ledger, "ann", "admin", actor="root", why="asked")
    with pytest.raises(NotSignedIn):
        users.check_password(ledger, "ann", "", passwords=Passwords(passes=1, memory_kib=8))
    users.add_user(ledger, name="bob", role="viewer", actor="root")
    users.disable_user(ledger, "bob", actor="root", why="left")
    with pytest.raises(WrongState, match="users add"):
        users.enable_user(ledger, "bob", actor="root", why="back")


def test_a_session_ends_after_twelve_hours_however_much_it_is_used(ledger: Database) -> None:
    token = entered(ledger)
    for ms, is_live in ((LIFE_MS - 60_000, True), (120_000, False)):
        with ledger.write() as tx:
            tx.execute(text("UPDATE sessions SET expires_at = expires_at - :ms"), {"ms": ms})
        assert (whose(ledger, token) is not None) is is_live


def test_first_sign_ins_at_the_same_time_make_one_user(ledger: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        tokens = list(pool.map(lambda _: entered(ledger), range(6)))
    assert {str(whose(ledger, token).name) for token in tokens} == {"ann"}  # type: ignore[union-attr]
    assert [act for _, act in acts(ledger)].count("add") == 1


def test_two_persons_of_one_name_at_the_same_time_are_one_user_and_one_refusal(ledger: Database) -> None:
    def attempt(n: int) -> str:
        try:
            return entered(ledger, replace(ANN, subject=f"s-{n}"))
        except SignInRefused as error:
            return error.why

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(attempt, range(6)))
    assert found.count(Refusal.NAME_TAKEN) == 5


def test_a_link_signs_a_user_of_an_issuer_in_while_the_issuer_is_away(ledger: Database) -> None:
    entered(ledger)
    link = str(sessions.make_link(ledger, "ann", actor="root")["link_token"])
    assert whose(ledger, sessions.use_link(ledger, link, origin=Origin())) is not None
