"""Files at the vendor: the list, and what is refused."""

from __future__ import annotations

from bulksend.operations.access import Role
from ops.web import csrf
from tests.integration.web.conftest import Web
from tests.seeded import NUMBER, SENDER


def test_the_list_has_each_file_masked_for_viewers(seeded: Web) -> None:
    row = seeded.get("/media", Role.SENDER).rows()[0]
    assert row[0].startswith(f"{NUMBER}.jpg")
    assert row[3] == f"+{SENDER}"
    html = seeded.get("/media", Role.VIEWER)
    assert NUMBER not in html.text()
    assert not html.all(".//main//form")


def test_what_cannot_be_uploaded_or_deleted_is_said_in_the_page(seeded: Web) -> None:
    fields = {csrf.FIELD: csrf.token_of(seeded.token(Role.SENDER)), "sender": SENDER}
    answer = seeded.ask("POST", "/media", Role.SENDER, data=fields, files={"file": ("a.jpg", b"no picture")})
    assert answer.status_code == 409
    assert "cannot call the vendor" in answer.text
    wrong = {csrf.FIELD: "x", "sender": SENDER}
    assert (
        seeded.ask("POST", "/media", Role.SENDER, data=wrong, files={"file": ("a.jpg", b"x")}).status_code
        == 403
    )
    action = seeded.get("/media").one(".//tbody//form").get("action", "")
    assert "cannot call the vendor" in seeded.post(action).text
