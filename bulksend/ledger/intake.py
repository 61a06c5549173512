"""Intake: one transaction stores a chunk of rows as messages and refused rows, each key once in a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, update

from bulksend.errors import BulksendError
from bulksend.ledger import consents, exclusions
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.campaign_creation import Rivals
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.message_rows import (
    QUEUED,
    EncryptionPolicy,
    NewMessage,
    Prepared,
    encrypt_otp_only,
    identity,
    insert_rows,
    matches_fingerprint,
    message_rows,
    prepare,
)
from bulksend.ledger.schema import campaigns, refusals
from bulksend.ledger.sent_before import StoredKeys, possibly_sent, sent_before, stored_keys
from bulksend.messaging.exclusions import Exclusions
from bulksend.messaging.masking import mask_phone
from bulksend.messaging.number_forms import canonical_number, is_same_person
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import CampaignStatus


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """How the rows of a chunk were counted. ``ready`` are the ids that are due now and may be published at once."""

    ready: list[str]
    messages: int
    duplicates: int
    suppressed: int
    refused: list[RefusedRow]
    already: int = 0
    """Rows of a continuation that were stored or sent before; no other count includes them."""
    counted: int = 0
    """The increase of ``rows_read``."""


class IntakeConflict(BulksendError):
    """Another process changed the campaign: it stored rows or cancelled. Nothing was written; read it again."""


def store_chunk(
    tx: Connection,
    campaign: Campaign,
    *,
    after_row: int,
    planned: Sequence[NewMessage],
    refused: Sequence[RefusedRow],
    cipher: Cipher,
    encrypts: EncryptionPolicy = encrypt_otp_only,
    prepared: Sequence[Prepared] | None = None,
    turn: bytes | None = None,
    superseded: int = 0,
    rivals: Rivals | None = None,
) -> StoredChunk:
    """Store the rows of a file that follow row ``after_row`` as messages and refused rows.

    A row for a person who has the message of one of ``rivals`` is refused. Rows = planned + refused + ``superseded``:
    the audit relies on it. Superseded rows count as duplicates.
    ``prepared`` is the result of ``prepare`` for ``planned``, where it was called before the transaction. Its rows, if
    it has any, hold under ``turn``.
    Raises IntakeConflict unless the campaign has stored exactly ``after_row`` rows, so that no row counts twice.
    """
    others = [] if rivals is None else rivals.of(tx, campaign.id)
    _lock_campaign(tx, campaign, after_row)
    if prepared is None:
        prepared = prepare(campaign, planned, cipher, encrypts)
    taken = sent_before(tx, others, planned, cipher)
    stored = _store(tx, campaign, [row for n, row in enumerate(prepared) if n not in taken], cipher, turn)
    chunk = replace(
        stored,
        refused=[*refused, *_taken_meanwhile(planned, taken), *stored.refused],
        duplicates=stored.duplicates + superseded,
        counted=len(planned) + len(refused) + superseded,
    )
    _record(tx, campaign, chunk)
    return chunk


def _taken_meanwhile(planned: Sequence[NewMessage], taken: Mapping[int, str]) -> list[RefusedRow]:
    return [
        RefusedRow(
            planned[n].row,
            "to",
            mask_phone(planned[n].recipient),
            f"has this message of campaign {id} already, which was taken in at the same time; nothing is to do",
        )
        for n, id in taken.items()
    ]


def store_continuation_chunk(
    tx: Connection,
    campaign: Campaign,
    *,
    after: int,
    planned: Sequence[NewMessage],
    refused: Sequence[RefusedRow],
    earlier: Sequence[Campaign],
    cancelled: Sequence[Campaign] = (),
    cipher: Cipher,
    encrypts: EncryptionPolicy = encrypt_otp_only,
) -> StoredChunk:
    """Store the rows of a continuation that neither this campaign nor one of ``earlier`` has; refused rows as well.

    A row that one of ``cancelled`` may have sent is left out too. Rows left out change no count, so a continuation
    may start again at its first row. Raises IntakeConflict when the campaign's ``rows_read`` is not ``after``.
    """
    _lock_campaign(tx, campaign, after)
    elsewhere = {**sent_before(tx, earlier, planned, cipher), **possibly_sent(tx, cancelled, planned)}
    left = [message for n, message in enumerate(planned) if n not in elsewhere]
    stored = _store(tx, campaign, prepare(campaign, left, cipher, encrypts), cipher)
    all_refused = [*refused, *stored.refused]
    chunk = replace(
        stored,
        refused=all_refused,
        duplicates=0,
        already=len(elsewhere) + stored.duplicates,
        counted=stored.messages + len(all_refused),
    )
    _record(tx, campaign, chunk)
    return chunk


def _lock_campaign(tx: Connection, campaign: Campaign, after: int) -> None:
    """Lock the campaign's row for this transaction. Raises IntakeConflict when it changed or was cancelled."""
    locked = tx.execute(
        update(campaigns)
        .where(
            campaigns.c.id == campaign.id,
            campaigns.c.rows_read == after,
            campaigns.c.source_hash == campaign.source_hash,
            campaigns.c.intake_done_at.is_(None),
            campaigns.c.status != CampaignStatus.CANCELLED.value,
        )
        .values(rows_read=campaigns.c.rows_read)
    ).rowcount
    if locked != 1:
        raise IntakeConflict(campaign.id)


