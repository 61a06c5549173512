"""The body of a job: the ids of up to N messages, and nothing else."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bulksend.messaging.states import Kind

if TYPE_CHECKING:
    from celery import Celery

#: The one task; a worker registers it, a producer only names it.
BATCH_TASK = "bulksend.batch"


def batches(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    """The ids in batches of at most ``size``."""
    for start in range(0, len(ids), size):
        yield list(ids[start : start + size])


def publish(
    app: Celery, lane: Kind, ids: Sequence[str], *, published_ms: int, connection: Any = None
) -> None:
    """Publish one batch to a lane. Raises kombu's OperationalError when Redis does not take it."""
    app.send_task(
        BATCH_TASK,
        args=[list(ids)],
        # With a queue's name Celery uses the anonymous exchange: one LPUSH to the lane's list. A named exchange
        # silently loses publishes after Redis has lost its bindings.
        queue=lane.value,
        # Celery would also write the arguments into the header: ids are harmless but many.
        argsrepr=f"<{len(ids)} ids>",
        headers={"published_ms": published_ms},
        connection=connection,
        ignore_result=True,
    )


def read_ids(argument: object) -> list[str]:
    """The ids in a job's argument. Anything else is left out, so that no content of Redis stops a worker."""
    if not isinstance(argument, list):
        return []
    return [item for item in argument if isinstance(item, str) and _is_id(item)]


def job_published_ms(raw: bytes | str) -> int | None:
    """When a job that waits in Redis was published, by its header; None where it is not one of ours."""
    try:
        value = json.loads(raw)["headers"]["published_ms"]
    except (ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, int) else None


def job_ids(raw: bytes | str) -> list[str]:
    """The ids of a job that waits in Redis."""
    try:
        body = json.loads(base64.b64decode(json.loads(raw)["body"]))
        return read_ids(body[0][0])
    except (ValueError, KeyError, TypeError, IndexError):
        return []


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
