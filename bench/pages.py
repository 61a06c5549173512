"""The server's time of every page of the console, on a ledger of ten million messages.

    python -m bench.pages [--backend postgresql|sqlite] [--messages 10000000] [--database URL --key KEY] [--times 20]
        [--tabs 200] [--analyze] [--only TEXT]

One ``serve`` on the ledger of bench/console_ledger.py, which is made first where no ``--database`` is named: a quarter
of an hour for ten million on PostgreSQL. Each page is asked for once, then ``--times`` times, as admin, operator and
viewer, where the role may see it. Printed in ms, the slowest first: the median and the 95th percentile of the server's
time, which is that of its access log, and of the CPU of ``serve`` and of PostgreSQL's processes for it, which other
programs on the machine change less; pages above LIMIT_MS are marked. Then the bytes of a
first load, and what open tabs cost while a blast goes on (bench/live_tabs.py). Without ``--analyze`` PostgreSQL has no
statistics but those that autovacuum took meanwhile.
"""

from __future__ import annotations

import argparse
import gzip
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import Connection, Select, select

from bench import console_ledger, live_tabs
from bench.console import PEOPLE, ROLES, Answer, Console, Session, console
from bench.console_ledger import Made
from bench.large_ledger import analyze
from bench.machine import described
from bench.output import say
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import lowest_at
from bulksend.ledger.in_flight import has_status
from bulksend.ledger.key_file import new_encryption_key
from bulksend.ledger.schema import (
    acts,
    inbound_messages,
    messages,
    suppressions,
    webhook_deliveries,
    webhook_endpoints,
)
from bulksend.messaging.states import Status
from bulksend.operations.access import Role
from ops.http.cursors import Cursors
from ops.web import sealed

#: Above it a page is marked: p95 of the server's time.
LIMIT_MS = 100.0
#: Of everything that a first load brings, as sent.
MOST_BYTES = 150_000


@dataclass(frozen=True, slots=True)
class Look:
    """A page to ask for. ``what`` says which of those of one route; ``path`` may hang on the session."""

    route: str
    path: str | Callable[[Session], str]
    what: str = ""
    role: Role = Role.VIEWER

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.route}  {self.what}".rstrip()

    def path_for(self, session: Session) -> str:
        """Its address."""
        return self.path if isinstance(self.path, str) else self.path(session)


@dataclass(frozen=True, slots=True)
class Figure:
    """What a page took, ms: of the server's time, of its CPU, and of the CPU of PostgreSQL."""

    name: str
    role: Role
    p50: float
    p95: float
    cpu_p50: float
    cpu_p95: float
    database_p50: float
    database_p95: float


def looks(of: Console, made: Made) -> list[Look]:
    """Every page of the console: the first and last pages of lists, filters, and one of each object."""
    with of.database.read() as tx:
        found = _Places(tx, made)
    return [*_campaigns(of, made), *_messages(found, made), *_lists(of, found), *_made(of, found)]


