"""The hash of a plan, and what changed since it was made."""

from __future__ import annotations

from bulksend.messaging.plan_facts import differences, plan_hash, told

FACTS = {"source_hash": "a" * 64, "counts": {"messages": 2, "suppressed": 0}, "cost": None}


def test_the_hash_is_of_the_facts_and_not_of_their_order() -> None:
    assert plan_hash(FACTS) == plan_hash(dict(reversed(FACTS.items())))
    assert plan_hash(FACTS) != plan_hash({**FACTS, "cost": {"min": "1.00"}})


def test_equal_facts_have_no_differences() -> None:
    assert differences(FACTS, {**FACTS}) == []


def test_a_difference_names_the_fact_and_both_values() -> None:
    after = {"source_hash": "b" * 64, "counts": {"messages": 1200, "suppressed": 0}, "cost": {"min": "1.00"}}
    changes = differences(FACTS, after)
    assert [change[:3] for change in changes] == [
        ("cost.min", None, "1.00"),
        ("counts.messages", 2, 1200),
        ("source_hash", "a" * 64, "b" * 64),
    ]
    assert told(changes) == "cost min: none to 1.00; counts messages: 2 to 1,200; the file changed"


def test_many_differences_are_cut() -> None:
    before = {"refused": {f"reason {n:02}": n for n in range(12)}}
    assert told(differences(before, {"refused": {}})).endswith("; and 2 more")
