"""Deletes a key that has a lane's name and is not a list: every read of that lane would fail."""

from __future__ import annotations

import redis
import structlog

from bulksend.messaging.states import LANES

log = structlog.get_logger(__name__)


def is_wrong_type(error: BaseException) -> bool:
    """Whether Redis says that a key has another type than the command needs."""
    return str(error).startswith("WRONGTYPE")


def delete_invalid_lanes(client: redis.Redis) -> list[str]:
    """Delete the lanes that are not lists and return their names. Raises redis.RedisError."""
    invalid = [lane.value for lane in LANES if client.type(lane.value) not in (b"list", b"none")]
    for lane in invalid:
        client.delete(lane)
        log.error("lane_deleted", lane=lane)
    return invalid
