"""``serve``, notifier, relay and worker as programs and scrapers see them, while canaries go through all of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from bulksend import bootstrap
from bulksend.operations import api_keys, receipt_tokens, sessions, users, webhooks
from bulksend.operations.access import Role
from ops.local.ports import free_port
from tests.acceptance.canaries import (
    API_KEY,
    BLAST_TO,
    CODE,
    METRICS_TOKEN,
    NUMBERS,
    OTP_TO,
    RECEIPT_TOKEN,
    WEBHOOK_SECRET,
    WORDS,
    clean,
    fixed,
)
from tests.receiver import Receiver, receiving


@dataclass
class Faces:
    """The processes that this starts beside the stack of ``site``; their logs lie beside those of the stack."""

    site: Any
    api: httpx.Client
    masked: Receiver
    full: Receiver
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    scraped: dict[str, str] = field(default_factory=dict)
    """The address of each one's metrics."""

    def start(self, name: str, *command: str) -> None:
        """Start a ``bulksend`` command that answers scrapes."""
        port = free_port()
        log = (self.site.stack.folder / "logs" / f"{name}.log").open("a")
        environ = {"BULKSEND_METRICS_PORT": str(port), "BULKSEND_METRICS_TOKEN": METRICS_TOKEN}
        self.processes[name] = self.site.start(*command, stdout=log, stderr=log, environ=environ)
        self.scraped[name] = f"http://127.0.0.1:{port}/metrics"
        log.close()

    def stop(self) -> None:
        """Stop them in order."""
        for process in self.processes.values():
            process.terminate()
        assert {process.wait(60) for process in self.processes.values()} == {0}


@contextmanager
def faces(site: Any, port: int) -> Iterator[Faces]:
    """``serve`` on this port, and a notifier with two endpoints, of which one sees numbers."""
    with ExitStack() as opened:
        masked, full = (opened.enter_context(receiving()) for _ in range(2))
        headers = {"Authorization": f"Bearer {API_KEY}"}
        address = f"http://127.0.0.1:{port}"
        api = opened.enter_context(
            httpx.Client(base_url=address, headers=headers, timeout=30, trust_env=False)
        )
        with site.ledger.write() as tx:
            made = api_keys.add(tx, name="shop", role=Role.ADMIN, actor="test", random=lambda n: fixed(2)[:n])
            token = receipt_tokens.add(tx, name="vendor", actor="test", random=lambda n: fixed(3)[:n])
        assert (made.key, token.token) == (API_KEY, RECEIPT_TOKEN)
        for receiver, numbers in ((masked, False), (full, True)):
            added = webhooks.add(
                site.ledger,
                bootstrap.cipher(site.stack.settings),
                f"{receiver.url}?key={CODE}",
                numbers=numbers,
                allowed=site.stack.settings.webhook_networks(),
                actor="test",
                random=lambda _: fixed(4),
            )
            assert added["secret"] == WEBHOOK_SECRET
        all_of_them = Faces(site, api, masked, full)
        all_of_them.start("serve", "serve", "--port", str(port))
        all_of_them.start("notifier", "notifier")
        site.wait("serve is ready", lambda: _answers(api))
        try:
            yield all_of_them
            all_of_them.stop()
        finally:
            for process in all_of_them.processes.values():
                process.kill()
                process.wait()


