"""The audit's answer, and what one who watches a campaign sees."""

from __future__ import annotations

import pytest

from bulksend.errors import CampaignNotFound
from bulksend.ledger import campaigns
from bulksend.operations.audit import as_json, audit
from bulksend.operations.progress import Watch
from tests.integration.ledger.conftest import Desk


def test_an_audit_answers_with_its_verdict_counts_and_findings(desk: Desk) -> None:
    desk.accepted(desk.queued())
    shown = as_json(desk.read(audit))
    assert (list(shown), shown["holds"], shown["counts"]) == (
        ["holds", "counts", "findings"],
        True,
        {"accepted": 1},
    )
    assert set(shown["findings"][0]) == {"rule", "promise", "checked", "broken", "offenders"}


def test_an_audit_of_one_campaign_looks_at_that_one_only(desk: Desk) -> None:
    desk.queued(name="one")
    desk.queued(name="two", n=2)
    assert desk.read(audit, "two").counts == {"queued": 2}
    with pytest.raises(CampaignNotFound):
        desk.read(audit, "three")


def test_a_watch_is_over_once_nothing_moves(desk: Desk) -> None:
    first, second = desk.queued(n=2)
    id = str(desk.row(first)["campaign_id"])
    watch = Watch(desk.database, [id], least_s=0.0)
    desk.accepted([first])
    assert not watch.look()
    (seen,) = watch.progress()
    assert (seen.id, seen.total, seen.ended, seen.statuses) == (id, 2, 1, {"accepted": 1, "queued": 1})
    assert seen.rate > 0
    assert seen.eta_s is not None
    desk.accepted([second])
    desk.write(campaigns.finish_ended)
    assert watch.look()
    assert (watch.statuses(id), watch.progress()[0].eta_s) == ({"accepted": 2}, None)


def test_two_looks_within_milliseconds_tell_no_rate(desk: Desk) -> None:
    first, _ = desk.queued(n=2)
    watch = Watch(desk.database, [str(desk.row(first)["campaign_id"])], least_s=60.0)
    desk.accepted([first])
    watch.look()
    (seen,) = watch.progress()
    assert (seen.ended, seen.rate, seen.eta_s) == (1, 0.0, None)
