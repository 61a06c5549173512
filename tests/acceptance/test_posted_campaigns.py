"""`serve` or its intake is killed while a file arrives or is taken in: each row is in its campaign once."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from bulksend.ledger import campaigns
from producer.uploads import SMALL_BYTES
from tests.acceptance.many_commands import Started
from tests.acceptance.serving import Serving
from tests.integration.test_local_servers import alive

ROWS = 10_000
OPTIONS = {"name": "spring", "kind": "marketing", "type": "text", "content": {"body": "hello {{name}}"}}


class Posting(Serving):
    """Files are posted to it."""

    process: Started

    def begin(self, failpoints: str = "") -> None:
        """Start it."""
        self.process = self.start(failpoints, BULKSEND_INTAKE_CHUNK="250", BULKSEND_LOG_FORMAT="json")

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(60)

    def intakes(self) -> list[int]:
        """The processes that this `serve` has started for large files; it logs each."""
        events = map(json.loads, self.said().splitlines())
        return [int(event["pid"]) for event in events if event["event"] == "intake_started"]

    def post_file(
        self, data: bytes, sender: str, key: str, status: int = 202, to: str = "campaigns", **options: Any
    ) -> Any:
        answer = httpx.post(
            f"{self.url}/v1/{to}",
            data={"campaign": json.dumps(OPTIONS | {"sender": sender} | options)},
            files={"file": ("people.csv", data)},
            headers=self.headers | {"Idempotency-Key": key},
            timeout=60,
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    def apply(self, plan_id: str) -> Any:
        answer = httpx.post(f"{self.url}/v1/plans/{plan_id}/apply", headers=self.headers, timeout=60)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def half_a_post(self, data: bytes) -> http.client.HTTPConnection:
        """A request of which only the first half is sent."""
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="half.csv"\r\n\r\n'
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.putrequest("POST", "/v1/campaigns")
        for name, value in {
            **self.headers,
            "Content-Type": "multipart/form-data; boundary=b",
            "Content-Length": str(len(head) + 2 * len(data)),
        }.items():
            connection.putheader(name, value)
        connection.endheaders(head + data)
        return connection

    def stored(self) -> list[Path]:
        return sorted(self.uploads.glob("*")) if self.uploads.exists() else []


@contextmanager
def posting(site: Any, folder: Path) -> Iterator[Posting]:
    key = json.loads(site.run("keys", "add", "--name", "tool", "--role", "operator", "--json"))["key"]
    made = Posting(site.shell, site.environ, folder, key=key)
    made.begin("after_chunk:kill:9")
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait(60)


def people(name: str = "Ann") -> bytes:
    """Numbers reserved for fiction, two rows a number: half of them are duplicates."""
    numbers = (f"1{200 + n // 100}55501{n % 100:02d}" for n in range(ROWS // 2))
    return ("to,name\n" + "".join(f"{number},{name}\n{number},{name}\n" for number in numbers)).encode()


@pytest.mark.timeout(240)
def test_serve_killed_in_mid_upload_and_in_mid_intake_loses_and_doubles_nothing(
    make_site: Any, tmp_path: Path
) -> None:
    with make_site(workers=0) as site, posting(site, tmp_path) as api:
        data = people()
        half = api.half_a_post(data * 16)
        site.wait(
            "a part of the file is on the disk", lambda: [p for p in api.stored() if p.suffix == ".part"]
        )
        api.kill()
        half.close()
        (part,) = api.stored()

        api.begin("after_chunk:kill:9")
        # Files that are never completed go when they are ten minutes old.
        for path in (*part.iterdir(), part):
            os.utime(path, (1, 1))
        # It dies in mid-intake. Usually this is before the answer: the caller does not know.
        with suppress(httpx.TransportError):
            api.post_file(data, site.sender, "one")
        api.process.wait(60)
        with site.ledger.read() as tx:
            (campaign,) = campaigns.newest(tx)
        id = campaign.id
        assert 0 < campaign.rows_read < ROWS

        # Large files are taken in by another process, here slowly: its chunks are not yet all stored at each kill.
        api.begin("after_chunk:sleep=0.1:*")
        site.wait("the other rows are taken in", lambda: rows_read(site, id) == ROWS)
        assert_taken_in(site, id)
        again = api.post_file(data, site.sender, "one")
        assert (again["campaign_id"], again["repeated"], again["messages"]) == (id, True, ROWS // 2)
        site.wait("nothing is left on the disk", lambda: not api.stored())
        the_intake_is_killed_too(site, api)
        assert len(site.messages()) == ROWS
        site.audit_holds()


def the_intake_is_killed_too(site: Any, api: Posting) -> None:
    data = people("Ann" * 40)
    assert len(data) > SMALL_BYTES
    refused = api.post_file(data, site.sender, "two", 409, dry_run=True)
    assert refused["code"] == "same_people"
    forecast = api.post_file(
        data, site.sender, "two", content={"body": "good morning {{name}}"}, dry_run=True
    )
    assert (forecast["dry_run"], forecast["rows"], forecast["messages"]) == (True, ROWS, ROWS // 2)
    assert api.stored() == []
    plan = api.post_file(data, site.sender, "two", 201, "plans", content={"body": "good morning {{name}}"})
    assert (plan["to_send"], len(api.stored())) == (ROWS // 2, 1)
    answer = api.apply(plan["plan_id"])
    id = answer["campaign_id"]
    assert (answer["status"], answer["repeated"]) == ("intake", False)

    def goes_on(beyond: int) -> int:
        """The process that takes rows in, once it has stored further ones; how many."""
        site.wait("more rows are taken in", lambda: rows_read(site, id) > beyond)
        return rows_read(site, id)

    at = goes_on(0)
    (first,) = api.intakes()
    os.kill(first, signal.SIGKILL)
    at = goes_on(at)
    first, second = api.intakes()
    assert at < ROWS
    api.kill()
    site.wait("the intake ends with serve", lambda: not alive(second))
    assert rows_read(site, id) < ROWS
    api.begin()
    site.wait("the other rows are taken in", lambda: rows_read(site, id) == ROWS)
    assert_taken_in(site, id)
    site.wait("nothing is left on the disk", lambda: not api.stored())
    (third,) = api.intakes()
    site.wait("the intake leaves when nothing waits", lambda: not alive(third))


def assert_taken_in(site: Any, id: str) -> None:
    """Every row of the file is a message or a duplicate."""
    with site.ledger.read() as tx:
        found = campaigns.get(tx, id)
    assert (found.messages, found.duplicates, found.refused) == (ROWS // 2, ROWS // 2, 0)


def rows_read(site: Any, id: str) -> int:
    with site.ledger.read() as tx:
        return campaigns.get(tx, id).rows_read
