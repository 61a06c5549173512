"""Fault rules: what can be read, what is rejected, and which rule applies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulksend.errors import InvalidValue
from simulator import Match, Rule, read_rules, read_settings
from simulator.fault_rules import FaultRules, RequestFacts
from simulator.faults import Hang, Reset, RetCode, Slow, When, rules_as_json

EXAMPLES = Path(__file__).parents[3] / "examples"
FACTS = RequestFacts("SendMessage", "447700900123", "8615000579987", "template", "otp_test_02", 1, 1)


def book(*rules: Rule, seed: int = 0) -> FaultRules:
    return FaultRules(rules, seed, since=100.0)


def strikes(match: Match, **facts: Any) -> bool:
    return book(Rule(Hang(), match)).for_request(replace(FACTS, **facts), 100.0) is not None


@pytest.mark.parametrize(
    ("rules", "field", "why"),
    [
        ({"rule": []}, "rules", "must be a list"),
        ([5], "rules[0]", "must be an object"),
        ([{"match": {}}], "rules[0].fault", "is required"),
        ([{"fault": {"do": "explode"}}], "rules[0].fault", "'hang'"),
        (
            [{"fault": {"do": "hang"}}, {"fault": {"do": "truncate"}}],
            "rules[1].fault.truncate.bytes",
            "is required",
        ),
        ([{"fault": {"do": "hang", "for": 1}}], "rules[0].fault.hang.for", "not a known field"),
        ([{"fault": {"do": "hang"}, "macth": {}}], "rules[0].macth", "not a known field"),
        (
            [{"fault": {"do": "hang"}, "match": {"share": 1.5}}],
            "rules[0].match.share",
            "less than or equal to 1",
        ),
        (
            [{"fault": {"do": "hang"}, "match": {"nth": 0}}],
            "rules[0].match.nth",
            "greater than or equal to 1",
        ),
        ([{"fault": {"do": "hang"}, "match": {"to_regex": "("}}], "rules[0].match", "regular expression"),
        ([{"fault": {"do": "reset", "when": "later"}}], "rules[0].fault.reset.when", "before_reading"),
        (
            [{"fault": {"do": "reset", "when": "before_reading"}, "match": {"to_prefix": "44"}}],
            "rules[0]",
            "has no request",
        ),
        (
            [{"fault": {"do": "http_status", "status": 503, "headers": {"A": "b\r\nC: d"}}}],
            "rules[0].fault.http_status",
            "printable",
        ),
    ],
)
def test_a_bad_rule_is_refused_by_the_name_of_its_field(rules: Any, field: str, why: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        read_rules(rules)
    assert refused.value.field == field
    assert why in refused.value.why


def test_the_error_of_a_rule_masks_a_number() -> None:
    with pytest.raises(InvalidValue) as refused:
        read_rules([{"fault": {"do": "hang"}, "match": {"to_prefix": 447700900123}}])
    assert "447700900123" not in str(refused.value)
    assert "4477*****123" in str(refused.value)


def test_rules_written_as_json_are_read_back_the_same() -> None:
    rules = (
        Rule(Reset(When.AFTER_STORING), Match(share=0.5, to_prefix="4477"), name="lost", times=3),
        Rule(RetCode(17115, "(#131026) undeliverable"), Match(attempt_up_to=2)),
        Rule(Slow(1.5), Match(every=10, from_seconds=1, until_seconds=2)),
    )
    assert read_rules(json.loads(json.dumps(rules_as_json(rules)))) == rules


def test_a_file_may_wrap_its_rules_in_an_object() -> None:
    assert read_rules({"rules": [{"fault": {"do": "hang"}}]}) == (Rule(Hang()),)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("simulator-*.json")), ids=lambda path: path.name)
def test_every_example_can_be_read(path: Path) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    if path.name.startswith("simulator-faults-"):
        assert read_rules(value)
    else:
        assert read_settings(value)


def test_there_are_examples_of_faults_and_of_settings() -> None:
    assert list(EXAMPLES.glob("simulator-faults-*.json"))
    assert list(EXAMPLES.glob("simulator-settings-*.json"))


@pytest.mark.parametrize(
    ("match", "hit", "miss"),
    [
        (Match(to_prefix="4477009001"), {}, {"to": "447700900923"}),
        (Match(to_suffix="23"), {}, {"to": "447700900124"}),
        (Match(to_regex="^4477.*3$"), {}, {"to": "447700900124"}),
        (Match(sender="8615000579987"), {}, {"sender": "8615000579988"}),
        (Match(type="template"), {}, {"type": "text"}),
        (Match(template="otp_test_02"), {}, {"template": "other"}),
        (Match(nth=3), {"number": 3}, {"number": 2}),
        (Match(every=3), {"number": 6}, {"number": 7}),
        (Match(attempt=2), {"attempt": 2}, {"attempt": 3}),
        (Match(attempt_up_to=2), {"attempt": 2}, {"attempt": 3}),
        (Match(), {"action": "SendWhatsappMessage"}, {"action": "GetTemplates"}),
        (Match(action="GetTemplates"), {"action": "GetTemplates"}, {"action": "SendMessage"}),
    ],
)
def test_a_rule_applies_to_what_it_describes_and_nothing_else(
    match: Match, hit: dict[str, Any], miss: dict[str, Any]
) -> None:
    assert strikes(match, **hit)
    assert not strikes(match, **miss)


def test_a_star_matches_any_action() -> None:
    assert strikes(Match(action="*"), action="UploadMedia")


def test_all_conditions_of_a_rule_must_hold() -> None:
    assert not strikes(Match(to_prefix="4477", type="text"))


def test_a_rule_counts_its_seconds_from_when_it_was_set() -> None:
    rules = book(Rule(Hang(), Match(from_seconds=5, until_seconds=10)))
    struck = [rules.for_request(FACTS, 100.0 + later) is not None for later in (4.9, 5.0, 9.9, 10.0)]
    assert struck == [False, True, True, False]


def test_a_rule_applies_at_most_times_times() -> None:
    rules = book(Rule(Hang(), times=2))
    struck = [rules.for_request(FACTS, 100.0) is not None for _ in range(4)]
    assert struck == [True, True, False, False]
    assert rules.fired == [2]


def test_the_first_rule_that_matches_decides() -> None:
    rules = book(
        Rule(Hang(), Match(to_prefix="1")), Rule(Slow(1), name="second"), Rule(Slow(2), name="third")
    )
    struck = rules.for_request(FACTS, 100.0)
    assert struck is not None
    assert struck.title == "second"


def test_a_share_applies_to_about_that_part_and_the_same_seed_to_the_same_requests() -> None:
    def struck(seed: int) -> list[bool]:
        rules = book(Rule(Hang(), Match(share=0.2)), seed=seed)
        return [rules.for_request(FACTS, 100.0) is not None for _ in range(5000)]

    assert 850 < sum(struck(1)) < 1150
    assert struck(1) == struck(1) != struck(2)


def test_a_rule_for_connections_does_not_apply_to_requests() -> None:
    rules = book(Rule(Reset(When.BEFORE_READING), Match(nth=2)))
    assert not rules.has_request_rules
    assert [rules.for_connection(100.0) is not None for _ in range(3)] == [False, True, False]


def test_settings_refuse_a_secret_in_their_file() -> None:
    with pytest.raises(InvalidValue, match="is not allowed in a settings file") as refused:
        read_settings({"secret": "a-real-secret"})
    assert "a-real-secret" not in str(refused.value)


def test_settings_refuse_an_unknown_name_and_a_wrong_latency() -> None:
    with pytest.raises(InvalidValue, match="latncy"):
        read_settings({"latncy": {}})
    with pytest.raises(InvalidValue, match=r"settings\.latency"):
        read_settings({"latency": {"kind": "gaussian"}})
    with pytest.raises(InvalidValue, match="p99_ms must not be below"):
        read_settings({"latency": {"kind": "lognormal", "median_ms": 50, "p99_ms": 5}})


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/t0ken", "http:///t0ken", "127.0.0.1:8080/t0ken", "http://[::1/t0ken"]
)
def test_receipts_need_a_web_address_and_the_error_does_not_show_it(url: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        read_settings({"receipts": {"url": url}})
    assert refused.value.field.startswith("settings.receipts")
    assert "t0ken" not in str(refused.value)


def test_settings_never_show_their_secrets() -> None:
    settings = read_settings({"receipts": {"url": "http://127.0.0.1:1/v1/receipts/token-in-path"}})
    shown = repr(replace(settings, secret="s3cret", inspection_token="t0ken"))
    assert not {"s3cret", "t0ken", "token-in-path"} & set(shown.replace("'", " ").replace("/", " ").split())
    assert "token-in-path" not in shown
