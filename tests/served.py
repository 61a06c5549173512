"""The API on a port, in this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import uvicorn
from fastapi import FastAPI

from bulksend.ledger.database import Database
from bulksend.ledger.key_file import new_encryption_key
from bulksend.ledger.migrate import migrate
from bulksend.operations import api_keys
from bulksend.operations.access import Role
from bulksend.settings import Settings
from ops.http.app import create_app
from ops.http.connections import Connection
from ops.http.server import services_of
from ops.http.services import Services
from ops.local.ports import free_port
from ops.local.postgres import EmbeddedPostgres
from ops.local.valkey import EmbeddedValkey
from simulator import REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET, SimulatorSettings, run_in_thread
from tests.seeded import SENDER, Ask, Ids, seed


class Served:
    """On a thread of its own, as ``bulksend serve`` has it."""

    def __init__(
        self, app: FastAPI, lifespan: Literal["auto", "off"] = "auto", http: type[Connection] = Connection
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._app = app
        config = uvicorn.Config(
            self._app,
            port=self.port,
            http=http,
            lifespan=lifespan,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    @property
    def services(self) -> Services:
        """What the application has."""
        services: Services = self._app.state.services
        return services

    def description(self) -> dict[str, Any]:
        """Its OpenAPI."""
        return self._app.openapi()

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@contextmanager
def own_server(
    backend: str, folder: Path, fill: Callable[[Ask, Services], Ids] = seed
) -> Iterator[tuple[Served, str, Ids]]:
    """The API on a ledger that ``fill`` filled, a Redis and a simulated vendor of its own; a key of an admin; ids.

    For what is run by hand, and for tests in a browser.
    """
    with ExitStack() as servers:
        valkey = EmbeddedValkey(folder / "valkey", durable=False)
        servers.callback(valkey.stop)
        vendor = servers.enter_context(run_in_thread(SimulatorSettings(media="uploaded")))
        redis_url, ledger_url = valkey.start(), f"sqlite:///{folder / 'ledger.db'}"
        if backend == "postgresql":
            postgres = EmbeddedPostgres()
            servers.callback(postgres.remove)
            ledger_url = postgres.start()
        database = Database(ledger_url)
        migrate(database)
        with database.write() as tx:
            key = api_keys.add(tx, name="fuzz", role=Role.ADMIN, actor="test").key
        database.close()
        services = services_of(
            Settings.from_env(
                {
                    "DATABASE_URL": ledger_url,
                    "REDIS_URL": redis_url,
                    "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
                    "USPEEDO_BASE_URL": f"{vendor.origin}/api",
                    "USPEEDO_ACCESSKEY_ID": REHEARSAL_ACCESS_KEY_ID,
                    "USPEEDO_ACCESSKEY_SECRET": REHEARSAL_SECRET,
                    "BULKSEND_REQUESTS_PER_SECOND": "100000",
                }
                | {
                    f"BULKSEND_{name.upper()}_DIR": str(folder / name)
                    for name in ("spool", "upload", "export")
                },
                None,
            )
        )
        servers.callback(services.close)
        served = Served(create_app(services))
        served.start()
        servers.callback(served.stop)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=served.url, headers=headers, timeout=30) as client:
            ids = fill(client.request, services)
            ids["media"] = [_upload(client)]
        yield served, key, ids


def _upload(client: httpx.Client) -> str:
    """The id of a file that the vendor has."""
    options = (None, json.dumps({"sender": SENDER}), "application/json")
    files = {"media": options, "file": ("spring.jpg", b"\xff\xd8\xff\xe0 a picture")}
    answer = client.post("/v1/media", files=files)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
