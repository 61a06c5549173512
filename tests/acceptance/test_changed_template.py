"""A template of the vendor and a campaign that uses it: what cannot succeed is not POSTed, and one command goes on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_crashes import people

TEMPLATE = {
    "name": "spring_sale",
    "language": "en",
    "header": "IMAGE",
    "body_parameters": 1,
    "variable_names": ["first name"],
}
#: A reply that came after the pause may be of a POST that had begun before it.
UNDER_WAY_S = 1.0


def content(*columns: str) -> str:
    parameters = [{"type": "text", "text": f"{{{{{column}}}}}"} for column in columns]
    language = {"code": "en", "policy": "deterministic"}
    body = {"type": "body", "parameters": parameters}
    return json.dumps({"name": "spring_sale", "language": language, "components": [body]})


@pytest.mark.timeout(240)
def test_a_template_that_does_not_fit_or_is_paused_stops_its_campaign(make_site: Any, tmp_path: Path) -> None:
    file, right, wrong = tmp_path / "people.csv", tmp_path / "right.json", tmp_path / "wrong.json"
    file.write_text("to,name\n" + "".join(f"{number},Ada\n" for number in people(400)))
    right.write_text(content("name"))
    wrong.write_text(content("name", "name"))
    picture = tmp_path / "spring.jpg"
    picture.write_bytes(b"\xff\xd8\xff\xe0 a picture")
    # The vendor takes only the ids of files that it has.
    with make_site(workers=1, vendor={"templates": [TEMPLATE], "media": "uploaded"}) as site:

        def send(content_file: Path, *more: str, code: int = 0) -> str:
            words = ("--sender", site.sender, "--type", "template", "--kind", "marketing", "--rate", "20/s")
            with_picture = ("--media", str(picture))
            return str(
                site.run(
                    "send", str(file), *words, *with_picture, "--content", str(content_file), *more, code=code
                )
            )

        assert "is not known here, so the content was not compared" in send(wrong, "--dry-run")
        said = send(wrong, code=2)
        assert "has 1 variable (first name) in its body, and the content gives 2: give exactly 1" in said
        assert site.messages() == []
        assert site.vendor() == []
        # Nothing was uploaded for a content that is refused.
        assert site.run("media", "list", "--json") == ""

        send(right)
        ((blast, _),) = _campaigns(site).items()
        site.wait("it has begun", lambda: site.statuses(blast)["accepted"] >= 20)
        site.stack.inspect("templates", {"name": "spring_sale", "status": "PAUSED"})
        paused_at = time.monotonic()
        site.wait("it is paused", lambda: _campaigns(site)[blast]["status"] == "paused", 10)
        assert time.monotonic() - paused_at < 10
        shown = json.loads(site.run("campaigns", "show", blast, "--json"))
        assert "template" in shown["pause_why"]
        time.sleep(UNDER_WAY_S)
        posts = len(site.vendor())
        # The relay reads the template within 5 s, also after a refused POST paused the campaign.
        site.wait("its state is known", lambda: '"PAUSED"' in site.run("templates", "list", "--json"), 15)
        assert len(site.vendor()) == posts
        refused = site.run("campaigns", "resume", blast, code=2)
        assert "stays paused: template spring_sale (en) is PAUSED" in refused
        assert len(site.vendor()) == posts

        site.stack.inspect("templates", {"name": "spring_sale", "status": "APPROVED"})
        site.run("campaigns", "resume", blast)
        site.wait("it goes on", lambda: len(site.vendor()) > posts)
        site.run("campaigns", "set", blast, "--rate", "none")
        assert site.wait_ended(blast) == {"accepted": 400}
        site.agrees()


def _campaigns(site: Any) -> dict[str, dict[str, Any]]:
    lines = site.run("campaigns", "list", "--json").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return {each["campaign_id"]: each for each in found}
