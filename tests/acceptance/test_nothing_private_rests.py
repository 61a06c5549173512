"""No number, content, code, key or secret where it has no business: one installation, and all that it leaves or says.

Canaries go through everything: a fault of the vendor that repeats a number, a worker that dies with results it cannot
bring into the ledger, every command, requests, callbacks, webhooks, a listener to Celery's events. Then all of it is
searched.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from celery.events.receiver import EventReceiver
from sqlalchemy import select, text

from bulksend.broker.app import make_app
from bulksend.errors import InvalidInput
from bulksend.ledger.database import Database
from bulksend.ledger.schema import metadata
from bulksend.settings import Settings
from ops.local.ports import free_port
from ops.stack import ROOT
from producer import LedgerUnreachable, Producer
from tests.acceptance.canaries import (
    BLAST_TO,
    CODE,
    KEY,
    NUMBERS,
    OTP_TO,
    RECEIPT_TOKEN,
    WORDS,
    clean,
)
from tests.acceptance.canary_faces import (
    Faces,
    a_person_looks,
    a_program_asks,
    command_lines_are_clean,
    faces,
    programs_were_told_only_what_they_may,
    scrapers_see_no_canary,
)
from tests.acceptance.many_commands import commands

FAULTS = [
    # Whatever is logged of trouble must not tell either.
    {"name": "lost", "match": {"to_suffix": "7"}, "fault": {"do": "accept_then_reset"}},
    {
        "name": "the vendor repeats the number",
        "match": {"to_suffix": "51"},
        "fault": {"do": "ret_code", "ret_code": 17115, "message": "(#131026) cannot reach 447700900851"},
    },
    {
        "name": "busy",
        "match": {"every": 9},
        "fault": {"do": "ret_code", "ret_code": 17115, "message": "busy"},
    },
]
SLOW = {"latency": {"kind": "uniform", "low_ms": 100, "high_ms": 200}}
#: Stays in the installation's own processes: their logs are read as they are.
SERVERS = {(name,) for name in ("demo", "up", "worker", "relay", "serve", "intake", "notifier", "simulate")}


@pytest.mark.timeout(300)
def test_no_number_content_code_or_secret_rests_or_is_said_where_it_has_no_business(
    make_site: Any, tmp_path: Path
) -> None:
    environ = {
        "BULKSEND_LOG_LEVEL": "DEBUG",
        "BULKSEND_ENCRYPTION_KEY": KEY,
        "BULKSEND_STOP_GRACE_SECONDS": "1",
        "BULKSEND_WEBHOOKS_ALLOW_PRIVATE": "127.0.0.1",
    }
    port = free_port()
    vendor = SLOW | {"receipts": {"url": f"http://127.0.0.1:{port}/v1/receipts/{RECEIPT_TOKEN}"}}
    with (
        make_site(workers=1, faults=FAULTS, vendor=vendor, environ=environ, popen=subprocess.Popen) as site,
        faces(site, port) as programs,
    ):
        blast = send_blast(site, "blast")
        a_program_asks(programs)
        a_person_looks(programs)
        codes = [send_code(site, to, f"login-{n}") for n, to in enumerate(OTP_TO)]
        seen: set[str] = set()

        def ended() -> bool:
            seen.update(everything_in(site.redis))  # while jobs lie there and permits are given
            return not {"queued", "retry", "claimed", "sending"} & site.all_statuses().keys()

        site.wait("all messages end", ended, every=0.2)
        clean(seen, "Redis")
        payloads = otp_payloads(site)
        assert not any(payloads.values())

        programs_were_told_only_what_they_may(programs)

        spooled = a_worker_dies_with_what_it_knows(site, programs)
        # Jobs that nobody takes: what a worker would find in the lanes.
        waiting = [send_code(site, to, f"late-{to}") for to in OTP_TO]
        late = send_blast(site, "late", BLAST_TO[:20])
        assert site.redis.llen("otp") >= 1
        assert site.redis.llen("marketing") >= 1
        seen = set(everything_in(site.redis))
        assert any(waiting[0].id in item for item in seen)  # the dump does see what is in a job
        clean(seen, "Redis")
        # A code that waits is there, but encrypted; of one that ended nothing is left.
        payloads = otp_payloads(site)
        assert all(payloads[code.id] is None for code in codes)
        assert all(payloads[code.id] for code in waiting)
        clean_ledger(site.ledger)

        every_command_is_silent(site, tmp_path, blast, codes[0].id)
        with events_on(site.stack.settings_environ["REDIS_URL"]) as events:
            programs.start("successor", "worker", "-n", "w9@%h", "--task-events")
            site.wait_ended(blast, spooled, late)
            site.wait("late codes end", lambda: not any(otp_payloads(site).values()))
            site.wait("an event", lambda: any("worker-heartbeat" in event for event in events))
        assert not any('"task-' in event for event in events)
        clean(events, "Celery's events")
        clean(everything_in(site.redis), "Redis")
        clean_ledger(site.ledger)
        site.audit_holds()
        scrapers_see_no_canary(programs)
        command_lines_are_clean(programs)
        clean_files(site.stack.folder)
    logs = {
        file.name: file.read_text(errors="replace") for file in (site.stack.folder / "logs").glob("*.log")
    }
    assert "claimed" in logs["worker.log"]
    assert "results_spooled" in logs["worker.log"]
    assert "spool_replayed" in logs["successor.log"]
    named = {"worker", "relay", "successor", "simulator", "serve", "notifier"}
    assert {f"{name}.log" for name in named} <= logs.keys()
    assert "http_request" in logs["serve.log"]
    for name, said in logs.items():
        clean([said], name)


def send_blast(site: Any, name: str, to: Iterable[str] = BLAST_TO) -> str:
    report = site.producer.submit(
        name=name,
        sender=site.sender,
        kind="marketing",
        type="text",
        content={"body": f"{WORDS}: hello"},
        rows=[{"to": number} for number in to],
        key=name,
        again=True,
    )
    assert not report.refused
    return str(report.campaign_id)


def send_code(site: Any, to: str, key: str) -> Any:
    body = {"body": f"Your code is {CODE}"}
    return site.producer.send(to=to, sender=site.sender, kind="otp", type="text", content=body, key=key)


def otp_payloads(site: Any) -> dict[str, bytes | None]:
    """What is left of codes in the ledger."""
    return {m["id"]: m["payload"] for m in site.messages() if m["kind"] == "otp"}


def a_worker_dies_with_what_it_knows(site: Any, programs: Faces) -> str:
    """The ledger is away when the worker must stop: its results go to a file, which another one replays, and so does
    what comes to ``serve`` meanwhile."""
    campaign = send_blast(site, "spooled", BLAST_TO[:40])
    site.wait("POSTs are under way", lambda: site.statuses(campaign)["sending"] >= 3, every=0.01)
    with ledger_away(site.ledger):
        site.stack.member("worker").child.stop(60)
        (spool,) = (site.stack.folder / "spool").glob("results-*.jsonl")
        assert len(spool.read_text().splitlines()) >= 1
        said = f"nonsense of {OTP_TO[1]}, {CODE}"
        assert programs.api.post(f"/v1/receipts/{RECEIPT_TOKEN}", content=said).is_success
        assert list((site.stack.folder / "spool").glob("*.receipts"))
        clean_files(site.stack.folder)
    return campaign


@contextmanager
def ledger_away(ledger: Database) -> Iterator[None]:
    """Nobody can reach this PostgreSQL database."""
    admin = ledger.url.set(database="postgres", drivername="postgresql").render_as_string(hide_password=False)
    name = str(ledger.url.database)
    with psycopg.connect(admin, autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


@contextmanager
def events_on(redis_url: str) -> Iterator[list[str]]:
    """What a listener to Celery's events is told meanwhile."""
    told: list[str] = []
    app = make_app(redis_url)
    with app.connection_for_read() as connection:
        receiver = EventReceiver(connection, {"*": lambda event: told.append(json.dumps(event))}, app=app)
        listening = threading.Thread(target=receiver.capture, kwargs={"wakeup": False})
        listening.start()
        try:
            yield told
        finally:
            receiver.should_stop = True
            listening.join()


