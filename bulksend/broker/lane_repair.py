"""A lane is a list. Whatever else lies under its name is junk that would stop all who ask for jobs."""

from __future__ import annotations

import redis
import structlog

from bulksend.messaging.states import LANES

log = structlog.get_logger(__name__)


def says_no_list(error: BaseException) -> bool:
    """Whether Redis says that a key is of another kind than was asked for."""
    return str(error).startswith("WRONGTYPE")


def mend_lanes(client: redis.Redis) -> list[str]:
    """Remove lanes that are no lists; their names. Raises redis.RedisError."""
    broken = [lane.value for lane in LANES if client.type(lane.value) not in (b"list", b"none")]
    for lane in broken:
        client.delete(lane)
        log.error("lane_was_no_list", lane=lane)
    return broken