class _Places:
    """Rows in the middle and at the end of what there is."""

    def __init__(self, tx: Connection, made: Made) -> None:
        def id_of(query: Select[Any]) -> str:
            return str(tx.execute(query.limit(1)).scalar_one())

        half_ago = lowest_at(int((time.time() - 8 * 3600) * 1000))
        columns = (messages.c.id, messages.c.recipient, messages.c.message_id, messages.c.key)
        in_large = select(*columns).where(
            messages.c.campaign_id == made.large, messages.c.status == "delivered"
        )
        row = tx.execute(in_large.where(messages.c.id >= half_ago).order_by(messages.c.id).limit(1)).one()
        self.middle, self.recipient, self.message_id, self.key = str(row[0]), *(str(each) for each in row[1:])
        waits = select(messages.c.id).where(
            messages.c.campaign_id == made.large, has_status(tx, Status.QUEUED)
        )
        unknown = select(messages.c.id).where(
            messages.c.campaign_id == made.large, messages.c.status == "unknown"
        )
        self.waiting, self.unknown = id_of(waits), id_of(unknown)
        self.code = id_of(select(messages.c.id).where(messages.c.campaign_id == made.codes))
        # Behind which there are a few rows more.
        self.last = id_of(select(messages.c.id).order_by(messages.c.id).offset(20))
        self.last_act = id_of(select(acts.c.id).order_by(acts.c.id).offset(20))
        self.last_reply = id_of(select(inbound_messages.c.id).order_by(inbound_messages.c.id).offset(5))
        self.endpoint = id_of(select(webhook_endpoints.c.id).order_by(webhook_endpoints.c.id))
        of_endpoint = select(webhook_deliveries.c.id).where(webhook_deliveries.c.endpoint_id == self.endpoint)
        self.last_delivery = id_of(of_endpoint.order_by(webhook_deliveries.c.id).offset(5))
        self.last_person = id_of(
            select(suppressions.c.subject).order_by(suppressions.c.subject.desc()).offset(5)
        )
        self.media = tx.execute(console_ledger.LAST_MEDIA).one()
        self.small = id_of(console_ledger.SMALL_ONES)


def _campaigns(of: Console, made: Made) -> Iterator[Look]:
    yield Look("/campaigns", "/campaigns")
    yield Look(
        "/campaigns", "/campaigns?name=small&kind=marketing&status=finished", "by name, kind and status"
    )
    yield Look("/campaigns", "/campaigns?name=nothing+has+this", "of no such name")
    yield Look("/campaigns", f"/campaigns?after={made.large}", "the second page")
    large = f"/campaigns/{made.large}"
    yield Look("/campaigns/{id}", large, "of half of the messages")
    yield Look("/campaigns/{id}", f"/campaigns/{made.codes}", "the standing one of codes")
    for name in ("cancel", "retry", "settings"):
        yield Look(f"/campaigns/{{id}}/{name}", f"{large}/{name}", role=Role.OPERATOR)
    yield Look("/campaigns/{id}/refusals", f"{large}/refusals")
    last = console_ledger.last_refused(of.database, made.large)
    yield Look("/campaigns/{id}/refusals", f"{large}/refusals?after={last - 1000}", "the last page")
    yield Look("/campaigns/{id}/timeline", f"{large}/timeline")
    late = int((time.time() - 1800) * 1000)
    yield Look("/campaigns/{id}/timeline", f"{large}/timeline?after={late}", "the last page")
    yield Look("/campaigns/{id}/breakdown", f"{large}/breakdown", "not counted yet")
    yield Look("/campaigns/new", "/campaigns/new", role=Role.SENDER)
    yield Look("/campaigns/new", f"/campaigns/new?from={made.large}", "with an earlier content", Role.SENDER)


