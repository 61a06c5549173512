"""A stop word is a whole message, in any spelling; a longer text never is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.messaging.stop_words import START_WORDS, STOP_WORDS, Keyword, StopWords, normal_form

WORDS = StopWords()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "STOP",
            "stop",
            " Stop. ",
            "stop!!! 🙏",
            "ＳＴＯＰ",
            "\N{MATHEMATICAL BOLD CAPITAL S}\N{MATHEMATICAL BOLD CAPITAL T}OP",
            "S.T.O.P",
            "STOP 🛑️",
            "“Stop”",
            "Unsubscribe",
            "QUIT",
        ),
        *("end", "Revoke", "Opt out", "OPT-OUT", "opt_out", "optout", "Cancel", "STOPALL", "Stop promotions"),
        *(
            "退订",
            "退訂。",
            "TD",
            "td",
            "Baja",
            "SAIR",
            "Berhenti!",
            "ARRÊT",
            "arret",
            "стоп",
            "बंद करें",
            "إلغاء",
            "ยกเลิก",
        ),
    ],
)
def test_a_stop_word_is_known_in_any_spelling(text: str) -> None:
    assert WORDS.find(text) is Keyword.STOP


@pytest.mark.parametrize("text", ["START", "start 🙂", "Unstop", "opt-in", "Subscribe", "订阅"])
def test_a_start_word_is_known(text: str) -> None:
    assert WORDS.find(text) is Keyword.START


@pytest.mark.parametrize(
    "text",
    [
        "",
        "👍",
        "please do not stop",
        "stop by at five",
        "can I cancel my order?",
        "red",
        "yes",
        "no",
        "stop" * 100,
    ],
)
def test_a_word_within_a_text_is_none(text: str) -> None:
    assert WORDS.find(text) is None


def test_what_a_tapped_button_carries_counts_too() -> None:
    assert WORDS.find("Leave me alone", "opt-out") is Keyword.STOP
    assert WORDS.find("Tell me more", "more") is None


def test_an_operator_adds_words() -> None:
    words = StopWords(["basta", " Nicht mehr ", ""], ["ja bitte"])
    assert words.find("BASTA!") is words.find("nicht mehr") is Keyword.STOP
    assert words.find("Ja, bitte") is Keyword.START
    assert words.find("stop") is Keyword.STOP


def test_no_word_stops_and_starts() -> None:
    stops, starts = ({normal_form(w).replace(" ", "") for w in words} for words in (STOP_WORDS, START_WORDS))
    assert not stops & starts
    assert "" not in stops | starts


@given(st.text(max_size=300))
def test_any_text_has_a_normal_form_of_bounded_length(text: str) -> None:
    assert len(normal_form(text)) <= 60
    assert normal_form(normal_form(text)) == normal_form(text)
