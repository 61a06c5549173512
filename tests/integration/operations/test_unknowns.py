"""Unknown messages: listed with their traces, resolved by an operator, on record."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import InvalidValue
from bulksend.ledger import operator_log
from bulksend.messaging.outcome import Evidence, Unknown
from bulksend.messaging.states import Kind, Status
from bulksend.operations.messages import Filter
from bulksend.operations.unknowns import Resolution, list_unknown, matching_ids, resolve
from tests.integration.ledger.conftest import Desk


def unknown(desk: Desk, n: int = 1, kind: Kind = Kind.MARKETING, **of: Any) -> list[str]:
    ids = desk.queued(kind, n=n, **of)
    for opening in desk.sent(desk.lease(), ids):
        desk.settle(
            opening, Unknown("ReadTimeout"), evidence=Evidence(bytes_sent=True), status=Status.UNKNOWN
        )
    return ids


def done(desk: Desk, ids: list[str], as_: str = "failed", why: str = "not billed", **of: Any) -> Resolution:
    return resolve(desk.database, ids, as_=as_, actor="ada", why=why, **of)


def test_each_is_listed_with_its_trace_and_what_that_means(desk: Desk) -> None:
    (id,) = unknown(desk)
    desk.queued()
    page = desk.read(list_unknown, Filter(), limit=10)
    (item,) = page.items
    assert (item["id"], item["trace"], item["attempt_n"], page.next) == (id, "no_answer", 1, None)
    assert item["meaning"]
    assert desk.read(list_unknown, Filter(), traces=["answer_cut"], limit=10).items == []


def test_a_word_that_is_no_trace_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidValue, match="worker_lost"):
        desk.read(list_unknown, Filter(), traces=["gone"], limit=10)


def test_a_resolve_is_on_record_with_who_and_why(desk: Desk) -> None:
    ids = sorted(unknown(desk, 2))
    result = done(desk, ids)
    assert result.as_json() == {
        **{"resolved": ids, "resolved_before": [], "refused": [], "as": "failed", "dry_run": False}
    }
    assert (result.status, [desk.status(id) for id in ids]) == ("failed", ["failed"] * 2)
    (act,) = desk.read(operator_log.of, "message", ids[0])
    assert (act.actor, act.act, act.why) == ("ada", "resolve as failed", "not billed")
    assert desk.broken() == {}


def test_to_resolve_the_same_way_again_changes_nothing_and_is_no_refusal(desk: Desk) -> None:
    ids = unknown(desk)
    done(desk, ids)
    again = done(desk, ids)
    assert (again.resolved, again.before, again.refused) == ([], ids, [])
    assert len(desk.read(operator_log.of, "message", ids[0])) == 1


def test_an_id_in_capitals_is_resolved_and_its_act_is_found(desk: Desk) -> None:
    (id,) = unknown(desk)
    for _ in range(2):
        assert done(desk, [id.upper()]).refused == []
    assert desk.status(id) == "failed"
    assert len(desk.read(operator_log.of, "message", id)) == 1


def test_one_refusal_does_not_keep_the_others_from_being_resolved(desk: Desk) -> None:
    (code,), (id,) = unknown(desk, kind=Kind.OTP), unknown(desk)
    result = done(desk, [code, id, "nonsense"], as_="resend")
    assert result.resolved == [id]
    assert {refusal["id"] for refusal in result.refused} == {code, "nonsense"}
    assert (desk.status(code), desk.status(id)) == ("unknown", "queued")


def test_a_dry_run_says_which_and_changes_nothing(desk: Desk) -> None:
    ids = unknown(desk)
    assert done(desk, ids, dry_run=True).resolved == ids
    assert desk.status(ids[0]) == "unknown"
    assert desk.read(operator_log.of, "message", ids[0]) == []


@pytest.mark.parametrize(("field", "of"), [("as", {"as_": "delivered"}), ("why", {"why": " "})])
def test_a_resolve_needs_a_resolution_and_a_reason(desk: Desk, field: str, of: dict[str, str]) -> None:
    ids = unknown(desk)
    with pytest.raises(InvalidValue) as error:
        done(desk, ids, **of)
    assert (error.value.field, desk.status(ids[0])) == (field, "unknown")


def test_all_that_match_are_found_while_they_are_resolved(desk: Desk) -> None:
    ids = unknown(desk, 450, name="large")
    unknown(desk, name="other")
    result = done(desk, matching_ids(desk.database, Filter(campaign="large"), ["no_answer"]))  # type: ignore[arg-type]
    assert sorted(result.resolved) == sorted(ids)