def _messages(found: _Places, made: Made) -> Iterator[Look]:
    def listed(what: str, **query: str) -> Look:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return Look("/messages", f"/messages?{text}", what)

    day = datetime.now(UTC) - timedelta(hours=8)
    second = {
        "since": f"{day:%Y-%m-%dT%H:%M:%SZ}",
        "until": f"{day + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}",
    }
    sender = console_ledger.SENDERS[0]
    yield listed("the newest")
    yield listed("the last page", after=found.last)
    for status in ("queued", "sending", "delivered", "failed", "unknown", "expired", "retry", "superseded"):
        yield listed(f"{status}", status=status)
    yield listed("failed, deep down", status="failed", after=found.middle)
    yield listed(
        "failed in the campaign, deep down", status="failed", campaign=made.large, after=found.middle
    )
    yield listed("of the campaign", campaign=made.large)
    yield listed("of the campaign, in a second", campaign=made.large, **second)
    yield listed("in a second", **second)
    yield listed("codes", kind="otp")
    yield listed("failed codes", kind="otp", status="failed")
    yield listed("of a sender", sender=sender)
    yield listed("utility messages of a sender that has none", kind="utility", sender=sender)
    yield listed("delivered, of a sender, deep down", status="delivered", sender=sender, after=found.middle)
    for what, id in (("delivered", found.middle), ("waiting", found.waiting), ("unknown", found.unknown)):
        yield Look("/messages/{id}", f"/messages/{id}", what)
    yield Look("/messages/{id}", f"/messages/{found.code}", "a code")
    for what, text in {
        "a number": f"+{found.recipient}",
        "a number that got nothing": "+15550100999",
        "a MessageId": found.message_id,
        "a key": found.key,
        "an id": found.middle,
        "a campaign's name": "spring sale",
        "what names nothing": "no-such-thing-9",
    }.items():
        yield Look("/search", lambda session, text=text: _search(text, session), what)  # type: ignore[misc]
    yield Look("/search", "/search", "nothing yet")
    yield Look("/unknown", "/unknown")
    yield Look("/unknown", f"/unknown?after={found.last}", "the last page")
    yield Look(
        "/unknown", f"/unknown?campaign={made.large}&after={found.middle}", "of the campaign, deep down"
    )
    yield Look("/unknown", f"/unknown?kind=utility&sender={sender}", "of a sender that has none")
    for trace in ("no_answer", "restored"):
        yield Look("/unknown", f"/unknown?trace={trace}", f"by the trace {trace}")


def _search(text: str, session: Session) -> str:
    return f"/search?s={sealed.seal(text, session.token)}"


def _lists(of: Console, found: _Places) -> Iterator[Look]:
    cursors = Cursors(of.database)
    yield Look("/", "/")
    for path in ("/codes", "/senders", "/account", "/system", "/preferences", "/sign-in"):
        yield Look(path, path)
    yield Look("/senders/{phone}", f"/senders/{console_ledger.SENDERS[0]}")
    yield Look("/replies", "/replies")
    yield Look("/replies", f"/replies?after={found.last_reply}", "the last page")
    yield Look("/replies", "/replies?keyword=stop", "stop words")
    yield Look("/replies", "/replies?keyword=start", "a word that none has")
    yield Look("/replies", f"/replies?campaign={found.small}", "to a campaign without any")
    for name in ("suppressions", "consents"):
        yield Look(f"/{name}", f"/{name}")
        cursor = cursors.seal(found.last_person, name)
        yield Look(f"/{name}", f"/{name}?after={cursor}", "the last page")
    yield Look("/media", "/media")
    cursor = cursors.seal(f"{found.media.uploaded_at} {found.media.id}", "media")
    yield Look("/media", f"/media?after={cursor}", "the last page")
    yield Look("/templates", "/templates")
    yield Look("/templates", "/templates?after=en+template_290", "the last page")
    yield Look("/templates/{name}", f"/templates/{console_ledger.TEMPLATE}")
    today = datetime.now(UTC).date()
    span = f"from={today - timedelta(days=91)}&to={today}"
    yield Look("/statistics", "/statistics")
    yield Look("/statistics", f"/statistics?{span}", "92 days")
    only = f"kind=otp&sender={console_ledger.SENDERS[0]}&country=GB"
    yield Look("/statistics", f"/statistics?{span}&{only}", "92 days of a kind, sender and country")
    yield Look("/statistics/{file}", f"/statistics/statistics.csv?from={today}&to={today}", "a day")
    yield Look("/persons", "/persons", role=Role.ADMIN)
    admins = {
        "the newest": "",
        "the last page": f"?after={found.last_act}",
        "of a person": "?actor=ann-1",
        "of a person without any": "?actor=none",
        "of reading": "?readings=1",
        "of a day": f"?since={today - timedelta(days=40)}&until={today - timedelta(days=39)}",
        "on a sender": f"?scope=sender&subject={console_ledger.SENDERS[0]}",
        "a word that none has": "?act=forget",
    }
    for what, query in admins.items():
        yield Look("/acts", f"/acts{query}", what, Role.ADMIN)


