"""From a row to a message or an explained refusal (faults, section 7: 12, 15, 27, 28, 50, 55 to 58)."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulksend.errors import InvalidInput
from bulksend.messaging import (
    ColumnMapping,
    Kind,
    MessageType,
    PlannedMessage,
    Planner,
    PlanningContext,
    RefusedRow,
    compile_content,
    map_columns,
    normal_name,
)
from bulksend.messaging.argument_naming import as_cli_option, as_python_argument
from bulksend.messaging.exclusions import Consent
from bulksend.messaging.local_time import parse_local_time
from bulksend.messaging.quiet_hours import read_quiet_hours
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import parse_instant_ms

NOW = 1_900_000_000_000  # 2030-03-17T17:46:40Z
MINUTE = 60_000
NO_RECIPIENT = (
    "no column holds the recipients; call it `to` (or phone, mobile, msisdn, number, whatsapp); or choose "
)
NO_RECIPIENT += 'one with --map to="Mobile No."'
HELLO = compile_content(MessageType.TEXT, {"body": "Hi {{name}}, {{thing|your order}} is here"})


def facts(**changes: Any) -> PlanningContext:
    given: dict[str, Any] = {
        "kind": Kind.MARKETING,
        "sender": "8615000579987",
        "template": HELLO,
        "due_at_ms": NOW,
        "ttl_ms": None,
        "now_ms": NOW,
        "asked_at_ms": NOW,
        "default_region": None,
        "timezone": None,
    }
    return PlanningContext(**(given | changes))


def planned(row: Mapping[str, object], **changes: Any) -> PlannedMessage:
    plan = Planner(facts(**changes)).plan(7, {"to": "447700900123", "name": "David"} | dict(row))
    assert isinstance(plan, PlannedMessage), plan
    return plan


def refused(row: Mapping[str, object], **changes: Any) -> RefusedRow:
    plan = Planner(facts(**changes)).plan(7, {"to": "447700900123", "name": "David"} | dict(row))
    assert isinstance(plan, RefusedRow), plan
    return plan


# -- columns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["to", "To", " PHONE ", "mobile", "MSISDN", "Number", "WhatsApp"])
def test_the_recipients_column_has_a_handful_of_names(name: str) -> None:
    columns = map_columns([name, "First  Name"])
    assert columns.rename({name: "447700900123", "First  Name": "David"}) == {
        "to": "447700900123",
        normal_name(name): "447700900123",
        "first name": "David",
    }
    assert columns.content_names == {"to", normal_name(name), "first name"}


def test_beside_to_another_name_for_it_is_an_ordinary_variable() -> None:
    columns = map_columns(["phone", "to", "key", "name"])
    assert columns.rename({"phone": "1", "to": "2", "key": "3", "name": "4"}) == {
        "phone": "1",
        "to": "2",
        "key": "3",
        "name": "4",
    }
    assert columns.content_names == {"phone", "to", "key", "name"}


@pytest.mark.parametrize("name", ["send_at", "Send at", "SEND-AT"])
def test_a_reserved_column_is_found_however_its_words_are_joined(name: str) -> None:
    assert map_columns(["to", name]) == ColumnMapping({"to": "to", name: "send_at"})


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (
            ["name", "city"],
            f"{NO_RECIPIENT}; the columns are: name, city",
        ),
        (
            [],
            f"{NO_RECIPIENT}; the columns are: none",
        ),
        (["to", "Name", "name "], "the columns 'Name' and 'name ' have the same name; rename one of them"),
        (["to", "To"], "the columns 'to' and 'To' have the same name; rename one of them"),
        (
            ["to", "send_at", "send at"],
            "the columns 'send_at' and 'send at' have the same name; rename one of them",
        ),
        (
            ["Phone", "Mobile"],
            "the columns Phone and Mobile could each hold the recipients; call the right one `to`; or choose "
            'one with --map to="Phone"',
        ),
    ],
)
def test_an_ambiguous_header_is_refused_with_the_names_of_its_columns(header: list[str], why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        map_columns(header, naming=as_cli_option)
    assert str(caught.value) == why


def test_an_error_of_the_header_names_the_argument_in_the_form_of_its_caller() -> None:
    """From Python it advised ``--map``, also where there is no such argument."""
    for naming, said in (
        (as_python_argument, "; or choose one with columns=['to=Mobile No.']; the columns"),
        (None, "msisdn, number, whatsapp); the columns"),
    ):
        with pytest.raises(InvalidInput) as caught:
            map_columns(["name"], naming=naming)
        assert said in str(caught.value)
        assert "--map" not in str(caught.value)


def test_a_recipients_column_in_full_width_letters_is_refused_by_its_plain_name() -> None:
    with pytest.raises(InvalidInput, match="is written in full-width letters; write it as 'to'"):
        map_columns(["ｔｏ", "name"])


def test_columns_without_a_name_are_left_out() -> None:
    assert map_columns(["to", "", " "]).rename({"to": "1", "": "2", " ": "3"}) == {"to": "1"}


# -- messages -----------------------------------------------------------------------------------------------------


def test_a_row_becomes_a_message_with_only_the_variables_its_content_uses() -> None:
    assert planned({"to": "+44 7700 900123", "name": "David", "salary": "1,000,000"}) == PlannedMessage(
        row=7,
        to="447700900123",
        key="447700900123",
        variables={"name": "David"},
        due_at_ms=NOW,
        expires_at_ms=None,
    )


def test_five_spellings_of_one_number_have_one_key() -> None:
    spellings = ("447700900123", "+44 7700 900123", "00447700900123", "٤٤٧٧٠٠٩٠٠١٢٣", 447700900123.0)
    assert {planned({"to": spelling}).key for spelling in spellings} == {"447700900123"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("+55 31 98555-0123", "+55 31 8555-0123"), ("+54 9 11 5555 0123", "+54 11 5555 0123")],
)
def test_both_forms_of_a_number_have_one_key_and_stay_as_written(one: str, other: str) -> None:
    """Case 04."""
    plans = [planned({"to": one}), planned({"to": other})]
    assert len({plan.key for plan in plans}) == 1
    assert [plan.to for plan in plans] == [re.sub(r"\D", "", one), re.sub(r"\D", "", other)]
    refusal = refused({"to": one}, sender=plans[1].to)
    assert refusal.why.startswith("is the sender itself")


def test_a_number_without_its_country_is_read_in_the_campaigns_region() -> None:
    assert planned({"to": "07700 900123"}, default_region="GB").to == "447700900123"
    assert refused({"to": "07700 900123"}).field == "to"


class Int64:
    """An integer of another library: numpy's int64 says what it is by ``__index__`` alone."""

    def __index__(self) -> int:
        return 64


