"""A ledger with one of everything, for tests that ask every endpoint.

NUMBER is in all texts of people, programs and the vendor, CODE in all contents.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bulksend.gateway.replies import masked
from bulksend.ledger import campaign_timeline, media, stats
from bulksend.ledger.media import NewMedia
from bulksend.ledger.receipts import Receipt
from bulksend.messaging.outcome import Refused, Unknown
from bulksend.operations.callbacks import CallbackRules
from bulksend.operations.receipts import read_callbacks
from ops.http.services import Services
from tests.integration.ledger.conftest import Desk
from tests.waiting import until

NUMBER, CODE, SENDER = "447700900851", "c4n4ry-831-907", "15550100100"
#: What is the id of what, by the part of an address before it: ``{"messages": [...], "users": [...]}``.
Ids = dict[str, list[str]]
#: ``ask(method, path, **options)`` as httpx has it, with the key of an admin.
Ask = Callable[..., Any]
#: What a person gives as a reason.
WHY = f"{NUMBER} complained"


def seed(ask: Ask, services: Services) -> Ids:
    """Fill the ledger of this API by requests, and by what a worker does. Returns what has ids."""
    desk = Desk(services.database)
    desk.cipher = services.cipher
    campaigns = [_campaign(ask, name) for name in ("spring", "summer")]
    _send(ask, desk, campaigns[0])
    ids: Ids = {
        "campaigns": campaigns,
        "messages": [item["id"] for item in _done(ask("GET", "/v1/messages"))["items"]],
        "senders": [SENDER],
        "exports": [export(ask, "spring")],
        "import": [_import(ask)],
        "templates": ["login"],
        "media": [_file(desk)],
        "holds": [str(_done(ask("POST", "/v1/holds", json={"phone": NUMBER, "why": WHY}))["id"])],
        "plans": [str(_done(ask("POST", "/v1/plans", json=_body(f"plan {n}")))["plan_id"]) for n in range(2)],
    }
    paused = (f"/v1/campaigns/{campaigns[1]}", f"/v1/senders/{SENDER}", "/v1/account")
    for path in (f"/v1/campaigns/{campaigns[0]}", *paused):
        _done(ask("POST", f"{path}/pause", json={"why": WHY}))
    _done(ask("POST", f"/v1/campaigns/{campaigns[0]}/resume", json={"why": WHY}))
    unknown = _done(ask("GET", "/v1/unknown"))["items"][0]["id"]
    _done(ask("POST", f"/v1/messages/{unknown}/resolve", json={"as": "failed", "why": WHY}))
    _done(ask("POST", "/v1/suppressions", json={"phone": NUMBER, "reason": WHY}))
    _callbacks(ask, services)
    made: tuple[tuple[str, str, Callable[[int], Mapping[str, Any]]], ...] = (
        ("keys", "id", lambda n: {"name": f"shop {n}", "role": "viewer"}),
        ("users", "name", lambda n: {"name": f"ann-{n}", "role": "viewer"}),
        ("receipt-tokens", "id", lambda n: {"name": f"console {n}"}),
        ("webhooks", "id", lambda n: {"url": f"https://hooks.example.com/{n}?code={CODE}", "numbers": True}),
    )
    for what, id, body in made:
        ids[what] = [_done(ask("POST", f"/v1/{what}", json=body(n)))[id] for n in range(6)]
    _done(ask("POST", f"/v1/webhooks/{ids['webhooks'][0]}/test"))
    _done(ask("GET", "/v1/events"))
    with services.database.write() as tx:
        campaign_timeline.keep(tx)
        stats.roll_up(tx)
    return ids


def _done(answer: Any) -> dict[str, Any]:
    assert answer.status_code < 300, answer.text
    return dict(answer.json())


def _campaign(ask: Ask, name: str) -> str:
    return str(_done(ask("POST", "/v1/campaigns", json=_body(name)))["campaign_id"])


def _body(name: str) -> dict[str, Any]:
    agreed = {"consent_source": f"a call to {NUMBER}", "consent_at": "2026-01-01T00:00:00Z"}
    rows = [
        {"to": NUMBER, "code": CODE, **agreed},
        *({"to": f"4477009{n:05}", "code": CODE} for n in range(5)),
    ]
    refused = [{"to": f"{NUMBER}x", "code": CODE}, {"to": f"{NUMBER}00000", "code": CODE}, {NUMBER: CODE}]
    return {
        "name": name,
        "key": f"{name} for {NUMBER}",
        "sender": SENDER,
        "kind": "marketing",
        "type": "text",
        "content": {"body": f"{name}: {{{{code}}}}"},
        "rows": rows + refused,
    }


def _send(ask: Ask, desk: Desk, campaign: str) -> None:
    """Each of the campaign's messages ends another way; a code and a single message wait."""
    ids = [item["id"] for item in _done(ask("GET", f"/v1/messages?campaign={campaign}"))["items"]]
    lease = desk.lease()
    mids = desk.accepted(ids[:3], lease)
    refused, lost = desk.sent(lease, ids[3:5])
    desk.settle(refused, Refused("131026", masked(f"cannot reach {NUMBER}")))
    desk.settle(lost, Unknown(f"ReadTimeout after {NUMBER}"))
    desk.receive(Receipt(mids[0], "delivered", 1_790_000_000_000))
    single = {"sender": SENDER, "type": "text", "to": NUMBER}
    code = single | {"kind": "otp", "content": {"body": f"Your code is {CODE}"}, "key": f"{NUMBER}-login"}
    # It still waits when the tests of half an hour have had a copy of this ledger.
    code |= {"ttl_seconds": 7200}
    _done(ask("POST", "/v1/messages", json=code))
    _done(ask("POST", "/v1/messages", json=single | {"kind": "utility", "content": {"body": CODE}}))


