"""Senders (business numbers) and the vendor account: list, register, change limits, pause, resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bulksend.errors import InvalidValue
from bulksend.ledger import counters, pauses, senders
from bulksend.ledger.database import Database
from bulksend.ledger.senders import Sender
from bulksend.messaging.account_quota import AccountQuota
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Status
from bulksend.messaging.units import format_instant
from bulksend.operations.json_shape import to_json
from bulksend.operations.limiter import OpenLimiter, set_flag
from bulksend.operations.paces import changes_of, pace_now
from bulksend.settings import Settings


@dataclass(frozen=True, slots=True)
class PauseState:
    """Whether a sender or the account is paused now, and whether the act changed that."""

    scope: Scope
    id: str
    paused: bool
    changed: bool

    @property
    def status(self) -> str:
        """``paused`` or ``running``."""
        return "paused" if self.paused else "running"

    def as_json(self) -> dict[str, object]:
        """The interface's answer to pause and resume."""
        return {self.scope.value: self.id, "status": self.status, "changed": self.changed}


def list_senders(database: Database) -> list[Sender]:
    """Every sender on record, by number."""
    with database.read() as tx:
        return senders.all_senders(tx)


def show_sender(of: Settings, database: Database, phone: str) -> dict[str, Any]:
    """One sender: its limits, pause and quality, and its pace after the vendor throttled it.

    ``quota`` is what an operator set at it; ``account_quota`` is in force, for all senders together.
    ``pace`` is the part of its rate that it may use now, None where Redis does not say; ``slowed`` are the newest
    changes of it. Raises SenderNotFound.
    """
    with database.read() as tx:
        shown = to_json(senders.get(tx, phone))
        shown["slowed"] = changes_of(tx, [phone], of.account())
        quota = senders.quota_in_force(tx)
        shown |= {"account_quota": quota.limit, "account_quota_source": quota.source}
    return {**shown, "pace": pace_now(of, database, phone)}


def quota_in_force(database: Database) -> AccountQuota:
    """The account's quota, which all its senders share."""
    with database.read() as tx:
        return senders.quota_in_force(tx)


def show_account(database: Database, of: Settings, *, rehearsal_key: str) -> dict[str, Any]:
    """The account: whether it is paused, the limits in force, how many messages are unknown, and the vendor's address.

    The vendor is simulated where the access key is the ``rehearsal_key``.
    """
    account = of.account()
    with database.read() as tx:
        pause = pauses.account_pause(tx, account)
        by_kind = counters.by_kind(tx)
        quota = senders.quota_in_force(tx)
    return {
        "account": account,
        "status": "running" if pause is None else "paused",
        "paused_at": None if pause is None else format_instant(pause[0]),
        "pause_why": None if pause is None else pause[1],
        "limits": {
            "rate": of.account_rate,
            "default_rate": of.default_rate,
            "quota": quota.limit,
            "quota_source": quota.source,
            "otp_reserve": of.otp_reserve,
            "pair_interval_seconds": of.pair_interval_seconds,
            "pair_burst": of.pair_burst,
        },
        "unknown": sum(count for (_, status), count in by_kind.items() if status == Status.UNKNOWN),
        "vendor": {
            "address": of.uspeedo_base_url,
            "simulated": of.uspeedo_accesskey_id == rehearsal_key,
        },
    }


def change_sender(
    database: Database,
    phone: str,
    *,
    actor: str,
    register_at: float | None = None,
    name: str | None = None,
    rate: float | None = None,
    quota: int | None = None,
    no_quota: bool = False,
) -> Sender:
    """Set what is given, on record; a quota is the account's.

    ``register_at``: registers a sender that is not on record, with this rate.

    Raises SenderNotFound when the sender is not on record and is not to be registered.
    """
    with database.write() as tx:
        if register_at is not None:
            senders.register(tx, phone, rate=register_at)
        return senders.change(tx, phone, actor=actor, name=name, rate=rate, quota=quota, no_quota=no_quota)


def set_paused(
    database: Database, limiter: OpenLimiter, scope: Scope, id: str, paused: bool, *, actor: str, why: str
) -> PauseState:
    """Hold all messages of a sender or of the account, or release them.

    Raises SenderNotFound when the sender is not on record.
    """
    act = {
        (Scope.SENDER, True): pauses.pause_sender,
        (Scope.SENDER, False): pauses.resume_sender,
        (Scope.ACCOUNT, True): pauses.pause_account,
        (Scope.ACCOUNT, False): pauses.resume_account,
    }[scope, paused]
    with database.write() as tx:
        if scope is Scope.SENDER:
            senders.get(tx, id)
        changed = act(tx, id, actor=actor, why=why)
    set_flag(limiter, scope, id, paused=paused)
    return PauseState(scope, id, paused, changed)


def parse_quota(text: str, *, field: str) -> int | None:
    """``2000``, or ``none`` for no quota. Raises InvalidValue."""
    if text == "none":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InvalidValue(
            field, text[:40], "must be a whole number of recipients per 24 h, like 2000, or none"
        )
    return int(text)
