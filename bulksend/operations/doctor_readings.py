"""What `doctor` reads of receipts, webhooks, folders and the HTTP API, for the rules in ``doctor_rules``."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
from sqlalchemy import Connection

from bulksend.ledger import (
    api_keys,
    counters,
    event_numbers,
    events,
    installation,
    progress,
    raw_receipts,
    receipt_tokens,
    webhook_deliveries,
    webhook_endpoints,
)
from bulksend.ledger.clock import read_clock
from bulksend.ledger.receipt_spool import oldest_file_at
from bulksend.ledger.webhook_endpoints import DISABLED, Endpoint
from bulksend.messaging.states import Status
from bulksend.operations.blockers import Check
from bulksend.operations.doctor_rules import (
    RECEIPT_DUE_MS,
    ApiState,
    FolderState,
    ReceiptState,
    WebhookState,
    check_api,
    check_folders,
    check_notifier,
    check_receipts,
    check_serve,
)
from bulksend.operations.health import NOTIFIER, SERVE
from bulksend.settings import Settings
from bulksend.settings.environment import environment_name

#: More than this is not counted.
_MOST = 100_000
_API_S = 5.0


def check_ways_in_and_out(tx: Connection, of: Settings) -> Iterator[Check]:
    """Receipts, `serve`, notifier and webhooks, as the ledger and the spool of this machine show them."""
    now = read_clock(tx)
    receipts = _receipts(tx, of, now)
    yield from check_receipts(receipts)
    has_key = any(key.is_live(now) for key in api_keys.all_keys(tx))
    yield from check_serve(_silent_ms(tx, SERVE, now), is_used=has_key or receipts.has_token)
    webhooks = [_webhook(tx, endpoint, now) for endpoint in webhook_endpoints.page(tx)]
    yield from check_notifier(_silent_ms(tx, NOTIFIER, now), webhooks)


def _silent_ms(tx: Connection, process: str, now: int) -> int | None:
    seen = installation.last_alive(tx, process)
    return None if seen is None else max(0, now - seen)


def read_receipts(tx: Connection, messages: Mapping[tuple[str, str], int], now: int) -> ReceiptState:
    """Whether receipts come; nothing of those that wait to be read. ``messages``: counts by kind and status."""

    def age(at: int | None) -> int | None:
        return None if at is None else max(0, now - at)

    accepted = sum(n for (_, status), n in messages.items() if status == Status.ACCEPTED)
    return ReceiptState(
        accepted=accepted,
        has_token=any(token.revoked_at is None for token in receipt_tokens.all_tokens(tx)),
        last_callback_ms=age(raw_receipts.newest_at(tx)),
        unanswered_ms=age(progress.last_accepted_at(tx, now - RECEIPT_DUE_MS)) if accepted else None,
    )


def _receipts(tx: Connection, of: Settings, now: int) -> ReceiptState:
    unread = raw_receipts.waiting(tx)
    spooled_at = oldest_file_at(Path(of.spool_dir))
    return replace(
        read_receipts(tx, counters.by_kind(tx), now),
        unread=unread.bodies,
        oldest_unread_ms=unread.oldest_ms,
        unreadable=raw_receipts.count_aside(tx, _MOST),
        # A file's time is of this machine's clock.
        oldest_spooled_ms=None if spooled_at is None else max(0, int((time.time() - spooled_at) * 1000)),
    )


def _webhook(tx: Connection, endpoint: Endpoint, now: int) -> WebhookState:
    is_disabled = endpoint.status == DISABLED
    return WebhookState(
        id=endpoint.id,
        url=endpoint.url,
        disabled_why=(endpoint.status_why or "") if is_disabled else None,
        events=event_numbers.count_between(endpoint.cursor, event_numbers.newest(tx)),
        deliveries=webhook_deliveries.waiting(tx, endpoint.id, _MOST),
        waiting_ms=max(_event_waits_ms(tx, endpoint, now), _delivery_waits_ms(tx, endpoint)),
        failing_ms=0 if endpoint.failing_since is None else max(0, now - endpoint.failing_since),
    )


def _event_waits_ms(tx: Connection, endpoint: Endpoint, now: int) -> int:
    """The age of the first event that is not yet made into a delivery."""
    first = events.after(tx, endpoint.cursor, 1)
    return max(0, now - first[0].at) if first else 0


def _delivery_waits_ms(tx: Connection, endpoint: Endpoint) -> int:
    """For how long the first delivery has been due."""
    return max(0, -webhook_deliveries.next_due_in_ms(tx, [endpoint.id]).get(endpoint.id, 0))


def check_own_folders(of: Settings) -> Iterator[Check]:
    """The folders that this user's processes write to on this machine."""
    names = ("spool", "upload", "export")
    folders = [(name, f"{name}_dir") for name in names]
    user = _user()
    yield from check_folders(
        [
            FolderState(name, environment_name(field), path, user, _closed(Path(path)))
            for name, field in folders
            for path in (str(getattr(of, field)),)
        ]
    )


def _closed(folder: Path) -> str | None:
    """The folder, or the nearest one above it that exists, if this user cannot make files in it."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return None
    return str(nearest)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())


def check_own_api(of: Settings) -> Iterator[Check]:
    """The HTTP API at BULKSEND_URL, where it is set."""
    if of.url is None:
        return
    url, path, headers = of.url.rstrip("/"), "/healthz", {}
    if of.api_key is not None:
        path, headers = "/v1/me", {"Authorization": f"Bearer {of.api_key.get_secret_value()}"}
    try:
        status = httpx.get(url + path, headers=headers, timeout=_API_S).status_code
    except httpx.TimeoutException:
        yield check_api(ApiState(url, problem=f"no answer within {_API_S:g} s"))
    except (httpx.HTTPError, ValueError) as error:
        yield check_api(ApiState(url, problem=f"it cannot be reached ({type(error).__name__})"))
    else:
        yield check_api(ApiState(url, status))
