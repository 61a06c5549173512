"""Webhooks from a terminal: a person adds one, tries it with a real notifier, and sees what became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from tests.acceptance.many_commands import Cli
from tests.receiver import receiving

CANARY = "canary-of-a-query"


@pytest.mark.timeout(180)
def test_a_webhook_is_added_tried_and_removed(cli: Cli, tmp_path: Path) -> None:
    def bulksend(*words: str, code: int = 0) -> str:
        done = cli("webhooks", *words, BULKSEND_WEBHOOKS_ALLOW_PRIVATE="127.0.0.1")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    log = tmp_path / "notifier.log"
    answers = iter([204, 410])
    with receiving(lambda *_: next(answers)) as receiver:
        made = json.loads(
            bulksend("add", f"{receiver.url}?token={CANARY}", "--events", "message.*", "--json")
        )
        with log.open("wb") as output:
            notifier = subprocess.Popen(
                [sys.executable, "-m", "ops.cli.main", "notifier"],
                cwd=tmp_path,
                stderr=output,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "DATABASE_URL": "sqlite:///bulksend.db",
                    "BULKSEND_WEBHOOKS_ALLOW_PRIVATE": "127.0.0.1",
                },
            )
        try:
            tried = json.loads(bulksend("test", made["id"], "--json"))
            assert (tried["status"], tried["http_status"]) == ("delivered", 204)
            (request,) = receiver.requests
            assert request.path.endswith(f"?token={CANARY}")
            assert Webhook(made["secret"]).verify(request.body, dict(request.headers))
            # The second answer is 410.
            assert "HTTP 410" in bulksend("test", made["id"], code=1)
        finally:
            notifier.send_signal(signal.SIGTERM)
            assert notifier.wait(60) == 0
    assert "webhook_endpoint_disabled" in log.read_text()
    assert "is disabled" in bulksend("test", made["id"], code=2)
    shown = bulksend("list")
    assert "it answered 410 Gone" in shown
    rows = [json.loads(line) for line in bulksend("deliveries", made["id"], "--json").splitlines()]
    assert [(row["status"], row["http_status"]) for row in rows] == [("pending", 410), ("delivered", 204)]
    assert "204" in bulksend("deliveries", made["id"], "--status", "delivered")
    assert json.loads(bulksend("enable", made["id"], "--json"))["changed"] is True
    assert json.loads(bulksend("disable", made["id"], "--why", "works", "--json"))["status"] == "disabled"
    rotated = json.loads(bulksend("rotate", made["id"], "--json"))
    assert rotated["secret"] not in (None, made["secret"])
    assert json.loads(bulksend("replay", made["id"], "--json")) == {"replayed": 0}
    assert json.loads(bulksend("replay", rows[1]["id"], "--json")) == {"replayed": 1}
    bulksend("remove", made["id"])
    assert bulksend("list", "--json") == ""
    assert "no endpoint has that id" in bulksend("remove", made["id"], code=2)
    for private in (CANARY, made["secret"], rotated["secret"]):
        assert private not in log.read_text() + shown
        assert private.encode() not in (tmp_path / "bulksend.db").read_bytes()