# -- the command line -----------------------------------------------------------------------------------------


def every_command_is_silent(site: Any, folder: Path, blast: str, code: str) -> None:
    """Each command in each of its forms; where the interface shows digits, they are all that is shown."""
    (folder / "people.csv").write_text(
        f"to,code\n{OTP_TO[0]},{CODE}\n{OTP_TO[1]}x,{CODE}\n{OTP_TO[0]}00000,{CODE}\n{OTP_TO[1]},\n,{CODE}\n"
    )
    (folder / "content.json").write_text('{"body": "Your code is {{code}}"}')
    (folder / "broken.json").write_text(f'{{"body": "{CODE}", "{CODE}": ')
    (folder / "strange.json").write_text(f'{{"body": "{{{{missing}}}} {CODE}"}}')
    unknown = next(m["id"] for m in site.messages(blast) if m["status"] == "unknown")
    sends = ["--sender", site.sender, "--type", "text", "--kind", "otp"]
    why = ["--why", "because"]

    def of_file(content: str, *more: str) -> list[str]:
        return ["send", str(folder / "people.csv"), *sends, "--content", str(folder / content), *more]

    silent = [
        ["migrate"],
        ["settings"],
        ["settings", "--json"],
        ["doctor"],
        ["doctor", "--json"],
        ["audit"],
        ["audit", "--json"],
        ["keys", "new-encryption-key"],
        of_file("content.json", "--dry-run"),
        of_file("content.json", "--dry-run", "--json"),
        of_file("content.json", "--preview", "2"),
        ["plan", *of_file("content.json", "--json")[1:]],
        ["plan", *of_file("broken.json")[1:]],
        ["apply", OTP_TO[1]],
        ["plans", "list"],
        ["plans", "list", "--json"],
        ["plans", "show", OTP_TO[1]],
        ["rehearse", *of_file("content.json", "--speed", "50")[1:]],
        of_file("content.json", "--at", "2090-01-01T00:00:00Z", "--json", "--name", "codes"),
        of_file("broken.json"),
        of_file("strange.json"),
        ["campaigns", "list"],
        ["campaigns", "list", "--json"],
        ["campaigns", "show", "codes"],
        ["campaigns", "show", "codes", "--json"],
        ["campaigns", "show", blast],
        ["campaigns", "show", blast, "--json"],
        ["campaigns", "unschedule", "codes"],
        ["campaigns", "pause", "codes"],
        ["campaigns", "resume", "codes"],
        ["campaigns", "cancel", "codes"],
        ["campaigns", "watch", "codes"],
        ["campaigns", "watch", blast, "--json"],
        ["campaigns", "retry", blast, "--json"],
        ["campaigns", "breakdown", blast],
        ["campaigns", "breakdown", "codes", "--json"],
        ["campaigns", "report", blast, "-o", str(folder / "blast.html")],
        ["campaigns", "report", "codes", "-o", "-"],
        ["campaigns", "clone", "codes", "--rest"],
        ["campaigns", "clone", blast, str(folder / "people.csv"), "--dry-run"],
        ["messages", "why", code],
        ["messages", "why", unknown, "--json"],
        ["messages", "resolve", unknown, "--as", "accepted", *why],
        ["messages", "resolve", "--campaign", blast, "--as", "failed", *why, "--dry-run"],
        ["messages", "resolve", "--campaign", blast, "--as", "failed", *why, "--json"],
        ["export", blast, "-o", "-"],
        ["export", blast, "-o", str(folder / "masked.jsonl")],
        ["forget", BLAST_TO[-1], *why, "--json"],
        ["forget", f"{OTP_TO[1]}x", *why],
        ["holds", "add", "--phone", OTP_TO[1], *why],
        ["forget", OTP_TO[1], *why],
        ["holds", "list"],
        ["holds", "list", "--json"],
        ["holds", "remove", OTP_TO[1], *why],
        ["senders", "list"],
        ["senders", "list", "--json"],
        ["senders", "show", site.sender],
        ["senders", "add", "+1 212 555 0199", "--name", "second"],
        ["senders", "set", site.sender, "--rate", "80/s"],
        ["senders", "pause", "+1 212 555 0199", *why],
        ["senders", "resume", "+1 212 555 0199", *why],
        ["campaigns", "set", "codes", "--name", "codes of today"],
        ["campaigns", "set", "codes of today", "--name", "codes", "--json"],
        ["account", "show"],
        ["account", "show", "--json"],
        ["account", "pause", *why],
        ["account", "resume", *why],
        ["templates", "list", "--json"],
        ["exports", "list", "--json"],
        ["templates", "show", "none"],
        ["templates", "preview", "none", "--row", json.dumps({"1": CODE})],
        ["templates", "sync", "--json"],
        ["media", "upload", "none", "--sender", site.sender],
        ["media", "list"],
        ["media", "delete", OTP_TO[1]],
        ["events", "--limit", "1000"],
        ["events", "--limit", "1000", "--json", "--campaign", blast],
        ["stats"],
        ["stats", "--by", "hour,kind,sender,country,code", "--json"],
        ["restored", "--dry-run", *why],
        ["keys", "add", "--name", "shop", "--role", "sender"],
        ["keys", "list"],
        ["keys", "list", "--json"],
        ["keys", "revoke", OTP_TO[1]],
        ["users", "add", "ann@shop.example", "--role", "operator"],
        ["users", "reset", "ann@shop.example"],
        ["users", "link", "ann@shop.example"],
        ["users", "list", "--json"],
        ["users", "disable", "ann@shop.example", *why],
        ["users", "enable", "ann@shop.example", *why],
        ["tokens", "add", "--name", "console"],
        ["tokens", "list", "--json"],
        ["tokens", "revoke", OTP_TO[1]],
        ["receipts", "list"],
        ["receipts", "list", "--state", "unreadable", "--json"],
        ["receipts", "reparse"],
        ["webhooks", "add", f"https://hooks.shop.example/in?key={CODE}"],
        ["webhooks", "add", f"ftp://hooks.shop.example/{CODE}"],
        ["webhooks", "list"],
        ["webhooks", "list", "--json"],
        *(
            ["webhooks", act, CODE]
            for act in ("test", "deliveries", "replay", "disable", "enable", "rotate", "remove")
        ),
        # What a person types where it does not belong is not said back.
        ["messages", "find", "--phone", f"{OTP_TO[1]}x"],
        ["messages", "find", "--phone", f"{OTP_TO[1]}000000"],
        ["messages", "show", OTP_TO[1]],
        ["suppressions", "add", f"{OTP_TO[1]}x", "--reason", "STOP"],
    ]
    digits = [
        ["messages", "find", "--campaign", blast],
        ["messages", "find", "--campaign", blast, "--json"],
        ["messages", "find", "--phone", OTP_TO[0], "--csv"],
        ["messages", "show", code],
        ["messages", "show", code, "--json"],
        ["messages", "unknown"],
        ["messages", "unknown", "--json"],
        ["messages", "unknown", "--csv"],
        ["export", blast, "-o", "-", "--full"],
        ["suppressions", "add", BLAST_TO[0], "--reason", "STOP"],
        ["suppressions", "import", str(folder / "people.csv")],
        ["suppressions", "list"],
        ["suppressions", "list", "--json"],
        ["suppressions", "export", "-o", "-"],
        ["consent", "report", "-o", "-"],
        ["suppressions", "remove", BLAST_TO[0], *why],
    ]
    environ = {**site.environ, "BULKSEND_LOG_LEVEL": "DEBUG"}

    def run(words: list[str]) -> tuple[int, str]:
        done = site.shell.run(words, environ, ROOT)
        return done.returncode, done.stdout + done.stderr

    told = {
        " ".join(words): (allowed, *run(words))
        for some, allowed in ((digits, NUMBERS), (silent, ()))
        for words in some
    }
    # A new command belongs into one of the lists.
    ran = {tuple(words[:2]) for words in digits + silent} | {tuple(words[:1]) for words in digits + silent}
    assert set(commands()) - ran == SERVERS
    for command, (allowed, code_of_exit, said) in told.items():
        assert "Traceback" not in said, f"{command}: {said}"
        assert said or code_of_exit == 0, command
        clean([said], command, but=allowed)
    assert OTP_TO[0] in told[f"messages find --phone {OTP_TO[0]} --csv"][2]
    assert "4477*****" in told[f"messages find --phone {OTP_TO[1]}x"][2]
    clean([(folder / "masked.jsonl").read_text()], "masked.jsonl")
    assert (folder / "masked.jsonl").read_text().count("\n") == len(BLAST_TO)


