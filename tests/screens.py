"""Pictures of the console for docs/screens: each page in both languages, wide and narrow, of a ledger with nice data.

./run python -m tests.screens [FOLDER]
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from bulksend import bootstrap
from bulksend.broker import LEADER_KEY
from bulksend.gateway.replies import masked
from bulksend.ledger import campaign_timeline, event_numbers, stats
from bulksend.ledger.database import Database
from bulksend.ledger.receipts import Receipt
from bulksend.messaging.outcome import Refused, Unknown
from bulksend.operations import sessions, users
from bulksend.operations.access import Origin, Role
from ops.http.services import Services
from ops.web.catalogues import LANGUAGES
from tests.browser.finding import ARGUMENTS, find
from tests.integration.ledger.conftest import Desk
from tests.seeded import SENDER, Ask, Ids
from tests.served import own_server

FOLDER = Path(__file__).parents[1] / "docs" / "screens"
WIDTHS, MOST_HEIGHT, QUALITY = (1280, 360), 1000, 40
#: Of the server that these are made on.
HOST = "127.0.0.1"


def pages(ids: Ids) -> dict[str, str]:
    """The addresses of the pages by the names of their pictures."""
    sending = ("campaigns", "codes", "messages", "unknown", "replies", "senders", "templates", "statistics")
    plain = (*sending, "suppressions", "webhooks", "keys", "acts", "system")
    return {
        "overview": "/",
        "campaign": f"/campaigns/{ids['campaigns'][0]}",
        "new-campaign": "/campaigns/new",
        "message": f"/messages/{ids['messages'][0]}",
        **{name: f"/{name}" for name in plain},
    }


def fill(ask: Ask, services: Services) -> Ids:
    """A sale that goes well, one that is paused, one that is done."""
    desk = Desk(services.database)
    desk.cipher = services.cipher
    sale, autumn, news = (
        _campaign(ask, name, rows)
        for name, rows in (("Spring sale", 400), ("Autumn preview", 250), ("Club newsletter", 180))
    )
    lease = desk.lease()
    first = _go(ask, desk, lease, sale, 260)
    _go(ask, desk, lease, news, 180)
    ask("POST", f"/v1/campaigns/{autumn}/pause", json={"why": "the picture is not final"})
    with services.database.write() as tx:
        event_numbers.number_committed(tx)
    with services.database.write() as tx:
        campaign_timeline.keep(tx)
        while stats.roll_up(tx, lag_ms=0).more:
            pass
    with bootstrap.answering_redis(services.settings) as client:
        # Of a relay: without one the console says that there is none.
        client.set(LEADER_KEY, "screens")
    return {"campaigns": [sale, autumn, news], "messages": [first]}


def _campaign(ask: Ask, name: str, rows: int) -> str:
    body: dict[str, Any] = {
        "name": name,
        "key": name,
        "sender": SENDER,
        "kind": "marketing",
        "type": "text",
        "content": {"body": f"Hello {{{{name}}}}, our {name.lower()} has begun."},
        "rows": [{"to": f"4477009{n:05}", "name": "Ada"} for n in range(rows)],
    }
    return str(ask("POST", "/v1/campaigns", json=body).json()["campaign_id"])


def _go(ask: Ask, desk: Desk, lease: str, campaign: str, count: int) -> str:
    """So many messages of a campaign go out: most arrive, some are read, few fail, one is unknown. Returns one."""
    ids: list[str] = []
    after = ""
    while len(ids) < count:
        page = ask("GET", f"/v1/messages?campaign={campaign}&limit=100{after}").json()
        ids += [each["id"] for each in page["items"]]
        after = f"&after={page['next']}"
    ids = ids[:count]
    sent = desk.accepted(ids[7:], lease)
    now = desk.now()
    desk.receive(*(Receipt(mid, "delivered", now) for mid in sent[: len(sent) * 9 // 10]))
    desk.receive(*(Receipt(mid, "read", now) for mid in sent[: len(sent) // 2]))
    *refused, lost = desk.sent(lease, ids[:7])
    for each in refused:
        desk.settle(each, Refused("131026", masked("Message undeliverable")))
    desk.settle(lost, Unknown("ReadTimeout after 10 s"))
    return ids[-1]


def main() -> None:
    """Make all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as own,
        own_server("sqlite", Path(own), fill) as (served, _, ids),
        sync_playwright() as playwright,
    ):
        path = find(playwright.chromium.executable_path)
        arguments = [*ARGUMENTS, "--no-sandbox"] if os.getuid() == 0 else ARGUMENTS
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        token = _session(served.services.database)
        cookie = {"name": f"bulksend_session_{served.port}", "value": token, "url": served.url}
        for language in LANGUAGES:
            for width in WIDTHS:
                _take(browser, served.url, cookie, pages(ids), folder, language, width)
        browser.close()


def _session(database: Database) -> str:
    users.add_user(database, name="ada", role=Role.ADMIN, actor="screens")
    link = str(sessions.make_link(database, "ada", actor="screens")["link_token"])
    return sessions.use_link(database, link, origin=Origin(HOST))


def _take(
    browser: Browser,
    url: str,
    cookie: Any,
    addresses: dict[str, str],
    folder: Path,
    language: str,
    width: int,
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": MOST_HEIGHT}, locale=language, reduced_motion="reduce"
    )
    context.add_cookies([cookie])
    page = context.new_page()
    for name, address in addresses.items():
        page.goto(url + address)
        page.locator("h1").wait_for()
        # A chart is drawn in the frame after the page is there.
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        height = page.evaluate("document.documentElement.scrollHeight")
        area = {"x": 0, "y": 0, "width": width, "height": min(height, MOST_HEIGHT), "scale": 1}
        wanted = {"format": "webp", "quality": QUALITY, "clip": area}
        taken = context.new_cdp_session(page).send("Page.captureScreenshot", wanted)
        (folder / f"{name}.{language}.{width}.webp").write_bytes(base64.b64decode(taken["data"]))
    context.close()


if __name__ == "__main__":
    main()
