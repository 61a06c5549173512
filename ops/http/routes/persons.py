"""Persons: what one may ask of us; and legal holds. A number is always in a body: addresses are logged."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from bulksend.bootstrap import answering_redis
from bulksend.ledger.database import Database
from bulksend.messaging import parse_recipient
from bulksend.messaging.recipient import checked_region
from bulksend.operations.legal_holds import list_holds, place_hold, remove_hold
from bulksend.operations.person_export import export_person
from bulksend.operations.persons import forget
from ops.http.argument_formats import Country, Phone
from ops.http.idempotency import Once
from ops.http.services import REDIS_S, Admin, Services, ServicesDep

router = APIRouter(prefix="/v1", tags=["persons"])

Text = Annotated[str, Field(min_length=1, max_length=500)]
Region = Annotated[Country | None, Field(description="Country of a number without its code.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class AskedOfPerson(_Body):
    """A person, and the reason."""

    phone: Phone
    why: Text
    region: Region = None


class NewHold(_Body):
    """A campaign or a person to keep."""

    why: Text
    campaign: Annotated[str | None, Field(max_length=200, description="Its id or name.")] = None
    phone: Phone | None = None
    region: Region = None


class Why(_Body):
    """A reason."""

    why: Text


@router.post("/persons/forget")
def post_forget(asked: AskedOfPerson, services: ServicesDep, principal: Admin) -> dict[str, Any]:
    """Erase a person: number, variables, contents, files of this host. Counts, audit and suppressions stay.

    Then search for what is left. A repetition erases what is left: no Idempotency-Key is needed. In a large ledger it
    takes minutes.
    """
    of = services.settings
    redis = None if of.redis_url is None else partial(answering_redis, of, timeout_s=REDIS_S)
    number = _number(services, asked.phone, asked.region)
    with services.database.translated_errors():
        done = forget(
            services.database,
            services.cipher,
            of,
            number,
            actor=principal.actor,
            why=asked.why,
            open_redis=redis,
        )
    return done.as_json()


@router.post("/persons/export")
def post_export(asked: AskedOfPerson, services: ServicesDep, principal: Admin) -> dict[str, Any]:
    """All that is held about a person. Never a one-time code. A repetition is put on record once more."""
    number = _number(services, asked.phone, asked.region)
    with services.database.translated_errors():
        return export_person(services.database, services.cipher, number, actor=principal.actor, why=asked.why)


@router.get("/holds")
def get_holds(services: ServicesDep, _: Admin) -> dict[str, Any]:
    """The legal holds, oldest first; numbers are masked."""
    return {"items": list_holds(services.database), "next": None}


@router.post("/holds", status_code=201)
def post_hold(asked: NewHold, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """Place a campaign or a person under legal hold: neither erased nor deleted by age."""
    person = None if asked.phone is None else _number(services, asked.phone, asked.region)

    def act(database: Database) -> dict[str, Any]:
        return place_hold(
            database, campaign=asked.campaign, person=person, actor=principal.actor, why=asked.why
        )

    return once.answer(act, status=201)


@router.post("/holds/{id}/remove")
def post_removed(id: str, asked: Why, services: ServicesDep, principal: Admin, once: Once) -> Response:
    """End a legal hold."""
    return once.answer(lambda database: remove_hold(database, id, actor=principal.actor, why=asked.why))


def _number(services: Services, phone: str, region: str | None) -> str:
    default = services.settings.default_region if region is None else checked_region(region, "region")
    return parse_recipient(phone, default_region=default, field="phone")