def export(ask: Ask, campaign: str) -> str:
    made = _done(ask("POST", "/v1/exports", json={"campaign": campaign}))
    return _ended(ask, f"/v1/exports/{made['id']}")


def _file(desk: Desk) -> str:
    new = NewMedia(SENDER, "a" * 64, "5550100", "image", "image/jpeg", 14, f"{NUMBER}.jpg")
    return desk.write(media.keep, new, actor="test").id


def _import(ask: Ask) -> str:
    told = json.dumps({"reason": f"opted out: {NUMBER}"})
    files = {
        "import": (None, told, "application/json"),
        "file": (f"{NUMBER}.csv", f"to\n447700900852\n{NUMBER}x\n"),
    }
    made = _done(ask("POST", "/v1/suppressions/import", files=files))
    return _ended(ask, f"/v1/suppressions/import/{made['id']}")


def _ended(ask: Ask, path: str) -> str:
    """The id of a job that is done."""

    def look() -> dict[str, Any] | None:
        job = _done(ask("GET", path))
        return None if job["status"] in ("queued", "running") else job

    job = until(look)
    assert job["status"] == "done", job
    return str(job["id"])


def _callbacks(ask: Ask, services: Services) -> None:
    """What a person wrote, what the vendor says of a template, and what cannot be read."""
    path = _done(ask("POST", "/v1/receipt-tokens", json={"name": "vendor"}))["path"]
    error = {"code": 131026, "title": f"cannot reach {NUMBER}"}
    failed = {"id": "not ours", "status": "failed", "timestamp": "1764400100", "errors": [error]}
    written = {
        "metadata": {"display_phone_number": SENDER},
        "messages": [
            {"from": NUMBER, "id": "in-1", "timestamp": "1764400100", "text": {"body": f"STOP {CODE}"}}
        ],
    }
    value = {
        "event": "REJECTED",
        "message_template_name": "login",
        "message_template_language": "en",
        "reason": f"names {NUMBER}",
    }
    told = {
        "entry": [
            {"time": 1764400300, "changes": [{"field": "message_template_status_update", "value": value}]}
        ]
    }
    for body in (
        json.dumps({"statuses": [failed]}),
        json.dumps(written),
        json.dumps(told),
        f"nonsense of {NUMBER}",
    ):
        _done(ask("POST", path, content=body))
    read_callbacks(services.database, CallbackRules.from_settings(services.settings, services.cipher))
