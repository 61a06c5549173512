"""A person who is forgotten is nowhere any more, counts and audit hold, and the suppression goes on."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import insert, select

from bulksend.errors import InvalidValue, WrongState
from bulksend.ledger import (
    campaign_control,
    campaigns,
    consents,
    inbound,
    jobs,
    legal_holds,
    operator_log,
    raw_receipts,
    suppressions,
)
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.inbound import NewInbound
from bulksend.ledger.raw_receipts import Callback
from bulksend.ledger.receipt_spool import ReceiptSpool
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.schema import (
    idempotent_requests,
    metadata,
    uploads,
    webhook_deliveries,
    webhook_endpoints,
)
from bulksend.ledger.schema import suppressions as suppressed
from bulksend.messaging.exclusions import Consent
from bulksend.messaging.outcome import Accepted, Evidence
from bulksend.messaging.states import Kind
from bulksend.operations.legal_holds import list_holds, place_hold, remove_hold
from bulksend.operations.media_files import MediaFiles
from bulksend.operations.person_export import export_person
from bulksend.operations.persons import Forgotten, forget
from bulksend.operations.rehearsals import copy_surroundings
from bulksend.settings import Settings
from tests.integration.ledger.conftest import Desk

NUMBER, OTHER = "447700900123", "447700900999"
NAME = "Zebulon Quux"
WAMID = "wamid." + b64encode(b"\x1d\x05\x18\x0c" + NUMBER.encode() + b"\x15\x02").decode()
#: Nothing of this may be left anywhere. The masked number may.
GONE = (NUMBER.encode(), NAME.encode(), WAMID.encode(), b"7700900123")


@pytest.fixture
def places(tmp_path: Path) -> Settings:
    return Settings.from_env(
        {
            "BULKSEND_SPOOL_DIR": str(tmp_path / "spool"),
            "BULKSEND_UPLOAD_DIR": str(tmp_path / "uploads"),
            "BULKSEND_EXPORT_DIR": str(tmp_path / "exports"),
        }
    )


def ask(desk: Any, places: Settings, number: str = NUMBER, client: redis.Redis | None = None) -> Forgotten:
    @contextmanager
    def opened() -> Iterator[redis.Redis]:
        assert client is not None
        yield client

    return forget(
        *(desk.database, desk.cipher, places, number),
        actor="ada",
        why="the person asked",
        open_redis=opened if client is not None else None,
    )


def sent(desk: Any, campaign: Any, to: str, message_id: str) -> str:
    """A message that the vendor took, with a receipt that repeats the number."""
    name = NAME if to == NUMBER else "Ada"
    (id,) = desk.take(campaign, desk.new_message(1, recipient=to, body={"v": {"name": name}})).ready
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Accepted(message_id, f"rid-{to}"), evidence=Evidence(200, 0, message_id=message_id))
    desk.receive(Receipt(message_id, "failed", 1, "131026", f"cannot reach +{to}"))
    return str(id)


def everything_about_a_person(desk: Any, places: Settings) -> list[str]:
    """In two campaigns, a suppression, callbacks, a webhook, an answer, an upload, exports; returns the messages."""
    first, second = desk.campaign(), desk.campaign(kind=Kind.UTILITY)
    found = [sent(desk, first, NUMBER, WAMID), sent(desk, second, NUMBER, "m-2")]
    sent(desk, desk.campaign(), OTHER, "m-3")
    third = desk.campaign()
    found += desk.take(third, desk.new_message(2, recipient=NUMBER, body={"v": {"name": NAME}})).ready
    for each in (first, second, third):
        desk.write(campaigns.finish_intake, each.id)
    stop = {"scope": "marketing", "reason": f"+{NUMBER} wrote STOP", "source": "stop word", "actor": "ada"}
    desk.write(suppressions.add, {NUMBER: None}, **stop)
    desk.write(consents.record, str(first.id), [(NUMBER, Consent(f"form of +{NUMBER}", 1))], now=desk.now())
    desk.write(
        inbound.store,
        NewInbound(WAMID, "15550100100", NUMBER, "text", f"I am {NAME}", "", (WAMID,), None, None),
        desk.cipher,
    )
    bodies = [json.dumps({"id": id, "to": f"+{to}"}).encode() for id, to in ((WAMID, NUMBER), ("m-3", OTHER))]
    group = raw_receipts.pack([Callback("t", {}, body) for body in bodies], desk.cipher, desk.now())
    desk.write(raw_receipts.store, [group])
    desk.write(raw_receipts.mark_read, [group.id])
    _store_what_programs_were_told(desk, found[0])
    _store_files(desk, places, str(first.id))
    return found


def _store_what_programs_were_told(desk: Any, message: str) -> None:
    item = {"seq": 1, "id": message, "to": NUMBER, "key": NAME, "error": f"cannot reach {NUMBER}"}
    other = {"seq": 2, "id": "x", "to": OTHER, "key": "kept"}
    body = json.dumps({"type": "messages.batch", "data": {"items": [{"data": item}, {"data": other}]}})
    same = {"id": message, "created_at": 0}
    with desk.database.write() as tx:
        tx.execute(
            insert(webhook_endpoints).values(
                **same, url="https://a.example", sealed=b"", events="", numbers=True, status="active", cursor=0,
                created_by="ada",
            )
        )  # fmt: skip
        tx.execute(
            insert(webhook_deliveries).values(
                **same, endpoint_id=message, type="messages.batch", first_seq=1, last_seq=2, body=body.encode(),
                status="pending", attempts=0, next_at=0,
            )
        )  # fmt: skip
        answer = json.dumps({"subject": NUMBER, "scope": "marketing"})
        tx.execute(
            insert(idempotent_requests).values(
                id="a", fingerprint="b", owner=message, at=0, status=201, answer=answer
            )
        )


def _store_files(desk: Any, places: Settings, campaign: str) -> None:
    """A kept upload as a workbook, exports of two formats, and one of another person."""
    upload, exports = Path(places.upload_dir), Path(places.export_dir)
    exports.mkdir()
    (upload / campaign).mkdir(parents=True)
    with zipfile.ZipFile(upload / campaign / "people.xlsx", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/sharedStrings.xml", f"<sst><si><t>+44 7700 900123</t></si><si>{NAME}</si></sst>")
    with desk.database.write() as tx:
        tx.execute(
            insert(uploads).values(
                id=campaign, campaign_id=campaign, state="done", options=json.dumps({"name": NUMBER}),
                campaign_key=f"list-{NUMBER}", source_hash="h", file="people.xlsx", sha256="s", bytes=1,
                created_at=0, created_by="ada", failures=0, report=json.dumps({"refused": [{"value": NUMBER}]}),
            )
        )  # fmt: skip
        for name in ("csv", "parquet", "jsonl"):
            id = jobs.add(tx, "export", {"query": {"phone": NUMBER}}, requested_by="k", actor="ada")
            job = jobs.claim(tx, "export", 60_000)
            assert job is not None
            jobs.finish(tx, job, {"file": f"{id}.{job.owner}.{name}"}, 1)
            told = f"to,name\n{NUMBER},{NAME}\n" if name == "csv" else f"{OTHER}\n"
            (exports / f"{id}.{job.owner}.{name}").write_text(told)


def left_in(desk: Any, tmp_path: Path) -> list[str]:
    """Where something of the person is: by a search that shares nothing with that of ``forget``."""
    found = []
    with desk.database.read() as tx:
        for table in metadata.sorted_tables:
            for row in tx.execute(select(table)):
                for name, value in row._mapping.items():
                    data = value if isinstance(value, bytes) else str(value).encode()
                    found += [f"{table.name}.{name}" for each in GONE if each in data]
        for group, _ in raw_receipts.page(tx, after="", limit=1000):
            data = b"".join(each.body for each in raw_receipts.unpack(group, desk.cipher))
            found += ["raw_receipts" for each in GONE if each in data]
    for file in tmp_path.rglob("*"):
        if file.is_file():
            found += [file.name for each in GONE if each in file.read_bytes()]
    return found


def test_a_person_is_erased_everywhere_and_the_suppression_still_works(
    desk: Any, places: Settings, tmp_path: Path, valkey: redis.Redis
) -> None:
    ids = everything_about_a_person(desk, places)
    assert {"messages.recipient", "messages.payload", "suppressions.subject"} <= set(left_in(desk, tmp_path))
    before = {table: desk.scalar(f"SELECT count(*) FROM {table}") for table in ("messages", "attempts")}  # noqa: S608
    done = ask(desk, places, client=valkey)
    assert done.left == []
    assert done.as_json()["complete"] is True
    assert left_in(desk, tmp_path) == []
    assert done.erased | {"acts": 0, "texts": 0} == {
        "messages": 3, "attempts": 2, "receipts": 2, "cancelled": 1, "inbound": 1, "suppressions": 1,
        "consents": 1, "acts": 0, "callbacks": 1, "webhooks": 1, "orphans": 0, "contents_of_others": 0,
        "texts": 0, "exports": 2, "uploads": 1,
    }  # fmt: skip
    assert [path.suffix for path in Path(places.export_dir).iterdir()] == [".jsonl"]
    # Counts, audit and other people stay as they were.
    assert before == {table: desk.scalar(f"SELECT count(*) FROM {table}") for table in before}  # noqa: S608
    assert [desk.status(id) for id in ids] == ["failed", "failed", "cancelled"]
    assert desk.broken() == {}
    assert desk.scalar("SELECT count(*) FROM messages WHERE recipient = :to", to=OTHER) == 1
    (body,) = (json.loads(bytes(b)) for b in [desk.scalar("SELECT body FROM webhook_deliveries")])
    assert [item["data"]["to"] for item in body["data"]["items"]] == ["4477*****123", OTHER]
    _the_suppression_works(desk)
    # The act says that it was done, and not to whom.
    with desk.database.read() as tx:
        subject = suppressions.page(tx, subject=NUMBER)[0].subject
        (act,) = operator_log.of(tx, "person", subject)
    assert (act.act, act.why) == ("forget", "the person asked")
    # Once more: nothing is left to erase.
    again = ask(desk, places, client=valkey)
    assert again.is_complete
    assert again.erased["messages"] == again.erased["texts"] == 0


def _the_suppression_works(desk: Any) -> None:
    with desk.database.read() as tx:
        assert suppressions.reasons_for(tx, [NUMBER, OTHER], Kind.MARKETING).keys() == {NUMBER}
        assert suppressions.reasons_for(tx, [NUMBER], Kind.OTP) == {}
    # At intake, and at the last look before a POST.
    again = desk.campaign()
    assert desk.take(again, desk.new_message(1, recipient=NUMBER)).suppressed == 1
    queued = desk.take(desk.campaign(kind=Kind.UTILITY), desk.new_message(1, recipient=NUMBER)).ready
    claimed = desk.claim(lease := desk.lease("host:9"), queued)
    with desk.database.write() as tx:
        tx.execute(suppressed.update().values(scope="all"))
    assert desk.open(lease, desk.openings(claimed)).suppressed == queued
    # Those two rows are new; the person asked to be forgotten before.
    desk.sql(
        "UPDATE messages SET recipient = '', key = CAST(id AS text), payload = NULL WHERE recipient = :to",
        to=NUMBER,
    )


def test_a_rehearsal_leaves_out_a_forgotten_person_who_is_suppressed(
    desk: Any, places: Settings, sqlite_template: Path, tmp_path: Path
) -> None:
    stop = {"scope": "marketing", "reason": "STOP", "source": "stop word", "actor": "ada"}
    desk.write(suppressions.add, {NUMBER: None}, **stop)
    assert ask(desk, places).is_complete
    shutil.copyfile(sqlite_template, tmp_path / "rehearsal.db")
    with closing(Database(f"sqlite:///{tmp_path}/rehearsal.db")) as rehearsal:
        sends = {"sender": "15550100100", "type": "text", "content": "{}"}
        copy_surroundings(desk.database, rehearsal, **sends, rate=80, speed=1)
        with rehearsal.read() as tx:
            assert [*suppressions.reasons_for(tx, [NUMBER, OTHER], Kind.MARKETING)] == [NUMBER]


def test_a_suppression_of_a_forgotten_person_is_lifted_by_the_number(desk: Any, places: Settings) -> None:
    stop = {"scope": "marketing", "reason": "STOP", "source": "stop word", "actor": "ada"}
    desk.write(suppressions.add, {NUMBER: None}, **stop)
    assert ask(desk, places).suppressed == ["marketing"]
    # A second one, in clear, joins the first at the next erasure.
    desk.write(suppressions.add, {NUMBER: None}, until=desk.now() + 10**9, **stop)
    ask(desk, places)
    (kept,) = desk.read(suppressions.page)
    assert (kept.subject[0], kept.until) == ("#", None)
    assert desk.write(suppressions.lift_own, NUMBER, source="stop word", actor="ada", why="START") == 1
    assert desk.read(suppressions.page) == []


def test_all_forms_of_a_number_are_one_person(desk: Any, places: Settings) -> None:
    old, new = "551187654321", "5511987654321"
    campaign = desk.campaign()
    ids = desk.take(campaign, desk.new_message(1, recipient=old)).ready
    desk.write(suppressions.add, {old: None}, scope="all", reason="asked", source="operator", actor="ada")
    assert ask(desk, places, new).erased["messages"] == 1
    assert desk.row(ids[0])["recipient"] == ""
    with desk.database.read() as tx:
        assert suppressions.reasons_for(tx, [old, new], Kind.UTILITY).keys() == {old, new}


def test_nothing_is_changed_while_a_message_is_being_sent_or_under_legal_hold(
    desk: Any, places: Settings
) -> None:
    campaign = desk.campaign()
    ids = desk.take(campaign, desk.new_message(1, recipient=NUMBER)).ready
    hold = place_hold(desk.database, campaign=None, person=NUMBER, actor="ada", why="a court asks")
    assert list_holds(desk.database)[0]["subject"] == "4477*****123"
    with pytest.raises(WrongState, match=f"legal hold {hold['id']}"):
        ask(desk, places)
    with pytest.raises(WrongState, match="already"):
        desk.write(legal_holds.place, legal_holds.PERSON, NUMBER, actor="ada", why="twice")
    remove_hold(desk.database, hold["id"], actor="ada", why="it ended")
    of_campaign = place_hold(
        desk.database, campaign=campaign.id, person=None, actor="ada", why="a court asks"
    )
    with pytest.raises(WrongState, match=re.escape(f"{of_campaign['id']} (campaign {campaign.name})")):
        ask(desk, places)
    remove_hold(desk.database, of_campaign["id"], actor="ada", why="it ended")
    desk.sent(desk.lease(), ids)
    with pytest.raises(WrongState, match="being sent now"):
        ask(desk, places)
    assert desk.row(ids[0])["recipient"] == NUMBER


def test_what_says_the_number_under_legal_hold_stays_and_is_told(desk: Any, places: Settings) -> None:
    body = {"v": {"name": f"call {NUMBER}"}}
    kept, of_person, gone = (desk.campaign(name=f"ask {NUMBER}") for _ in range(3))
    ids = [
        *desk.take(kept, desk.new_message(1, recipient=OTHER, body=body)).ready,
        *desk.take(of_person, desk.new_message(1, recipient="447700900888", body=body)).ready,
        *desk.take(gone, desk.new_message(1, recipient=OTHER, body=body)).ready,
    ]
    for campaign in (kept, of_person, gone):
        desk.write(campaigns.finish_intake, campaign.id)
        campaign_control.cancel(desk.database, campaign.id, actor="ada", why="wrong")
    place_hold(desk.database, campaign=kept.id, person=None, actor="ada", why="a court asks")
    place_hold(desk.database, campaign=None, person="447700900888", actor="ada", why="a court asks")
    done = ask(desk, places)
    assert [desk.payload(id) is None for id in ids] == [False, False, True]
    names = {id: desk.read(campaigns.get, id).name for id in (kept.id, gone.id)}
    assert names == {kept.id: f"ask {NUMBER}", gone.id: "ask 4477*****123"}
    told = [each.where for each in done.left if "legal hold" in each.why]
    assert told == [*(f"message {id}, to another person" for id in ids[:2]), "campaigns.name"]


def test_a_number_in_the_reason_and_a_sender_are_refused(desk: Any, places: Settings) -> None:
    with pytest.raises(InvalidValue, match="why: has the person's number"):
        forget(
            *(desk.database, desk.cipher, places, NUMBER),
            actor="ada",
            why="+44 7700 900123 asked",
            open_redis=None,
        )
    desk.campaign()
    desk.sql("INSERT INTO senders (phone, name, rate, added_at) VALUES (:phone, '', 80, 0)", phone=NUMBER)
    with pytest.raises(InvalidValue, match="sender of yours"):
        ask(desk, places)


def test_what_cannot_be_erased_yet_is_told(
    desk: Any, places: Settings, tmp_path: Path, valkey: redis.Redis
) -> None:
    body = f'{{"id": "m", "to": "{NUMBER}"}}'.encode()
    group = raw_receipts.pack([Callback("t", {}, body)], desk.cipher, desk.now())
    desk.write(raw_receipts.store, [group])
    spool = ReceiptSpool(Path(places.spool_dir))
    spool.save(raw_receipts.pack([Callback("t", {}, body)], desk.cipher, desk.now()))
    spool.close()
    folder = Path(places.upload_dir) / group.id
    folder.mkdir(parents=True)
    (folder / "people.csv").write_text(f"to\n{NUMBER}\n", encoding="utf-16")
    with desk.database.write() as tx:
        tx.execute(
            insert(uploads).values(
                id=group.id, state="stored", options="{}", campaign_key="k", source_hash="h", file="people.csv",
                sha256="s", bytes=1, created_at=0, created_by="ada", failures=0,
            )
        )  # fmt: skip
    valkey.lpush("another program's list", f"call {NUMBER}")
    done = ask(desk, places, client=valkey)
    assert not done.is_complete
    told = {each.where.split()[0] for each in done.left}
    assert {"1", "spool", "posted", "Redis,"} <= told
    desk.write(raw_receipts.mark_read, [group.id])
    desk.sql("UPDATE uploads SET state = 'done'")
    valkey.flushall()
    for file in Path(places.spool_dir).iterdir():
        file.unlink()
    kept = MediaFiles.from_settings(places)
    kept.keep(group.id, f"call {NUMBER}".encode())
    (left,) = ask(desk, places, client=valkey).left
    assert (left.where, left.why) == (f"file {group.id} of messages", "`bulksend media delete` deletes it")
    kept.remove(group.id)
    assert ask(desk, places, client=valkey).left == []
    assert not folder.exists()


def test_an_older_program_left_bytes_in_the_file(
    sqlite_template: Path, tmp_path: Path, places: Settings
) -> None:
    file = tmp_path / "old.db"
    shutil.copyfile(sqlite_template, file)
    desk = Desk(Database(f"sqlite:///{file}"))
    with sqlite3.connect(file) as ledger:
        ledger.execute("PRAGMA secure_delete=OFF")
        ledger.execute("CREATE TABLE old (words)")
        ledger.executemany("INSERT INTO old VALUES (?)", [(f"{NUMBER} {n}" * 20,) for n in range(200)])
        ledger.execute("DROP TABLE old")
    ledger.close()
    assert NUMBER.encode() in file.read_bytes()
    assert ask(desk, places).is_complete
    assert NUMBER.encode() not in file.read_bytes()
    desk.database.close()


def test_a_person_gets_all_that_is_held(desk: Any, places: Settings) -> None:
    everything_about_a_person(desk, places)
    (code,) = desk.send(desk.new_send(recipient=NUMBER))
    held = export_person(desk.database, desk.cipher, NUMBER, actor="ada", why="the person asked")
    assert held["person"] == NUMBER
    assert len(held["messages"]) == 4
    by_id = {each["id"]: each for each in held["messages"]}
    assert by_id[code.id]["content"] is None
    assert sum(each["content"] == {"body": f"hello {NAME}"} for each in held["messages"]) == 3
    assert sorted(len(each["receipts"]) for each in held["messages"]) == [0, 0, 1, 1]
    assert [each["text"] for each in held["inbound"]] == [f"I am {NAME}"]
    assert [each["scope"] for each in held["suppressions"]] == ["marketing"]
    assert [(each["to"], each["consent_source"]) for each in held["consents"]] == [
        (NUMBER, f"form of +{NUMBER}")
    ]
    assert [each["act"] for each in held["acts"]] == ["suppress marketing", "export person"]
    assert held["callbacks"] == 1
    assert "Your code" not in json.dumps(held)
    with desk.database.read() as tx:
        acts = [dict(row._mapping) for row in tx.execute(select(metadata.tables["acts"]))]
    (own,) = (act for act in acts if act["act"] == "export person")
    assert NUMBER not in str(own)


def test_a_person_of_whom_nothing_is_held_is_forgotten_too(ledger: Database, places: Settings) -> None:
    done = forget(*(ledger, Cipher([]), places, NUMBER), actor="ada", why="the person asked", open_redis=None)
    assert done.is_complete
    assert not any(done.erased.values())
