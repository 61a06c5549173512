"""The report of a campaign: one HTML file with charts, for people and for paper. It has no number of a recipient."""

from __future__ import annotations

from bulksend.ledger.database import Database
from bulksend.operations.breakdown import break_down
from bulksend.operations.campaigns import details
from bulksend.operations.json_shape import masked_words
from bulksend.operations.report.page import ReportPage
from bulksend.operations.report.style import POLICY
from bulksend.operations.report.texts import ENGLISH, Texts

__all__ = ["POLICY", "report"]


def report(database: Database, id_or_name: str, *, timezone: str | None, texts: Texts = ENGLISH) -> str:
    """The page. ``timezone`` is that of campaigns that have none; without it UTC.

    Raises CampaignNotFound, WrongState as ``break_down``.
    """
    with database.read() as tx:
        counts = break_down(tx, id_or_name)
        shown = details(tx, counts["campaign_id"])
    zone = shown["timezone"] or timezone or "UTC"
    return ReportPage(masked_words(shown), masked_words(counts), zone, texts).html()
