"""An act is on record with its actor, the address and request it came by, and the values before and after it."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from bulksend.ledger import operator_log
from bulksend.ledger.database import Database
from bulksend.ledger.operator_log import Act, Actor
from bulksend.messaging.outcome import Scope
from bulksend.operations.access import Origin, Principal, Role, record_reading
from bulksend.operations.limiter import OpenLimiter
from bulksend.operations.senders import change_sender, set_paused

PHONE = "15550100100"
KEY = Principal("k1", "shop", Role.OPERATOR, origin=Origin("203.0.113.7", "r-1"))


class NoFlags:
    """A limiter without memory."""

    def pause(self, scope: Scope, id: str) -> None: ...

    def resume(self, scope: Scope, id: str) -> None: ...


def acts(ledger: Database, scope: str, subject: str) -> list[Act]:
    with ledger.read() as tx:
        return operator_log.of(tx, scope, subject)


@pytest.fixture
def limiter() -> OpenLimiter:
    return NoFlags


def test_an_act_of_a_request_has_its_address_and_id_and_what_changed(ledger: Database) -> None:
    change_sender(ledger, PHONE, actor=KEY.actor, register_at=80.0, rate=40.0, quota=2000)
    (act,) = acts(ledger, "sender", PHONE)
    assert (act.actor, act.ip, act.request_id) == ("shop (k1)", "203.0.113.7", "r-1")
    assert (act.before, act.after) == ({"rate": 80.0, "quota": None}, {"rate": 40.0, "quota": 2000})


def test_an_act_of_the_command_line_has_no_address(ledger: Database, limiter: OpenLimiter) -> None:
    change_sender(ledger, PHONE, actor="ann", register_at=80.0)
    set_paused(ledger, limiter, Scope.SENDER, PHONE, True, actor="ann", why="spam")
    (act,) = acts(ledger, "sender", PHONE)
    assert (act.actor, act.ip, act.request_id) == ("ann", None, None)
    assert (act.before, act.after) == ({"paused": False}, {"paused": True})


def test_the_origin_of_an_act_reaches_the_record_through_another_thread(ledger: Database) -> None:
    change_sender(ledger, PHONE, actor="ann", register_at=80.0)
    work = threading.Thread(
        target=change_sender, args=(ledger, PHONE), kwargs={"actor": KEY.actor, "rate": 5.0}
    )
    work.start()
    work.join()
    assert acts(ledger, "sender", PHONE)[0].request_id == "r-1"


def test_values_that_are_set_to_what_they_were_are_no_change(ledger: Database) -> None:
    change_sender(ledger, PHONE, actor="ann", register_at=80.0, rate=80.0)
    (act,) = acts(ledger, "sender", PHONE)
    assert (act.before, act.after) == (None, None)


def test_reading_numbers_is_an_act_and_reading_masked_ones_is_none(ledger: Database) -> None:
    record_reading(ledger, KEY, "show message", subject="m1")
    (act,) = acts(ledger, "read", "m1")
    assert (act.act, act.actor, act.ip) == ("show message", "shop (k1)", "203.0.113.7")
    record_reading(ledger, dataclasses.replace(KEY, role=Role.VIEWER), "show message", subject="m2")
    assert acts(ledger, "read", "m2") == []


def test_long_values_are_left_out_and_the_act_is_kept(ledger: Database) -> None:
    with ledger.write() as tx:
        operator_log.record(
            tx,
            actor=Actor("a" * 200),
            act="set",
            scope="user",
            subject="s" * 300,
            why="",
            after={"x": "y" * 3000},
        )
    (act,) = acts(ledger, "user", "s" * 100)
    assert (len(act.actor), act.after) == (100, None)
