"""The first part of a campaign fails: the rest stays unsent, whatever is killed meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

#: Three of ten, by the last digit of the recipient's number.
FAILING = [
    {
        "name": "three of ten are not on WhatsApp",
        "match": {"to_regex": "[379]$"},
        "fault": {"do": "ret_code", "ret_code": 17115, "message": "(#131026) Message undeliverable"},
    }
]
ROWS = 10_000


@pytest.mark.timeout(240)
def test_of_a_campaign_whose_canary_fails_the_rest_stays_unsent(make_site: Any) -> None:
    with make_site(workers=1, faults=FAILING) as site:
        blast = site.send("blast", numbers(ROWS), canary="1%")
        site.wait("its canary is sent", lambda: len(site.vendor()) >= 4)
        # What decides is in the ledger: the relay and the worker that began it are not needed.
        for name in ("relay", "worker"):
            site.stack.member(name).child.kill()
        site.stack.add("relay2", "relay")
        site.stack.add("successor", "worker", "-n", "w9@%h")
        site.wait("it is paused", lambda: show(site, blast)["status"] == "paused", 60)
        shown = show(site, blast)
        assert shown["canary_state"] == "failed"
        assert "canary failed: of 100 messages" in shown["pause_why"]
        posted = {post["to"] for post in site.vendor()}
        assert len(posted) <= 100
        assert posted <= set(numbers(100))
        assert shown["statuses"]["queued"] >= ROWS - 100
        site.agrees()


def show(site: Any, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.run("campaigns", "show", id, "--json"))
    return found


def numbers(count: int) -> list[str]:
    return [f"44770090{n:04d}" for n in range(count)]
