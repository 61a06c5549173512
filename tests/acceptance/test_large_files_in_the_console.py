"""A large file of a new campaign in the console: `serve` has it planned by a process with the settings of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulksend.ledger.database import Database
from bulksend.operations import sessions, users
from bulksend.operations.access import Origin, Role
from producer.uploads import SMALL_BYTES
from tests.acceptance.many_commands import Shell
from tests.acceptance.serving import Serving
from tests.browser.pages import Browser
from tests.waiting import until

GOOD, SENDER = 9_000, "8615000579987"


@pytest.fixture
def serving(shell: Shell, postgres_ledger_url: str, valkey_url: str, tmp_path: Path) -> Serving:
    return Serving.on(shell, postgres_ledger_url, valkey_url, tmp_path, Role.SENDER)


@pytest.fixture
def browser(serving: Serving, postgres_ledger_url: str) -> Iterator[Browser]:
    database = Database(postgres_ledger_url)
    users.add_user(database, name="ann", role=Role.SENDER, actor="test")
    link = str(sessions.make_link(database, "ann", actor="test")["link_token"])
    token = sessions.use_link(database, link, origin=Origin("127.0.0.1"))
    database.close()
    with serving.running():
        browser = Browser(serving.url, token)
        yield browser
        browser.close()


def people() -> str:
    """Good rows of two countries, each with a note; and a repeated, a short and an empty one."""
    note = "a note " * 16
    numbers = [f"+1{200 + n // 100}55501{n % 100:02d}" for n in range(GOOD - 1)] + ["+447700900123"]
    rows = [f"{number},Ann,{note}\n" for number in (*numbers, "+447700900123", "12", "")]
    return "Mobile,First name,Note\n" + "".join(rows)


def test_a_large_file_is_planned_and_its_plan_shows_the_counts(browser: Browser) -> None:
    data = people()
    assert len(data) > SMALL_BYTES
    where = browser.post("/campaigns/new", {}, ("people.csv", data))
    text = {"sender": SENDER, "kind": "marketing", "type": "text", "act": "plan"}
    plan = browser.post(where, text | {"body": "Hi {{First name}}"})
    assert "people.csv has" in browser.page(plan).text()
    browser.wait_for(plan, "Messages to send")
    page = browser.page(plan)
    assert page.text(".//*[@class='bigs']").startswith(
        f"{GOOD:,} Messages to send of {GOOD + 3:,} rows 2 Rows with errors they get nothing; see below 1 Left out"
    )
    assert page.text(".//*[@class='bubble']") == "Hi Ann"
    assert [row[0] for row in page.rows(".//details//tbody/tr") if row[0]] == [
        f"{GOOD + 3:,}",
        f"{GOOD + 4:,}",
    ]


def test_what_is_wrong_with_a_large_file_comes_back_to_its_form(browser: Browser) -> None:
    where = browser.post("/campaigns/new", {}, ("people.csv", people()))
    text = {"sender": SENDER, "kind": "marketing", "type": "text", "act": "plan"}
    plan = browser.post(where, text | {"body": "Hi {{Surname}}"})
    form = until(lambda: page if (page := browser.page(plan)).all(".//*[@role='alert']") else None)
    assert "uses {{surname}}" in form.text(".//*[@role='alert']")
    assert form.fields(".//form[@id='build']")["body"] == "Hi {{Surname}}"