def _answers(api: httpx.Client) -> bool:
    try:
        return api.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def a_program_asks(faces: Faces) -> None:
    """A program sends, posts files, exports and asks what is wrong; no answer says a canary."""
    api = faces.api
    code = {
        "to": OTP_TO[0],
        "sender": faces.site.sender,
        "kind": "otp",
        "type": "text",
        "content": {"body": f"Your code is {CODE}"},
    }
    blast = code | {"kind": "marketing", "content": {"body": f"{WORDS}: {{{{code}}}}"}, "name": "posted"}
    del blast["to"]
    people = "to,code\n" + "".join(f"{number},{n}\n" for n, number in enumerate(BLAST_TO[:5]))
    bad = f"{OTP_TO[0]}x,{CODE}\n,{CODE}\n"
    key = {"Idempotency-Key": f"login-{OTP_TO[0]}-{CODE}"}
    wrong: list[dict[str, Any]] = [
        *({"to": f"{OTP_TO[1]}x"}, {"kind": "sms", "key": CODE}, {"key": [CODE]}, {"ttl_seconds": OTP_TO[1]})
    ]
    files = {
        "campaign": (None, json.dumps(blast), "application/json"),
        "file": ("people.csv", people + bad),
    }
    optouts = {
        "import": (None, json.dumps({"dry_run": True, "reason": "asked"}), "application/json"),
        "file": ("optouts.csv", people + bad),
    }
    sent = api.post("/v1/messages", json=code | {"key": "api-login"}, headers=key)
    posted = api.post("/v1/campaigns", files=files, headers=key)
    export = api.post("/v1/exports", json={"campaign": posted.json()["campaign_id"]})
    imported = api.post("/v1/suppressions/import", files=optouts)
    callback = api.post(f"/v1/receipts/{RECEIPT_TOKEN}", content=f"nonsense of {OTP_TO[1]}, {CODE}")
    good = [
        sent,
        api.post("/v1/messages", json={"messages": [code | each for each in wrong]}),
        posted,
        export,
    ]
    good += [
        imported,
        callback,
        _done(api, export),
        _done(api, imported),
        api.get("/v1/webhooks"),
        api.get("/v1/keys"),
    ]
    refused = [
        *(api.post("/v1/messages", json=code | each) for each in wrong),
        api.post("/v1/messages", content=f'{{"to": {OTP_TO[1]}, "content": "{CODE}'),
        api.post("/v1/messages", json=code | {"to": OTP_TO[1]}, headers=key),
        api.post(f"/v1/receipts/{RECEIPT_TOKEN[:-1]}x", content=OTP_TO[1]),
        api.post("/v1/suppressions", json={"phone": f"{OTP_TO[1]}x", "reason": CODE}),
        api.post("/v1/webhooks", json={"url": f"ftp://{CODE}"}),
        *(
            api.get(path)
            for path in (
                *(f"/v1/messages/{OTP_TO[1]}", f"/v1/messages?phone={OTP_TO[1]}x", f"/v1/me?{OTP_TO[1]}=1"),
                *(f"/v1/{OTP_TO[1]}", f"/v1/keys/{OTP_TO[1]}", f"/v1/senders/+{OTP_TO[1]}x"),
            )
        ),
    ]
    assert [answer for answer in good if answer.status_code >= 300] == []
    assert [answer for answer in refused if not 400 <= answer.status_code < 500] == []
    clean((answer.text for answer in good + refused), "answers")
    clean((str(answer.headers) for answer in good + refused), "headers of answers")


def a_person_looks(faces: Faces) -> None:
    """A viewer signs in to the console, is refused with a password, and looks; no page says a canary."""
    database, base = faces.site.ledger, faces.api.base_url
    users.add_user(database, name="ann", role=Role.VIEWER, actor="test")
    link = sessions.make_link(database, "ann", actor="test")["link_token"]
    sent_by = {"Origin": str(base).rstrip("/"), "Accept": "text/html"}
    with httpx.Client(base_url=base, headers=sent_by, timeout=30, trust_env=False) as browser:
        refused = browser.post("/sign-in", data={"name": "ann", "password": CODE})
        signed_in = browser.post("/sign-in/link", data={"token": link})
        pages = [browser.get(path) for path in ("/", "/campaigns", f"/campaigns?name={OTP_TO[0]}")]
        pages.append(browser.get(f"/{OTP_TO[0]}"))
        token = next(iter(browser.cookies.values()))
    assert [answer.status_code for answer in (refused, signed_in, *pages)] == [401, 303, 200, 200, 200, 404]
    shown = [answer.text for answer in (refused, *pages[:2], pages[3])]
    # What was typed stands in the page of the one who typed it, and in its address.
    clean(shown, "pages")
    clean((str(answer.headers) for answer in (refused, signed_in, *pages)), "headers of pages")
    assert all(token not in text for text in shown)


def _done(api: httpx.Client, made: httpx.Response) -> httpx.Response:
    """A job that has ended."""
    while (job := api.get(made.headers["Location"])).json()["status"] in ("queued", "running"):
        pass
    assert job.json()["status"] == "done", job.text
    return job


def programs_were_told_only_what_they_may(faces: Faces) -> None:
    """The bodies of webhooks: numbers only for the endpoint that asked for them, and never a content."""
    for receiver, allowed in ((faces.masked, ()), (faces.full, NUMBERS)):
        faces.site.wait("a code is told of", lambda receiver=receiver: "api-login" in _told(receiver))
        clean([_told(receiver)], "webhooks", but=allowed)
    assert OTP_TO[0] in _told(faces.full)


def _told(receiver: Receiver) -> str:
    return "\n".join(request.body.decode() for request in receiver.requests)


def scrapers_see_no_canary(faces: Faces) -> None:
    """The metrics of every process."""
    for name, address in faces.scraped.items():
        said = httpx.get(address, trust_env=False).text
        assert "bulksend_" in said, name
        clean([said], f"metrics of {name}")
    own = faces.api.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
    assert "bulksend_http_requests_total" in own.text
    clean([own.text], "metrics of the API")


def command_lines_are_clean(faces: Faces) -> None:
    """What any user of the machine may read of a process."""
    pids = [process.pid for process in faces.processes.values()]
    pids += [faces.site.stack.member(name).child.pid for name in ("relay", "simulator")]
    for pid in pids:
        said = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True
        ).stdout
        assert said.strip()
        clean([said], "a command line")
