"""Files for messages: one upload for each content and sender, and none that a campaign needs is deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulksend.errors import InvalidValue, NotFound, VendorUnavailable, WrongState
from bulksend.gateway import Credentials, VendorCalls
from bulksend.ledger import operator_log
from bulksend.operations.media import delete, list_media, upload
from simulator import REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET, SimulatorSettings, read_rules, run_in_thread
from tests.integration.ledger.conftest import ACTOR, SENDER, Desk

OTHER = "15550100101"
DAY_MS = 86_400_000


@pytest.fixture
def desk(ledger: Any) -> Desk:
    return Desk(ledger)


def calls_to(simulator: Any) -> VendorCalls:
    return VendorCalls(f"{simulator.origin}/api", Credentials(REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET))


@pytest.fixture
def vendor() -> Iterator[VendorCalls]:
    with run_in_thread(SimulatorSettings(media="uploaded")) as simulator:
        yield calls_to(simulator)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "spring.txt"
    file.write_bytes(b"\xff\xd8\xff\xe0 a picture")
    return file


def test_a_content_is_uploaded_once_for_each_sender(desk: Desk, vendor: VendorCalls, picture: Path) -> None:
    first = upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
    assert (first["type"], first["mime"], first["repeated"]) == ("image", "image/jpeg", False)
    same = upload(desk.database, vendor, picture.rename(picture.with_name("other.jpg")), SENDER, actor=ACTOR)
    assert (same["media_id"], same["repeated"]) == (first["media_id"], True)
    other = upload(desk.database, vendor, picture.with_name("other.jpg"), OTHER, actor=ACTOR)
    assert other["media_id"] != first["media_id"]
    assert {each["sender"] for each in list_media(desk.database)} == {SENDER, OTHER}
    (act,) = desk.read(operator_log.of, "media", first["id"])
    assert (act.act, act.why) == ("upload", "spring.txt, image/jpeg, 14 bytes")


def test_in_its_last_three_days_a_file_is_uploaded_again_under_another_id(
    desk: Desk, vendor: VendorCalls, picture: Path
) -> None:
    first = upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
    desk.sql("UPDATE media SET expires_at = :at", at=desk.now() + 3 * DAY_MS - 1000)
    renewed = upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
    assert renewed["id"] == first["id"]
    assert renewed["media_id"] != first["media_id"]
    assert len(list_media(desk.database)) == 1
    desk.sql("UPDATE media SET expires_at = 1")
    assert list_media(desk.database)[0]["expired"]


def test_a_file_that_a_campaign_sends_is_not_deleted(desk: Desk, vendor: VendorCalls, picture: Path) -> None:
    done = upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
    campaign = desk.campaign(
        type="image", content=json.dumps({"id": done["media_id"]}, separators=(",", ":"))
    )
    with pytest.raises(WrongState, match="after the campaign has ended"):
        delete(desk.database, vendor, done["id"], actor=ACTOR)
    desk.sql("UPDATE campaigns SET status = 'finished' WHERE id = :id", id=campaign.id)
    assert delete(desk.database, vendor, done["media_id"], actor=ACTOR) == {"id": done["id"], "deleted": True}
    assert list_media(desk.database) == []
    with pytest.raises(NotFound, match="no file"):
        delete(desk.database, vendor, done["id"], actor=ACTOR)


def test_what_the_vendor_does_not_do_is_said_and_changes_nothing(desk: Desk, picture: Path) -> None:
    rules = read_rules(
        [
            {"match": {"action": action}, "fault": {"do": "ret_code", "ret_code": code}, "times": 1}
            for action, code in (("UploadMedia", 153), ("DeleteMedia", 17114))
        ]
    )
    with run_in_thread(SimulatorSettings(rules=rules)) as simulator:
        vendor = calls_to(simulator)
        with pytest.raises(VendorUnavailable, match=r"not uploaded: .*\(153\)"):
            upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
        assert list_media(desk.database) == []
        done = upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
        with pytest.raises(VendorUnavailable, match=r"not deleted: .*\(17114\)"):
            delete(desk.database, vendor, done["id"], actor=ACTOR)
        assert len(list_media(desk.database)) == 1


def test_a_file_that_whatsapp_does_not_take_never_leaves(
    desk: Desk, vendor: VendorCalls, tmp_path: Path
) -> None:
    bad = tmp_path / "picture.jpg"
    bad.write_bytes(b"GIF89a\x01")
    for file, words in ((bad, "no type that WhatsApp takes"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(InvalidValue, match=words):
            upload(desk.database, vendor, file, SENDER, actor=ACTOR)
    assert list_media(desk.database) == []
