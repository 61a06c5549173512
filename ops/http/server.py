"""``bulksend serve``: the application on uvicorn, which ends in order at SIGTERM."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from bulksend import bootstrap
from bulksend.ledger.receipt_spool import ReceiptSpool
from bulksend.metrics import HostMetrics, listen, process_registry
from bulksend.operations.api_keys import KeyRing
from bulksend.operations.receipts import store_callbacks
from bulksend.settings import Settings
from ops.http.app import create_app
from ops.http.audits import Audits
from ops.http.connections import Connection
from ops.http.cursors import Cursors
from ops.http.event_streams import EventStreams
from ops.http.exports import ExportFiles
from ops.http.jobs import JobRunner, Work
from ops.http.principals import Principals
from ops.http.receipt_group_commit import ReceiptGroupCommit
from ops.http.request_rate import RequestRate
from ops.http.services import REDIS_S, Services
from ops.http.suppression_imports import SuppressionImports
from ops.http.upload_process import LargeUploads
from ops.web.live import LiveTabs
from producer import Producer
from producer.intake import tune_interpreter
from producer.uploads import UploadIntake, Uploads, UploadStore

#: A stop waits this long for requests that are being answered.
STOP_S = 20
_SWITCH_S = 0.001


def services_of(of: Settings) -> Services:
    """The services by these settings. Raises what bootstrap.checked_database raises."""
    issuer = bootstrap.issuer(of)
    database = bootstrap.checked_database(of)
    uploads = Uploads.from_settings(of, database)
    sends = bootstrap.database(of, by_key=True)
    cipher, keys = bootstrap.cipher(of), KeyRing(sends)
    exports = ExportFiles(database, cipher, Path(of.export_dir))
    imports = SuppressionImports(
        database, UploadStore(Path(of.upload_dir) / "suppressions", max_bytes=uploads.store.max_bytes)
    )
    audits = Audits(database)
    return Services(
        settings=of,
        database=database,
        sends=sends,
        cipher=cipher,
        producer=Producer.from_settings(of),
        limiter=lambda: bootstrap.working_limiter(of, database, lambda _: None, timeout_s=REDIS_S),
        keys=keys,
        principals=Principals(keys.principal),
        uploads=uploads,
        upload_intake=UploadIntake(uploads),
        large_uploads=LargeUploads(UploadIntake(uploads, large=True).waits),
        receipts=_receipts(of),
        cursors=Cursors(database),
        exports=exports,
        request_rate=RequestRate(of.requests_per_second),
        registry=process_registry(),
        tracing=bootstrap.tracing(of, "serve"),
        imports=imports,
        jobs=JobRunner(
            database,
            {
                "export": Work(exports.work, exports.tidy),
                "import": Work(imports.work, imports.tidy),
                "audit": Work(audits.work, audits.tidy),
            },
            lease_s=of.lease_seconds,
        ),
        streams=EventStreams(database),
        issuer=issuer,
        live=LiveTabs(database),
    )


def _receipts(of: Settings) -> ReceiptGroupCommit:
    # Connections of its own: neither waits for the other's.
    database = bootstrap.database(of, by_key=True)
    return ReceiptGroupCommit(
        lambda groups: store_callbacks(database, groups),
        ReceiptSpool(Path(of.spool_dir)),
        bootstrap.cipher(of),
    )


class _Server(uvicorn.Server):
    """Ends the streams of events and pages at a signal to stop: it waits for every answer that has begun."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As its base, but the signal is not raised again: that would kill the process before ``Services.close``."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._services.streams.close()
        self._services.live.close()
        super().handle_exit(sig, frame)


def serve(of: Settings, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises what ``services_of`` raises, OSError when the metrics' port is taken."""
    # The thread that commits callbacks waits this long for its turn while requests keep the loop busy.
    sys.setswitchinterval(_SWITCH_S)
    services = services_of(of)
    tune_interpreter()
    HostMetrics(services.registry, Path(of.spool_dir))
    if of.metrics_port is not None:
        listen(services.registry, of.metrics_port, of.metrics_host)
    try:
        config = uvicorn.Config(
            create_app(services),
            host=host,
            port=port,
            http=Connection,
            log_config=None,
            access_log=False,
            server_header=False,
            # The application reads them, from BULKSEND_TRUSTED_PROXIES only.
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_S,
        )
        _Server(config, services).run()
    finally:
        services.close()
