"""Send rates and failure reasons of a campaign, from samples of bounded size."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from bulksend.ledger import campaign_creation, campaigns, progress, senders
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import attempts
from bulksend.messaging.outcome import Accepted, Refused, Unknown
from bulksend.messaging.states import Kind
from tests.integration.ledger.conftest import SENDER

WINDOW_MS = 10_000


def campaign_of(desk: Any, id: str) -> campaigns.Campaign:
    found: campaigns.Campaign = desk.read(campaigns.get, desk.row(id)["campaign_id"])
    return found


def pace(desk: Any, *of: campaigns.Campaign) -> list[float]:
    found = desk.read(progress.send_rates, of, WINDOW_MS)
    return [found[campaign.id] for campaign in of]


def test_the_send_rate_of_a_campaign_is_that_of_its_recent_posts(desk: Any) -> None:
    one, other = desk.queued(n=4), desk.queued(n=2)
    desk.sent(desk.lease(), one[:3] + other[:1])
    assert pace(desk, campaign_of(desk, one[0]), campaign_of(desk, other[0])) == [0.3, 0.1]


def test_older_posts_do_not_count_for_the_send_rate(desk: Any) -> None:
    ids = desk.queued(n=2)
    desk.sent(desk.lease(), ids)
    desk.sql("UPDATE in_flight SET started_at = started_at - :ms", ms=WINDOW_MS + 1)
    assert pace(desk, campaign_of(desk, ids[0])) == [0.0]


def test_a_campaign_that_ended_has_no_send_rate(desk: Any) -> None:
    ids = desk.queued(n=2)
    desk.sent(desk.lease(), ids)
    desk.sql("UPDATE campaigns SET ended_at = :at", at=desk.now() - WINDOW_MS - 1_000)
    assert pace(desk, campaign_of(desk, ids[0])) == [0.0]


def test_the_send_rate_of_a_busy_sender_comes_from_its_newest_posts(desk: Any) -> None:
    """More POSTs than are sampled: two in each millisecond, half of them of another campaign."""
    mine, others = desk.queued(), desk.queued()
    openings = desk.sent(desk.lease(), mine + others)
    now = desk.now()
    with desk.database.write() as tx:
        tx.execute(
            insert(attempts),
            [
                {"id": new_id(), "message_pk": opening.message.id, "n": n, "owner": new_id(), "worker": "w"}
                | {"sender": SENDER, "started_at": now - n}
                for opening in openings
                for n in range(2, progress.POSTS_SAMPLED)
            ],
        )
    (found,) = pace(desk, campaign_of(desk, mine[0]))
    # 1,000 a second, or somewhat less because the inserts took time. Over the whole window it would be 100.
    assert 300 < found <= 1000


def test_direct_sends_have_a_send_rate_over_all_senders(desk: Any) -> None:
    direct = desk.write(campaign_creation.standing_campaign, Kind.MARKETING)
    ids = []
    for phone in ("15550100101", "15550100102"):
        desk.write(senders.register, phone)
        ids += [sent.id for sent in desk.send(desk.new_send(sender=phone), kind=Kind.MARKETING)]
    desk.sent(desk.lease(), ids)
    assert pace(desk, direct) == [0.2]


def test_failure_reasons_come_most_frequent_first(desk: Any) -> None:
    ids = desk.queued(n=6)
    first, second, third, fourth, fifth = desk.sent(desk.lease(), ids[:5])
    for opening in (first, second):
        desk.settle(opening, Refused("17009", "no such template"))
    desk.settle(third, Refused("17120", "no balance"))
    desk.settle(fourth, Unknown("ReadTimeout"))
    desk.settle(fifth, Accepted("mid-1", "rid"))
    campaign = campaign_of(desk, ids[0]).id
    assert desk.read(progress.failure_reasons, campaign) == [
        ("failed", "no such template", 2),
        ("unknown", "ReadTimeout", 1),
        ("failed", "no balance", 1),
    ]
    assert desk.read(progress.failure_reasons, campaign, sampled=1) == [
        ("unknown", "ReadTimeout", 1),
        ("failed", "no balance", 1),
    ]
