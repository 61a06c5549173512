"""Find whatever a text names: a person, a message, a campaign, a template or a sender, each by an index."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidValue
from bulksend.ledger import campaigns, search, senders, templates
from bulksend.ledger import look_up as by_id
from bulksend.ledger.search import Query
from bulksend.messaging import parse_recipient
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.recipient import without_link
from bulksend.operations.campaigns import summaries
from bulksend.operations.json_shape import Page, checked_after, to_json

#: Longer texts name nothing.
LONGEST = 300
#: The most campaigns, templates and senders that are shown.
MOST = 10
_TEMPLATES_SEEN = 1_000
#: Marks without a width, which come along with a number that is copied.
_UNSEEN = dict.fromkeys(
    [0x00AD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF]
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a text names. ``phone``: it is the number of a person, as digits; else None, and ``why_no_phone``."""

    phone: str | None
    why_no_phone: str | None
    messages: Page
    campaigns: list[dict[str, Any]] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)
    senders: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are, of the messages those on this page."""
        return len(self.messages.items) + len(self.campaigns) + len(self.templates) + len(self.senders)


def cleaned(text: str) -> str:
    """The text as it was meant: full-width characters as usual ones, without marks that are not seen."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_UNSEEN).split())[:LONGEST]


def shown(text: str) -> str:
    """What was looked for, without a number in it."""
    digits = [character for character in text if character.isdecimal()]
    # A number stands with blanks and signs between its digits.
    return mask_digits("".join(digits)) if len(digits) > 6 and _is_like_a_number(text) else mask_digits(text)


def look_up(
    tx: Connection,
    text: str,
    *,
    default_region: str | None = None,
    limit: int = 25,
    after: str | None = None,
) -> Found:
    """All that ``text`` names; its messages newest first, those after the ``next`` of the page before.

    Raises InvalidValue for an ``after`` that is none.
    """
    given, before = without_link(cleaned(text)), checked_after(after)
    if not given:
        return Found(None, None, Page([], None))
    phone, why_not = _phone(given, default_region)
    if phone is None:
        page = Page([to_json(row) for row in search.by_ids(tx, by_id.messages_of(tx, given, limit))], None)
    else:
        page = Page.of(search.find(tx, Query(phone=phone), limit=limit, before=before), limit)
    if before is not None:
        return Found(phone, why_not, page)
    known = campaigns.by_ids(tx, by_id.campaigns_of(tx, given, MOST))
    newest = sorted(known.values(), key=lambda each: each.id, reverse=True)
    return Found(
        phone,
        why_not,
        _with_key(tx, page, given, limit) if phone else page,
        campaigns=[{**each} for each in summaries(tx, newest)],
        templates=_templates(tx, given),
        senders=[to_json(each) for each in senders.all_senders(tx) if each.phone in (phone, given)],
    )


def _phone(given: str, default_region: str | None) -> tuple[str | None, str | None]:
    """The number that it is; else None, and for a text that looks like one, why it is none."""
    if not _is_like_a_number(given):
        return None, None
    try:
        return parse_recipient(given, default_region=default_region), None
    except InvalidValue as error:
        return None, error.why


def _is_like_a_number(text: str) -> bool:
    """Digits, with signs between them: no id, no name."""
    return sum(each.isdecimal() for each in text) >= 5 and not any(each.isalpha() for each in text)


def _with_key(tx: Connection, page: Page, given: str, limit: int) -> Page:
    """A key may be digits, too."""
    known = {item["id"] for item in page.items}
    others = [id for id in by_id.messages_of(tx, given, limit) if id not in known]
    return Page([*map(to_json, search.by_ids(tx, others)), *page.items], page.next) if others else page


def _templates(tx: Connection, given: str) -> list[str]:
    within = given.casefold()
    names = dict.fromkeys(each.name for each in templates.page(tx, limit=_TEMPLATES_SEEN))
    return [name for name in names if within in name.casefold()][:MOST]
