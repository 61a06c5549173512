"""The HTTP API from Python: ``Client`` and ``AsyncClient``.

    from bulksend.client import Client

    with Client.from_env() as client:
        sent = client.send(
            to="447731688264", sender="8615000579987", kind="otp", type="text",
            content={"body": "{{code}} is your code"}, variables={"code": "123456"},
            ttl_seconds=300, key="login-83121",
        )
        client.message(sent.id)

Every POST has an Idempotency-Key, which a retry uses again: a call that raises ``ApiUnreachable`` may be repeated with
the same ``idempotency_key`` and is done once. The package needs httpx and no server of bulksend beside it.
"""

from bulksend.client.answers import ApiError, ApiRefused, ApiUnreachable, Event, RefusedMessage, SentMessage
from bulksend.client.async_client import AsyncClient
from bulksend.client.client import Client
from bulksend.client.retries import Retries
from bulksend.client.shapes import (
    Campaign,
    CampaignChanges,
    CloneOptions,
    EventFilters,
    Message,
    MessageFilters,
)

__all__ = [
    "ApiError",
    "ApiRefused",
    "ApiUnreachable",
    "AsyncClient",
    "Campaign",
    "CampaignChanges",
    "Client",
    "CloneOptions",
    "Event",
    "EventFilters",
    "Message",
    "MessageFilters",
    "RefusedMessage",
    "Retries",
    "SentMessage",
]
