"""The addresses of all pages of the console: those without an id, and those of one of everything."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx

from ops.web import csrf
from tests.html_pages import Html
from tests.seeded import SENDER, Ids
from tests.waiting import until

PAGES = (
    "/",
    "/campaigns",
    "/campaigns/new",
    "/codes",
    "/messages",
    "/unknown",
    "/replies",
    "/senders",
    "/templates",
    "/media",
    "/suppressions",
    "/consents",
    "/persons",
    "/statistics",
    "/plans",
    "/exports",
    "/search",
    "/preferences",
    "/nothing",
    "/webhooks",
    "/webhooks/new",
    "/keys",
    "/keys/new",
    "/keys/receipt-tokens/new",
    "/users",
    "/users/new",
    "/account",
    "/acts",
    "/system",
)
#: The columns of a real list of customers, one of which has a long name, and rows that are refused for each reason.
PEOPLE = (
    "Mobile,First name,Last name,Order number,Delivery address of the customer,Notes\n"
    "+447700900555,Ann,Lee,1001,1 Long Street,\n"
    "12345,Ben,May,1002,2 Long Street,he said that he has another number now\n"
    "+447700900556,,Roe,1003,3 Long Street,\n"
)
#: Of an import: one number, and one row of each kind that is refused.
LIST = "Mobile,Notes\n+447700900557,asked by phone\nnonsense,\n,no number\n+4477009005570000000,too long\n"


class Browser:
    """Posts forms as a browser without scripts does."""

    def __init__(self, url: str, token: str) -> None:
        name = f"bulksend_session_{urlsplit(url).port}"
        self._csrf = csrf.token_of(token)
        self._client = httpx.Client(
            base_url=url, cookies={name: token}, headers={"Origin": url, "Accept": "text/html"}, timeout=60
        )

    def post(self, path: str, fields: dict[str, str], file: tuple[str, str] | None = None) -> str:
        """The address to which the answer leads."""
        files = None if file is None else {"file": (file[0], file[1].encode())}
        answer = self._client.post(path, data={csrf.FIELD: self._csrf, **fields}, files=files)
        assert answer.status_code == 303, f"{answer.status_code}: {answer.text[:500]}"
        return answer.headers["location"]

    def page(self, path: str) -> Html:
        """The page of this address, or the one to which it leads."""
        answer = self._client.get(path, follow_redirects=True)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:500]}"
        return Html(answer.text)

    def wait_for(self, path: str, pattern: str) -> None:
        """Wait until the page shows that."""
        until(lambda: re.search(pattern, self._client.get(path).text))

    def close(self) -> None:
        self._client.close()


def of_everything(url: str, token: str, ids: Ids) -> dict[str, str]:
    """The addresses of one of everything by the names of their pages; what a page needs is made, by an admin."""
    browser = Browser(url, token)
    campaign, webhook = f"/campaigns/{ids['campaigns'][0]}", f"/webhooks/{ids['webhooks'][0]}"
    browser.wait_for(webhook, "/deliveries/")
    delivery = re.search(rf"{webhook}/deliveries/[\w-]+", browser._client.get(webhook).text)
    assert delivery is not None
    found = {
        "campaign": campaign,
        **{f"campaign-{part}": f"{campaign}/{part}" for part in CAMPAIGN},
        "campaign-paused": f"/campaigns/{ids['campaigns'][1]}",
        **{f"message-{n}": f"/messages/{id}" for n, id in enumerate(ids["messages"])},
        "sender": f"/senders/{SENDER}",
        "template": f"/templates/{ids['templates'][0]}",
        "webhook": webhook,
        "webhook-edit": f"{webhook}/edit",
        "delivery": delivery[0],
        "user": f"/users/{ids['users'][0]}",
        "exports-of": f"/exports?campaign={ids['campaigns'][0]}",
        "clone": f"/campaigns/new?from={ids['campaigns'][0]}",
        "messages-of": f"/messages?campaign={ids['campaigns'][0]}",
        **imports(browser),
        **drafts(browser),
    }
    browser.close()
    return found


CAMPAIGN = ("refusals", "timeline", "breakdown", "retry", "cancel", "settings")


def imports(browser: Browser) -> dict[str, str]:
    """Imports of suppressions: tried, done, and one that failed."""
    fields = {"scope": "all", "reason": "an old list", "column": "Mobile"}
    tried = browser.post("/suppressions/import", fields, ("old customers.csv", LIST))
    broken = browser.post("/suppressions/import", fields | {"column": "Phone"}, ("old.csv", LIST))
    again = browser.post("/suppressions/import", fields, ("old customers.csv", LIST))
    browser.wait_for(again, 'action="[^"]+/run"')
    done = browser.post(f"{again}/run", {})
    browser.wait_for(tried, 'action="[^"]+/run"')
    browser.wait_for(broken, 'class="problem"')
    browser.wait_for(done, 'class="bigs"')
    return {"import-tried": tried, "import-failed": broken, "import-done": done}


def drafts(browser: Browser) -> dict[str, str]:
    """A new campaign of which the message is to be written, and one that is checked."""
    draft = browser.post("/campaigns/new", {}, ("customers.csv", PEOPLE))
    made = browser.post("/campaigns/new", {}, ("customers.csv", PEOPLE))
    text = {"sender": SENDER, "kind": "marketing", "type": "text", "name": "Spring sale"}
    plan = browser.post(
        made, {**text, "body": "Hi {{First name}}, your order {{Order number}}", "act": "plan"}
    )
    return {"draft": draft, "plan": plan}
