"""The spool of callbacks: whole groups, in order, each until it was taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bulksend.ledger.encryption import Cipher
from bulksend.ledger.raw_receipts import Callback, Group, pack, unpack
from bulksend.ledger.receipt_spool import ReceiptSpool


def group(n: int = 1) -> Group:
    return pack([Callback("t", {}, b"body\n%d" % n)], Cipher([b"k" * 32]), n)


def test_groups_are_drained_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    spool = ReceiptSpool(tmp_path / "spool")
    groups = [group(n) for n in range(50)]
    for each in groups:
        spool.save(each)
    taken: list[Group] = []
    assert spool.drain(taken.extend) == 50
    assert taken == groups
    assert spool.is_empty
    assert spool.drain(taken.extend) == 0


def test_what_is_not_taken_stays(tmp_path: Path) -> None:
    spool = ReceiptSpool(tmp_path)
    groups = [group(n) for n in range(30)]
    for each in groups:
        spool.save(each)
    taken: list[Group] = []

    def take(some: Sequence[Group]) -> None:
        if taken:
            raise OSError("away")
        taken.extend(some)

    with pytest.raises(OSError, match="away"):
        spool.drain(take)
    again: list[Group] = []
    spool.drain(again.extend)
    assert again == groups


def test_a_record_that_a_crash_cut_off_is_left_out_and_those_before_it_are_not(tmp_path: Path) -> None:
    spool = ReceiptSpool(tmp_path)
    first, second = group(1), group(2)
    spool.save(first)
    spool.save(second)
    spool.close()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for cut in range(1, len(whole) // 2):
        file.write_bytes(whole[:-cut])
        taken: list[Group] = []
        ReceiptSpool(tmp_path).drain(taken.extend)
        assert taken == [first]


def test_the_file_of_a_living_process_is_left_to_it(tmp_path: Path) -> None:
    writer, other = ReceiptSpool(tmp_path), ReceiptSpool(tmp_path)
    writer.save(group())
    taken: list[Group] = []
    assert other.drain(taken.extend) == 0
    writer.close()
    assert other.drain(taken.extend) == 1


def test_a_packed_group_unpacks_with_and_without_a_key() -> None:
    callbacks = [Callback("t", {"content-type": "x"}, b""), Callback("u", {}, bytes(range(256)))]
    for cipher in (Cipher([]), Cipher([b"k" * 32])):
        assert unpack(pack(callbacks, cipher, 5), cipher) == callbacks


def test_a_saved_group_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    spool = ReceiptSpool(tmp_path / "spool")
    spool.save(group())
    (file,) = (tmp_path / "spool").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
