"""A person resolves unknown messages; each resolution is logged."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import InvalidInput, MessageNotFound
from bulksend.ledger import campaign_control, campaigns, messages, operator_log
from bulksend.ledger.ids import new_id
from bulksend.messaging.outcome import Accepted, Unknown
from bulksend.messaging.states import CampaignStatus, Kind, Status


def unknown(desk: Any, kind: Kind = Kind.MARKETING) -> str:
    (id,) = desk.queued(kind)
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Unknown("ReadTimeout"))
    return str(id)


def resolve(desk: Any, id: str, as_: str, why: str = "the customer says so") -> Status:
    return Status(desk.write(messages.resolve, id, as_=as_, actor="ada", why=why))


@pytest.mark.parametrize(
    ("as_", "status"), [("accepted", Status.ACCEPTED), ("failed", Status.FAILED), ("resend", Status.QUEUED)]
)
def test_resolving_an_unknown_message_is_logged(desk: Any, as_: str, status: Status) -> None:
    id = unknown(desk)
    assert resolve(desk, id, as_) is status
    row = desk.row(id)
    assert row["status"] == status.value
    assert row["error"] == f"resolved as {as_}: the customer says so"
    assert (row["ended_at"] is None) is (status is Status.QUEUED)
    (act,) = desk.read(operator_log.of, "message", id)
    assert (act.actor, act.act, act.why) == ("ada", f"resolve as {as_}", "the customer says so")
    assert desk.broken() == {}


def test_a_resend_is_sent_and_the_audit_holds(desk: Any) -> None:
    id = unknown(desk)
    resolve(desk, id, "resend")
    desk.accepted([id])
    assert desk.outcomes(id) == ["unknown", "accepted"]
    assert desk.broken() == {}


def test_a_resend_reopens_a_finished_campaign(desk: Any) -> None:
    id = unknown(desk)
    (campaign,) = desk.write(campaigns.finish_ended)
    resolve(desk, id, "resend")
    assert desk.read(campaigns.get, campaign).status is CampaignStatus.RUNNING


def test_a_late_answer_cancels_a_resend(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue()
    resolve(desk, id, "resend")
    desk.settle(opening, Accepted("mid-1", "rid"))
    assert desk.status(id) == "accepted"


def test_a_resend_of_a_one_time_code_is_refused(desk: Any) -> None:
    id = unknown(desk, Kind.OTP)
    with pytest.raises(InvalidInput, match="send a new code"):
        resolve(desk, id, "resend")
    assert desk.status(id) == "unknown"


def test_a_resend_in_a_cancelled_campaign_is_refused(desk: Any) -> None:
    id = unknown(desk)
    campaign_control.cancel(desk.database, desk.row(id)["campaign_id"], actor="ada", why="wrong list")
    with pytest.raises(InvalidInput, match="cancelled"):
        resolve(desk, id, "resend")
    assert resolve(desk, id, "failed") is Status.FAILED


@pytest.mark.parametrize("why", ["", "  "])
def test_resolving_without_a_reason_is_refused(desk: Any, why: str) -> None:
    id = unknown(desk)
    with pytest.raises(InvalidInput, match="why: is empty"):
        resolve(desk, id, "failed", why)
    assert desk.status(id) == "unknown"


def test_an_unknown_resolution_is_refused(desk: Any) -> None:
    with pytest.raises(InvalidInput, match="accepted, failed, resend"):
        resolve(desk, unknown(desk), "delivered")


def test_only_unknown_messages_can_be_resolved(desk: Any) -> None:
    (id,) = desk.queued()
    with pytest.raises(InvalidInput, match="is queued, not unknown"):
        resolve(desk, id, "accepted")
    assert desk.read(operator_log.of, "message", id) == []


@pytest.mark.parametrize("id", ["4477", "", "not-an-id"])
def test_a_malformed_id_is_refused_with_how_to_find_one(desk: Any, id: str) -> None:
    with pytest.raises(MessageNotFound, match="messages find"):
        desk.row(id)


def test_an_id_of_no_message_raises_message_not_found(desk: Any) -> None:
    with pytest.raises(MessageNotFound, match="there is no message"):
        desk.row(new_id())


def test_reading_a_message_does_not_return_its_content(desk: Any) -> None:
    (id,) = desk.queued()
    assert not {"payload", "fingerprint"} & set(desk.row(id))
