"""A sentence is an English text; its key and values stay with it until it is kept as text."""

from __future__ import annotations

import copy
import json
import pickle

from bulksend.messaging.masking import mask_digits
from bulksend.messaging.sentences import Recall, Sentence, joined, say

PAUSED = say(
    "{name} has been paused by its rule: {why}", name="Sale", why=say("{count} have failed so far", count=3)
)


def test_a_sentence_is_its_english_text_to_all_who_know_no_sentences() -> None:
    assert PAUSED == "Sale has been paused by its rule: 3 have failed so far"
    assert json.dumps([PAUSED]) == '["Sale has been paused by its rule: 3 have failed so far"]'
    assert f"{PAUSED}." == "Sale has been paused by its rule: 3 have failed so far."


def test_a_sentence_without_values_may_have_braces() -> None:
    assert say("use {{column}}") == "use {{column}}"
    assert say("use {{{{column}}}} of {file}", file="a.csv") == "use {{column}} of a.csv"


def test_copies_keep_key_and_values() -> None:
    for each in (copy.deepcopy(PAUSED), copy.copy(PAUSED), pickle.loads(pickle.dumps(PAUSED))):  # noqa: S301
        assert isinstance(each, Sentence)
        assert (each, each.key, dict(each.values)) == (PAUSED, PAUSED.key, dict(PAUSED.values))
        assert isinstance(each.values["why"], Sentence)


def test_masked_numbers_leave_a_sentence_one_however_deep() -> None:
    masked = mask_digits(say("held: {why}", why=say("{to} complained", to="447700900851")))
    assert isinstance(masked, Sentence)
    assert masked == "held: 4477*****851 complained"
    assert isinstance(masked.values["why"], Sentence)


def test_parts_are_joined_in_their_order() -> None:
    assert joined(["a", "b", "c"]) == "a; b; c"
    assert joined(["a"]) == "a"
    assert joined([]) == ""


RECALL = Recall(
    [
        *(
            "{name} has been paused by its rule: {why}",
            "{count} have failed so far",
            "is not sent",
            "paused",
            "{m}m {s}s",
        ),
        *("{first}; {next}", "{why} ({code})", "nothing came in {length}", "use {{column}}"),
    ]
)


def test_a_kept_text_is_its_sentence_again() -> None:
    found = RECALL.sentence(str(PAUSED))
    assert found is not None
    assert found.key == PAUSED.key
    why = found.values["why"]
    assert isinstance(why, Sentence)
    assert (why.key, dict(why.values)) == ("{count} have failed so far", {"count": "3"})


def test_a_kept_text_is_found_in_its_parts() -> None:
    found = RECALL.sentence("is not sent (17115); 4 have failed so far")
    assert found is not None
    assert found.key == "{first}; {next}"
    assert [part.key for part in found.values.values() if isinstance(part, Sentence)] == [
        "{why} ({code})",
        "{count} have failed so far",
    ]


def test_other_words_are_no_sentence() -> None:
    for words in (
        "Problem with sessions",
        "Message undeliverable",
        "ReadTimeout (after 10 s)",
        "one; two",
        "paused",
        "",
        "x" * 5000,
    ):
        assert RECALL.sentence(words) is None


def test_words_of_a_person_inside_of_a_sentence_stay_as_they_are() -> None:
    found = RECALL.sentence("is not sent has been paused by its rule: wrong picture")
    assert found is not None
    assert dict(found.values) == {"name": "is not sent", "why": "wrong picture"}
    assert not isinstance(found.values["name"], Sentence)


def test_a_short_key_is_recalled_only_where_a_measure_stands() -> None:
    found = RECALL.sentence("nothing came in 2m 05s")
    assert found is not None
    assert isinstance(found.values["length"], Sentence)
    assert RECALL.sentence("2m 05s") is None


def test_a_text_of_very_many_parts_is_given_up() -> None:
    # Each part may be split in many ways: without a limit this takes longer than the tests.
    assert RECALL.sentence("a (b); is c (d) " * 35) is None


def test_braces_of_a_key_without_values_are_its_own() -> None:
    found = RECALL.sentence("use {{column}}")
    assert found is not None
    assert found == "use {{column}}"
