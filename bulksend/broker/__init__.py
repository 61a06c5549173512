"""The handshake of producer and worker: the Celery app, the lanes' queues, the body of a job, and how both speak to
Redis: briefly, calmly, and only to one that keeps what it is given.
"""

from bulksend.broker.app import BATCH_TASK, make_app
from bulksend.broker.eviction import Eviction, eviction
from bulksend.broker.jobs import batches, ids_in, publish, published_ms_of, read_ids
from bulksend.broker.lane_repair import mend_lanes, says_no_list
from bulksend.broker.outage import Outage
from bulksend.broker.readiness import LEADER_KEY, RedisUnfit, Trouble, do_all, trouble_of, try_out

__all__ = [
    "BATCH_TASK",
    "LEADER_KEY",
    "Eviction",
    "Outage",
    "RedisUnfit",
    "Trouble",
    "batches",
    "do_all",
    "eviction",
    "ids_in",
    "make_app",
    "mend_lanes",
    "publish",
    "published_ms_of",
    "read_ids",
    "says_no_list",
    "trouble_of",
    "try_out",
]
