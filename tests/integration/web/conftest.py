"""The console over a real ledger, once on SQLite and once on PostgreSQL, with a user of each role.

web          the console and what its tests hand in
seeded       the same on a copy of a ledger with one of everything; ``seeded.api.ids`` says what is there
api          the HTTP API of the same process, to make what a page shows
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from bulksend.operations import sessions, users
from bulksend.operations.access import Origin, Role
from ops.web import csrf
from tests.html_pages import Html
from tests.integration.http.conftest import ON_ONE_DATABASE, Api, api, more_settings, seeded_api, seeds

__all__ = ["ON_ONE_DATABASE", "Web", "api", "more_settings", "seeded", "seeded_api", "seeds", "web"]

ORIGIN = "http://testserver"


@dataclass
class Web:
    """A browser without scripts for each role. ``get`` and ``post`` ask as ``role`` (None: not signed in)."""

    api: Api
    tokens: dict[Role, str] = field(default_factory=dict)

    def token(self, role: Role) -> str:
        """The token of a session of a user with that role, made at first use."""
        if role not in self.tokens:
            database, name = self.api.ledger, f"{role}-user"
            users.add_user(database, name=name, role=role, actor="test")
            link = str(sessions.make_link(database, name, actor="test")["link_token"])
            self.tokens[role] = sessions.use_link(database, link, origin=Origin("127.0.0.1"))
        return self.tokens[role]

    def ask(self, method: str, path: str, role: Role | None = Role.ADMIN, **options: Any) -> Any:
        """The answer; a redirect is not followed."""
        headers = {"Accept": "text/html", "Origin": ORIGIN} | options.pop("headers", {})
        if role is not None:
            cookies = f"bulksend_session_80={self.token(role)}"
            headers["Cookie"] = f"{headers['Cookie']}; {cookies}" if "Cookie" in headers else cookies
        # What an answer sets is for the test to send, or not.
        self.api.client.cookies.clear()
        return self.api.client.request(method, path, headers=headers, follow_redirects=False, **options)

    def get(self, path: str, role: Role | None = Role.ADMIN, *, status: int = 200, **options: Any) -> Html:
        """A page, which keeps what every page keeps."""
        answer = self.ask("GET", path, role, **options)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:300]}"
        html = Html(answer.text)
        html.check()
        return html

    def post(
        self, path: str, fields: dict[str, Any] | None = None, role: Role = Role.ADMIN, **options: Any
    ) -> Any:
        """The answer to a form with its token. A field may have a list of values."""
        data = {csrf.FIELD: csrf.token_of(self.token(role))} | (fields or {})
        return self.ask("POST", path, role, data=data, **options)

    def said(self, answer: Any, role: Role = Role.ADMIN) -> Html:
        """The page to which a form's answer leads, with what it says."""
        assert answer.status_code == 303, f"{answer.status_code}: {answer.text[:300]}"
        cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        headers = {"Cookie": cookie} if cookie.startswith("bulksend_said=") else {}
        return self.get(answer.headers["location"], role, headers=headers)


@pytest.fixture
def web(api: Api) -> Web:
    return Web(api)


@pytest.fixture
def seeded(seeded_api: Api) -> Web:
    """Sender, account and the second campaign are paused; NUMBER is suppressed, under legal hold, and has consented."""
    return Web(seeded_api)
