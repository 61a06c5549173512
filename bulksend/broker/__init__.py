"""What producer and worker share: the Celery app, the lanes' queues, the body of a job, and the checks of Redis.

``bulksend.broker.app`` loads Celery, so it is imported from there.
"""

from bulksend.broker.jobs import BATCH_TASK, batches, job_ids, job_published_ms, publish, read_ids
from bulksend.broker.lane_repair import delete_invalid_lanes, is_wrong_type
from bulksend.broker.outage import Outage
from bulksend.broker.readiness import (
    LEADER_KEY,
    RedisUnfit,
    check_redis_works,
    eviction_problem,
    problem_of,
    try_commands,
)

__all__ = [
    "BATCH_TASK",
    "LEADER_KEY",
    "Outage",
    "RedisUnfit",
    "batches",
    "check_redis_works",
    "delete_invalid_lanes",
    "eviction_problem",
    "is_wrong_type",
    "job_ids",
    "job_published_ms",
    "problem_of",
    "publish",
    "read_ids",
    "try_commands",
]
