"""The API over a real ledger, once on SQLite and once on PostgreSQL, with a key of each role.

api                  the application and what its tests hand in
ON_ONE_DATABASE      a mark: once only, on SQLite
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bulksend.ledger.database import Database
from bulksend.ledger.key_file import new_encryption_key
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from bulksend.settings import Settings
from ops.http.app import create_app
from ops.http.server import services_of
from ops.http.services import Services

#: For what is decided before the ledger is asked, or beside it. What a statement does is tested on both.
ON_ONE_DATABASE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@dataclass
class Api:
    """The application in this process. ``get`` and ``post`` ask as ``role`` (None: without a key)."""

    services: Services
    client: TestClient
    keys: dict[Role, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Database:
        return self.services.database

    def key(self, role: Role) -> str:
        """A key of that role, made at first use."""
        if role not in self.keys:
            with self.ledger.write() as tx:
                self.keys[role] = api_keys.add(tx, name=f"a {role}", role=role, actor="test").key
        return self.keys[role]

    def request(self, method: str, path: str, role: Role | None = Role.ADMIN, **options: Any) -> Any:
        headers = dict(options.pop("headers", {}))
        if role is not None:
            headers.setdefault("Authorization", f"Bearer {self.key(role)}")
        return self.client.request(method, path, headers=headers, **options)

    def get(self, path: str, role: Role | None = Role.ADMIN, **options: Any) -> Any:
        return self.request("GET", path, role, **options)

    def post(self, path: str, json: Any = None, role: Role | None = Role.ADMIN, **options: Any) -> Any:
        return self.request("POST", path, role, json=json, **options)


@pytest.fixture
def more_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings that a test adds: ``@pytest.mark.parametrize("more_settings", [{…}], indirect=True)``."""
    return dict(getattr(request, "param", {}))


@pytest.fixture
def api(ledger_url: str, valkey_url: str, tmp_path: Path, more_settings: dict[str, str]) -> Iterator[Api]:
    of = Settings.from_env(
        {
            "DATABASE_URL": ledger_url,
            "REDIS_URL": valkey_url,
            "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
            "BULKSEND_SPOOL_DIR": str(tmp_path / "spool"),
            "BULKSEND_UPLOAD_DIR": str(tmp_path / "uploads"),
            "BULKSEND_EXPORT_DIR": str(tmp_path / "exports"),
        }
        | more_settings
    )
    # A loaded machine takes longer than an answer waits: what a test posts is taken in when it is answered.
    services = replace(services_of(of), answer_s=60.0)
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        yield Api(services, client)
    services.close()
