"""What a callback says besides receipts, applied in the transaction of its reader: inbound messages and notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from bulksend.gateway.receipts import (
    AccountNotice,
    InboundMessage,
    Notice,
    OtherNotice,
    PreferenceNotice,
    SenderNotice,
    TemplateNotice,
)
from bulksend.ledger import inbound, notices, suppressions, templates
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.inbound import NewInbound
from bulksend.ledger.notices import SenderChange
from bulksend.ledger.templates import TemplateChange
from bulksend.messaging.stop_words import Keyword, StopWords
from bulksend.settings import Settings

log = structlog.get_logger(__name__)

#: The actor of what follows from a callback by rule.
ACTOR = "receipts"


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """What callbacks are applied with. ``account`` is the key of the account's pauses."""

    cipher: Cipher
    account: str = "default"
    words: StopWords = field(default_factory=StopWords)

    @classmethod
    def from_settings(cls, of: Settings, cipher: Cipher) -> CallbackRules:
        """The rules of these settings."""
        return cls(cipher, of.account(), StopWords(of.stop_words.split(","), of.start_words.split(",")))

    def apply(self, tx: Connection, messages: Sequence[InboundMessage], told: Sequence[Notice]) -> None:
        """Keep inbound messages and notices, and do what they ask for. Doing so twice changes nothing."""
        for message in messages:
            self._take_inbound(tx, message)
        for notice in told:
            self._take_notice(tx, notice)

    def _take_inbound(self, tx: Connection, message: InboundMessage) -> None:
        keyword = self.words.find(message.text, message.payload)
        new = inbound.store(
            tx,
            NewInbound(
                message.id,
                message.sender,
                message.recipient,
                message.type,
                message.text,
                message.payload,
                message.context_ids,
                message.at,
                keyword,
            ),
            self.cipher,
        )
        if not (new and keyword and message.recipient):
            return
        if keyword is Keyword.STOP:
            _stop(
                tx, message.recipient, suppressions.STOP_WORD, "they wrote or tapped a stop word", message.at
            )
        else:
            _resume(
                tx, message.recipient, suppressions.STOP_WORD, "they wrote or tapped a start word", message.at
            )

    def _take_notice(self, tx: Connection, notice: Notice) -> None:
        match notice:
            case TemplateNotice():
                change = TemplateChange(
                    notice.name,
                    notice.language,
                    notice.status,
                    notice.category,
                    notice.quality,
                    notice.reason,
                    notice.at,
                )
                templates.change_template(tx, change, actor=ACTOR)
            case SenderNotice(phone=phone) if phone:
                self._change_sender(tx, notice)
            case AccountNotice():
                self._tell_account(tx, notice)
            case PreferenceNotice(recipient=person, stops=True, at=at):
                _stop(tx, person, suppressions.SWITCH, "they stopped marketing messages in WhatsApp", at)
            case PreferenceNotice(recipient=person, at=at):
                _resume(tx, person, suppressions.SWITCH, "they resumed marketing messages in WhatsApp", at)
            case SenderNotice() | OtherNotice():
                pass

    @staticmethod
    def _change_sender(tx: Connection, notice: SenderNotice) -> None:
        change = SenderChange(
            notice.phone, notice.status, notice.quality, notice.tier, notice.event, notice.at
        )
        notices.change_sender(tx, change, actor=ACTOR)

    def _tell_account(self, tx: Connection, notice: AccountNotice) -> None:
        log.warning("account_notice", vendor_event=notice.event, detail=notice.detail)
        if notice.tier:
            # The limit is one of the whole account.
            change = SenderChange(notice.phone, tier=notice.tier, event=notice.event, at=notice.at)
            notices.change_sender(tx, change, actor=ACTOR)
        notices.tell_account(tx, self.account, notice.event, notice.detail, actor=ACTOR)


def _stop(tx: Connection, person: str, source: str, why: str, at: int | None) -> None:
    suppressions.add(
        tx, {person: at}, scope="marketing", reason=why, source=source, actor=ACTOR, only_changes=True
    )


def _resume(tx: Connection, person: str, source: str, why: str, at: int | None) -> None:
    suppressions.lift_own(tx, person, source=source, actor=ACTOR, why=why, at=at)
