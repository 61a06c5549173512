"""What is masked outside of the ledger, and what is not."""

from __future__ import annotations

from uuid import UUID

import pytest

from bulksend.messaging.masking import mask_digits, mask_key

PHONE = "447700900123"
#: Ten of its digits stand together.
ID = "01a22fb1-277d-718c-85e5-f1234567890c"


@pytest.mark.parametrize("id", [ID, ID.upper(), UUID(ID).hex])
def test_a_uuid_stays_what_it_is(id: str) -> None:
    for key in (id, f"auto:{id}", f"login-{id}-2", f"login_{id}"):
        assert mask_digits(key) == mask_key(key, PHONE) == key
    assert mask_digits(f"{id} of {PHONE}") == f"{id} of 4477*****123"


@pytest.mark.parametrize(
    "key",
    [f"20261201-0900-0001-0002-{PHONE}", f"{ID}-{PHONE}", f"{ID}{PHONE}", f"{PHONE}{ID}", f"{PHONE}-{ID}"],
)
def test_a_number_beside_digits_of_a_uuid_is_masked(key: str) -> None:
    assert PHONE not in mask_digits(key)
    assert PHONE not in mask_key(key, PHONE)
