"""Events: what happens to messages and campaigns, by pages or as a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool

from bulksend.operations import events as operations
from bulksend.operations.access import Principal, record_reading
from bulksend.operations.events import Wanted
from ops.http.services import Services, ServicesDep, Viewer, presented_key
from ops.http.streams import StreamAnswer

router = APIRouter(prefix="/v1/events", tags=["events"])
#: The largest number that the ledger can hold.
_LARGEST = 2**63 - 1
Number = Annotated[int, Query(ge=0, le=_LARGEST, description="The number of the last event that was seen.")]
Types = Annotated[
    str | None,
    Query(
        max_length=1000,
        description="Only these, separated by commas: message.delivered,…",
        json_schema_extra={"format": "event-types"},
    ),
]
CampaignName = Annotated[
    str | None, Query(max_length=200, description="Only of this campaign: its id or name.")
]
Numbers = Annotated[bool, Query(description="Phone numbers in full; for keys of senders and above.")]


@router.get("")
def find(
    services: ServicesDep,
    principal: Viewer,
    after: Number | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    types: Types = None,
    campaign: CampaignName = None,
    numbers: Numbers = False,
) -> dict[str, Any]:
    """Events after a number, in order; by default from the oldest that is kept.

    Keep `last` and give it as `after` the next time: no event is missed, and none comes twice. 410 says that the next
    ones were deleted by age.
    """
    wanted = _wanted(services, principal, types, campaign, numbers)
    found = operations.page(services.database, wanted, after=after, limit=limit)
    if numbers and found["items"]:
        record_reading(services.database, principal, "read events", why=f"{len(found['items'])} with numbers")
    return found


@router.get(
    "/stream",
    status_code=200,
    response_class=StreamAnswer,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    request: Request,
    services: ServicesDep,
    principal: Viewer,
    after: Number | None = None,
    types: Types = None,
    campaign: CampaignName = None,
    numbers: Numbers = False,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_LARGEST)] = None,
) -> StreamAnswer:
    """Events as they happen (server-sent events): after `Last-Event-ID` or `after`, by default from now on.

    The `id` of each is its number, so that a client that connects again misses none.
    """
    services.streams.check_room(principal.id)
    seq, field = (after, "after") if last_event_id is None else (last_event_id, "Last-Event-ID")
    wanted = await run_in_threadpool(_wanted, services, principal, types, campaign, numbers, seq, field)
    if numbers:
        await run_in_threadpool(record_reading, services.database, principal, "follow events")
    check = _check(services, principal, presented_key(request), numbers)
    # Others of the key may have begun meanwhile.
    services.streams.check_room(principal.id)
    return StreamAnswer(services.streams.chunks(seq, wanted, principal.id, check))


def _wanted(
    services: Services,
    principal: Principal,
    types: str | None,
    campaign: str | None,
    numbers: bool,
    after: int | None = None,
    after_field: str = "after",
) -> Wanted:
    if numbers:
        operations.check_numbers(principal)
    names = [name for name in (types or "").split(",") if name]
    with services.database.read() as tx:
        return operations.wanted(
            tx, types=names, campaign=campaign, numbers=numbers, after=after, after_field=after_field
        )


def _check(services: Services, principal: Principal, key: str, numbers: bool) -> Callable[[], None]:
    """Raises when the key was revoked, expired or may not see numbers any more."""

    def check() -> None:
        now = services.keys.principal(key, principal.origin)
        if numbers:
            operations.check_numbers(now)

    return check