def _record(tx: Connection, campaign: Campaign, chunk: StoredChunk) -> None:
    """Insert the refused rows and add the counts to the campaign."""
    if chunk.refused:
        tx.execute(
            insert(refusals),
            [
                {
                    "campaign_id": campaign.id,
                    "row": r.row,
                    "field": storable(r.field, 100),
                    "value": storable(r.value, 100),
                    "why": storable(r.why, 500),
                }
                for r in chunk.refused
            ],
        )
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == campaign.id)
        .values(
            rows_read=campaigns.c.rows_read + chunk.counted,
            messages=campaigns.c.messages + chunk.messages,
            duplicates=campaigns.c.duplicates + chunk.duplicates,
            suppressed=campaigns.c.suppressed + chunk.suppressed,
            refused=campaigns.c.refused + len(chunk.refused),
        )
    )


def _store(
    tx: Connection,
    campaign: Campaign,
    prepared: Sequence[Prepared],
    cipher: Cipher,
    ahead: bytes | None = None,
) -> StoredChunk:
    """Insert the messages whose keys are new. The lock on the campaign keeps other transactions from adding keys."""
    first: dict[str, Prepared] = {}
    again = [of.message for of in prepared if first.setdefault(of.message.key, of) is not of]
    stored = stored_keys(tx, campaign, first)
    new = [of for key, of in first.items() if key not in stored]
    _keep_consents(tx, campaign, prepared)
    without_consent = _without_consent(tx, campaign, new)
    agreed = [of for of in new if of.message.row not in without_consent]
    turn = exclusions.take_turn(tx, campaign)
    rows = [of.row for of in agreed if of.row is not None]
    if rows and turn == ahead:
        insert_rows(tx, rows, [of.line for of in agreed])
    else:
        # With another turn, another campaign has stored under a cap since, and its messages count.
        now = read_clock(tx)
        planned = [of.message for of in agreed]
        left_out = exclusions.left_out(tx, campaign.kind, campaign.exclusions, planned, now)
        rows = message_rows(campaign, agreed, cipher, now, left_out)
        insert_rows(tx, rows)
    refused = [
        _conflict(message, f"row {first[message.key].message.row}")
        for message in again
        if _is_conflict(message, first[message.key].message)
    ]
    refused += _key_conflicts([first[key].message for key in stored], stored, cipher)
    duplicates = len(prepared) - len(new) - len(refused)
    queued = [row for row in rows if row.status == QUEUED]
    ready = [row.id for row in queued if row.due_at <= row.queued_at]
    refused += without_consent.values()
    return StoredChunk(ready, len(rows), duplicates, len(rows) - len(queued), refused)


def _keep_consents(tx: Connection, campaign: Campaign, prepared: Sequence[Prepared]) -> None:
    """Put the consents of all rows on record, also of those that are stored already."""
    given = [
        (message.recipient, consent) for message, *_ in prepared if (consent := message.consent) is not None
    ]
    if given:
        consents.record(tx, campaign.id, given, now=read_clock(tx))


def _without_consent(tx: Connection, campaign: Campaign, new: Sequence[Prepared]) -> dict[int, RefusedRow]:
    """The rows of people who never agreed, by their number, where the campaign needs consent."""
    if not new or not Exclusions.from_json(campaign.exclusions).require_consent:
        return {}
    agreed = consents.having(tx, {of.message.recipient for of in new})
    return {
        of.message.row: no_consent(of.message)
        for of in new
        if canonical_number(of.message.recipient) not in agreed
    }


def no_consent(message: NewMessage) -> RefusedRow:
    """The refusal of a row for a person whose consent is nowhere on record."""
    return RefusedRow(
        message.row,
        "consent_at",
        "",
        "is empty, and no earlier row gave this person's consent; fill consent_source and consent_at, or send without "
        "requiring consent",
    )


def _key_conflicts(planned: Sequence[NewMessage], stored: StoredKeys, cipher: Cipher) -> list[RefusedRow]:
    """The messages whose key belongs to a stored message with another recipient or content."""
    return [
        _conflict(message, "an earlier message")
        for message in planned
        for recipient, fingerprint in [stored[message.key]]
        if not is_same_person(recipient, message.recipient)
        or (message.explicit_key and not matches_fingerprint(message, fingerprint, cipher))
    ]


def _is_conflict(message: NewMessage, first: NewMessage) -> bool:
    """Whether one key has two meanings: another person, or another content where the producer chose the key."""
    return not is_same_person(message.recipient, first.recipient) or (
        message.explicit_key and identity(message) != identity(first._replace(recipient=message.recipient))
    )


def _conflict(message: NewMessage, holder: str) -> RefusedRow:
    return RefusedRow(
        message.row,
        "key",
        message.key[:100],
        f"this key belongs to {holder} with another recipient or content; nothing was overwritten; use another key",
    )
