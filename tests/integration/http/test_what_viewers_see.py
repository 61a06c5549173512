"""A viewer asks every endpoint for everything there is, and sees no phone number in full and no content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from bulksend.operations.access import Role
from tests.integration.http.test_who_may import ENDLESS, NEEDS
from tests.seeded import CODE, Ids, export

#: Of people; a sender's number is public, and 123 is the example that errors give.
NUMBERS = re.compile(r"44\D{0,2}7700\D{0,2}900\D{0,2}(?!123)\d{3}")


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_a_viewer_sees_no_number_and_no_content_wherever_it_looks(seeded_api: Any) -> None:
    api, ids = seeded_api, seeded_api.ids

    def ask(method: str, path: str, **options: Any) -> Any:
        return api.request(method, path, Role.VIEWER, **options)

    ids["exports"] = [export(ask, ids["campaigns"][0])]
    masked, seen = 0, []
    for route, path in addresses(api, ids):
        answer = ask("GET", path)
        allowed = Role.VIEWER.includes(NEEDS.get(("GET", route), Role.VIEWER))
        assert (answer.status_code == 200) is allowed, (path, answer.text)
        found = NUMBERS.search(answer.text) or re.search(CODE, answer.text)
        if found is not None:
            seen.append(f"{path}: …{answer.text[max(0, found.start() - 300) : found.end() + 40]}…")
        masked += answer.text.count("4477*****851")
    assert seen == [], "\n".join(seen)
    assert masked > 20
    # There was something to see.
    assert NUMBERS.search(api.get(f"/v1/messages/{ids['messages'][0]}", Role.SENDER).text)


def addresses(api: Any, ids: Ids) -> Iterator[tuple[str, str]]:
    """Every GET with every id there is and every choice of a parameter, by the template of its route."""
    for route, operations in api.client.app.openapi()["paths"].items():
        if "get" not in operations or ("GET", route) in ENDLESS or route == "/metrics":
            continue
        found = re.search(r"([\w-]+)/\{\w+\}", route)
        for id in ids[found[1]] if found else ("",):
            path = re.sub(r"\{\w+\}", id, route)
            yield route, path
            for parameter in operations["get"].get("parameters", ()):
                schema = parameter["schema"]
                for choice in schema.get("enum", ()) or schema.get("items", {}).get("enum", ()):
                    yield route, f"{path}?{parameter['name']}={choice}"