class Choice(StrEnum):
    ONE = "one"


class NoTime(datetime.datetime):
    """As pandas' NaT, which is a datetime that equals nothing."""

    def __ne__(self, other: object) -> bool:
        return True


class OldChoice(str, Enum):  # noqa: UP042 - its str() is its name
    ONE = "one"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (42.0, "42"),
        (42, "42"),
        (42.5, "42.5"),
        (1e-7, "0.0000001"),
        (1e21, "1000000000000000000000"),
        (-0.5, "-0.5"),
        (True, "true"),
        (False, "false"),
        (Decimal("1.50"), "1.50"),
        (Decimal("3.00"), "3"),
        (datetime.date(2030, 3, 1), "2030-03-01"),
        (datetime.datetime(2030, 3, 1, 9, tzinfo=datetime.UTC), "2030-03-01T09:00:00+00:00"),
        (" two  words ", " two  words "),
        (Int64(), "64"),
        (Choice.ONE, "one"),
        (OldChoice.ONE, "one"),
        (datetime.time(9, 30), "09:30:00"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
)
def test_a_cell_becomes_the_text_that_a_person_sees(cell: object, text: str) -> None:
    assert planned({"name": cell}).variables == {"name": text}


@pytest.mark.parametrize("cell", [None, "", "  ", "\t"])
def test_an_empty_cell_is_an_absent_variable(cell: object) -> None:
    assert planned({"thing": cell}).variables == {"name": "David"}
    refusal = refused({"name": cell})
    assert (refusal.row, refusal.field, refusal.value) == (7, "name", "")
    assert refusal.why == "is empty, but the content needs it; fill the column, or give a default: {{name|…}}"


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (math.nan, "is not a finite number; fill the cell or clear it"),
        (Decimal("sNaN"), "is not a finite number; fill the cell or clear it"),
        (math.inf, "is not a finite number; fill the cell or clear it"),
        (NoTime(2030, 1, 1), "is not a valid time; fill the cell or clear it"),
        (["David"], "is a list; a cell holds text, a number or a date"),
        (b"David", "is a bytes; a cell holds text, a number or a date"),
        (10**200, "is a number of more than 100 digits; give it as text"),
        (Decimal("1E+999999999"), "is a number of more than 100 digits; give it as text"),
        (Decimal("1E-999999999"), "is a number of more than 100 digits; give it as text"),
    ],
)
def test_a_cell_that_is_no_text_refuses_its_row(cell: object, why: str) -> None:
    assert refused({"name": cell}) == RefusedRow(7, "name", "", why)


