"""What a person may ask for, and legal holds."""

from __future__ import annotations

from bulksend.operations.access import Role
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.seeded import NUMBER, SENDER

NEW = "447700900861"


def acts(web: Web) -> list[tuple[str, str]]:
    """The newest acts of the ledger."""
    return [row[1:3] for row in web.get("/").rows(".//*[@id='acts']//tbody/tr")]  # type: ignore[misc]


def test_a_person_gets_everything_held_and_it_is_on_record(seeded: Web) -> None:
    answer = seeded.post("/persons/export", {"phone": f"+{NUMBER}", "why": "request 7"})
    assert answer.headers["content-disposition"] == 'attachment; filename="person.json"'
    held = answer.json()
    assert (held["person"], len(held["suppressions"])) == (NUMBER, 1)
    assert ["admin-user", "export person"] in acts(seeded)


def test_a_person_is_forgotten_once_the_number_was_typed_twice(seeded: Web) -> None:
    fields = {"phone": "+447700900001", "why": "request <8>"}
    wrong = seeded.post("/persons/forget", fields | {"again": "+447700900002"})
    assert wrong.status_code == 422
    assert "is not the same number" in wrong.text
    assert "request &lt;8&gt;" in wrong.text
    done = seeded.post("/persons/forget", fields | {"again": "447700900001"})
    assert done.status_code == 200
    assert "Nothing of the number is left" in done.text
    assert "447700900001" not in done.text
    assert "Messages" in done.text
    assert ["admin-user", "forget"] in acts(seeded)


def test_who_is_under_legal_hold_is_not_forgotten(seeded: Web) -> None:
    html = seeded.get("/persons")
    row = html.rows(".//*[@id='holds']//tbody/tr")[0]
    assert NUMBER not in row[0]
    id = html.one(".//*[@id='holds']//tbody//form").get("action", "").split("/")[3]
    fields = {"phone": NUMBER, "again": NUMBER, "why": "request 9"}
    refused = seeded.post("/persons/forget", fields)
    assert refused.status_code == 409
    assert "legal hold" in refused.text
    html = seeded.said(seeded.post(f"/persons/holds/{id}/remove", {"why": "over"}))
    assert "is ended" in html.text(".//*[@class='said']")
    assert "Nothing is under legal hold" in html.text()
    assert seeded.post("/persons/forget", fields).status_code == 200


def test_a_hold_is_placed_on_a_person_or_a_campaign(web: Web) -> None:
    both = web.post("/persons/holds", {"phone": NEW, "campaign": "spring", "why": "case 1"})
    assert (both.status_code, "one of the two" in both.text) == (422, True)
    html = web.said(web.post("/persons/holds", {"phone": NEW, "campaign": "", "why": "case <1>"}))
    assert NEW not in html.text(".//*[@class='said']")
    assert html.rows(".//*[@id='holds']//tbody/tr")[0][1] == "case <1>"
    unknown = web.post("/persons/holds", {"phone": "", "campaign": "no such", "why": "case 2"})
    assert unknown.status_code == 404
    no_reason = web.post("/persons/holds", {"phone": SENDER, "campaign": "", "why": ""})
    assert no_reason.status_code == 422


@ON_ONE_DATABASE
def test_only_an_admin_may(web: Web) -> None:
    assert not web.get("/", Role.OPERATOR).all(".//a[@href='/persons']")
    assert web.get("/").all(".//a[@href='/persons']")
    assert web.post("/persons/forget", {"phone": NEW}, Role.OPERATOR).status_code == 403
