"""The cache of campaigns and senders: what is read when, what is kept, and what cannot be rendered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from bulksend.ledger import media, notices, senders
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.claim import Claimed
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.media import Media, NewMedia
from bulksend.ledger.notices import SenderChange
from bulksend.ledger.schema import campaigns
from bulksend.limits import SenderLimits
from bulksend.messaging import Kind, OnUnknown
from bulksend.messaging.exclusions import Cap, Exclusions
from worker.session.campaign_cache import CampaignCache, CannotRender

DEFAULT_RATE = 80.0


@pytest.fixture
def cache(cipher: Cipher) -> CampaignCache:
    return CampaignCache(cipher, default_rate=DEFAULT_RATE, max_campaigns=3)


def claimed_of(campaign: Campaign, cipher: Cipher, body: dict[str, Any] | None = None) -> Claimed:
    payload = None if body is None else cipher.encrypt(body, "m")
    return Claimed(
        "m", campaign.id, campaign.kind, campaign.sender, "447700900123", "text", payload, 0, None, 0, 0, 0, 0, None
    )  # fmt: skip


def load(ledger: Database, cache: CampaignCache, *claimed: Claimed) -> None:
    with ledger.read() as tx:
        cache.load(tx, claimed)


def refresh(ledger: Database, cache: CampaignCache) -> None:
    with ledger.read() as tx:
        cache.refresh(tx)


def test_a_campaign_is_read_once(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any, watched: Any
) -> None:
    campaign, _ = new_messages(rate=12.5, on_unknown=OnUnknown.RESEND)
    for _ in range(3):
        load(ledger, cache, claimed_of(campaign, cipher), claimed_of(campaign, cipher))
    assert watched.reads_of("campaigns") == 1 + 1  # one by its creation
    cached = cache.campaign(campaign.id)
    assert (cached.rate, cached.on_unknown) == (12.5, OnUnknown.RESEND)


def test_a_campaign_that_was_never_loaded_is_an_error(cache: CampaignCache) -> None:
    with pytest.raises(KeyError):
        cache.campaign("unknown")


def test_a_claim_reads_senders_once_and_a_refresh_reads_them_again(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any, sender: str
) -> None:
    message = claimed_of(new_messages()[0], cipher)
    load(ledger, cache, message)
    with ledger.write() as tx:
        senders.change(tx, sender, rate=5.0, actor="ada")
    load(ledger, cache, message)
    assert cache.sender_limits(sender) == SenderLimits(rate=25.0, quota=1000)
    refresh(ledger, cache)
    assert cache.sender_limits(sender) == SenderLimits(rate=5.0, quota=1000)


def test_all_senders_have_the_accounts_quota_which_is_read_without_a_claim_as_well(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any, sender: str
) -> None:
    other = "15550100199"
    load(ledger, cache, claimed_of(new_messages(sender=other)[0], cipher))
    assert cache.sender_limits(other) == SenderLimits(rate=DEFAULT_RATE, quota=1000)
    with ledger.write() as tx:
        senders.change(tx, sender, no_quota=True, actor="ada")
        notices.change_sender(tx, SenderChange(sender, tier="TIER_250"), actor="vendor")
    refresh(ledger, cache)
    assert [cache.sender_limits(phone).quota for phone in (sender, other)] == [250, 250]


def test_a_sender_that_the_ledger_does_not_know_has_the_default_limits(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any
) -> None:
    campaign, _ = new_messages(sender="15550100199")
    load(ledger, cache, claimed_of(campaign, cipher))
    for phone in (campaign.sender, "15550100198"):
        assert cache.sender_limits(phone) == SenderLimits(rate=DEFAULT_RATE, quota=None)


def test_a_changed_rate_of_a_campaign_is_found_once_and_so_is_its_weight(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any
) -> None:
    campaign, _ = new_messages(rate=12.5)
    load(ledger, cache, claimed_of(campaign, cipher))
    with ledger.write() as tx:
        assert cache.refresh(tx) == {}
        tx.execute(update(campaigns).where(campaigns.c.id == campaign.id).values(rate=None))
        assert cache.refresh(tx) == {campaign.id: None}
        assert cache.refresh(tx) == {}
        tx.execute(update(campaigns).where(campaigns.c.id == campaign.id).values(weight=7))
        assert cache.refresh(tx) == {}
    assert cache.campaign(campaign.id).rate is None
    assert cache.weight(campaign.id) == 7


def test_only_the_newest_campaigns_are_kept(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any
) -> None:
    made = [new_messages()[0] for _ in range(4)]
    for campaign in made:
        load(ledger, cache, claimed_of(campaign, cipher))
    with pytest.raises(KeyError):
        cache.campaign(made[0].id)
    assert [cache.campaign(c.id).id for c in made[1:]] == [c.id for c in made[1:]]


def test_caps_are_known_of_the_campaigns_that_have_one_and_are_kept(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any
) -> None:
    cap = Cap(2, 60_000)
    made = [new_messages(exclusions=Exclusions(cap=cap).to_json())[0], *(new_messages()[0] for _ in range(3))]
    ids = [campaign.id for campaign in made]
    for campaign in made[:3]:
        load(ledger, cache, claimed_of(campaign, cipher))
    assert cache.caps(ids) == {ids[0]: cap}
    assert cache.caps(ids[1:]) == {}
    load(ledger, cache, claimed_of(made[3], cipher))
    assert cache.caps(ids) == {}


def test_a_message_is_rendered_from_its_campaigns_content_and_its_variables(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any
) -> None:
    message = claimed_of(new_messages()[0], cipher, {"v": {"name": "Ada"}})
    load(ledger, cache, message)
    assert cache.render(message) == '{"body":"hello Ada"}'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "its content was wiped"),
        ({"x": "secret-1234"}, "content: is missing"),
        ({"v": "secret-1234"}, "its variables are not an object"),
        ({"v": {"nom": "secret-1234"}}, "name: "),
        ({"v": {"name": "secret-1234" * 1000}}, "name: "),
    ],
)
def test_what_cannot_be_rendered_names_the_field_and_never_the_value(
    ledger: Database,
    cache: CampaignCache,
    cipher: Cipher,
    new_messages: Any,
    body: dict[str, Any] | None,
    why: str,
) -> None:
    message = claimed_of(new_messages()[0], cipher, body)
    load(ledger, cache, message)
    with pytest.raises(CannotRender) as raised:
        cache.render(message)
    assert str(raised.value).startswith(why)
    assert "secret" not in str(raised.value)


def test_a_file_gets_the_vendors_id_of_now_and_a_renewed_one_its_new_id(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any, sender: str
) -> None:
    def upload(media_id: str) -> Media:
        new = NewMedia(sender, "a" * 64, media_id, "image", "image/jpeg", 14, "spring.jpg")
        with ledger.write() as tx:
            return media.keep(tx, new, actor="ada")

    id = upload("5550100").id
    content = json.dumps({"id": f"media:{id}", "caption": "{{name}}"})
    campaign, _ = new_messages(type="image", content=content)
    message = claimed_of(campaign, cipher, {"v": {"name": "Ada"}})._replace(type="image")
    load(ledger, cache, message)
    assert json.loads(cache.render(message))["id"] == "5550100"
    upload("5550101")
    assert json.loads(cache.render(message))["id"] == "5550100"
    refresh(ledger, cache)
    assert json.loads(cache.render(message))["id"] == "5550101"
    with ledger.write() as tx:
        media.remove(tx, media.get(tx, id), actor="ada")
    refresh(ledger, cache)
    with pytest.raises(CannotRender, match="its file was deleted at the vendor"):
        cache.render(message)


def test_a_direct_send_is_its_own_content_which_is_checked_again(
    ledger: Database, cache: CampaignCache, cipher: Cipher, new_messages: Any
) -> None:
    campaign, _ = new_messages(kind=Kind.OTP, content="")
    good = claimed_of(campaign, cipher, {"c": '{"body":"Your code is 123456"}'})
    bad = claimed_of(campaign, cipher, {"c": '{"body":""}'})
    load(ledger, cache, good)
    assert cache.render(good) == '{"body":"Your code is 123456"}'
    with pytest.raises(CannotRender, match=r"^body: "):
        cache.render(bad)


def test_content_of_another_key_cannot_be_rendered(
    ledger: Database, cache: CampaignCache, new_messages: Any
) -> None:
    message = claimed_of(new_messages()[0], Cipher([b"x" * 32]), {"v": {"name": "Ada"}})
    load(ledger, cache, message)
    with pytest.raises(CannotRender, match="key"):
        cache.render(message)