def test_a_variable_is_personal_and_only_its_length_is_shown() -> None:
    refusal = refused({"name": "David " * 1000})
    assert refusal == RefusedRow(
        7,
        "name",
        "6,000 characters",
        "may have at most 4,096 characters; shorten it (it fills body of the content)",
    )


def test_a_wrong_number_is_shown_masked() -> None:
    refusal = refused({"to": "4477009001234"})
    assert (refusal.field, refusal.value) == ("to", "4477******234")
    assert refusal.why == "is too long for its country; write it with its country code, like +44 7700 900123"


def test_a_message_to_its_own_sender_is_refused() -> None:
    refusal = refused({"to": "+44 7700 900123"}, sender="447700900123")
    assert refusal == RefusedRow(
        7, "to", "4477*****123", "is the sender itself, which WhatsApp refuses (131021); remove the row"
    )


# -- keys ---------------------------------------------------------------------------------------------------------


def test_a_key_of_its_own_replaces_the_recipient() -> None:
    assert planned({"key": " login-83121 "}).key == "login-83121"
    assert planned({"key": 83121.0}).key == "83121"
    assert planned({"key": "k" * 200}).key == "k" * 200
    assert planned({"key": ""}).key == "447700900123"


def test_a_key_that_is_too_long_or_not_printable_is_refused() -> None:
    assert refused({"key": "k" * 201}) == RefusedRow(
        7, "key", "201 characters", "may have at most 200 characters; shorten it"
    )
    assert refused({"key": "a\x00b"}) == RefusedRow(
        7, "key", "3 characters", "has control characters; remove them"
    )
    assert refused({"key": "a\ud800"}).field == "key"


def test_a_person_may_have_a_code_for_each_purpose() -> None:
    code = planned({"purpose": " login "}, kind=Kind.OTP)
    assert (code.purpose, code.key) == ("login", "447700900123:login")
    assert planned({"purpose": "login", "key": "k"}, kind=Kind.OTP).key == "k"
    assert planned({"purpose": ""}, kind=Kind.OTP).purpose is None
    other = planned({"purpose": "x" * 41})
    assert (other.purpose, other.key) == (None, "447700900123"), "a column of other kinds is an ordinary one"


@pytest.mark.parametrize("wrong", ["123456", "x" * 41, "a\nb", "a\ufffd", [1]])
def test_a_purpose_is_a_short_word_and_is_not_shown(wrong: object) -> None:
    refusal = refused({"purpose": wrong}, kind=Kind.OTP)
    assert refusal.field == "purpose"
    assert str(wrong) not in refusal.value


# -- times --------------------------------------------------------------------------------------------------------


def test_a_message_is_due_when_its_campaign_is_or_at_a_time_of_its_own() -> None:
    assert planned({}, due_at_ms=NOW + MINUTE).due_at_ms == NOW + MINUTE
    own = planned({"send_at": "2030-03-18T09:00:00+01:00"}, due_at_ms=NOW + MINUTE)
    assert own.due_at_ms == 1_900_051_200_000


def test_a_time_without_offset_is_read_in_the_rows_zone_else_the_campaigns() -> None:
    utc = planned({"send_at": "2030-03-18T09:00Z"}).due_at_ms
    assert (
        planned({"send_at": "2030-03-18T09:00"}, timezone="Asia/Shanghai").due_at_ms == utc - 8 * 60 * MINUTE
    )
    own = planned({"send_at": "2030-03-18T09:00", "timezone": "Asia/Tokyo"}, timezone="Asia/Shanghai")
    assert own.due_at_ms == utc - 9 * 60 * MINUTE


def test_a_due_time_that_has_just_passed_means_now() -> None:
    assert planned({}, due_at_ms=NOW - 1).due_at_ms == NOW
    assert planned({"send_at": "2030-03-17T17:42:00Z"}).due_at_ms == NOW


