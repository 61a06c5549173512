"""The standing campaign of direct sends cannot be stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bulksend.errors import InvalidInput
from bulksend.ledger import campaign_control, campaign_creation, campaign_retry, campaigns, pauses
from bulksend.messaging.states import CampaignStatus, Kind

BY = {"actor": "ada", "why": "because"}
ACTS: dict[str, Callable[[Any, campaigns.Campaign], object]] = {
    "cancel": lambda desk, of: campaign_control.cancel(desk.database, of.id, **BY),
    "retry": lambda desk, of: campaign_retry.retry(desk.database, of.id, **BY),
    "pause": lambda desk, of: campaign_control.check_allowed(of, "pause"),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", Kind)
def test_a_standing_campaign_cannot_be_cancelled_paused_or_retried(desk: Any, kind: Kind, act: str) -> None:
    standing = desk.write(campaign_creation.standing_campaign, kind)
    for named in (standing.id, standing.name):
        found = desk.read(campaigns.find, named)
        with pytest.raises(InvalidInput, match="senders pause") as refused:
            ACTS[act](desk, found)
        assert "messages resolve" in str(refused.value)
        assert "suppressions add" in str(refused.value)
    assert desk.write(campaign_creation.standing_campaign, kind).status is CampaignStatus.RUNNING


def test_a_standing_campaign_that_is_paused_can_be_resumed(desk: Any) -> None:
    standing = desk.write(campaign_creation.standing_campaign, Kind.OTP)
    desk.write(pauses.pause_campaign, standing.id, **BY)
    campaign_control.check_allowed(standing, "resume")
    assert desk.write(pauses.resume_campaign, standing.id, **BY)
