"""What rests in the ledger: encrypted with a key that can be rotated, bound to its own message."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.errors import InvalidInput
from bulksend.ledger.encryption import CLEAR, ENCRYPTED, CannotDecrypt, Cipher, clear

OLD, NEW = b"o" * 32, b"n" * 32
MESSAGE = "0190a1b2-0000-7000-8000-000000000001"
OTHER = "0190a1b2-0000-7000-8000-000000000002"
CODE = {"v": {"code": "493817"}}


def text_of(*keys: bytes) -> str:
    return ",".join(base64.urlsafe_b64encode(key).decode() for key in keys)


def test_what_was_sealed_opens_again_and_shows_nothing_while_it_rests() -> None:
    stored = Cipher([NEW]).encrypt(CODE, MESSAGE)
    assert stored[:1] == ENCRYPTED
    assert b"493817" not in stored
    assert Cipher([NEW]).decrypt(stored, MESSAGE) == CODE


def test_the_same_code_sealed_twice_looks_different() -> None:
    cipher = Cipher([NEW])
    assert cipher.encrypt(CODE, MESSAGE) != cipher.encrypt(CODE, MESSAGE)


def test_the_nonce_is_the_one_that_was_drawn() -> None:
    cipher = Cipher([NEW], nonce=lambda size: b"\x07" * size)
    assert cipher.encrypt(CODE, MESSAGE)[5:17] == b"\x07" * 12


def test_a_rotated_list_seals_with_its_first_key_and_opens_with_any() -> None:
    before = Cipher([OLD]).encrypt(CODE, MESSAGE)
    rotated = Cipher([NEW, OLD])
    assert rotated.decrypt(before, MESSAGE) == CODE
    after = rotated.encrypt(CODE, MESSAGE)
    assert Cipher([NEW]).decrypt(after, MESSAGE) == CODE
    with pytest.raises(CannotDecrypt, match="add the old key"):
        Cipher([OLD]).decrypt(after, MESSAGE)


def test_without_a_key_a_sealed_payload_stays_closed() -> None:
    cipher = Cipher([])
    assert not cipher.can_encrypt
    with pytest.raises(CannotDecrypt, match="add the old key"):
        cipher.decrypt(Cipher([NEW]).encrypt(CODE, MESSAGE), MESSAGE)


def test_a_payload_moved_to_another_message_does_not_open() -> None:
    cipher = Cipher([NEW])
    with pytest.raises(CannotDecrypt, match="changed"):
        cipher.decrypt(cipher.encrypt(CODE, MESSAGE), OTHER)


@given(position=st.integers(0, 200), flip=st.integers(1, 255))
def test_a_payload_with_any_byte_changed_does_not_open(position: int, flip: int) -> None:
    cipher = Cipher([NEW])
    stored = bytearray(cipher.encrypt(CODE, MESSAGE))
    position %= len(stored)
    stored[position] ^= flip
    with pytest.raises(CannotDecrypt):
        cipher.decrypt(bytes(stored), MESSAGE)


@given(keep=st.integers(0, 40))
def test_a_payload_cut_short_does_not_open(keep: int) -> None:
    cipher = Cipher([NEW])
    with pytest.raises(CannotDecrypt):
        cipher.decrypt(cipher.encrypt(CODE, MESSAGE)[:keep], MESSAGE)


@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.text())))
def test_whatever_a_row_held_comes_back_as_it_was(payload: dict[str, object]) -> None:
    cipher = Cipher([NEW])
    assert cipher.decrypt(cipher.encrypt(payload, MESSAGE), MESSAGE) == payload
    assert cipher.decrypt(clear(payload), MESSAGE) == payload


def test_half_an_emoji_from_a_broken_file_survives_in_clear_and_sealed() -> None:
    cipher, half = Cipher([NEW]), {"v": {"name": "Da\ud83dvid"}}
    assert cipher.decrypt(clear(half), MESSAGE) == half
    assert cipher.decrypt(cipher.encrypt(half, MESSAGE), MESSAGE) == half


def test_clear_payloads_are_plain_json_behind_a_mark() -> None:
    stored = clear({"v": {"name": "Zoë"}})
    assert stored[:1] == CLEAR
    assert json.loads(stored[1:]) == {"v": {"name": "Zoë"}}


@pytest.mark.parametrize("text", ["", " , "])
def test_no_key_at_all_is_no_error_by_itself(text: str) -> None:
    assert not Cipher.from_text(text).can_encrypt


def test_keys_are_read_with_or_without_padding_and_spaces() -> None:
    padded = text_of(NEW)
    cipher = Cipher.from_text(f" {padded.rstrip('=')} , {text_of(OLD)}")
    assert cipher.decrypt(Cipher([OLD]).encrypt(CODE, MESSAGE), MESSAGE) == CODE
    assert Cipher([NEW]).decrypt(cipher.encrypt(CODE, MESSAGE), MESSAGE) == CODE


@pytest.mark.parametrize(
    "bad", ["c2hvcnQ=", "not base64 at all!", "ключ", base64.b64encode(b"x" * 33).decode()]
)
def test_a_wrong_key_is_refused_by_its_position_and_never_shown(bad: str) -> None:
    with pytest.raises(InvalidInput, match="key 2") as caught:
        Cipher.from_text(f"{text_of(NEW)},{bad}")
    assert bad not in str(caught.value)
    assert text_of(NEW) not in str(caught.value)


def test_a_fingerprint_tells_equal_from_different_under_every_key_of_the_list() -> None:
    before = Cipher([OLD]).fingerprint("447700900123", "text", "hello")
    rotated = Cipher([NEW, OLD])
    assert rotated.same_fingerprint(before, "447700900123", "text", "hello")
    assert not rotated.same_fingerprint(before, "447700900123", "text", "hullo")
    assert not Cipher([NEW]).same_fingerprint(before, "447700900123", "text", "hello")


def test_a_fingerprint_made_before_there_was_a_key_is_still_known() -> None:
    before = Cipher([]).fingerprint("447700900123", "hello")
    assert Cipher([NEW]).same_fingerprint(before, "447700900123", "hello")


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_fingerprints_are_equal_only_for_the_same_parts_in_their_places(a: list[str], b: list[str]) -> None:
    cipher = Cipher([NEW])
    assert (cipher.fingerprint(*a) == cipher.fingerprint(*b)) is (a == b)


def test_a_fingerprint_gives_no_code_away_to_who_lacks_the_key() -> None:
    stored = Cipher([NEW]).fingerprint("493817")
    guesses = (f"{n:06}" for n in range(493_000, 494_000))
    assert not any(Cipher([]).same_fingerprint(stored, guess) for guess in guesses)