def test_a_rows_own_time_long_before_its_campaign_was_made_is_refused() -> None:
    """case 02."""
    assert refused({"send_at": "2030-03-01T09:00Z"}) == RefusedRow(
        7, "send_at", "2030-03-01T09:00Z", "is 16 days ago; leave send_at empty to send now"
    )
    # An intake that goes on hours later still takes what was in time when it began.
    late = planned({"send_at": "2030-03-17T16:00Z"}, asked_at_ms=NOW - 120 * MINUTE)
    assert late.due_at_ms == NOW


def test_a_time_to_live_counts_from_the_due_time_and_a_rows_own_wins() -> None:
    assert planned({}, ttl_ms=5 * MINUTE).expires_at_ms == NOW + 5 * MINUTE
    assert planned({}, ttl_ms=5 * MINUTE, due_at_ms=NOW - MINUTE).expires_at_ms == NOW + 4 * MINUTE
    assert planned({"ttl": "1h"}, ttl_ms=5 * MINUTE).expires_at_ms == NOW + 60 * MINUTE
    assert planned({"ttl": datetime.timedelta(minutes=2)}).expires_at_ms == NOW + 2 * MINUTE


def test_a_one_time_code_lives_ten_minutes_by_default() -> None:
    assert planned({}, kind=Kind.OTP).expires_at_ms == NOW + 10 * MINUTE
    assert planned({}, kind=Kind.OTP, ttl_ms=MINUTE).expires_at_ms == NOW + MINUTE
    assert planned({}, kind=Kind.UTILITY).expires_at_ms is None


@pytest.mark.parametrize(
    ("row", "changes", "field", "value"),
    [
        ({"send_at": "2030-03-17T17:42:00Z", "ttl": "4m"}, {}, "send_at", "2030-03-17T17:42:00Z"),
        ({"ttl": "10m"}, {"due_at_ms": NOW - 10 * MINUTE}, "ttl", "10m"),
        ({}, {"due_at_ms": NOW - 10 * MINUTE, "kind": Kind.OTP}, "ttl", ""),
    ],
)
def test_a_message_that_would_expire_before_it_is_due_is_refused(
    row: dict[str, object], changes: dict[str, Any], field: str, value: str
) -> None:
    assert refused(row, **changes) == RefusedRow(
        7, field, value, "is so long ago that its time to live has passed; give a later time or a longer ttl"
    )


@pytest.mark.parametrize(
    ("row", "field", "value", "why"),
    [
        (
            {"send_at": "2030-03-18T09:00"},
            "send_at",
            "2030-03-18T09:00",
            "has no offset; add one (+01:00 or Z) or name a time zone, like Europe/London",
        ),
        (
            {"send_at": "2030-03-31T01:30", "timezone": "Europe/London"},
            "send_at",
            "2030-03-31T01:30",
            "does not exist in Europe/London, where clocks skip it; choose another time",
        ),
        (
            {"send_at": "9999-01-01T00:00Z"},
            "send_at",
            "9999-01-01T00:00Z",
            "has a year outside 2000 to 2100; check it",
        ),
        (
            {"send_at": "2030-03-18T09:00", "timezone": "Mars/Base"},
            "timezone",
            "Mars/Base",
            "is not a time zone; use an IANA name, like Europe/London",
        ),
        ({"ttl": "10x"}, "ttl", "10x", "is not a duration; write it like 10m, 90s, 1h30m, 0:10:00 or PT10M"),
        (
            {"ttl": 600.0},
            "ttl",
            "3 characters",
            "is not a duration; write it like 10m, 90s, 1h30m, 0:10:00 or PT10M",
        ),
    ],
)
def test_a_wrong_time_refuses_its_row_by_column(
    row: dict[str, object], field: str, value: str, why: str
) -> None:
    assert refused(row) == RefusedRow(7, field, value, why)


@pytest.mark.parametrize(
    "private", ["447700900123", "+44 7700 900123", "David Smith", "123456", "123-456", "4477-00-900123"]
)
@pytest.mark.parametrize("column", ["send_at", "ttl", "timezone"])
def test_what_slipped_into_a_time_column_from_another_one_is_not_shown(column: str, private: str) -> None:
    refusal = refused({"send_at": "2030-03-18T09:00", "timezone": "Europe/London", column: private})
    assert (refusal.field, refusal.value) == (column, f"{len(private)} characters")
    assert private not in refusal.why


