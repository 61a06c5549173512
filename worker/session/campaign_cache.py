"""Campaigns and senders that a worker has read: a campaign's content is compiled once, limits are read again often."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from bulksend.errors import BulksendError, InvalidValue
from bulksend.ledger import campaigns, media, senders
from bulksend.ledger.claim import Claimed
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.limits import SenderLimits
from bulksend.messaging import ContentTemplate, Kind, MessageType, OnUnknown, compile_content, parse_content
from bulksend.messaging.account_quota import account_quota
from bulksend.messaging.content import load_content_json
from bulksend.messaging.exclusions import Cap, Exclusions
from bulksend.messaging.media_references import our_files, with_vendor_ids

#: More than the claimed messages of a worker can belong to (three lanes of 4,000).
_MAX_CAMPAIGNS = 20_000


@dataclass(frozen=True, slots=True)
class CachedCampaign:
    """What sending needs of a campaign. ``template`` is None for direct sends."""

    id: str
    template: ContentTemplate | None
    rate: float | None
    on_unknown: OnUnknown
    weight: int = 1
    cap: Cap | None = None
    unusable: str | None = None
    """Why no message of it can be rendered."""
    files: Mapping[str, str | None] = field(default_factory=dict)
    """The vendor's ids of its files, by ours."""


class CannotRender(BulksendError):
    """A message that can never be sent as it is stored. The text names the field, never its value."""


class CampaignCache:
    """Reads campaigns and senders in the transaction that claims, and keeps them in memory."""

    def __init__(
        self,
        cipher: Cipher,
        *,
        default_rate: float,
        max_campaigns: int = _MAX_CAMPAIGNS,
    ) -> None:
        self._cipher = cipher
        self._default_rate = default_rate
        self._default = SenderLimits(rate=default_rate, quota=None)
        self._max_campaigns = max_campaigns
        self._campaigns: dict[str, CachedCampaign] = {}
        self._senders: dict[str, SenderLimits] = {}

    def load(self, tx: Connection, claimed: Iterable[Claimed]) -> None:
        """Read the campaigns and senders of these messages that are missing.

        Runs on a thread while the event loop reads. Every claimed message must find its campaign and sender at any
        moment: the oldest campaigns are dropped only far above what can be claimed, senders are replaced, not cleared.
        """
        claimed = list(claimed)
        missing = {m.campaign_id for m in claimed} - self._campaigns.keys()
        self._keep(tx, missing)
        while len(self._campaigns) > self._max_campaigns:
            del self._campaigns[next(iter(self._campaigns))]
        unknown = {m.sender for m in claimed} - self._senders.keys()
        if unknown:
            self._load_senders(tx, unknown)

    def _load_senders(self, tx: Connection, unknown: Iterable[str] = ()) -> None:
        """Read all senders: they share the account's quota."""
        found = senders.all_senders(tx)
        quota = account_quota(found).limit
        self._default = SenderLimits(rate=self._default_rate, quota=quota)
        self._senders = dict.fromkeys(unknown, self._default) | {
            sender.phone: SenderLimits(rate=sender.rate, quota=quota) for sender in found
        }

    def _keep(self, tx: Connection, ids: Collection[str]) -> None:
        """Keep campaigns, with the vendor's ids of their files."""
        for campaign in campaigns.by_ids(tx, ids).values() if ids else ():
            self._campaigns[campaign.id] = _cached(tx, campaign)

    def _renew_files(self, tx: Connection) -> None:
        """Read campaigns again whose files have other ids at the vendor by now."""
        known = [cached for cached in list(self._campaigns.values()) if cached.files]
        found = media.vendor_ids(tx, {id for cached in known for id in cached.files})
        stale = {cached.id for cached in known if cached.files != {id: found.get(id) for id in cached.files}}
        self._keep(tx, stale)

    def refresh(self, tx: Connection) -> dict[str, float | None]:
        """Read senders, and rates and weights of active campaigns, again; returns the rates that changed, by campaign.

        And the vendor's ids of files, which a renewal changes. Runs on a thread while the event loop reads.
        """
        self._renew_files(tx)
        self._load_senders(tx)
        changed: dict[str, float | None] = {}
        for id, (rate, weight) in campaigns.active_paces(tx).items():
            cached = self._campaigns.get(id)
            if cached is None or (cached.rate, cached.weight) == (rate, weight):
                continue
            if cached.rate != rate:
                changed[id] = rate
            self._campaigns[id] = replace(cached, rate=rate, weight=weight)
        return changed

    def weight(self, id: str) -> int:
        """A campaign's part beside the other campaigns of its sender."""
        cached = self._campaigns.get(id)
        return 1 if cached is None else cached.weight

    def caps(self, campaigns: Iterable[str]) -> dict[str, Cap]:
        """The caps of those of these campaigns that have one, by the campaign's id."""
        cached = [self._campaigns[id] for id in {*campaigns} & self._campaigns.keys()]
        return {each.id: each.cap for each in cached if each.cap is not None}

    def campaign(self, id: str) -> CachedCampaign:
        """A campaign of a claimed message. Raises KeyError when it was never loaded."""
        return self._campaigns[id]

    def sender_limits(self, sender: str) -> SenderLimits:
        """The limits of a sender; the defaults when the ledger does not know it."""
        return self._senders.get(sender, self._default)

    def render(self, message: Claimed) -> str:
        """The vendor's Content of a message, as JSON text. Raises CannotRender when there is no valid content."""
        if message.payload is None:
            raise CannotRender("its content was wiped")
        try:
            body = self._cipher.decrypt(message.payload, message.id)
        except CannotDecrypt as error:
            raise CannotRender(str(error)) from None
        campaign = self._campaigns[message.campaign_id]
        if campaign.unusable is not None:
            raise CannotRender(campaign.unusable)
        template = campaign.template
        try:
            if template is None:
                content = str(body["c"])
                parse_content(MessageType(message.type), load_content_json(content))
                return content
            variables = body["v"]
            if not isinstance(variables, dict):
                raise CannotRender("its variables are not an object")
            return template.render(variables, otp=message.kind is Kind.OTP)
        except InvalidValue as error:
            raise CannotRender(f"{error.field}: {error.why}") from None
        except KeyError:
            raise CannotRender("content: is missing") from None

    def timezone(self, message: Claimed) -> str | None:
        """The recipient's time zone where it was given with the message."""
        if message.payload is None:
            return None
        try:
            zone = self._cipher.decrypt(message.payload, message.id).get("z")
        except CannotDecrypt:
            return None
        return zone if isinstance(zone, str) else None


def _cached(tx: Connection, campaign: campaigns.Campaign) -> CachedCampaign:
    """A campaign with the vendor's ids of its files."""
    template, unusable, files = None, None, {}
    if campaign.content:
        type, content = MessageType(campaign.type), load_content_json(campaign.content)
        ours = our_files(type, content)
        found = media.vendor_ids(tx, ours)
        files = {id: found.get(id) for id in ours}
        if ours <= found.keys():
            template = compile_content(type, with_vendor_ids(type, content, found))
        else:
            unusable = "its file was deleted at the vendor; `bulksend media upload` uploads one"
    cap = Exclusions.from_json(campaign.exclusions).cap
    return CachedCampaign(
        *(campaign.id, template, campaign.rate, campaign.on_unknown),
        *(campaign.weight or 1, cap, unusable, files),
    )
