"""Webhooks: endpoints, their secrets, and the deliveries to them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from bulksend.errors import InvalidInput, InvalidValue, NotFound
from bulksend.ledger import event_numbers, webhook_deliveries, webhook_endpoints
from bulksend.ledger import events as event_log
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import is_id, new_id
from bulksend.ledger.webhook_deliveries import DELIVERED, STATUSES, Tried
from bulksend.ledger.webhook_endpoints import ACTIVE, DISABLED, REMOVED, Endpoint, Opened, Secret
from bulksend.messaging.units import parse_instant_ms
from bulksend.messaging.webhook_bodies import parse_filter, trial_body
from bulksend.messaging.webhook_retries import WAITS_MS, WANTS_NO_MORE, is_gone
from bulksend.messaging.webhook_signature import SECRET_BYTES, secret_text
from bulksend.messaging.webhook_targets import Network, read_target
from bulksend.operations.json_shape import Page, to_json

#: After a rotation the old secret signs as well for this long.
ROTATION_MS = 86_400_000
#: More endpoints than this are refused: each gets its own copy of every event.
MOST = 100
#: The state of an endpoint is that of its newest RECENT deliveries; those that wait are counted up to MOST_WAITING.
RECENT, MOST_WAITING = 100, 10_000
#: A delivery is dead after this many tries.
MOST_TRIES = len(WAITS_MS)
#: The number of tries whose results are kept: the newest ones.
TRIES_KEPT = webhook_deliveries.TRIES_KEPT
DISABLED_EVENT = "webhook.disabled"
_RULE = "notifier"


def add(
    database: Database,
    cipher: Cipher,
    url: str,
    *,
    events: Sequence[str] = (),
    numbers: bool = False,
    allowed: Sequence[Network],
    actor: str,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> dict[str, Any]:
    """Add an endpoint; it gets the events from now on. ``allowed``: private networks that webhooks may go to.

    Returns it with its ``secret``, which is shown once; the ledger keeps it encrypted. Raises InvalidValue for a URL or
    an event that is not possible, InvalidInput where nothing can be encrypted.
    """
    _check_encrypts(cipher)
    target = read_target(url, allowed=allowed)
    wanted = parse_filter(events)
    id, secret = new_id(), secret_text(random(SECRET_BYTES))
    sealed = webhook_endpoints.seal(cipher, id, Opened(url, (Secret(secret),)))
    with database.write() as tx:
        if len(webhook_endpoints.page(tx, limit=MOST)) >= MOST:
            raise InvalidInput(f"there are {MOST} endpoints; remove one first: `bulksend webhooks list`")
        webhook_endpoints.add(
            tx,
            id=id,
            url=target.shown,
            sealed=sealed,
            events=wanted,
            numbers=numbers,
            cursor=event_numbers.newest(tx),
            actor=actor,
        )
        return show(tx, id) | {"secret": secret}


def list_endpoints(tx: Connection, *, after: str | None = None, limit: int = 1000) -> Page:
    """Endpoints, the oldest first. ``after`` is the ``next`` of the page before. Raises InvalidValue."""
    found = webhook_endpoints.page(tx, after=_checked_id(after, "after"), limit=limit)
    newest = event_numbers.newest(tx)
    return Page([as_json(each, newest) for each in found], found[-1].id if len(found) == limit else None)


def show(tx: Connection, id: str) -> dict[str, Any]:
    """One endpoint. Raises NotFound."""
    return as_json(_get(tx, id), event_numbers.newest(tx))


def as_json(endpoint: Endpoint, newest: int) -> dict[str, Any]:
    """An endpoint as lists show it: without the query of its URL, and without its secret.

    ``behind`` is how many of the ledger's events, up to the ``newest``, are not yet made into deliveries.
    """
    hidden = {"sealed", "events", "cursor"}
    shown = {name: value for name, value in to_json(endpoint).items() if name not in hidden}
    return shown | {
        "events": list(endpoint.filter),
        "behind": event_numbers.count_between(endpoint.cursor, newest),
    }


def change(
    database: Database,
    cipher: Cipher,
    id: str,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    numbers: bool | None = None,
    allowed: Sequence[Network],
    actor: str,
) -> dict[str, Any]:
    """Change what is given; the secret stays. Returns the endpoint. Raises NotFound, InvalidValue, InvalidInput."""
    values: dict[str, Any] = {}
    if events is not None:
        values["events"] = ",".join(parse_filter(events))
    if numbers is not None:
        values["numbers"] = numbers
    with database.write() as tx:
        endpoint = _get(tx, id, for_update=True)
        if url is not None:
            _check_encrypts(cipher)
            values["url"] = read_target(url, allowed=allowed).shown
            opened = webhook_endpoints.unseal(cipher, id, endpoint.sealed)
            values["sealed"] = webhook_endpoints.seal(cipher, id, replace(opened, url=url))
        if values:
            webhook_endpoints.change(tx, id, actor=actor, **values)
        return show(tx, id)


def rotate(
    database: Database,
    cipher: Cipher,
    id: str,
    *,
    actor: str,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> dict[str, Any]:
    """Give an endpoint a new secret; the one before signs too for ROTATION_MS.

    Returns the endpoint with its new ``secret``, which is shown once. Raises NotFound, InvalidInput.
    """
    _check_encrypts(cipher)
    with database.write() as tx:
        endpoint = _get(tx, id, for_update=True)
        now = read_clock(tx)
        until = now + ROTATION_MS
        opened = webhook_endpoints.unseal(cipher, id, endpoint.sealed)
        old = [
            Secret(secret.text, until if secret.until is None else secret.until)
            for secret in opened.secrets
            if secret.until is None or secret.until > now
        ]
        made = secret_text(random(SECRET_BYTES))
        sealed = webhook_endpoints.seal(cipher, id, Opened(opened.url, (Secret(made), *old)))
        webhook_endpoints.change(tx, id, actor=actor, sealed=sealed, old_secret_until=until)
        return show(tx, id) | {"secret": made}


def set_active(database: Database, id: str, active: bool, *, actor: str, why: str) -> bool:
    """Serve an endpoint, or stop. Returns whether that changed it. Raises NotFound.

    A disabled one keeps its place among the events and its deliveries; both go on when it is enabled.
    """
    with database.write() as tx:
        _get(tx, id)
        return webhook_endpoints.set_status(tx, id, ACTIVE if active else DISABLED, actor=actor, why=why)


def remove(database: Database, id: str, *, actor: str, why: str) -> None:
    """Remove an endpoint; maintenance deletes its deliveries. Raises NotFound."""
    with database.write() as tx:
        _get(tx, id)
        webhook_endpoints.set_status(tx, id, REMOVED, actor=actor, why=why)


def test(database: Database, id: str, *, actor: str) -> dict[str, Any]:
    """Have a notifier send ``webhook.test``; returns the delivery. Raises NotFound, InvalidInput for a disabled one."""
    with database.write() as tx:
        endpoint = _get(tx, id)
        if endpoint.status != ACTIVE:
            raise InvalidInput(f"the endpoint {id} is disabled; `bulksend webhooks enable {id}` first")
        (made,) = webhook_deliveries.store(tx, id, [trial_body(read_clock(tx))])
        webhook_endpoints.record(tx, actor, "test", id, "")
        return delivery(tx, made.id)


def state(tx: Connection, id: str) -> dict[str, Any]:
    """How an endpoint does, by its newest RECENT deliveries: few rows by their index, whatever has been sent.

    ``delivered`` and ``dead`` of those that have ended, ``retried`` of those that failed and are tried again,
    ``waiting`` counted up to MOST_WAITING, and as ``last`` the delivery that was tried last.
    """
    newest = webhook_deliveries.page(tx, id, status=None, before=None, limit=RECENT)
    tried = [row for row in newest if row["tried_at"] is not None]
    last = max(tried, key=lambda row: (row["tried_at"], row["id"]), default=None)
    return {
        "delivered": sum(row["status"] == DELIVERED for row in newest),
        "dead": sum(row["status"] == webhook_deliveries.DEAD for row in newest),
        "retried": sum(row["status"] == webhook_deliveries.PENDING for row in tried),
        "waiting": webhook_deliveries.waiting(tx, id, MOST_WAITING),
        "last": None if last is None else _delivery_json(last),
    }


def delivery(tx: Connection, id: str) -> dict[str, Any]:
    """One delivery. Raises NotFound."""
    row = webhook_deliveries.get(tx, id) if is_id(id) else None
    if row is None:
        raise NotFound("no delivery has that id; `bulksend webhooks deliveries` shows them")
    return _delivery_json(row)


def deliveries(
    tx: Connection, id: str, *, status: str | None = None, after: str | None = None, limit: int = 100
) -> Page:
    """Deliveries to an endpoint, the newest first. Raises NotFound, InvalidValue."""
    _get(tx, id)
    if status is not None and status not in STATUSES:
        raise InvalidValue("status", status[:40], f"is none; write one of {', '.join(STATUSES)}")
    rows = webhook_deliveries.page(tx, id, status=status, before=_checked_id(after, "after"), limit=limit)
    next = str(rows[-1]["id"]) if len(rows) == limit else None
    return Page([_delivery_json(row) for row in rows], next)


def _delivery_json(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name != "earlier_tries"}
    shown = to_json(kept) | {"tries": [to_json(each) for each in webhook_deliveries.tries(row)]}
    if row["status"] != webhook_deliveries.PENDING:
        shown["next_at"] = None
    return shown


def replay(
    database: Database,
    id: str,
    *,
    ids: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
    timezone: str | None = None,
    actor: str,
) -> int:
    """Send again, with the same webhook-id and all tries; returns how many.

    ``id`` is an endpoint, and what is dead goes out again, within ``since`` and ``until`` (ISO 8601, of when they were
    made) where given; or the deliveries ``ids`` of it, dead or delivered, while their bodies are kept. ``id`` may be a
    single delivery too. Raises NotFound, InvalidValue.
    """
    now = int(time.time() * 1000)
    start, end = (
        None if text is None else parse_instant_ms(text, timezone=timezone or "UTC", now_ms=now, field=field)
        for field, text in (("since", since), ("until", until))
    )
    with database.write() as tx:
        single = None if not is_id(id) else webhook_deliveries.get(tx, id)
        endpoint = _get(tx, id if single is None else str(single["endpoint_id"]))
        if single is not None:
            count = webhook_deliveries.replay(tx, endpoint.id, [id])
        elif ids:
            count = webhook_deliveries.replay(tx, endpoint.id, [i for i in ids if is_id(i)])
        else:
            count = webhook_deliveries.replay_dead(tx, endpoint.id, since=start, until=end)
        webhook_endpoints.record(tx, actor, "replay", endpoint.id, f"{count} deliveries")
    return count


def record_results(tx: Connection, results: Sequence[Tried]) -> dict[str, str]:
    """Write the results of tries, and disable endpoints that are gone; returns those with the reason."""
    webhook_deliveries.settle(tx, results)
    succeeded = {each.delivery.endpoint_id for each in results if each.status == DELIVERED}
    failed = {each.delivery.endpoint_id for each in results} - succeeded
    webhook_endpoints.note_results(tx, succeeded, failed)
    disabled: dict[str, str] = {}
    for id in sorted({each.delivery.endpoint_id for each in results if each.http_status == WANTS_NO_MORE}):
        disabled[id] = "it answered 410 Gone"
    for endpoint in webhook_endpoints.active(tx) if failed else []:
        if endpoint.id in failed and is_gone(endpoint.failing_since, read_clock(tx)):
            disabled.setdefault(endpoint.id, "every try has failed for 5 days")
    return {id: why for id, why in disabled.items() if _disable(tx, id, why)}


def _disable(tx: Connection, id: str, why: str) -> bool:
    changed = webhook_endpoints.set_status(tx, id, DISABLED, actor=_RULE, why=why)
    if changed:
        event_log.add(tx, DISABLED_EVENT, {"endpoint_id": id, "why": why})
    return changed


def _get(tx: Connection, id: str, *, for_update: bool = False) -> Endpoint:
    found = webhook_endpoints.get(tx, id, for_update=for_update) if is_id(id) else None
    if found is None:
        raise NotFound("no endpoint has that id; `bulksend webhooks list` shows them")
    return found


def _checked_id(text: str | None, field: str) -> str | None:
    if text is not None and not is_id(text):
        raise InvalidValue(field, text[:40], "is not what `next` of a page gave")
    return text


def _check_encrypts(cipher: Cipher) -> None:
    if not cipher.can_encrypt:
        raise InvalidInput(
            "an endpoint's secret is stored encrypted, and there is no key: set BULKSEND_ENCRYPTION_KEY, which "
            "`bulksend keys new-encryption-key` makes, here and for the notifier"
        )
