"""What a forecast counts, in little memory, and the quota that it names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bulksend.ledger import senders
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.message_rows import NewMessage
from bulksend.messaging.plan import RefusedRow
from producer.files import plan_file
from producer.forecast import Forecast, Samples, SeenKeys, countries_text, forecast


def test_a_key_is_new_once() -> None:
    seen = SeenKeys()
    keys = [f"4477{n:08d}" for n in range(200_000)]
    assert all(seen.add(key) for key in keys)
    assert not any(seen.add(key) for key in keys)
    assert seen.add("447700900123x")


def message(row: int, text: str = "", to: str = "447700900001") -> NewMessage:
    return NewMessage(row, f"k{row}", True, to, "15550100100", "text", {"v": {}}, text, 0, None)


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        ([], []),
        (["a"], [1]),
        (["a", "bb"], [1, 2]),
        (["aaa", "b", "cccc", "cc", "d"], [1, 3, 5]),
        (["aaaaa", "b", "c", "ddddd"], [1, 2, 4]),
    ],
)
def test_samples_are_the_first_the_longest_between_and_the_last(texts: list[str], rows: list[int]) -> None:
    samples = Samples()
    for row, text in enumerate(texts, 1):
        samples.add(message(row, text))
    assert [each.row for each in samples.each()] == rows


def test_refusals_are_counted_by_their_reason_and_numbers_that_differ_in_it_are_left_out() -> None:
    """A number that is the same in all rows, such as a code of WhatsApp, is part of the reason."""
    made = Forecast(rate=80, quota=None)
    made.refuse([RefusedRow(n, "to", "", f"is the person of row {n}") for n in range(3)])
    made.refuse([RefusedRow(9, "name", "", "is empty")])
    made.refuse([RefusedRow(10, "to", "", "has 9 digits; write it like +44 7700 900123")])
    made.refuse([RefusedRow(n, "city", "", "has a tab (132018); it fills parameters[2]") for n in (11, 12)])
    assert made.reasons == {
        "to: is the person of row N": 3,
        "name: is empty": 1,
        "to: has 9 digits; write it like +44 7700 900123": 1,
        "city: has a tab (132018); it fills parameters[2]": 2,
    }
    assert made.refused_count == 7


def test_no_more_reasons_are_kept_than_a_person_can_read() -> None:
    made = Forecast(rate=80, quota=None)
    made.refuse([RefusedRow(n, chr(0x4E00 + n), "", "is empty") for n in range(200)])
    assert len(made.reasons) == 51
    assert made.reasons["other reasons"] == 150


def test_the_hash_of_the_recipients_tells_which_rows_are_sent() -> None:
    def hashed(*rows: int) -> str:
        made = Forecast(rate=80, quota=None)
        made.will_send([message(row) for row in rows[:1]])
        made.will_send([message(row) for row in rows[1:]])
        return made.recipients_hash

    assert hashed(1, 2, 3) == hashed(1, 2, 3)
    assert len({hashed(1, 2, 3), hashed(1, 2, 4), hashed(1, 3)}) == 3


def test_countries_are_listed_by_size_and_the_smallest_together() -> None:
    many = {f"{chr(65 + n)}A": 100 - n for n in range(10)}
    shown = countries_text({"": 500, **many})
    assert shown.startswith("not shown 500, AA 100, BA 99")
    assert shown.endswith("GA 94, others 276")


def test_the_quota_is_the_accounts_also_for_a_sender_that_is_new(
    sqlite_template: Path, tmp_path: Path
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    ledger = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.write() as tx:
        senders.register(tx, "447700900999", quota=1)
    file = tmp_path / "list.csv"
    file.write_text("to\n+44 7700 900123\n+44 7700 900124\n")
    plan = plan_file(
        file,
        sender="8615000579987",
        type="text",
        content=b'{"body": "Hi"}',
        kind="marketing",
        created_by="test",
    )
    made = forecast(plan, ledger, Cipher([b"k" * 32]))
    assert made.summary("UTC")["quota"] == "2 recipients, the account may reach 1 in 24 h: the rest waits"