# -- anything at all ----------------------------------------------------------------------------------------------

cells: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.datetimes()
    | st.decimals()
    | st.lists(st.integers(), max_size=2)
    | st.sampled_from(["447700900123", "+12025550123", "2030-03-18T09:00Z", "10m", "Europe/London"])
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["to", "name", "thing", "send_at", "ttl", "timezone", "key", "purpose"]), cells
    ),
    st.sampled_from(Kind),
)
def test_any_row_is_a_message_or_an_explained_refusal(row: dict[str, object], kind: Kind) -> None:
    plan = Planner(facts(kind=kind)).plan(3, row)
    assert plan.row == 3
    if isinstance(plan, RefusedRow):
        assert plan.field
        assert plan.why
        assert len(plan.value) <= 40
    else:
        assert plan.due_at_ms >= NOW
        assert plan.expires_at_ms is None or plan.expires_at_ms > NOW
        assert plan.variables.keys() <= {"name", "thing"}
        assert plan == Planner(facts(kind=kind)).plan(3, row)


# -- consent ------------------------------------------------------------------------------------------------------


def test_a_row_may_say_where_and_when_its_person_agreed() -> None:
    row = {"consent_source": " shop form ", "consent_at": "2030-03-01T12:00"}
    assert planned(row, timezone="Europe/London").consent == Consent("shop form", 1_898_596_800_000)
    # A date is the start of that day.
    day = {"consent_source": "shop form", "consent_at": "2030-03-01"}
    assert planned(day, timezone="Europe/London").consent == Consent("shop form", 1_898_553_600_000)
    assert planned({"consent_source": "", "consent_at": " "}).consent is None
    assert planned({}).consent is None


@pytest.mark.parametrize(
    ("row", "field", "why"),
    [
        ({"consent_source": "form"}, "consent_at", "is empty beside a consent_source"),
        ({"consent_at": "2030-01-01T00:00Z"}, "consent_source", "is empty beside a consent_at"),
        ({"consent_source": "form", "consent_at": "yesterday"}, "consent_at", "is not a time"),
        (
            {"consent_source": "form", "consent_at": "2030-01-02"},
            "consent_at",
            "or name the zone: --timezone, or",
        ),
        ({"consent_source": "form", "consent_at": "2030-03-18T00:00Z"}, "consent_at", "is in the future"),
        ({"consent_source": "x" * 201, "consent_at": "2030-01-01T00:00Z"}, "consent_source", "at most 200"),
        ({"consent_source": "a\tb", "consent_at": "2030-01-01T00:00Z"}, "consent_source", "printable"),
    ],
)
def test_half_a_consent_or_a_wrong_one_refuses_its_row(row: dict[str, str], field: str, why: str) -> None:
    of = refused(row)
    assert (of.field, why in of.why) == (field, True), of
    # The cell may be of another column: its text is not said back.
    assert "yesterday" not in of.value


# -- the recipient's clocks -------------------------------------------------------------------------------------------

# NOW is Sunday 17:46 UTC: 13:46 in New York, 17:46 in London, 22:46 in Omsk, Monday 06:46 in Auckland.
LONDON, NEW_YORK, RUSSIA, AUCKLAND, SATELLITE = (
    "447700900123",
    "12125550123",
    "79161234567",
    "64211234567",
    "881612345678",
)
NIGHT = read_quiet_hours("kind,where,quiet,days\nmarketing,*,21:00-08:00,\nmarketing,GB,17:00-18:00,\n")
QUIET = TimeRules(quiet_hours=NIGHT)


def instant(text: str) -> int:
    return parse_instant_ms(text, timezone=None, now_ms=0)


