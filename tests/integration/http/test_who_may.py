"""Who may do what: every route of the application has its role, and each role may what those before it may.

A route that is missing here fails a test: its role is a decision.
"""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from bulksend.errors import AccessDenied
from bulksend.messaging.states import Kind
from bulksend.operations.access import Principal, Role
from ops.http.app import ROUTERS
from ops.web.app import create_console, routers
from tests.integration.http.conftest import ON_ONE_DATABASE

#: Health and documentation; they tell nothing of the ledger's contents. Receipts come by a token of their own.
WITHOUT_A_KEY = {
    *(("GET", path) for path in ("/healthz", "/readyz", "/docs", "/openapi.json")),
    ("GET", "/static"),
}
#: By a token of its own, or on a port of its own.
BY_ANOTHER_TOKEN = {("GET", "/metrics")}
#: Whatever its role.
ANY_KEY = {("GET", "/v1/me")}
#: Their answer never ends, so only a refusal is looked at.
ENDLESS = {("GET", "/v1/events/stream")}
NEEDS: dict[tuple[str, str], Role] = {
    ("POST", "/v1/messages"): Role.SENDER,
    ("GET", "/v1/messages"): Role.VIEWER,
    ("GET", "/v1/messages/{id}"): Role.VIEWER,
    ("GET", "/v1/messages/{id}/why"): Role.VIEWER,
    ("POST", "/v1/messages/{id}/resolve"): Role.OPERATOR,
    ("POST", "/v1/messages/resolve"): Role.OPERATOR,
    ("GET", "/v1/unknown"): Role.VIEWER,
    ("POST", "/v1/campaigns"): Role.SENDER,
    ("POST", "/v1/plans"): Role.SENDER,
    ("GET", "/v1/plans"): Role.VIEWER,
    ("GET", "/v1/plans/{id}"): Role.VIEWER,
    ("GET", "/v1/plans/{id}/preview"): Role.SENDER,
    ("POST", "/v1/plans/{id}/test"): Role.SENDER,
    ("POST", "/v1/plans/{id}/apply"): Role.SENDER,
    ("GET", "/v1/campaigns"): Role.VIEWER,
    ("GET", "/v1/campaigns/{id}"): Role.VIEWER,
    ("PATCH", "/v1/campaigns/{id}"): Role.OPERATOR,
    ("POST", "/v1/campaigns/{id}/pause"): Role.OPERATOR,
    ("POST", "/v1/campaigns/{id}/resume"): Role.OPERATOR,
    ("POST", "/v1/campaigns/{id}/unschedule"): Role.OPERATOR,
    ("POST", "/v1/campaigns/{id}/cancel"): Role.OPERATOR,
    ("POST", "/v1/campaigns/{id}/retry"): Role.OPERATOR,
    ("GET", "/v1/campaigns/{id}/refusals"): Role.VIEWER,
    ("GET", "/v1/campaigns/{id}/failures"): Role.VIEWER,
    ("GET", "/v1/campaigns/{id}/timeline"): Role.VIEWER,
    ("POST", "/v1/campaigns/{id}/clone"): Role.SENDER,
    ("GET", "/v1/campaigns/{id}/breakdown"): Role.VIEWER,
    ("GET", "/v1/campaigns/{id}/report"): Role.VIEWER,
    ("POST", "/v1/exports"): Role.VIEWER,
    ("GET", "/v1/exports"): Role.VIEWER,
    ("GET", "/v1/exports/{id}"): Role.VIEWER,
    ("GET", "/v1/exports/{id}/file"): Role.VIEWER,
    ("GET", "/v1/events"): Role.VIEWER,
    ("GET", "/v1/events/stream"): Role.VIEWER,
    ("GET", "/v1/inbound"): Role.VIEWER,
    ("POST", "/v1/media"): Role.SENDER,
    ("GET", "/v1/media"): Role.VIEWER,
    ("GET", "/v1/media/{id}"): Role.VIEWER,
    ("DELETE", "/v1/media/{id}"): Role.OPERATOR,
    ("GET", "/v1/templates"): Role.VIEWER,
    ("GET", "/v1/templates/{name}"): Role.VIEWER,
    ("POST", "/v1/templates/sync"): Role.OPERATOR,
    ("POST", "/v1/templates/{name}/preview"): Role.VIEWER,
    ("GET", "/v1/receipts"): Role.VIEWER,
    ("POST", "/v1/receipts/reparse"): Role.OPERATOR,
    ("GET", "/v1/suppressions"): Role.VIEWER,
    ("POST", "/v1/suppressions"): Role.OPERATOR,
    ("DELETE", "/v1/suppressions"): Role.OPERATOR,
    ("POST", "/v1/suppressions/import"): Role.OPERATOR,
    ("GET", "/v1/suppressions/import/{id}"): Role.OPERATOR,
    ("GET", "/v1/consents"): Role.VIEWER,
    ("POST", "/v1/persons/forget"): Role.ADMIN,
    ("POST", "/v1/persons/export"): Role.ADMIN,
    ("GET", "/v1/holds"): Role.ADMIN,
    ("POST", "/v1/holds"): Role.ADMIN,
    ("POST", "/v1/holds/{id}/remove"): Role.ADMIN,
    ("GET", "/v1/stats"): Role.VIEWER,
    ("GET", "/v1/audits"): Role.VIEWER,
    ("GET", "/v1/senders"): Role.VIEWER,
    ("GET", "/v1/senders/{phone}"): Role.VIEWER,
    ("PATCH", "/v1/senders/{phone}"): Role.OPERATOR,
    ("POST", "/v1/senders/{phone}/pause"): Role.OPERATOR,
    ("POST", "/v1/senders/{phone}/resume"): Role.OPERATOR,
    ("GET", "/v1/account"): Role.VIEWER,
    ("POST", "/v1/account/pause"): Role.OPERATOR,
    ("POST", "/v1/account/resume"): Role.OPERATOR,
    ("GET", "/v1/webhooks"): Role.ADMIN,
    ("POST", "/v1/webhooks"): Role.ADMIN,
    ("GET", "/v1/webhooks/{id}"): Role.ADMIN,
    ("DELETE", "/v1/webhooks/{id}"): Role.ADMIN,
    ("PATCH", "/v1/webhooks/{id}"): Role.ADMIN,
    ("POST", "/v1/webhooks/{id}/secret"): Role.ADMIN,
    ("POST", "/v1/webhooks/{id}/test"): Role.ADMIN,
    ("GET", "/v1/webhooks/{id}/deliveries"): Role.ADMIN,
    ("POST", "/v1/webhooks/{id}/replay"): Role.ADMIN,
    ("GET", "/v1/keys"): Role.ADMIN,
    ("POST", "/v1/keys"): Role.ADMIN,
    ("GET", "/v1/keys/{id}"): Role.ADMIN,
    ("DELETE", "/v1/keys/{id}"): Role.ADMIN,
    ("GET", "/v1/users"): Role.ADMIN,
    ("POST", "/v1/users"): Role.ADMIN,
    ("GET", "/v1/users/{name}"): Role.ADMIN,
    ("DELETE", "/v1/users/{name}"): Role.ADMIN,
    ("POST", "/v1/users/{name}/reset"): Role.ADMIN,
    ("POST", "/v1/users/{name}/enable"): Role.ADMIN,
    ("GET", "/v1/receipt-tokens"): Role.ADMIN,
    ("POST", "/v1/receipt-tokens"): Role.ADMIN,
    ("GET", "/v1/receipt-tokens/{id}"): Role.ADMIN,
    ("DELETE", "/v1/receipt-tokens/{id}"): Role.ADMIN,
}


