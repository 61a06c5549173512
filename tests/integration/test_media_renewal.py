"""Files that campaigns send are uploaded again before the vendor deletes them; else their campaigns are paused."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulksend.gateway import Credentials
from bulksend.gateway.vendor_calls import VendorCalls
from bulksend.ledger import campaigns
from bulksend.operations.campaigns import Act, act
from bulksend.operations.media import delete, show_media, upload
from bulksend.operations.media_files import MediaFiles
from producer.media_renewal import MediaRenewal
from simulator import REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET, SimulatorSettings, run_in_thread
from tests.integration.ledger.conftest import ACTOR, SENDER, Desk

DAY_MS, HOUR_MS = 86_400_000, 3_600_000


class Shop:
    """A ledger, a vendor, the folder of kept files, and a picture that was uploaded."""

    def __init__(self, desk: Desk, vendor: VendorCalls, folder: Path) -> None:
        self.desk, self.vendor = desk, vendor
        self.files = MediaFiles(folder / "media")
        self.renewal = MediaRenewal(desk.database, vendor, self.files)
        self.picture = folder / "spring 15550100.jpg"
        self.picture.write_bytes(b"\xff\xd8\xff\xe0 a picture")
        self.first = self.upload()

    @property
    def id(self) -> str:
        return str(self.first["id"])

    def upload(self) -> dict[str, Any]:
        return upload(self.desk.database, self.vendor, self.picture, SENDER, actor=ACTOR, files=self.files)

    def now(self) -> dict[str, Any]:
        return show_media(self.desk.database, self.id)

    def campaign(self, id: str) -> str:
        return self.desk.campaign(type="image", content=json.dumps({"id": id}, separators=(",", ":"))).id

    def ends_in(self, ms: int) -> None:
        self.desk.sql("UPDATE media SET expires_at = :at", at=self.desk.now() + ms)

    def status(self, campaign: str) -> tuple[str, str | None]:
        found = self.desk.read(campaigns.get, campaign)
        return found.status.value, found.pause_why


@pytest.fixture
def shop(ledger: Any, tmp_path: Path) -> Iterator[Shop]:
    with run_in_thread(SimulatorSettings(media="uploaded")) as simulator:
        credentials = Credentials(REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET)
        yield Shop(Desk(ledger), VendorCalls(f"{simulator.origin}/api", credentials), tmp_path)


@pytest.mark.parametrize("status", ["intake", "running", "paused"])
def test_a_file_of_a_live_campaign_is_renewed_in_its_last_three_days(shop: Shop, status: str) -> None:
    campaign = shop.campaign(f"media:{shop.id}")
    shop.desk.sql("UPDATE campaigns SET status = :status, paused_at = 1", status=status)
    shop.renewal.round()
    assert shop.now()["media_id"] == shop.first["media_id"]
    shop.ends_in(3 * DAY_MS - 1000)
    shop.renewal.round()
    renewed = shop.now()
    assert renewed["media_id"] != shop.first["media_id"]
    assert renewed["expires_at"] > shop.first["expires_at"]
    assert shop.status(campaign)[0] == status
    shop.desk.sql("UPDATE campaigns SET status = 'finished'")
    shop.ends_in(HOUR_MS)
    shop.renewal.round()
    assert shop.now()["media_id"] == renewed["media_id"]


def test_without_its_content_a_campaign_is_paused_in_the_last_hour_until_the_file_is_uploaded(
    shop: Shop,
) -> None:
    campaign = shop.campaign(f"media:{shop.id}")
    shop.files.remove(shop.id)
    shop.ends_in(HOUR_MS + 60_000)
    shop.renewal.round()
    assert shop.status(campaign)[0] == "intake"
    shop.ends_in(HOUR_MS - 1000)
    shop.renewal.round()
    status, why = shop.status(campaign)
    assert status == "paused"
    assert "its content is not in the upload folder (BULKSEND_UPLOAD_DIR)" in str(why)
    assert f"`bulksend media upload FILE --sender {SENDER}` uploads it; then resume" in str(why)
    assert "15550100.jpg" not in str(why)
    shop.upload()
    assert shop.files.has(shop.id)
    shop.renewal.round()
    act(shop.desk.database, lambda: None, campaign, Act.RESUME, actor=ACTOR, why=None)
    assert shop.status(campaign)[0] == "intake"


def test_a_campaign_that_names_the_vendors_id_is_paused_as_the_id_ends(shop: Shop) -> None:
    named = shop.campaign(shop.first["media_id"])
    shop.ends_in(2 * DAY_MS)
    shop.renewal.round()
    assert shop.status(named)[0] == "intake"
    assert shop.now()["media_id"] == shop.first["media_id"]
    shop.ends_in(HOUR_MS - 1000)
    shop.renewal.round()
    status, why = shop.status(named)
    assert status == "paused"
    assert f"Cancel it, and continue it with a content that has media:{shop.id}" in str(why)


def test_contents_are_kept_as_long_as_an_upload_or_a_campaign_needs_them(shop: Shop) -> None:
    folder = shop.picture.parent / "media"
    assert (folder.stat().st_mode & 0o777, (folder / shop.id).stat().st_mode & 0o777) == (0o700, 0o600)
    part = folder / "x.1.part"
    part.write_bytes(b"x")
    abandoned = folder / "01978c5e-0000-7000-8000-000000000001"
    abandoned.write_bytes(b"x")
    shop.renewal.round()
    assert abandoned.exists()
    long_ago = time.time() - 7200
    for path in (part, abandoned, folder / shop.id):
        os.utime(path, (long_ago, long_ago))
    shop.renewal.round()
    assert sorted(path.name for path in folder.iterdir()) == [shop.id]
    shop.ends_in(-1)
    shop.renewal.round()
    assert not shop.files.has(shop.id)
    shop.upload()
    delete(shop.desk.database, shop.vendor, shop.id, actor=ACTOR, files=shop.files)
    assert not shop.files.has(shop.id)