@pytest.mark.parametrize(
    ("row", "due"),
    [
        ({"to": LONDON}, "2030-03-18T09:00:00Z"),
        ({"to": NEW_YORK}, "2030-03-18T13:00:00Z"),
        ({"to": AUCKLAND}, "2030-03-17T20:00:00Z"),  # the Chathams have it 45 minutes before
        ({"to": RUSSIA}, "2030-03-18T07:00:00Z"),  # Kaliningrad
        ({"to": RUSSIA, "timezone": "Asia/Omsk"}, "2030-03-18T03:00:00Z"),
        ({"to": SATELLITE, "timezone": "Asia/Omsk"}, "2030-03-18T03:00:00Z"),
        ({"to": LONDON, "send_at": "2030-03-17T19:00:00Z"}, "2030-03-17T19:00:00Z"),
        (
            {"to": LONDON, "send_at": "2030-03-17T19:00:00", "timezone": "Europe/Paris"},
            "2030-03-17T18:00:00Z",
        ),
    ],
)
def test_a_local_time_is_by_the_clocks_of_the_row_else_of_its_number(row: dict[str, str], due: str) -> None:
    plan = planned(row, local_time=parse_local_time("09:00"), ttl_ms=MINUTE)
    assert (plan.due_at_ms, plan.expires_at_ms) == (instant(due), instant(due) + MINUTE)
    assert plan.timezone == row.get("timezone")
    assert not plan.in_quiet_hours


def test_a_local_time_is_the_next_one_from_the_due_time_of_the_campaign_on() -> None:
    wanted = parse_local_time("09:00")
    plan = planned({"to": LONDON}, local_time=wanted, due_at_ms=instant("2030-05-01T12:00:00Z"))
    assert plan.due_at_ms == instant("2030-05-02T08:00:00Z")


def test_a_day_that_has_passed_at_the_recipients_is_refused_there_and_not_elsewhere() -> None:
    wanted = parse_local_time("2030-03-17 20:00")
    assert planned({"to": NEW_YORK}, local_time=wanted).due_at_ms == instant("2030-03-18T00:00:00Z")
    row = refused({"to": AUCKLAND, "timezone": "Pacific/Auckland"}, local_time=wanted)
    assert (row.field, row.value) == ("local_time", "2030-03-17 20:00")
    assert row.why == "has passed in Pacific/Auckland; give a later day"


@pytest.mark.parametrize("changes", [{"local_time": parse_local_time("09:00")}, {"rules": QUIET}])
def test_a_number_without_a_zone_is_refused_where_its_clocks_matter(changes: dict[str, Any]) -> None:
    row = refused({"to": SATELLITE}, **changes)
    assert row.field == "timezone"
    assert "the number shows no time zone" in row.why
    assert planned({"to": SATELLITE}, kind=Kind.UTILITY, rules=QUIET).due_at_ms == NOW
    wrong = refused({"to": LONDON, "timezone": "Mars/Olympus"}, **changes)
    assert (wrong.field, wrong.value) == ("timezone", "Mars/Olympus")


@pytest.mark.parametrize(
    ("row", "due", "campaigns"),
    [
        ({"to": LONDON}, "2030-03-17T18:00:00Z", True),
        ({"to": NEW_YORK}, None, False),
        (
            {"to": LONDON, "timezone": "Asia/Omsk"},
            None,
            False,
        ),  # 22:46 there, and Britain's hours are 17 to 18
        ({"to": "919876543210"}, "2030-03-18T02:30:00Z", True),
        ({"to": "919876543210", "send_at": "2030-03-17T20:00:00Z"}, "2030-03-18T02:30:00Z", False),
    ],
)
def test_a_message_that_would_be_due_in_quiet_hours_is_due_when_they_end(
    row: dict[str, str], due: str | None, campaigns: bool
) -> None:
    plan = planned(row, rules=QUIET, ttl_ms=5 * MINUTE)
    at = NOW if due is None else instant(due)
    assert (plan.due_at_ms, plan.expires_at_ms) == (at, at + 5 * MINUTE)
    assert plan.in_quiet_hours is campaigns


def test_codes_have_no_quiet_hours() -> None:
    assert planned({"to": LONDON}, rules=QUIET, kind=Kind.OTP).due_at_ms == NOW


def test_each_kind_has_its_time_to_live_by_default() -> None:
    rules = TimeRules({Kind.OTP: MINUTE, Kind.MARKETING: 60 * MINUTE})
    assert planned({}, rules=rules).expires_at_ms == NOW + 60 * MINUTE
    assert planned({}, rules=rules, kind=Kind.OTP).expires_at_ms == NOW + MINUTE
    assert planned({}, rules=rules, kind=Kind.UTILITY).expires_at_ms is None
    assert planned({}, rules=rules, ttl_ms=5 * MINUTE).expires_at_ms == NOW + 5 * MINUTE
    assert planned({"ttl": "2m"}, rules=rules).expires_at_ms == NOW + 2 * MINUTE
