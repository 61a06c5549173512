"""Which rows of a file are messages that the ledger already has: by their key, or by their recipient and content."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, text

from bulksend.ledger.bulk_parameters import array, statement
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import among, prefer_indexes
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.endings import NEVER_TAKEN, listed
from bulksend.ledger.message_rows import NewMessage, matches_fingerprint
from bulksend.ledger.schema import messages
from bulksend.messaging.number_forms import canonical_number, number_forms
from bulksend.messaging.states import UNSENT, Kind

#: Recipient and fingerprint of each key.
StoredKeys = dict[str, tuple[str, bytes]]


#: SQL: the message was sent, may have been sent or may still be sent.
_MAYBE_TAKEN = f"NOT (messages.status IN ({listed(UNSENT)}) AND {NEVER_TAKEN})"


#: LATERAL: each key is looked up alone, or PostgreSQL would read the whole campaign for each chunk. The range and the
#: order of keys leave only the index of keys among those that begin with the campaign, see ``prefer_indexes``.
_STORED_KEYS = """SELECT k.key, found.recipient, found.fingerprint FROM unnest(CAST(:keys AS text[])) AS k(key),
    LATERAL (SELECT recipient, fingerprint FROM messages
             WHERE campaign_id = CAST(:campaign AS uuid) AND messages.key >= k.key AND messages.key <= k.key AND {of}
             ORDER BY messages.key LIMIT 1) AS found"""


_UNSENT = f"({listed(UNSENT)})"


#: OFFSET 0: PostgreSQL finds the few messages of each recipient by index first, whatever its statistics say, and only
#: then filters by campaign.
_EARLIER = f"""SELECT found.campaign_id, r.recipient, found.key, found.fingerprint, found.kind, found.expires_at
    FROM unnest(CAST(:recipients AS text[])) AS r(recipient),
    LATERAL (SELECT m.campaign_id, m.key, m.fingerprint, m.kind, m.expires_at, m.status FROM messages m
             WHERE m.recipient = r.recipient OFFSET 0) AS found
    WHERE found.campaign_id = ANY(CAST(:campaigns AS uuid[])) AND found.status NOT IN {_UNSENT}"""  # noqa: S608


_EARLIER_ON_SQLITE = f"""SELECT m.campaign_id, m.recipient, m.key, m.fingerprint, m.kind, m.expires_at
    FROM json_each(:recipients) AS r CROSS JOIN messages AS m ON m.recipient = r.value
    WHERE +m.campaign_id IN (SELECT value FROM json_each(:campaigns)) AND m.status NOT IN {_UNSENT}"""  # noqa: S608


def stored_keys(tx: Connection, campaign: Campaign, keys: Collection[str], of: str = "true") -> StoredKeys:
    """Those of the keys that the campaign has, in messages that meet the SQL condition ``of``."""
    if tx.dialect.name == "sqlite":
        columns = messages.c.key, messages.c.recipient, messages.c.fingerprint
        found = tx.execute(
            select(*columns).where(
                messages.c.campaign_id == campaign.id, among(tx, messages.c.key, list(keys)), text(of)
            )
        )
    else:
        prefer_indexes(tx)
        found = tx.execute(
            statement(_STORED_KEYS.format(of=of)), {"campaign": campaign.id, "keys": array(keys)}
        )
    return {key: (recipient, bytes(fingerprint)) for key, recipient, fingerprint in found}


def already_stored(tx: Connection, campaign: Campaign, planned: Sequence[NewMessage]) -> dict[int, str]:
    """Which of ``planned`` the campaign has by their key, in any status: position -> the campaign's id."""
    return _positions(campaign, planned, stored_keys(tx, campaign, {message.key for message in planned}))


def possibly_sent(
    tx: Connection, cancelled: Sequence[Campaign], planned: Sequence[NewMessage]
) -> dict[int, str]:
    """Which of ``planned`` these campaigns have by their key and may have sent: position -> the campaign's id."""
    found: dict[int, str] = {}
    for campaign in cancelled:
        keys = stored_keys(tx, campaign, {message.key for message in planned}, _MAYBE_TAKEN)
        found |= _positions(campaign, planned, keys)
    return found


def _positions(campaign: Campaign, planned: Sequence[NewMessage], keys: Collection[str]) -> dict[int, str]:
    return {n: campaign.id for n, message in enumerate(planned) if message.key in keys}


class _EarlierMessage(NamedTuple):
    """A message of an earlier campaign."""

    campaign: str
    recipient: str
    key: str
    fingerprint: bytes


def sent_before(
    tx: Connection, earlier: Sequence[Campaign], planned: Sequence[NewMessage], cipher: Cipher
) -> dict[int, str]:
    """Which of ``planned`` these campaigns sent or will send: position -> the id of the newest such campaign.

    Decision 9 says when two messages of a kind are the same. A message that ended without being sent does not count.
    """
    if not earlier or not planned:
        return {}
    of_person: dict[str, list[_EarlierMessage]] = {}
    recipients = {form for message in planned for form in number_forms(message.recipient)}
    for message_before in _earlier_messages(tx, earlier, recipients):
        of_person.setdefault(canonical_number(message_before.recipient), []).append(message_before)
    kinds = {campaign.id: campaign.kind for campaign in earlier}
    found: dict[int, str] = {}
    for n, message in enumerate(planned):
        same = [
            message_before.campaign
            for message_before in of_person.get(canonical_number(message.recipient), ())
            if _matches(message, message_before, kinds[message_before.campaign], cipher)
        ]
        if same:
            found[n] = max(same)
    return found


def _matches(message: NewMessage, earlier: _EarlierMessage, kind: Kind, cipher: Cipher) -> bool:
    chosen = message.explicit_key and earlier.key not in number_forms(earlier.recipient)
    if chosen and message.key != earlier.key:
        return False
    if kind is Kind.MARKETING:
        return True
    return matches_fingerprint(message, earlier.fingerprint, cipher)


def _earlier_messages(
    tx: Connection, campaigns: Sequence[Campaign], recipients: Collection[str]
) -> list[_EarlierMessage]:
    """The messages that these campaigns sent or will send to these recipients."""
    if tx.dialect.name == "sqlite":
        given = {
            "recipients": json.dumps(list(recipients)),
            "campaigns": json.dumps([c.id for c in campaigns]),
        }
        rows = tx.execute(statement(_EARLIER_ON_SQLITE), given)
    else:
        given = {"recipients": array(recipients), "campaigns": array([c.id for c in campaigns])}
        rows = tx.execute(statement(_EARLIER), given)
    now = read_clock(tx)
    return [
        _EarlierMessage(str(campaign), recipient, key, bytes(fingerprint))
        for campaign, recipient, key, fingerprint, kind, expires_at in rows
        # An expired one-time code does not count, even when the new code has the same digits.
        if kind != Kind.OTP.value or expires_at is None or expires_at > now
    ]
