"""What a worker knows of campaigns and senders: content compiled once, limits looked up again every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from bulksend.errors import BulksendError, InvalidValue
from bulksend.ledger import campaigns, senders
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.sending import Claimed
from bulksend.limits import SenderLimits
from bulksend.messaging import ContentTemplate, Kind, MessageType, OnUnknown, parse_content
from bulksend.messaging.content import load_content_json

FRESH_SECONDS = 5.0
#: More than a worker can have in hand, three lanes of 4,000.
_MOST_CAMPAIGNS = 20_000


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """What sending a message of a campaign needs to know of it. ``template`` is None for direct sends."""

    id: str
    template: ContentTemplate | None
    rate: float | None
    on_unknown: OnUnknown


class CannotRender(BulksendError):
    """This message can never be sent as it stands. The text names the field, never what it holds."""


class CampaignCache:
    """Looks campaigns and senders up in the claiming transaction, and remembers them."""

    def __init__(
        self,
        cipher: Cipher,
        *,
        default_rate: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cipher = cipher
        self._default = SenderLimits(rate=default_rate, quota=None)
        self._clock = clock
        self._campaigns: dict[str, CampaignFacts] = {}
        self._senders: dict[str, SenderLimits] = {}
        self._looked_at = float("-inf")

    def look_up(self, tx: Connection, claimed: Iterable[Claimed]) -> None:
        """Know every campaign and sender of these messages; look senders up again after a few seconds.

        Runs on a thread of its own, while the engine reads: what is in hand must be found at every instant, so
        campaigns are forgotten only far beyond what can be in hand, and senders are replaced, never cleared.
        """
        claimed = list(claimed)
        unknown = {m.campaign_id for m in claimed} - self._campaigns.keys()
        for campaign in campaigns.by_ids(tx, unknown).values() if unknown else ():
            self._campaigns[campaign.id] = CampaignFacts(
                campaign.id, _compiled(campaign), campaign.rate, campaign.on_unknown
            )
        while len(self._campaigns) > _MOST_CAMPAIGNS:
            del self._campaigns[next(iter(self._campaigns))]
        phones = {m.sender for m in claimed}
        now = self._clock()
        if now - self._looked_at > FRESH_SECONDS:
            phones |= self._senders.keys()
            self._looked_at = now
        else:
            phones -= self._senders.keys()
        if phones:
            found = senders.by_phones(tx, phones)
            self._senders = self._senders | {
                phone: SenderLimits(rate=found[phone].rate, quota=found[phone].quota)
                if phone in found
                else self._default
                for phone in phones
            }

    def campaign(self, id: str) -> CampaignFacts:
        """A campaign that was looked up."""
        return self._campaigns[id]

    def limits(self, sender: str) -> SenderLimits:
        """The limits of a sender that was looked up; the defaults where it is not on record."""
        return self._senders.get(sender, self._default)

    def content(self, message: Claimed) -> str:
        """The vendor's Content of a message, as JSON text. Raises CannotRender."""
        if message.payload is None:
            raise CannotRender("its content was wiped")
        try:
            body = self._cipher.decrypt(message.payload, message.id)
        except CannotDecrypt as error:
            raise CannotRender(str(error)) from None
        template = self._campaigns[message.campaign_id].template
        try:
            if template is None:
                content = str(body["c"])
                parse_content(MessageType(message.type), load_content_json(content))
                return content
            variables = body["v"]
            if not isinstance(variables, dict):
                raise CannotRender("its variables are not an object")
            return template.render(variables, otp=message.kind is Kind.OTP)
        except (InvalidValue, KeyError) as error:
            where = error.field if isinstance(error, InvalidValue) else "content"
            why = error.why if isinstance(error, InvalidValue) else "is missing"
            raise CannotRender(f"{where}: {why}") from None


def _compiled(campaign: campaigns.Campaign) -> ContentTemplate | None:
    if not campaign.content:
        return None
    return ContentTemplate.from_json(MessageType(campaign.type), campaign.content)
