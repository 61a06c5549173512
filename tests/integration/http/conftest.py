"""The API over a real ledger, once on SQLite and once on PostgreSQL, with a key of each role.

api                  the application and what its tests hand in
seeded_api           the same on a copy of a ledger with one of everything; ``ids`` says what is there
ON_ONE_DATABASE      a mark: once only, on SQLite
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from sqlalchemy.engine import make_url

from bulksend.ledger.database import Database
from bulksend.ledger.key_file import new_encryption_key
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from bulksend.settings import Settings
from ops.http.app import create_app
from ops.http.server import services_of
from ops.http.services import Services
from tests.ledger_rows import LedgerRows, connect
from tests.seeded import Ids, seed

#: For what is decided before the ledger is asked, or beside it. What a statement does is tested on both.
ON_ONE_DATABASE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


#: What a serving process writes beside its ledger.
FOLDERS = ("spool", "upload", "export")
LEDGER = "ledger.db"


@dataclass
class Api:
    """The application in this process. ``get`` and ``post`` ask as ``role`` (None: without a key)."""

    services: Services
    client: TestClient
    keys: dict[Role, str] = field(default_factory=dict)
    ids: Ids = field(default_factory=dict)
    """What a seeded ledger has."""

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


@dataclass(frozen=True)
class Seed:
    """A ledger with one of everything, as it is copied."""

    ids: Ids
    keys: Mapping[Role, str]
    encryption_key: str
    folder: Path
    """Its files, and itself where it is on SQLite."""
    rows: LedgerRows | None
    """Itself where it is on PostgreSQL."""
    redis: Mapping[bytes, tuple[bytes, int]]
    """What Redis had, and for how many ms each still lives."""


class Seeds:
    """The seeded ledger of each backend: made through the API at first use in a test process, then copied."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Seed] = {}

    def copy(self, ledger_url: str, redis_url: str, folder: Path) -> Seed:
        """Fill an empty ledger, an empty Redis and a folder; with what."""
        url = make_url(ledger_url)
        backend = url.get_backend_name()
        if backend not in self._made:
            self._made[backend] = self._make(ledger_url, redis_url, self._folder / backend)
        seed = self._made[backend]
        shutil.copytree(seed.folder, folder, dirs_exist_ok=True)
        if seed.rows is None:
            shutil.copyfile(seed.folder / LEDGER, str(url.database))
        else:
            with connect(ledger_url) as connection:
                seed.rows.replace(connection)
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
            for name, (value, left_ms) in seed.redis.items():
                client.restore(name, max(0, left_ms), value)
        return seed

    def _make(self, ledger_url: str, redis_url: str, folder: Path) -> Seed:
        folder.mkdir()
        url, own, rows = make_url(ledger_url), self._folder / "made.db", None
        is_on_sqlite = url.get_backend_name() == "sqlite"
        if is_on_sqlite:
            shutil.copyfile(str(url.database), own)
            ledger_url = f"sqlite:///{own}"
        encryption_key = new_encryption_key()
        with running(ledger_url, redis_url, folder, {}, encryption_key) as api:
            ids = seed(api.request, api.services)
        if is_on_sqlite:
            # By SQLite, since a part of it may still be in its write-ahead log.
            with closing(sqlite3.connect(own)) as made, closing(sqlite3.connect(folder / LEDGER)) as copy:
                made.backup(copy)
        else:
            with connect(ledger_url) as connection:
                rows = LedgerRows.read(connection)
        with redis.Redis.from_url(redis_url) as client:
            kept = {name: (client.dump(name), client.pttl(name)) for name in client.scan_iter()}
        return Seed(ids, api.keys, encryption_key, folder, rows, kept)


@pytest.fixture
def more_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings that a test adds: ``@pytest.mark.parametrize("more_settings", [{…}], indirect=True)``."""
    return dict(getattr(request, "param", {}))


@contextmanager
def running(
    ledger_url: str, redis_url: str, folder: Path, more: Mapping[str, str], encryption_key: str
) -> Iterator[Api]:
    """The application over this ledger, with its files in a folder."""
    of = Settings.from_env(
        {
            "DATABASE_URL": ledger_url,
            "REDIS_URL": redis_url,
            "BULKSEND_ENCRYPTION_KEY": encryption_key,
        }
        | {f"BULKSEND_{name.upper()}_DIR": str(folder / name) for name in FOLDERS}
        | more
    )
    # A loaded machine takes longer than an answer waits: what a test posts is taken in when it is answered.
    services = replace(services_of(of), answer_s=60.0)
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        yield Api(services, client)
    services.close()


@pytest.fixture
def api(ledger_url: str, valkey_url: str, tmp_path: Path, more_settings: dict[str, str]) -> Iterator[Api]:
    with running(ledger_url, valkey_url, tmp_path, more_settings, new_encryption_key()) as api:
        yield api


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return Seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture
def seeded_api(
    seeds: Seeds, ledger_url: str, valkey_url: str, tmp_path: Path, more_settings: dict[str, str]
) -> Iterator[Api]:
    seed = seeds.copy(ledger_url, valkey_url, tmp_path)
    with running(ledger_url, valkey_url, tmp_path, more_settings, seed.encryption_key) as api:
        api.keys |= seed.keys
        api.ids |= deepcopy(seed.ids)
        yield api
