"""What the endpoints work with, made once a process, and what each request brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from bulksend.errors import NotSignedIn
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.operations.access import Principal, Role
from bulksend.operations.api_keys import KeyRing
from bulksend.operations.limiter import OpenLimiter
from bulksend.settings import Settings
from ops.http.exports import ExportFiles
from ops.http.jobs import JobRunner
from ops.http.receipt_group_commit import ReceiptGroupCommit
from producer import Producer
from producer.uploads import UploadIntake, Uploads


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a serving process."""

    settings: Settings
    database: Database
    cipher: Cipher
    """Decrypts contents for ``messages show``."""
    producer: Producer
    limiter: OpenLimiter
    keys: KeyRing
    receipts: ReceiptGroupCommit
    uploads: Uploads
    upload_intake: UploadIntake
    exports: ExportFiles
    jobs: JobRunner

    def start(self) -> None:
        """Begin the work beside requests."""
        self.upload_intake.start()
        self.jobs.start()

    def stop(self) -> None:
        """End the work beside requests, in order."""
        self.jobs.stop()
        self.upload_intake.stop()

    def close(self) -> None:
        """Store the callbacks that wait, and close the ledger's connections."""
        self.receipts.close()
        self.producer.close()
        self.database.close()


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


#: A parameter of an endpoint: the parts of this process.
P = Annotated[Parts, Depends(_parts)]


def _signed_in(request: Request, parts: P) -> Principal:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise NotSignedIn("send a key: Authorization: Bearer bsk_…; `bulksend keys add` makes one")
    principal = parts.keys.principal(key.strip())
    request.state.principal = principal
    return principal


#: A parameter of an endpoint: the key that asks, whatever its role.
SignedIn = Annotated[Principal, Depends(_signed_in)]


def _role(needed: Role) -> Callable[[Principal], Principal]:
    def check(principal: SignedIn) -> Principal:
        principal.check_role(needed)
        return principal

    return check


#: Parameters of an endpoint: the key that asks, which has at least this role.
Viewer = Annotated[Principal, Depends(_role(Role.VIEWER))]
Sender = Annotated[Principal, Depends(_role(Role.SENDER))]
Operator = Annotated[Principal, Depends(_role(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(_role(Role.ADMIN))]
