"""Keys of the ledger: version 7, so that they sort by the time they were made."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.ledger.ids import NEAR_MS, instant_of, is_id, lowest_at, new_id, new_ids


def test_an_id_is_a_uuid_of_version_7_in_its_plain_writing() -> None:
    made = new_id()
    assert str(uuid.UUID(made)) == made
    assert uuid.UUID(made).version == 7


@pytest.mark.parametrize("form", ["{{{id}}}", "urn:uuid:{id}", "{bare}", "{id}\n", " {id}", "{id}0", ""])
def test_other_forms_of_a_uuid_are_no_id(form: str) -> None:
    """PostgreSQL refuses some of them with an error, and a request would end with a 503."""
    id = new_id()
    assert is_id(id)
    assert not is_id(form.format(id=id, bare=id.replace("-", "")))


def test_ids_of_one_process_sort_in_the_order_they_were_made() -> None:
    made = [new_id() for _ in range(5_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_begins_with_the_time_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    stamp = uuid.UUID(new_id()).int >> 80
    assert before <= stamp <= time.time_ns() // 1_000_000


@given(count=st.integers(0, 50), off_ms=st.integers(-(10**11), 10**11))
def test_ids_are_near_the_ledgers_clock_however_far_off_our_own_is(count: int, off_ms: int) -> None:
    ledger_ms = time.time_ns() // 1_000_000 + off_ms
    made = new_ids(count, ledger_ms)
    assert all(abs(instant_of(id) - ledger_ms) <= NEAR_MS for id in made)
    assert made == sorted(set(made))
    assert len(made) == count
    assert {uuid.UUID(id).version for id in made} <= {7}


@given(st.integers(0, 2**48 - 2))
def test_every_id_of_an_instant_lies_between_the_lowest_of_it_and_of_the_next(instant_ms: int) -> None:
    (id,) = new_ids(1, instant_ms)
    assert lowest_at(instant_of(id)) <= id < lowest_at(instant_of(id) + 1)
