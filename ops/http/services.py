"""What endpoints use: the services of the process, made once, and the principal of each request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from prometheus_client import CollectorRegistry

from bulksend import bootstrap
from bulksend.errors import NotSignedIn, WrongState
from bulksend.gateway.vendor_calls import VendorCalls
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.operations.access import Origin, Principal, Role
from bulksend.operations.api_keys import KeyRing
from bulksend.operations.limiter import OpenLimiter
from bulksend.settings import Settings
from bulksend.tracing import Tracing
from ops.http.cursors import Cursors
from ops.http.event_streams import EventStreams
from ops.http.exports import ExportFiles
from ops.http.jobs import JobRunner
from ops.http.principals import Principals
from ops.http.receipt_group_commit import ReceiptGroupCommit
from ops.http.request_checks import check_request
from ops.http.request_rate import RequestRate
from ops.http.suppression_imports import SuppressionImports
from ops.http.upload_process import LargeUploads
from ops.web.live import LiveTabs
from producer import Producer
from producer.uploads import UploadIntake, Uploads

if TYPE_CHECKING:
    from bulksend.oidc.issuer import Issuer

#: A Redis that does not answer a request within this time counts as away.
REDIS_S = 0.5


@dataclass(frozen=True, slots=True)
class Services:
    """What a serving process has made once."""

    settings: Settings
    database: Database
    sends: Database
    """Connections for keys and for what a send reads: they do not wait for the other requests' connections."""
    cipher: Cipher
    """Decrypts contents for ``messages show``."""
    producer: Producer
    limiter: OpenLimiter
    keys: KeyRing
    principals: Principals
    receipts: ReceiptGroupCommit
    request_rate: RequestRate
    uploads: Uploads
    upload_intake: UploadIntake
    large_uploads: LargeUploads
    cursors: Cursors
    exports: ExportFiles
    imports: SuppressionImports
    jobs: JobRunner
    registry: CollectorRegistry
    """Of the metrics of this process."""
    tracing: Tracing | None
    streams: EventStreams
    issuer: Issuer | None
    """At which users of the console may sign in."""
    live: LiveTabs
    """The pages of the console that follow the ledger."""
    answer_s: float = 1.0
    """The answer to a posted campaign waits this long for its counts; a file that takes longer is `intake`."""

    def start(self) -> None:
        """Begin the work beside requests."""
        self.upload_intake.start()
        self.large_uploads.start()
        self.jobs.start()

    def stop(self) -> None:
        """End the work beside requests, in order."""
        self.large_uploads.ask_to_stop()
        self.jobs.stop()
        self.upload_intake.stop()
        self.large_uploads.stop()

    def close(self) -> None:
        """Store what waits to be written, and close the ledger's connections."""
        self.receipts.close()
        self.principals.close()
        self.keys.close()
        if self.tracing is not None:
            self.tracing.close()
        if self.issuer is not None:
            self.issuer.close()
        self.producer.close()
        self.sends.close()
        self.database.close()


def vendor_of(services: Services, *, seconds: float | None = None, tries: int = 1) -> VendorCalls:
    """The vendor's calls, see ``bootstrap.vendor_calls``. Raises WrongState when this server has no credentials."""
    missing = services.settings.missing_credentials()
    if missing:
        raise WrongState(
            f"this server cannot call the vendor: {' and '.join(missing)} not set in its environment"
        )
    return bootstrap.vendor_calls(services.settings, seconds=seconds, tries=tries)


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


#: A parameter of an endpoint: the services of this process.
ServicesDep = Annotated[Services, Depends(_services)]


class _BearerKey(SecurityBase):
    """The key that a request brings; the documentation asks for one because of it."""

    model = HTTPBearerModel(description="A key that `bulksend keys add` made: bsk_…")
    scheme_name = "key"

    async def __call__(self, request: Request) -> str:
        return presented_key(request)


async def signed_in(
    request: Request, services: ServicesDep, key: Annotated[str, Depends(_BearerKey())]
) -> Principal:
    """The principal of a request, after what holds for every request was checked.

    Costs no thread while the key is remembered, as it is in all but two requests a second.
    """
    origin = Origin(address_of(request), request.state.request_id)
    principal = services.keys.remembered(key, origin)
    if principal is None:
        # Keys that do not exist cost reads of the ledger: no address may ask for any number of them.
        if not services.keys.has_seen(key):
            services.request_rate.check(f"address {origin.ip}")
        principal = await services.principals.of_key(key, origin)
    request.state.principal = principal
    services.request_rate.check(f"key {principal.id}")
    check_request(request.scope)
    return principal


def presented_key(request: Request) -> str:
    """The key that a request brings. Raises NotSignedIn where it brings none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise NotSignedIn("send a key: Authorization: Bearer bsk_…; `bulksend keys add` makes one")
    return key.strip()


def address_of(request: Request) -> str | None:
    """The address of the caller; None where the connection has none."""
    return _checked_address(request.client.host if request.client else "")


@lru_cache(1024)
def _checked_address(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None


#: A parameter of an endpoint: the key that asks, whatever its role.
SignedIn = Annotated[Principal, Depends(signed_in)]


class RoleCheck:
    """A dependency that lets principals of a role pass. ``role`` is read by the test of who may do what."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, principal: SignedIn) -> Principal:
        principal.check_role(self.role)
        return principal


#: Parameters of an endpoint: the key that asks, which has at least this role.
Viewer = Annotated[Principal, Depends(RoleCheck(Role.VIEWER))]
Sender = Annotated[Principal, Depends(RoleCheck(Role.SENDER))]
Operator = Annotated[Principal, Depends(RoleCheck(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(RoleCheck(Role.ADMIN))]
