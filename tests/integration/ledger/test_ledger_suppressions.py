"""Suppressions: which recipients must not get which kinds, until when and why."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import operator_log, suppressions
from bulksend.ledger.suppressions import Suppression
from bulksend.messaging.outcome import Evidence, Refused
from bulksend.messaging.states import Kind

ADA, BOB = "447700900123", "12025550123"


def add(desk: Any, subject: str, scope: str = "all", **named: Any) -> None:
    desk.write(
        suppressions.add,
        {subject: None},
        **({"scope": scope, "reason": "stop", "source": "hand", "actor": "ada"} | named),
    )


def unwanted(desk: Any, kind: Kind) -> dict[str, str]:
    return dict(desk.read(suppressions.reasons_for, [ADA, BOB], kind))


@pytest.mark.parametrize("kind", list(Kind))
def test_scope_all_suppresses_every_kind(desk: Any, kind: Kind) -> None:
    add(desk, ADA, "all")
    assert unwanted(desk, kind) == {ADA: "stop"}


@pytest.mark.parametrize("kind", list(Kind))
def test_scope_marketing_does_not_suppress_codes_and_utility(desk: Any, kind: Kind) -> None:
    add(desk, ADA, "marketing")
    assert unwanted(desk, kind) == ({ADA: "stop"} if kind is Kind.MARKETING else {})


def test_a_suppressed_country_suppresses_only_its_numbers(desk: Any) -> None:
    add(desk, "country:GB")
    assert unwanted(desk, Kind.OTP) == {ADA: "stop"}


def test_the_reason_of_a_number_comes_before_that_of_its_country(desk: Any) -> None:
    add(desk, "country:GB")
    add(desk, ADA, reason="asked us to stop")
    assert unwanted(desk, Kind.MARKETING) == {ADA: "asked us to stop"}


def test_a_suppression_ends_at_its_time(desk: Any) -> None:
    add(desk, ADA, until=desk.now() + 60_000)
    add(desk, "country:US", until=desk.now() + 60_000)
    assert set(unwanted(desk, Kind.OTP)) == {ADA, BOB}
    desk.sql("UPDATE suppressions SET until = :now", now=desk.now())
    assert unwanted(desk, Kind.OTP) == {}


def test_a_suppression_keeps_the_later_of_two_ends(desk: Any) -> None:
    soon, late = desk.now() + 1_000, desk.now() + 60_000
    for until, kept in ((soon, soon), (late, late), (soon, late), (None, None), (late, None)):
        add(desk, ADA, until=until)
        assert [s.until for s in desk.read(suppressions.page)] == [kept]


def test_an_import_counts_what_it_added_or_prolonged(desk: Any) -> None:
    numbers = [f"4477009{n:05}" for n in range(2_500)]
    named = {"scope": "all", "reason": "list of May", "source": "may.csv"}
    assert desk.write(suppressions.add_many, dict.fromkeys(numbers), **named) == 2_500
    assert desk.write(suppressions.add_many, dict.fromkeys([*numbers[:10], BOB]), **named) == 1
    assert desk.write(suppressions.add_many, {}, **named) == 0
    assert desk.scalar("SELECT count(*) FROM suppressions") == 2_501


def test_an_unknown_scope_is_refused(desk: Any) -> None:
    with pytest.raises(ValueError, match="marketing"):
        add(desk, ADA, "everything")


def test_lifting_is_logged_and_may_be_of_one_scope(desk: Any) -> None:
    add(desk, ADA, "all")
    add(desk, ADA, "marketing")
    lift = {"actor": "ada", "why": "asked for it"}
    assert desk.write(suppressions.remove, ADA, scope="all", **lift) == 1
    assert [s.scope for s in desk.read(suppressions.page)] == ["marketing"]
    assert desk.write(suppressions.remove, ADA, scope=None, **lift) == 1
    assert desk.write(suppressions.remove, ADA, scope=None, **lift) == 0
    assert [act.act for act in desk.read(operator_log.of, "suppression", ADA)] == [
        "suppress all",
        "suppress marketing",
        "lift suppression",
        "lift suppression",
    ]


def test_pages_have_each_subject_once(desk: Any) -> None:
    for number in ("1", "2", "3"):
        add(desk, number, "all")
        add(desk, number, "marketing")
    seen: list[Suppression] = []
    while page := desk.read(suppressions.page, after=seen[-1].subject if seen else "", limit=3):
        seen += page
    assert [(s.subject, s.scope) for s in seen] == [(n, s) for n in "123" for s in ("all", "marketing")]


def test_the_suppressions_of_one_number_are_found(desk: Any) -> None:
    add(desk, ADA, reason="stop\x00it")
    add(desk, BOB)
    (found,) = desk.read(suppressions.page, subject=ADA)
    assert (found.subject, found.reason, found.source, found.until) == (ADA, "stop\ufffdit", "hand", None)


def test_the_days_on_which_a_number_was_refused_with_a_code_are_counted(desk: Any) -> None:
    ids = desk.queued(n=1)
    lease = desk.lease()
    for day in range(3):
        (opening,) = desk.sent(lease, ids)
        desk.settle(opening, Refused("131049", "too many"), evidence=Evidence(200, 17111, 131049))
        desk.sql(
            "UPDATE attempts SET started_at = :at WHERE CAST(id AS text) = :id",
            at=desk.now() - day // 2 * 86_400_000,
            id=opening.attempt_id,
        )
        desk.sql("UPDATE messages SET status = 'retry'")
    people = ["447700900001", ADA]
    assert desk.read(suppressions.days_with_code, people, 131049) == {"447700900001": 2, ADA: 0}
    assert desk.read(suppressions.days_with_code, people, 1) == {"447700900001": 0, ADA: 0}


BRAZILIAN = "5531985550124", "553185550124"
ARGENTINE = "5491155550124", "541155550124"


@pytest.mark.parametrize("forms", [BRAZILIAN, ARGENTINE])
@pytest.mark.parametrize("given", [0, 1])
def test_a_suppression_holds_for_every_form_of_the_number(
    desk: Any, forms: tuple[str, str], given: int
) -> None:
    """Both at intake and at the last moment before a POST."""
    planned = [desk.new_message(row, recipient=form, key=f"k{row}") for row, form in enumerate(forms, 1)]
    ids = desk.take(desk.campaign(), *planned).ready
    lease = desk.lease()
    claimed = desk.claim(lease, ids)
    add(desk, forms[given])
    assert desk.read(suppressions.reasons_for, [*forms, ADA], Kind.OTP) == dict.fromkeys(forms, "stop")
    opened = desk.open(lease, desk.openings(claimed))
    assert sorted(opened.suppressed) == sorted(ids)
    for form in forms:
        assert [s.subject for s in desk.read(suppressions.page, subject=form)] == [forms[0]]
    assert desk.write(suppressions.remove, forms[1 - given], scope=None, actor="ada", why="back") == 1
    assert desk.read(suppressions.reasons_for, forms, Kind.OTP) == {}


def test_a_suppression_of_the_older_form_holds_for_the_newer(desk: Any) -> None:
    """Older versions stored the number in the form in which it was given."""
    add(desk, ADA)
    desk.sql("UPDATE suppressions SET subject = :older", older=BRAZILIAN[1])
    assert set(desk.read(suppressions.reasons_for, BRAZILIAN, Kind.OTP)) == set(BRAZILIAN)
    assert len(desk.read(suppressions.page, subject=BRAZILIAN[0])) == 1
    assert desk.write(suppressions.remove, BRAZILIAN[0], scope=None, actor="ada", why="back") == 1


def test_two_forms_of_one_number_are_imported_as_one_row(desk: Any) -> None:
    added = desk.write(
        suppressions.add_many,
        dict.fromkeys([*BRAZILIAN, *ARGENTINE]),
        scope="all",
        reason="stop",
        source="file",
    )
    assert added == 2
