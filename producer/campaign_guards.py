"""Watches campaigns while they run: a canary lets the rest go or pauses it, and a campaign that fails too much pauses.

The rules are pure (``messaging/canary.py``, ``messaging/failure_share.py``); their counts are those that the ledger
keeps. A canary is decided by the ledger alone; the window of failures is memory of the relay that leads, and a new
leader begins another.
"""

from __future__ import annotations

import structlog
from sqlalchemy import Connection

from bulksend.ledger import campaigns, canary, counters, pauses
from bulksend.ledger.campaigns import ACTIVE, Campaign
from bulksend.ledger.clock import read_clock
from bulksend.messaging.canary import CanaryRules, Next
from bulksend.messaging.failure_share import (
    FailureLimit,
    FailureWindow,
    Results,
    results_of,
    too_many_failed,
)

log = structlog.get_logger(__name__)

ACTOR = "relay"


class CampaignGuards:
    """``limit`` and ``rules`` are the installation's; a campaign's own limit of failures replaces theirs."""

    def __init__(self, limit: FailureLimit, rules: CanaryRules) -> None:
        self._limit = limit
        self._rules = rules
        self._windows: dict[str, FailureWindow] = {}
        self._since: int | None = None

    def canaries(self, tx: Connection) -> dict[str, int]:
        """Look at each canary that is not decided; returns how many passed and failed."""
        decided = {Next.GO: 0, Next.PAUSE: 0, Next.WAIT: 0}
        for campaign in canary.undecided(tx):
            rules = self._rules
            if campaign.max_failed is not None:
                rules = CanaryRules(campaign.max_failed, rules.min_delivered, rules.wait_ms)
            decided[canary.advance(tx, campaign, rules, actor=ACTOR)] += 1
        return {"passed": decided[Next.GO], "paused": decided[Next.PAUSE]}

    def pause_failing(self, tx: Connection) -> dict[str, int]:
        """Pause each campaign of whose last messages too many failed; returns how many."""
        if self._since is None:
            self._since = read_clock(tx)
        open = campaigns.open_ones(tx)
        counts = counters.of(tx, [campaign.id for campaign in open])
        windows, paused = self._windows, 0
        self._windows = {campaign.id: self._window(windows, campaign) for campaign in open}
        for campaign in open:
            now, window = results_of(counts[campaign.id].statuses), self._windows[campaign.id]
            if campaign.status not in ACTIVE or campaign.held_after is not None:
                window.restart(now)
                continue
            paused += self._look(tx, campaign, window, now)
        return {"paused": paused}

    def _window(self, known: dict[str, FailureWindow], campaign: Campaign) -> FailureWindow:
        return known.get(campaign.id) or FailureWindow(None if self._is_older(campaign) else Results(0, 0))

    def _is_older(self, campaign: Campaign) -> bool:
        """Whether it may have sent messages, or been resumed, before this relay watched."""
        return self._since is None or campaign.created_at < self._since

    def _look(self, tx: Connection, campaign: Campaign, window: FailureWindow, now: Results) -> bool:
        limit = self._limit.of(campaign.kind, campaign.max_failed)
        why = too_many_failed(window.add(now, limit.window), limit)
        if why is None or not pauses.pause_campaign(tx, campaign.id, actor=ACTOR, why=why):
            return False
        log.error("paused", scope="campaign", campaign=campaign.id, why=why)
        return True
