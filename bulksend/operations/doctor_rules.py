"""What `doctor` makes of receipts, webhooks, folders and the HTTP API: pure rules over what was read of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bulksend.messaging.sentences import say
from bulksend.messaging.units import counted, format_age
from bulksend.operations.blockers import Check, blocker
from bulksend.operations.health import SILENT_S

#: What waits longer than this has stopped: a callback to be read, an event to be sent, a file in the spool.
SLOW_MS = 60_000
#: A POST that was accepted this long ago has a receipt: the vendor sends `sent` at once.
RECEIPT_DUE_MS = 15 * 60_000
#: A clock that is further off than this is told, s.
SKEW_WARN_S = 30
#: The vendor refuses timestamps that are off by more than five minutes.
SKEW_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class ReceiptState:
    """Receipts and their way in. Ages in ms; None where there is none."""

    accepted: int = 0
    """Messages that wait for a receipt."""
    has_token: bool = False
    last_callback_ms: int | None = None
    unanswered_ms: int | None = None
    """Of the newest accepted POST that is RECEIPT_DUE_MS old or more."""
    unread: int = 0
    oldest_unread_ms: int = 0
    unreadable: int = 0
    oldest_spooled_ms: int | None = None
    """Of the oldest file in the spool of this machine."""


@dataclass(frozen=True, slots=True)
class WebhookState:
    """An endpoint. ``waiting_ms`` is the age of the oldest event that it should have and has not."""

    id: str
    url: str
    disabled_why: str | None = None
    events: int = 0
    deliveries: int = 0
    waiting_ms: int = 0
    failing_ms: int = 0


@dataclass(frozen=True, slots=True)
class FolderState:
    """A folder of this machine. ``closed``: the folder, or the one that it would be made in, that cannot be written."""

    name: str
    setting: str
    path: str
    user: str
    closed: str | None = None


@dataclass(frozen=True, slots=True)
class ApiState:
    """The answer of the HTTP API at BULKSEND_URL; ``problem`` instead of one."""

    url: str
    status: int | None = None
    problem: str = ""


def check_receipts(of: ReceiptState) -> Iterator[Check]:
    """Whether receipts come, and are read."""
    messages = counted(of.accepted, "accepted message")
    if not of.has_token and of.accepted:
        yield blocker(
            "receipts",
            f"there is no token for them: {messages} will never be delivered, read or failed",
            "bulksend tokens add --name NAME, then enter its address in the vendor's console",
        )
    elif has_stopped(of):
        yield blocker(
            "receipts",
            say("the vendor sends none: {why}, and messages were accepted since", why=_last_callback(of)),
            "compare the address in the vendor's console with bulksend tokens list; see the log of bulksend serve",
        )
    elif of.has_token:
        yield Check("receipts", True, _last_callback(of))
    if of.oldest_unread_ms > SLOW_MS:
        yield blocker(
            "callbacks",
            f"{of.unread:,} wait to be read, the oldest for {format_age(of.oldest_unread_ms)}",
            "start bulksend relay; if it runs, see its log",
        )
    if of.unreadable:
        yield blocker(
            "callbacks",
            f"{of.unreadable:,} could not be read and were set aside",
            "bulksend receipts list --state unreadable says why; after an update, bulksend receipts reparse",
        )
    if of.oldest_spooled_ms is not None and of.oldest_spooled_ms > SLOW_MS:
        yield blocker(
            "callbacks",
            f"some are in the spool for {format_age(of.oldest_spooled_ms)}, although the ledger answers",
            "start bulksend serve with this BULKSEND_SPOOL_DIR; it stores them",
        )


def has_stopped(of: ReceiptState) -> bool:
    """Whether a message waits for a receipt, and none has come since it was due."""
    if not of.accepted or of.unanswered_ms is None:
        return False
    return of.last_callback_ms is None or of.last_callback_ms > of.unanswered_ms


def _last_callback(of: ReceiptState) -> str:
    if of.last_callback_ms is None:
        return say("no callback has come yet")
    return say("the last callback came {length} ago", length=format_age(of.last_callback_ms))


def check_serve(silent_ms: int | None, *, is_used: bool) -> Iterator[Check]:
    """Whether a `serve` runs; ``is_used``: a key or a token says that it should."""
    if _runs(silent_ms):
        yield Check("serve", True, _running(silent_ms))
    elif is_used:
        yield blocker(
            "serve",
            say(
                "{first}: requests of programs and the vendor's receipts are refused", first=_away(silent_ms)
            ),
            "start bulksend serve",
        )


def check_notifier(silent_ms: int | None, webhooks: Sequence[WebhookState]) -> Iterator[Check]:
    """Whether a notifier runs, and each endpoint of a webhook gets its events."""
    active = [each for each in webhooks if each.disabled_why is None]
    runs = _runs(silent_ms)
    if runs:
        yield Check(
            "notifier",
            True,
            say(
                "{first}, for {messages}", first=_running(silent_ms), messages=counted(len(active), "webhook")
            ),
        )
    elif active:
        yield blocker(
            "notifier",
            say("{first}: {why}", first=_away(silent_ms), why=_backlog(active)),
            "start bulksend notifier",
        )
    for each in webhooks:
        yield from _check_webhook(each, notifier_runs=runs)


def _check_webhook(of: WebhookState, *, notifier_runs: bool) -> Iterator[Check]:
    about = f"webhook {of.id}"
    if of.disabled_why is not None:
        yield blocker(
            about,
            say(
                "{url} is disabled: {reason}; {next}",
                url=of.url,
                reason=of.disabled_why or say("without a reason"),
                next=_backlog([of]),
            ),
            f"bulksend webhooks enable {of.id}, or bulksend webhooks remove {of.id}",
        )
    elif of.failing_ms > SLOW_MS:
        yield blocker(
            about,
            say(
                "{url} has taken nothing for {length}; {next}",
                url=of.url,
                length=format_age(of.failing_ms),
                next=_backlog([of]),
            ),
            f"bulksend webhooks deliveries {of.id} shows its answers",
        )
    elif of.waiting_ms > SLOW_MS and notifier_runs:
        yield blocker(
            about,
            say(
                "{url} is behind: {why}, the oldest since {length}",
                url=of.url,
                why=_backlog([of]),
                length=format_age(of.waiting_ms),
            ),
            "see the log of bulksend notifier; start another one, or raise BULKSEND_WEBHOOKS_CONCURRENCY",
        )


def _backlog(webhooks: Sequence[WebhookState]) -> str:
    events, deliveries = (sum(each.events for each in webhooks), sum(each.deliveries for each in webhooks))
    return say(
        "{events} and {deliveries} wait",
        events=counted(events, "event"),
        deliveries=counted(deliveries, "delivery", "deliveries"),
    )


def check_folders(folders: Sequence[FolderState]) -> Iterator[Check]:
    """Whether the user of this command can write to them."""
    closed = [each for each in folders if each.closed is not None]
    for each in closed:
        where = each.path if each.closed == each.path else f"{each.path} does not exist, and {each.closed}"
        yield blocker(
            f"{each.name} folder",
            f"{where} cannot be written by {each.user}",
            f"install -d -o {each.user} -m 0700 {each.path}, or set {each.setting}",
        )
    if folders and not closed:
        yield Check("folders", True, f"{', '.join(each.name for each in folders)} can be written")


def check_api(of: ApiState) -> Check:
    """Whether the HTTP API at BULKSEND_URL answers, and takes BULKSEND_API_KEY where that is set."""
    about = "BULKSEND_URL"
    if of.problem:
        return blocker(
            about, f"{of.url}: {of.problem}", "start bulksend serve there, or correct BULKSEND_URL"
        )
    if of.status in (401, 403):
        return blocker(
            about,
            f"{of.url} refuses BULKSEND_API_KEY ({of.status})",
            "bulksend keys list shows the keys; bulksend keys add --name NAME --role ROLE makes one",
        )
    if of.status != 200:
        return blocker(
            about,
            say("{url} answers {status}", url=of.url, status=of.status),
            "see the log of bulksend serve, or correct the URL",
        )
    return Check(about, True, say("{address} answers", address=of.url))


def check_clock(skew_s: float) -> Check:
    """Whether the clocks are near enough for signatures. ``skew_s``: the vendor's clock minus this machine's."""
    if abs(skew_s) <= SKEW_WARN_S:
        return Check("clock", True, f"within {abs(skew_s):.0f} s of the vendor's")
    return Check(
        "clock",
        abs(skew_s) < SKEW_LIMIT_S,
        f"this machine's clock is {-skew_s:+.0f} s off the vendor's; it refuses more than {SKEW_LIMIT_S} s",
        "set the clock, e.g. by NTP",
    )


def _runs(silent_ms: int | None) -> bool:
    return silent_ms is not None and silent_ms < SILENT_S * 1000


def _running(silent_ms: int | None) -> str:
    return say("running, last seen {length} ago", length=format_age(silent_ms or 0))


def _away(silent_ms: int | None) -> str:
    if silent_ms is None:
        return say("none is running")
    return say("none has run for {length}", length=format_age(silent_ms))