# -- what a program is told -----------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "to": OTP_TO[0],
    "sender": "8615000579987",
    "kind": "otp",
    "type": "text",
    "content": {"body": f"Your code is {CODE}"},
}
BAD_SENDS: list[dict[str, Any]] = [
    {"to": f"{OTP_TO[1]}x"},
    {"to": OTP_TO[1] + "00000"},
    {"to": [OTP_TO[1]]},
    {"to": {"number": OTP_TO[1]}},
    {"to": "8615000579987"},
    {"sender": f"{OTP_TO[1]}-{CODE}"},
    {"kind": "code", "key": CODE},
    {"type": "sms"},
    {"content": {"body": [CODE]}},
    {"content": {"body": ""}},
    {"content": {"body": CODE * 1000}},
    {"content": {"boddy": CODE}},
    {"content": {"body": CODE, "preview": OTP_TO[1]}},
    {"content": f"Your code is {CODE}"},
    {"content": {"body": f"{CODE} {{{{missing}}}}"}},
    {"type": "image", "content": {"link": f"ftp://{CODE}"}},
    {"type": "template", "content": {"name": "login", "components": CODE}},
    {"key": [CODE]},
    {"key": f"{OTP_TO[0]}-{CODE}" * 20},
    {"ttl": CODE},
    {"at": OTP_TO[0]},
    # The same key for another message.
    {"key": OTP_TO[0], "to": OTP_TO[1]},
]


