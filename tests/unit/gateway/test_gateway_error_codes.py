"""The table of codes against an independent list of the documented ones (docs/vendor.md#error-codes)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.gateway import Family, find_row, outcome_of, table_rows, whatsapp_code_in
from bulksend.gateway.error_codes import (
    DAY_MS,
    MAY_BE_SENT,
    TABLE,
    UNLISTED,
    code_text,
    explain,
    explain_receipt,
    outcome_of_message,
)
from bulksend.messaging.outcome import (
    Outcome,
    Refused,
    Remedy,
    Retry,
    Scope,
    Suppress,
    Throttled,
    Unknown,
)
from bulksend.settings import MAY_HAVE_GONE_OUT

Check = Callable[[Outcome], bool]


def refused(**remedy: object) -> Check:
    """Refused with exactly this remedy."""
    wanted = Remedy(**remedy)  # type: ignore[arg-type]
    return lambda outcome: isinstance(outcome, Refused) and outcome.remedy == wanted


def pause(scope: Scope) -> Check:
    return refused(retry=Retry.FREE, pause=scope, alert=True)


def throttled(scope: Scope, **remedy: object) -> Check:
    wanted = Remedy(retry=Retry.FREE, **remedy)  # type: ignore[arg-type]
    return lambda outcome: (
        isinstance(outcome, Throttled) and outcome.scope is scope and outcome.remedy == wanted
    )


def unknown(outcome: Outcome) -> bool:
    return isinstance(outcome, Unknown) and outcome.remedy.retry is Retry.NEVER and outcome.remedy.breaker


FAIL = refused()
RETRY = refused(retry=Retry.BACKOFF)
BREAKER = refused(retry=Retry.BACKOFF, breaker=True)
RETRY_TWICE = refused(retry=Retry.FEW)
FAIL_PAUSE_C_LATER = refused(pause=Scope.CAMPAIGN, pause_after=10)
PAUSE_C, PAUSE_S, PAUSE_A = pause(Scope.CAMPAIGN), pause(Scope.SENDER), pause(Scope.ACCOUNT)

RETCODES: list[tuple[list[int], Check]] = [
    ([0], unknown),  # without a MessageId; with one it is accepted and asks no table
    ([110], unknown),
    ([130, 150, 151, 200], BREAKER),
    ([153], throttled(Scope.SENDER, slow=Scope.SENDER)),
    ([160, 161, 180], PAUSE_A),
    ([170, 171, 172, 174], PAUSE_A),
    ([173, 290, 291, 292, 293, 294, 295, 299], PAUSE_A),
    ([17100, 17102, 17104], PAUSE_S),
    ([17105, 17108, 17113, 17116, 17122], RETRY),
    ([17110], FAIL),
    ([17111, 17112, 17117], RETRY_TWICE),
    ([17114], RETRY),
    ([17101, 17103, 17106, 17107, 17109, 17118, 17119, 17120, 17121, 17123], FAIL),
    ([17115], refused(retry=Retry.FEW, never_otp=True, pause=Scope.CAMPAIGN, pause_after=50)),
    ([17125], PAUSE_A),
    ([17124, 17126, 17199], refused(alert=True, pause=Scope.CAMPAIGN, pause_after=10)),
]
WHATSAPP: list[tuple[list[int], Check]] = [
    ([130429], throttled(Scope.SENDER, slow=Scope.SENDER)),
    ([131056], throttled(Scope.PAIR, pair_backoff=True)),
    ([4, 80007], throttled(Scope.ACCOUNT, slow=Scope.ACCOUNT)),
    ([131048], PAUSE_S),
    ([131064], PAUSE_A),
    ([131057], refused(retry=Retry.BACKOFF, min_wait_ms=60_000)),
    (
        [1, 2, 131000, 131016, 133004],
        refused(retry=Retry.FEW, never_otp=True, pause=Scope.CAMPAIGN, pause_after=50),
    ),
    ([131049], refused(suppress=Suppress("marketing", for_ms=DAY_MS))),
    ([130472], FAIL),
    ([131050], refused(suppress=Suppress("marketing", by_switch=True))),
    ([130403], refused(suppress=Suppress("all"))),
    ([131026], refused(suppress=Suppress("all", after_days=3))),
    ([131021], FAIL),
    ([131047], FAIL),
    ([131051, 131008, 131009, 100, 135000], FAIL_PAUSE_C_LATER),
    ([131053], FAIL),
    ([131052], refused(retry=Retry.FEW, never_otp=True, pause=Scope.CAMPAIGN, pause_after=50)),
    ([132000, 132005, 132012, 132018], FAIL_PAUSE_C_LATER),
    ([132001, 132007], PAUSE_C),
    ([132015], PAUSE_C),
    ([132016], refused(pause=Scope.CAMPAIGN, alert=True)),
    ([132068, 132069], PAUSE_C),
    ([134101], refused(retry=Retry.BACKOFF, min_wait_ms=600_000)),
    ([131055, 134100, 134102, 131063], PAUSE_C),
    ([130497], refused(suppress=Suppress("all", country=True))),
    ([131031, 368], PAUSE_A),
    ([131042, 134011], PAUSE_A),
    ([131037, 131045, 133006, 133010, 33], PAUSE_S),
    # Meta's list beyond the reference's: case 24, and what belongs to a number's registration.
    (
        [131030, 133016, 133000, 133001, 133002, 133003, 133005, 133007, 133008, 133009, 133015, 136025],
        PAUSE_S,
    ),
    ([131001, 131002, 131006], FAIL_PAUSE_C_LATER),
    ([131043], FAIL),
    ([0, 3, 10, 190, *range(200, 300), 131005], PAUSE_S),
    ([132002, 132500, 132999], PAUSE_C),
]
HTTP: list[tuple[list[int], Check]] = [
    ([500, 502, 504, 408], unknown),
    ([503], BREAKER),
    ([429, 425], throttled(Scope.ACCOUNT, slow=Scope.ACCOUNT)),
    ([401, 403], PAUSE_A),
    ([400, 404, 405, 413, 415, 422], FAIL_PAUSE_C_LATER),
    ([300, 301, 302, 303, 307, 308], refused(pause=Scope.ACCOUNT, alert=True)),
]
ALL = [
    (family, code, check)
    for family, lines in ((Family.RETCODE, RETCODES), (Family.WHATSAPP, WHATSAPP), (Family.HTTP, HTTP))
    for codes, check in lines
    for code in codes
]


@pytest.mark.parametrize(
    ("family", "code", "check"), ALL, ids=[code_text(family, code) for family, code, _ in ALL]
)
def test_every_documented_code_has_its_documented_outcome_if_nothing_was_sent(
    family: Family, code: int, check: Check
) -> None:
    outcome = outcome_of(family, code, vouched={code})
    assert check(outcome), outcome


@pytest.mark.parametrize(("family", "code"), [(family, code) for family, code, _ in ALL])
def test_without_a_source_for_not_sent_the_outcome_is_unknown_and_the_remedy_stays(
    family: Family, code: int
) -> None:
    row = find_row(family, code)
    assert row is not None
    plain, vouched = outcome_of(family, code), outcome_of(family, code, vouched={code})
    if row.not_sent:
        assert plain == vouched
        return
    assert unknown(plain)
    assert isinstance(vouched, Refused | Throttled | Unknown)
    assert isinstance(plain, Unknown)
    for what in ("pause", "pause_after", "slow", "alert"):
        assert getattr(plain.remedy, what) == getattr(vouched.remedy, what)


def test_an_operator_cannot_vouch_for_codes_that_mean_unknown() -> None:
    """The settings refuse just those that the table leaves unknown whatever is said."""
    assert {code for row in TABLE if row.make is MAY_BE_SENT for code in row.codes} == MAY_HAVE_GONE_OUT
    for row in (row for row in TABLE if row.family is not Family.WHATSAPP):
        for code in row.codes:
            vouched = outcome_of(row.family, code, vouched={code})
            assert isinstance(vouched, Unknown) == (code in MAY_HAVE_GONE_OUT)


def test_a_vouched_number_below_300_is_a_retcode_and_not_an_http_status() -> None:
    assert isinstance(outcome_of(Family.RETCODE, 200, vouched={200}), Refused)
    assert isinstance(outcome_of(Family.HTTP, 200, vouched={200}), Unknown)


def test_every_code_has_exactly_one_row() -> None:
    seen = Counter((row.family, code) for row in TABLE for code in row.codes)
    assert [key for key, times in seen.items() if times != 1] == []


def test_no_row_lists_an_undocumented_code() -> None:
    spans = {
        Family.RETCODE: set(range(17100, 17200)),
        Family.WHATSAPP: set(range(132000, 133000)),
        Family.HTTP: set(range(300, 400)),
    }
    known = {(family, code) for family, code, _ in ALL}
    extra = [
        (row.family, code)
        for row in TABLE
        for code in row.codes
        if (row.family, code) not in known and code not in spans[row.family]
    ]
    assert extra == []


def test_every_row_has_a_meaning_and_its_source() -> None:
    for row in (*TABLE, *UNLISTED.values()):
        assert row.meaning
        assert row.source


def test_an_undocumented_retcode_is_unknown() -> None:
    for code in (-1, 1, 152, 300, 4242, 131049):
        outcome = outcome_of(Family.RETCODE, code)
        assert unknown(outcome)
        assert isinstance(outcome, Unknown)
        assert outcome.remedy.alert


def test_an_undocumented_whatsapp_code_fails_and_alerts() -> None:
    assert refused(alert=True, pause=Scope.CAMPAIGN, pause_after=10)(outcome_of(Family.WHATSAPP, 139999))


@given(st.integers(100, 999))
def test_an_unlisted_http_status_is_unknown(status: int) -> None:
    if find_row(Family.HTTP, status) is None:
        assert unknown(outcome_of(Family.HTTP, status))


@given(st.sampled_from([(row, code) for row in TABLE for code in row.codes]), st.integers(1, 3_600_000))
def test_a_wait_the_vendor_asks_for_is_never_shortened(row_code: tuple[object, int], asked_ms: int) -> None:
    row, code = row_code
    outcome = row.outcome(code, asked_ms)  # type: ignore[attr-defined]
    if isinstance(outcome, Throttled):
        assert outcome.retry_after_ms == asked_ms
    elif isinstance(outcome, Refused) and outcome.remedy.retry is not Retry.NEVER:
        assert outcome.remedy.min_wait_ms >= asked_ms


def test_the_codes_of_the_three_families_look_different() -> None:
    assert [code_text(family, 200) for family in Family] == ["200", "#200", "HTTP 200"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("(#131049) This message was not delivered to maintain healthy ecosystem engagement.", 131049),
        ("send message failed: (#131026) Message undeliverable", 131026),
        ("Error - (#131026)", 131026),
        ("(#100) Invalid parameter", 100),
        ("(#190) token expired", 190),
        ("(#4) Application request limit reached", 4),
        ("(#368) blocked", 368),
        ("(#139999) something new", 139999),
        # What only looks like one, or may be quoted from a row:
        ("(131026) Message undeliverable", None),
        ("send failed: code=131056, details", None),
        ('{"error":{"message":"x","code":132000}}', None),
        ("Error 131048.", None),
        ("(139999) something new", None),
        ("job (77777) failed with (#131053)", None),
        ("job (77777) failed with 131053", None),
        ("parameter 'Order (#131031)' is too long", None),
        ("", None),
        ("send message failed", None),
        ("(100) items, 190 tries, 4 left, 33 more", None),
        ("sent to 44131026900123", None),
        ("wamid131026x", None),
        ("took 0.368 s", None),
        ("131.026", None),
        ("(12345678)", None),
        ("(#)", None),
        ("（#131049）", 131049),
    ],
)
def test_a_whatsapp_code_is_found_in_the_vendors_words(message: str, code: int | None) -> None:
    assert whatsapp_code_in(message) == code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("(131026) Message undeliverable", "#131026"),
        ('{"error":{"message":"x","code":132000}}', "#132000"),
        ("job (77777) failed with (#131053)", "#131053"),
        # Trying again may be of use, or a person must mend something: 17115 counts by itself.
        ("Error 131048.", None),
        ("send failed: code=131056, details", None),
        ("cost 368 ms", None),
        ("sent to 44131026900123", None),
        ("131.026", None),
        ("(139999) something new", None),
    ],
)
def test_a_listed_code_in_the_vendors_message_fails_its_message_and_nothing_else(
    message: str, code: str | None
) -> None:
    found = outcome_of_message(message)
    if code is None:
        assert found is None
        return
    assert refused(pause=Scope.CAMPAIGN, pause_after=50)(found)  # as any 17115
    assert code in found.why  # type: ignore[union-attr]


def test_a_long_message_is_read_in_linear_time() -> None:
    for text in ("a" * 65_536, ": " * 32_768, " " * 65_536, "-" * 65_536, "(#" * 32_768, "131026 " * 9_000):
        whatsapp_code_in(text + "!")
        outcome_of_message(text + "!")


@given(st.text(max_size=200))
def test_no_text_makes_the_search_for_a_code_raise(message: str) -> None:
    found = whatsapp_code_in(message)
    assert found is None or 0 <= found < 10**7


@given(st.integers(0, 299))
def test_small_numbers_count_only_in_metas_own_spelling(code: int) -> None:
    assert outcome_of_message(f"({code}) failed, {code}, code {code}") is None
    assert whatsapp_code_in(f"({code}) failed, {code}, code {code}") is None
    assert whatsapp_code_in(f"(#{code}) failed") == code


def test_the_documentation_gets_every_row_in_words() -> None:
    rows = table_rows()
    assert len(rows) == len(TABLE) + len(UNLISTED)
    assert all(all(cell for cell in row) for row in rows)
    by_codes = {(family, codes): follows for family, codes, _, follows, _ in rows}
    assert by_codes["WhatsApp code", "131049"] == "failed; suppress marketing to this recipient for 24 h"
    assert by_codes["RetCode", "17125"] == ("not sent, stays queued at no cost; pause the account; alert")
    assert by_codes["WhatsApp code", "0, 3, 10, 190, 200-299, 131005"].startswith("not sent, stays queued")
    assert by_codes["RetCode", "any other"].startswith("unknown")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (outcome_of(Family.WHATSAPP, 131026).why, "#131026"),
        (outcome_of(Family.RETCODE, 17115).why, "17115"),
        (outcome_of(Family.HTTP, 502).why, "HTTP 502"),
        ("it may have gone out, and was not sent again: expired", None),
        ("campaign cancelled", None),
    ],
)
def test_a_code_in_an_error_of_the_ledger_is_explained(error: str, code: str | None) -> None:
    found = explain(error)
    assert (found and found.code) == code
    if found is not None:
        assert found.meaning in error
        assert found.consequence


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("receipt: 131026 Message undeliverable", "#131026"),
        ("receipt: 131026", "#131026"),
        ("receipt: 999999 unheard of", None),
        ("receipt: undeliverable", None),
        ("131026 Message undeliverable", None),
    ],
)
def test_a_code_that_a_receipt_brought_is_explained(error: str, code: str | None) -> None:
    found = explain_receipt(error)
    assert (None if found is None else found.code) == code
