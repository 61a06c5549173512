"""The audit's answer, and what one who watches a campaign sees."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine, event, func, select

from bulksend.errors import CampaignNotFound
from bulksend.ledger import audit_records, campaigns
from bulksend.ledger.audit import Finding, Report
from bulksend.ledger.database import Database
from bulksend.ledger.schema import audits
from bulksend.operations import audit as operation
from bulksend.operations.audit import as_json, audit, audit_and_keep
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


def test_what_an_audit_found_is_kept_with_who_when_and_how_long(desk: Desk) -> None:
    assert desk.read(operation.audits)["last"] is None
    assert desk.read(operation.last) is None
    desk.accepted(desk.queued(n=2))
    done = audit_and_keep(desk.database, actor="ann")
    assert (done.report.holds, done.not_kept) == (True, None)
    last = desk.read(operation.audits)["last"]
    assert (last["by"], last["holds"], last["counts"], last["broken"]) == ("ann", True, {"accepted": 2}, 0)
    assert last["findings"] == as_json(done.report)["findings"]
    assert last["seconds"] == pytest.approx(done.seconds, abs=0.06)
    short = desk.read(operation.last)
    assert short is not None
    assert (short["at"], short["broken"]) == (last["at"], 0)
    assert 0 <= short["age_seconds"] < 60


def test_what_an_audit_found_broken_is_kept_with_counts_and_ids_of_ours(desk: Desk) -> None:
    (id,) = desk.queued()
    desk.accepted([id])
    desk.sql("UPDATE messages SET message_id = NULL")
    desk.sql("DELETE FROM attempts")
    audit_and_keep(desk.database, actor="ann")
    broken = {
        each["rule"]: each for each in desk.read(operation.audits)["last"]["findings"] if each["broken"]
    }
    assert broken["acceptance kept"]["offenders"] == [f"{id}: accepted, without evidence on record"]
    assert desk.read(operation.last)["broken"] == sum(each["broken"] for each in broken.values())
    kept = desk.scalar("SELECT findings FROM audits")
    assert str(desk.row(id)["recipient"]) not in kept
    assert all(set(each) == {"rule", "checked", "broken", "offenders"} for each in json.loads(kept))


def test_an_audit_of_one_campaign_is_kept_and_is_not_the_last_one_of_the_ledger(desk: Desk) -> None:
    desk.queued(name="one")
    audit_and_keep(desk.database, campaign="one", actor="ann")
    assert desk.read(operation.last) is None
    id = desk.scalar("SELECT CAST(id AS text) FROM campaigns WHERE name = 'one'")
    assert desk.scalar("SELECT CAST(campaign_id AS text) FROM audits") == id


def test_the_newest_audits_are_kept_those_of_campaigns_apart(desk: Desk) -> None:
    found = Report([Finding("conservation", "", 1, 0, [])], {})
    campaign = "01978c5e-0000-7000-8000-000000000001"
    for id in (campaign, None):
        for n in range(audit_records.KEPT + 2):

            def keep(tx: object, id: str | None = id, n: int = n) -> None:
                audit_records.keep(tx, found, campaign_id=id, actor=f"{n}", took_ms=n)  # type: ignore[arg-type]

            desk.write(keep)
            desk.sql("UPDATE audits SET ended_at = took_ms")
    kept = desk.read(
        lambda tx: list(
            tx.execute(select(func.count(), func.min(audits.c.took_ms)).group_by(audits.c.campaign_id))
        )
    )
    assert [tuple(row) for row in kept] == [(audit_records.KEPT, 2)] * 2


def test_a_ledger_that_may_only_be_read_is_audited_and_the_reason_told(desk: Desk) -> None:
    url = desk.database.url.render_as_string(hide_password=False)
    replica = Database(url)
    refuse = "PRAGMA query_only = ON" if replica.is_sqlite else "SET TRANSACTION READ ONLY"
    engine: Engine = replica.engine

    @event.listens_for(engine, "begin")
    def only_read(connection: object) -> None:
        connection.exec_driver_sql(refuse)  # type: ignore[attr-defined]

    desk.queued()
    done = audit_and_keep(replica, actor="ann")
    replica.close()
    assert done.report.holds
    assert done.not_kept is not None
    assert "read" in done.not_kept
    assert desk.read(operation.last) is None


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
