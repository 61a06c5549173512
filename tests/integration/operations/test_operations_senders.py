"""Operations on senders and the account: their JSON, their acts on record, their errors."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidValue, SenderNotFound
from bulksend.ledger import operator_log, paces
from bulksend.ledger.database import Database
from bulksend.messaging.outcome import Scope
from bulksend.operations.json_shape import to_json
from bulksend.operations.senders import change_sender, list_senders, parse_quota, set_paused, show_sender
from bulksend.settings import Settings

PHONE = "15550100100"


class Flags:
    """A limiter that remembers its pause flags."""

    def __init__(self) -> None:
        self.set: set[tuple[Scope, str]] = set()

    def pause(self, scope: Scope, id: str) -> None:
        self.set.add((scope, id))

    def resume(self, scope: Scope, id: str) -> None:
        self.set.discard((scope, id))


def acts(ledger: Database, scope: str, subject: str) -> list[tuple[str, str, str]]:
    """Who did what and why, the oldest first."""
    with ledger.read() as tx:
        return [(act.actor, act.act, act.why) for act in operator_log.of(tx, scope, subject)]


@pytest.fixture
def sender(ledger: Database) -> str:
    change_sender(ledger, PHONE, actor="ann", register_at=80.0)
    return PHONE


def test_a_new_sender_has_the_rate_it_is_registered_with_and_no_quota(ledger: Database) -> None:
    sender = change_sender(ledger, PHONE, actor="ann", register_at=12.5)
    assert to_json(sender) == {
        "phone": PHONE,
        "name": "",
        "rate": 12.5,
        "quota": None,
        "added_at": to_json(sender)["added_at"],
        "paused_at": None,
        "pause_why": None,
        **dict.fromkeys(("status", "quality", "tier", "changed_at")),
    }
    assert str(to_json(sender)["added_at"]).endswith("+00:00")
    assert list_senders(ledger) == [sender]


def test_registering_again_changes_only_what_is_given(ledger: Database, sender: str) -> None:
    assert change_sender(ledger, sender, actor="ann", register_at=5.0, name="shop").rate == 80.0


def test_a_change_is_on_record_with_who_and_what(ledger: Database, sender: str) -> None:
    changed = change_sender(ledger, sender, actor="bob", rate=40.0, quota=2000)
    assert (changed.rate, changed.quota) == (40.0, 2000)
    assert change_sender(ledger, sender, actor="bob", no_quota=True).quota is None
    assert acts(ledger, "sender", sender) == [
        ("bob", "set", "rate=40.0, quota=2000"),
        ("bob", "set", "quota=None"),
    ]


@pytest.mark.parametrize("scope", [Scope.SENDER, Scope.ACCOUNT])
def test_a_pause_and_its_end_are_on_record_and_reach_the_limiter(
    ledger: Database, sender: str, scope: Scope
) -> None:
    id = sender if scope is Scope.SENDER else "default"
    flags = Flags()

    def paused(paused: bool, why: str) -> dict[str, object]:
        return set_paused(ledger, lambda: flags, scope, id, paused, actor="ann", why=why).as_json()

    assert paused(True, "spam") == {scope.value: id, "status": "paused", "changed": True}
    assert flags.set == {(scope, id)}
    assert paused(True, "again")["changed"] is False
    assert paused(False, "fine") == {scope.value: id, "status": "running", "changed": True}
    assert flags.set == set()
    assert acts(ledger, scope.value, id) == [("ann", "pause", "spam"), ("ann", "resume", "fine")]


def test_a_pause_is_in_the_ledger_before_the_limiter_is_opened(ledger: Database, sender: str) -> None:
    seen: list[str | None] = []

    def no_limiter() -> None:
        seen.append(list_senders(ledger)[0].pause_why)

    assert set_paused(ledger, no_limiter, Scope.SENDER, sender, True, actor="ann", why="spam").changed
    assert seen == ["spam"]


def test_a_sender_that_is_not_on_record_is_neither_changed_nor_paused(ledger: Database) -> None:
    with pytest.raises(SenderNotFound, match=f"bulksend senders add {PHONE}"):
        change_sender(ledger, PHONE, actor="ann", rate=1.0)
    with pytest.raises(SenderNotFound):
        set_paused(ledger, lambda: None, Scope.SENDER, PHONE, True, actor="ann", why="spam")
    assert acts(ledger, "sender", PHONE) == []


def test_a_quota_is_a_whole_number_or_none() -> None:
    assert (parse_quota("2000", field="quota"), parse_quota("none", field="quota")) == (2000, None)
    for text in ("many", "0", "-1", "1.5", "²"):
        with pytest.raises(InvalidValue, match="quota: must be a whole number"):
            parse_quota(text, field="quota")


def test_a_sender_is_shown_with_the_changes_of_its_pace(ledger: Database, sender: str) -> None:
    of = Settings.from_env({"DATABASE_URL": "sqlite:///unused.db"})
    changes = [
        paces.PaceChange.of_rate(Scope.SENDER, sender, 1.0, 0.5, "too fast (#130429)"),
        paces.PaceChange.of_rate(Scope.ACCOUNT, of.account(), 0.8, 0.4, "too fast (HTTP 429)"),
        paces.PaceChange.of_rate(Scope.SENDER, "15550100199", 1.0, 0.5, "another sender"),
    ]
    with ledger.write() as tx:
        paces.record(tx, changes, actor="host:1")
    shown = show_sender(of, ledger, sender)
    assert (shown["phone"], shown["rate"]) == (sender, 80.0)
    # Without Redis the pace now is not known; what changed it is on record.
    assert shown["pace"] is None
    assert {(each["scope"], each["before"]["pace"], each["after"]["pace"]) for each in shown["slowed"]} == {
        ("sender", 1.0, 0.5),
        ("account", 0.8, 0.4),
    }
    with pytest.raises(SenderNotFound):
        show_sender(of, ledger, "15550100177")