def _made(of: Console, found: _Places) -> Iterator[Look]:
    """What is made here by requests: plans, exports, imports, drafts."""
    for path in (
        "/users",
        "/users/new",
        "/keys",
        "/keys/new",
        "/keys/receipt-tokens/new",
        "/webhooks",
        "/webhooks/new",
    ):
        yield Look(path, path, role=Role.ADMIN)
    yield Look("/keys", "/keys?show=all", "all", Role.ADMIN)
    yield Look("/users/{name}", "/users/ann-1", role=Role.ADMIN)
    hook = f"/webhooks/{found.endpoint}"
    yield Look("/webhooks/{id}", hook, role=Role.ADMIN)
    yield Look("/webhooks/{id}", f"{hook}?status=dead", "dead", Role.ADMIN)
    yield Look("/webhooks/{id}", f"{hook}?status=pending", "a status that none has", Role.ADMIN)
    yield Look("/webhooks/{id}", f"{hook}?after={found.last_delivery}", "the last page", Role.ADMIN)
    yield Look("/webhooks/{id}/edit", f"{hook}/edit", role=Role.ADMIN)
    yield Look(
        "/webhooks/{id}/deliveries/{delivery}", f"{hook}/deliveries/{found.last_delivery}", role=Role.ADMIN
    )
    yield Look("/campaigns/{id}/breakdown", f"/campaigns/{found.small}/breakdown", "of 100 messages")
    yield Look("/campaigns/{id}/report", f"/campaigns/{found.small}/report", "of 100 messages")
    admin = of.sign_in(Role.ADMIN)
    plan = str(of.api("POST", "/v1/plans", _PLAN)["plan_id"])
    yield Look("/plans", "/plans")
    yield Look("/plans/{id}", f"/plans/{plan}")
    yield Look("/plans/{id}/refused.csv", f"/plans/{plan}/refused.csv", role=Role.ADMIN)
    draft = of.post_file("/campaigns/new", admin, {}, PEOPLE).headers["location"]
    yield Look("/campaigns/new/{id}", draft, role=Role.SENDER)
    export = str(of.api("POST", "/v1/exports", {"campaign": found.small})["id"])
    yield Look("/exports", "/exports")
    of.wait("the export is done", lambda: of.api("GET", f"/v1/exports/{export}")["status"] == "done")
    yield Look("/exports/{id}/file", f"/exports/{export}/file", role=Role.ADMIN)
    fields = {"scope": "all", "reason": "asked", "column": "to"}
    imported = of.post_file("/suppressions/import", admin, fields, PEOPLE).headers["location"]
    yield Look("/suppressions/imports/{id}", imported, role=Role.OPERATOR)
    script = re.search(rb'src="(/assets/[^"]+)"', _plain(of.get("/sign-in", None)))
    assert script is not None
    yield Look("/assets/{hash}/{name:path}", script[1].decode())


_PLAN = {
    "name": "a plan",
    "key": "a plan",
    "sender": console_ledger.SENDERS[0],
    "kind": "marketing",
    "type": "text",
    "content": {"body": "Hi {{name}}"},
    "rows": [{"to": f"4477009{n:05}", "name": "Ann"} for n in range(99)] + [{"to": "12345", "name": "Ben"}],
}


def _plain(answer: Answer) -> bytes:
    return gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body