def test_what_a_program_is_told_of_its_own_bad_input_holds_none_of_it(
    ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And a program that logs everything at DEBUG writes down no more of a good one."""
    caplog.set_level("DEBUG")
    told: list[str] = []
    settings = Settings.from_env({"DATABASE_URL": ledger_url, "BULKSEND_ENCRYPTION_KEY": KEY}, None)
    producer = Producer.from_settings(settings)
    producer.send(**GOOD, key=OTP_TO[0])
    for changes in BAD_SENDS:
        with pytest.raises(InvalidInput) as caught:
            producer.send(**GOOD | changes)
        told.append(everything_of(caught.value))
    rows: list[Any] = [
        {"to": f"{OTP_TO[1]}x", "code": CODE},
        {"to": OTP_TO[0], "code": {CODE: CODE}},
        {"to": OTP_TO[0], "code": CODE * 1000},
        {"to": OTP_TO[0]},
        {"to": OTP_TO[0], "code": CODE, "send_at": CODE, "ttl": OTP_TO[0]},
        {OTP_TO[0]: CODE},
        f"{OTP_TO[0]} {CODE}",
    ]
    blast: dict[str, Any] = {
        "sender": "8615000579987",
        "kind": "otp",
        "type": "text",
        "content": {"body": "{{code}}"},
    }
    report = producer.submit(name="codes", rows=rows, **blast)
    assert len(report.refused) >= len(rows) - 1
    told.append(repr(report))
    with pytest.raises(InvalidInput) as caught:
        producer.submit(name="codes", rows=[], ttl=timedelta(days=999), key=CODE, **blast)
    told += [everything_of(caught.value), repr(producer), repr(vars(producer)), repr(settings), caplog.text]
    producer.close()
    clean(told, "told")
    clean_ledger(producer._database)
    assert "missing" in "".join(told)


def test_a_database_that_refuses_a_row_tells_none_of_its_values(ledger_url: str) -> None:
    """PostgreSQL would, as DETAIL: Failing row contains (…)."""
    producer = Producer.from_settings(
        Settings.from_env({"DATABASE_URL": ledger_url, "BULKSEND_ENCRYPTION_KEY": KEY}, None)
    )
    database = Database(ledger_url)
    with database.write() as tx:
        if database.is_sqlite:
            tx.execute(
                text(
                    "CREATE TRIGGER picky BEFORE INSERT ON messages "
                    "BEGIN SELECT RAISE(ABORT, 'the column picky has no default'); END"
                )
            )
        else:
            tx.execute(text("ALTER TABLE messages ADD COLUMN picky integer NOT NULL"))
    with pytest.raises(LedgerUnreachable, match="picky") as caught:
        producer.send(**GOOD)
    clean([everything_of(caught.value)], "told")
    producer.close()
    database.close()


def everything_of(error: BaseException) -> str:
    """All that a log or a person is shown of it, and of what led to it."""
    return "".join(traceback.format_exception(error)) + repr(error)


# -- searching ------------------------------------------------------------------------------------------------

#: Where the ledger keeps what it has to know: whom it wrote to, and what was to be said, until a code ends.
KEEPS: dict[tuple[str, str], tuple[str, ...]] = {
    ("messages", "recipient"): NUMBERS,
    ("messages", "key"): NUMBERS,
    ("messages", "payload"): (WORDS,),
    ("campaigns", "content"): (WORDS,),
    ("uploads", "options"): (WORDS,),
    ("webhook_deliveries", "body"): NUMBERS,
    ("suppressions", "subject"): NUMBERS,
    ("acts", "subject"): NUMBERS,
    ("legal_holds", "subject"): NUMBERS,
}


def clean_ledger(ledger: Database) -> None:
    """Every column of every row of every table."""
    looked = 0
    with ledger.read() as tx:
        for table in metadata.sorted_tables:
            for row in tx.execute(select(table)).mappings():
                for name, value in row.items():
                    said = (
                        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
                    )
                    clean([said], f"{table.name}.{name}", but=KEEPS.get((table.name, name), ()))
                    looked += 1
    assert looked


def clean_files(folder: Path) -> None:
    """Every file of an installation: logs, spools, flight records, all that Redis ever wrote down."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any("appendonly" in file.name for file in files)
    for file in files:
        _clean_file(file)


def _clean_file(file: Path) -> None:
    try:
        raw = file.read_bytes()
    except FileNotFoundError:  # a flight record of a worker that has just ended
        return
    said = raw.decode("utf-8", "backslashreplace")
    bodies = [_decoded(body) for body in re.findall(r'body\\?": ?\\?"([A-Za-z0-9+/=]+)', said)]
    clean([said, *bodies], str(file))


def everything_in(client: redis.Redis) -> Iterator[str]:
    """Every key and value of every type; base64 in them decoded as well, bodies of jobs above all."""
    for key in client.scan_iter(count=1000):
        kind = client.type(key).decode()
        read = {
            "string": lambda k: [client.get(k)],
            "list": lambda k: client.lrange(k, 0, -1),
            "set": lambda k: list(client.smembers(k)),
            "zset": lambda k: client.zrange(k, 0, -1),
            "hash": lambda k: [part for pair in client.hgetall(k).items() for part in pair],
            "stream": lambda k: [repr(client.xrange(k)).encode()],
            "none": lambda k: [],
        }[kind]
        for value in (key, *read(key)):
            yield from _with_what_is_inside(value or b"")


def _with_what_is_inside(value: bytes) -> Iterator[str]:
    said = value.decode("utf-8", "backslashreplace")
    yield said
    try:
        yield _decoded(json.loads(said)["body"])
    except (ValueError, KeyError, TypeError):
        return


def _decoded(body: str) -> str:
    try:
        return base64.b64decode(body).decode("utf-8", "backslashreplace")
    except (ValueError, binascii.Error):
        return ""
