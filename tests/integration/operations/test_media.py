"""Files for messages: one upload for each content and sender, and none that a campaign needs is deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulksend.errors import InvalidValue, NotFound, VendorUnavailable, WrongState
from bulksend.gateway import Credentials
from bulksend.gateway.vendor_calls import VendorCalls
from bulksend.ledger import campaign_creation, operator_log
from bulksend.messaging import MessageType
from bulksend.operations.campaigns import Act, act
from bulksend.operations.media import PlacedFile, delete, list_media, place, show_media, upload
from bulksend.settings import Settings
from producer import Producer
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


def test_a_file_in_a_content_has_the_same_id_before_and_after_its_upload(
    desk: Desk, vendor: VendorCalls, picture: Path
) -> None:
    def placed() -> PlacedFile:
        given = {"sender": SENDER, "type": MessageType.IMAGE, "content": "{}", "field": "--media"}
        return place(desk.database, picture, **given)  # type: ignore[arg-type]

    before = placed()
    new = desk.new_campaign(type="image", content=before.content.decode())
    with pytest.raises(InvalidValue, match=f"content: the file media:{before.id} is not known here"):
        desk.write(campaign_creation.create_or_find, new)
    desk.read(campaign_creation.check_content, new, lock=False, coming={before.id})
    done = upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
    assert done["id"] == before.id == placed().id
    campaign, _ = desk.write(campaign_creation.create_or_find, new)
    assert show_media(desk.database, f"media:{before.id}")["campaigns"] == [campaign.id]
    with pytest.raises(WrongState, match="after the campaign has ended"):
        delete(desk.database, vendor, done["media_id"], actor=ACTOR)
    desk.sql("UPDATE campaigns SET status = 'finished'")
    delete(desk.database, vendor, done["id"], actor=ACTOR)
    assert upload(desk.database, vendor, picture, SENDER, actor=ACTOR)["id"] == before.id


@pytest.mark.parametrize("by_our_id", [True, False])
def test_a_content_with_a_file_that_cannot_be_sent_is_refused(
    desk: Desk, vendor: VendorCalls, picture: Path, by_our_id: bool
) -> None:
    done = upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
    content = json.dumps({"id": f"media:{done['id']}" if by_our_id else done["media_id"]})

    def refusal(**changes: Any) -> str:
        with pytest.raises(InvalidValue) as refused:
            desk.campaign(**{"type": "image", "content": content, **changes})
        return str(refused.value)

    assert f"was uploaded for another sender; `bulksend media upload FILE --sender {OTHER}`" in refusal(
        sender=OTHER
    )
    assert "is sent as image, and the content takes document there" in refusal(type="document")
    paused = desk.campaign(type="image", content=content)
    desk.sql("UPDATE campaigns SET status = 'paused', paused_at = 1")
    desk.sql("UPDATE media SET expires_at = :at", at=desk.now())
    assert "ended at the vendor, which keeps a file for 30 days" in refusal()
    with pytest.raises(WrongState, match=r"stays paused: the file .* ended at the vendor"):
        act(desk.database, lambda: None, paused.id, Act.RESUME, actor=ACTOR, why=None)
    upload(desk.database, vendor, picture, SENDER, actor=ACTOR)
    if by_our_id:
        done = act(desk.database, lambda: None, paused.id, Act.RESUME, actor=ACTOR, why=None).as_json()
        assert done["status"] == "intake"


def test_a_producer_uploads_a_path_and_takes_the_id_of_a_file(
    desk: Desk, picture: Path, ledger_url: str
) -> None:
    with run_in_thread(SimulatorSettings(media="uploaded")) as simulator:
        producer = Producer.from_settings(
            Settings.from_env(
                {
                    "DATABASE_URL": ledger_url,
                    "USPEEDO_BASE_URL": f"{simulator.origin}/api",
                    "USPEEDO_ACCESSKEY_ID": REHEARSAL_ACCESS_KEY_ID,
                    "USPEEDO_ACCESSKEY_SECRET": REHEARSAL_SECRET,
                }
            )
        )
        given: dict[str, Any] = {"name": "spring", "sender": SENDER, "kind": "marketing", "type": "image"}

        def submit(media: Path | str, **changes: Any) -> Any:
            rows = [{"to": "447700900123", "name": "Ada"}]
            return producer.submit(
                **{**given, "content": {"caption": "{{name}}"}, "rows": rows, "media": media, **changes}
            )

        with pytest.raises(InvalidValue, match=r"^media: has no place in a content of type text"):
            submit(picture, type="text", content={"body": "x"})
        with pytest.raises(InvalidValue, match="caption2"):
            submit(picture, content={"caption2": "x"})
        assert list_media(desk.database) == []
        first = submit(picture)
        assert first.messages == 1
        (file,) = list_media(desk.database)
        for media in (picture, file["id"], file["media_id"]):
            assert submit(media).repeated
        for wrong, why in (("spring.jpg", "no file 'spring.jpg'"), (5, "must be a pathlib.Path or the id")):
            with pytest.raises(InvalidValue, match=f"^media: .*{why}"):
                submit(wrong)  # type: ignore[arg-type]
        with pytest.raises(
            InvalidValue, match="names a file by our id, as only the content of a campaign can"
        ):
            producer.send(
                to="447700900123",
                sender=SENDER,
                kind="marketing",
                type="image",
                content={"id": f"media:{file['id']}"},
            )
        producer.close()


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