def ask_all(of: Console, wanted: Sequence[Look], times: int) -> list[Figure]:
    """Ask for every page as every role that may see it. Raises RuntimeError for one that is none."""
    ranks = list(Role)
    asked: list[tuple[Look, Role, list[Answer]]] = []
    for role in ROLES:
        session = of.sign_in(role)
        for look in wanted:
            if ranks.index(role) < ranks.index(look.role):
                continue
            # Once before, so that what it reads is in memory.
            answers = [of.get(look.path_for(session), session)]
            of.find_backends()
            answers += [of.get(look.path_for(session), session) for _ in range(times)]
            wrong = [answer for answer in answers if answer.status != 200]
            if wrong:
                raise RuntimeError(f"{look.name} as {role}: {wrong[0].status}\n{of.logs()}")
            asked.append((look, role, answers[1:]))
    ids = {answer.request_id for _, _, answers in asked for answer in answers}
    # A line is written after the last byte of its answer.
    of.wait("the log has every request", lambda: ids <= of.server_ms().keys())
    spent = of.server_ms()
    return [
        Figure(
            look.name,
            role,
            *_percentiles([spent[answer.request_id] for answer in answers]),
            *_percentiles([answer.cpu_s * 1000 for answer in answers]),
            *_percentiles([answer.database_cpu_s * 1000 for answer in answers]),
        )
        for look, role, answers in asked
    ]


def _percentiles(found: list[float]) -> tuple[float, float]:
    """The median, and the least value that 95 % do not exceed."""
    found = sorted(found)
    return median(found), found[-(-len(found) * 95 // 100) - 1]


def first_load(of: Console, path: str) -> tuple[int, int]:
    """Bytes of a page and of all files that it names, as sent; and how many answers these are."""
    answers = [of.get(path, of.sign_in(Role.ADMIN))]
    named = re.findall(rb'(?:src|href)="(/assets/[^"]+)"', _plain(answers[0]))
    answers += [of.get(each.decode(), None, Accept="*/*") for each in dict.fromkeys(named)]
    return sum(answer.bytes_sent for answer in answers), len(answers)


def report(figures: Sequence[Figure]) -> None:
    """Print them, the slowest first."""
    say(f"{'':72} {'role':8} {'p50':>7} {'p95':>7} | CPU p50, p95 | PostgreSQL's  ms")
    for each in sorted(figures, key=lambda figure: -figure.p95):
        mark = " <-- above the limit" if each.p95 > LIMIT_MS else ""
        say(
            f"{each.name[:72]:72} {each.role:8} {each.p50:7.1f} {each.p95:7.1f} {each.cpu_p50:7.1f}"
            f" {each.cpu_p95:7.1f} {each.database_p50:7.1f} {each.database_p95:7.1f}{mark}"
        )
    slow = sum(each.p95 > LIMIT_MS for each in figures)
    say(f"{len(figures)} pages and roles, {slow} of them above {LIMIT_MS:g} ms")


def measure(of: Console, made: Made, times: int, only: str = "") -> list[Figure]:
    """The pages and the first load, printed."""
    figures = ask_all(of, [look for look in looks(of, made) if only in look.name], times)
    report(figures)
    for path in ("/", f"/campaigns/{made.large}"):
        sent, answers = first_load(of, path)
        say(f"first load of {path[:12]}: {sent:,} bytes in {answers} answers, {MOST_BYTES:,} allowed")
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--database", help="URL of a ledger that bench.console_ledger filled")
    parser.add_argument("--key", default="", help="the encryption key of that ledger")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--tabs", type=int, default=200, help="0: no tabs and no blast")
    parser.add_argument("--rates", default="80,1000", help="messages a second of the blasts")
    parser.add_argument("--seconds", type=float, default=120, help="of each blast")
    parser.add_argument("--analyze", action="store_true")
    parser.add_argument("--only", default="", help="pages with this in their name")
    options = parser.parse_args()
    key = options.key or new_encryption_key()
    with ExitStack() as stack:
        of = stack.enter_context(console(options.database, options.backend, key=key))
        if options.database is None:
            console_ledger.make(of.database, options.messages, Cipher.from_text(key))
        if options.analyze and not of.database.is_sqlite:
            analyze(of.database)
        with of.database.read() as tx:
            made = console_ledger.found(tx)
        say("; ".join(described().values()))
        measure(of, made, options.times, options.only)
        if options.tabs:
            for rate in options.rates.split(","):
                say(live_tabs.watch(of, made, options.tabs, float(rate), options.seconds).line())


if __name__ == "__main__":
    main()
