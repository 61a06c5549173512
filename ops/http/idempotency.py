"""``Idempotency-Key``: a POST that a caller repeats is done once and answered as before.

Each endpoint of a POST has a parameter ``once: Once``, and does its act inside ``once.answer``::

    @router.post("/v1/campaigns/{id}/pause")
    def pause(id: str, asked: Why, services: ServicesDep, principal: Operator, once: Once) -> Response:
        return once.answer(lambda database: campaigns.act(database, …).as_json())

- The act uses the ``database`` that it is given, not ``services.database``, and returns the answer's JSON object. With
  an Idempotency-Key every transaction of that database is a part of one, which also keeps the answer: a kill at any
  instruction leaves both or neither. Without a key the act's transactions are its own.
- Only the ledger takes part. What is done elsewhere, such as telling Redis of a pause, is ``after=`` a function that is
  called once the act is committed: in the act it would keep the transaction open, and may be repeated. Long work
  belongs into a job: the act stores the job.
- An act that raises keeps nothing. ``status`` is 200 unless given; ``location`` is a path with the answer's fields:
  ``once.answer(add, status=201, location="/v1/keys/{id}")``.
- ``secret`` names fields that are shown once: ``secret=("key",)``. They are not stored; a repeated request has null for
  them, and their names in ``withheld``.
- The body of an upload is not read here: pass ``body=`` a hash of it.
- An act with another database connection, such as the producer's, cannot take part: give what it makes ``once.key``,
  which is the same in each repetition, as its own key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import Response
from starlette.types import Scope

from bulksend.ledger.database import Database
from bulksend.ledger.idempotency import Answer
from bulksend.messaging.json_encoding import make_json_encoder
from bulksend.operations.access import Principal
from bulksend.operations.idempotency import Keyed, keyed, run_once
from ops.http.access_log import route_of
from ops.http.body_limits import FORMS, is_form
from ops.http.services import Services, ServicesDep, SignedIn

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}

_dump = make_json_encoder(separators=(",", ":"))


@dataclass(slots=True)
class OneAnswer:
    """The answer to one POST."""

    services: Services
    scope: tuple[str, ...]
    given: str | None
    """The Idempotency-Key."""
    body: str | None
    """A hash of query and body; None where the body was not read."""

    @property
    def key(self) -> str | None:
        """A key for what the request makes, the same in each repetition; None without Idempotency-Key.

        Raises InvalidValue when the header is malformed.
        """
        return None if self.given is None else self._keyed(self.given, self.body or "").key

    def answer(
        self,
        act: Callable[[Database], Mapping[str, Any]],
        *,
        status: int = 200,
        location: str | None = None,
        secret: Sequence[str] = (),
        body: str | None = None,
        after: Callable[[], object] | None = None,
    ) -> Response:
        """Do the act and answer with what it returns, or as before. Raises what ``run_once`` raises.

        ``after`` is called when the act is committed, not in a repetition.
        """
        body = body or self.body
        if self.given is None:
            with self.services.database.translated_errors():
                made = act(self.services.database)
            if after is not None:
                after()
            return _response(Answer(status, _dump(made), _filled(location, made)))
        if body is None:
            raise ValueError("the body is an upload: pass a hash of it as body=")
        first: dict[str, Mapping[str, Any]] = {}

        def kept(database: Database) -> Answer:
            made = first["made"] = act(database)
            stored = {name: None if name in secret else value for name, value in made.items()}
            withheld = {"withheld": [*secret]} if secret else {}
            return Answer(status, _dump(stored | withheld), _filled(location, made))

        found, replayed = run_once(
            self.services.database, self.services.cipher, self._keyed(self.given, body), kept
        )
        if replayed:
            return _response(found, REPLAYED)
        if after is not None:
            after()
        return _response(Answer(found.status, _dump(first["made"]), found.location))

    def _keyed(self, given: str, body: str) -> Keyed:
        return keyed(given, scope=self.scope, body=body, cipher=self.services.cipher)


def hash_of(scope: Scope, body: bytes) -> str:
    """What tells what is asked from something else. A query is a part of that, and not of where the key counts."""
    return hashlib.sha256(scope["query_string"] + b"\0" + body).hexdigest()


def scope_of(scope: Scope, principal: Principal) -> tuple[str, ...]:
    """Where an Idempotency-Key counts: for this caller, method and path."""
    return principal.id, scope["method"], scope["path"]


async def _once(
    request: Request,
    services: ServicesDep,
    principal: SignedIn,
    given: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="Makes a repeated request safe: it is done once.",
            max_length=255,
            json_schema_extra={"format": "idempotency-key"},
        ),
    ] = None,
) -> OneAnswer:
    is_upload = route_of(request.scope) in FORMS and is_form(request.headers.get("content-type", ""))
    body = hash_of(request.scope, await request.body()) if given is not None and not is_upload else None
    return OneAnswer(services, scope_of(request.scope, principal), given, body)


#: A parameter of a POST's endpoint: see this module.
Once = Annotated[OneAnswer, Depends(_once)]


def _filled(location: str | None, made: Mapping[str, Any]) -> str | None:
    return None if location is None else location.format_map(made)


def _response(answer: Answer, more: Mapping[str, str] | None = None) -> Response:
    headers = dict(more or {}) | ({} if answer.location is None else {"Location": answer.location})
    return Response(answer.body, answer.status, headers, "application/json")
