"""A text that no database can hold is the caller's error, never the server's."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bulksend.ledger import senders

PHONE = "8615000579987"


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_a_text_that_cannot_be_stored_is_refused(api: Any, text: str) -> None:
    with api.ledger.write() as tx:
        senders.register(tx, PHONE)

    def ask(method: str, path: str, body: dict[str, Any]) -> Any:
        # The client's own JSON refuses half of a character.
        of = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
        return api.request(method, path, **of)

    answers = [
        ask("PATCH", f"/v1/senders/{PHONE}", {"name": text}),
        ask("PATCH", f"/v1/senders/{PHONE}", {"rate": text}),
        ask("POST", f"/v1/senders/{PHONE}/pause", {"why": text}),
        ask("POST", "/v1/suppressions", {"phone": text, "reason": text}),
        ask("POST", "/v1/exports", {"campaign": text}),
        ask("POST", "/v1/exports", {"message_id": text}),
    ]
    assert [answer.status_code for answer in answers if answer.status_code >= 500] == []
    export = answers[-1]
    if export.status_code == 202:
        deadline = time.monotonic() + 60
        while api.get(f"/v1/exports/{export.json()['id']}").json()["status"] in ("queued", "running"):
            assert time.monotonic() < deadline, "it is begun again and again"
            time.sleep(0.02)