def routes_of(app: Any) -> set[tuple[str, str]]:
    """Every route by method and path, also those that the documentation leaves out."""
    found: set[tuple[str, str]] = set()
    for route in iter_route_contexts(app.routes):
        methods = getattr(route, "methods", None) or {"GET"}
        found |= {(method, str(route.path)) for method in methods - {"HEAD"}}
    return found


@ON_ONE_DATABASE
def test_every_route_has_its_role(api: Any) -> None:
    assert routes_of(api.client.app) == WITHOUT_A_KEY | BY_ANOTHER_TOKEN | ANY_KEY | set(NEEDS)


@ON_ONE_DATABASE
def test_an_application_analyses_no_endpoint_again(api: Any) -> None:
    """FastAPI takes a fifth of a second for all of them, within the first requests of each process and test."""
    for app, of in ((api.client.app, ROUTERS), (create_console(api.services), routers())):
        analysed = {id(route) for router in of for route in router.routes}
        assert analysed <= {id(route) for route in app.routes}


def ask(client: TestClient, method: str, path: str, key: str | None) -> int:
    """The status of a request with no body and ids that do not exist."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    filled = path.replace("{", "").replace("}", "")
    return client.request(method, filled, headers=headers).status_code


@ON_ONE_DATABASE
def test_each_role_may_what_its_routes_say_and_no_more(api: Any) -> None:
    for (method, path), needed in NEEDS.items():
        assert ask(api.client, method, path, None) == 401, f"{method} {path} without a key"
        for role in Role:
            if (method, path) in ENDLESS and role.includes(needed):
                continue
            status = ask(api.client, method, path, api.key(role))
            refused = status == 403
            assert status != 401, f"{method} {path} as {role}"
            assert refused is not role.includes(needed), f"{method} {path} as {role}: {status}"


@ON_ONE_DATABASE
def test_a_route_for_any_key_takes_each_role_and_none_without_a_key(api: Any) -> None:
    for method, path in ANY_KEY:
        assert ask(api.client, method, path, None) == 401
        assert {ask(api.client, method, path, api.key(role)) for role in Role} == {200}


@ON_ONE_DATABASE
def test_what_needs_no_key_takes_none(api: Any) -> None:
    assert {ask(api.client, *route, None) for route in WITHOUT_A_KEY if route[1] != "/static"} == {200}
    assert {ask(api.client, *route, api.key(Role.ADMIN)) for route in BY_ANOTHER_TOKEN} <= {401, 404}


@ON_ONE_DATABASE
def test_the_documentation_asks_for_a_key_where_one_is_needed(api: Any) -> None:
    paths = api.get("/openapi.json", None).json()["paths"]
    with_key = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method, told in methods.items()
        if told.get("security") == [{"key": []}]
    }
    assert with_key == ANY_KEY | set(NEEDS)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("kinds", [frozenset(), frozenset({Kind.OTP})])
@pytest.mark.parametrize("senders", [frozenset(), frozenset({"15550100100"})])
def test_a_key_sends_its_kinds_from_its_senders_only(
    role: Role, kinds: frozenset[Kind], senders: frozenset[str]
) -> None:
    principal = Principal("k", "shop", role, kinds, senders)
    for kind in Kind:
        for sender in ("15550100100", "15550100200"):
            allowed = (
                role.includes(Role.SENDER)
                and (not kinds or kind in kinds)
                and (not senders or sender in senders)
            )
            if allowed:
                principal.check_send(kind, sender)
            else:
                with pytest.raises(AccessDenied):
                    principal.check_send(kind, sender)
