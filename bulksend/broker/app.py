"""The Celery app, set up so that nothing it does can send twice and what it loses is found again.

Celery only carries ids: the ledger's claim decides who sends, and the relay puts back whatever Redis lost. So:
early ack (late ack adds redeliveries and still loses), no results, no countdown or eta (what waits, waits in the
ledger), direct queues (a topic exchange loses publishes silently once its binding is gone), JSON only.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from bulksend.messaging.states import LANES

#: The one task; a worker registers it, a producer only names it.
BATCH_TASK = "bulksend.batch"


def make_app(redis_url: str, *, name: str = "bulksend", **overrides: Any) -> Celery:
    """A Celery app on this broker. ``overrides`` are Celery settings that win over ours."""
    app = Celery(name, broker=redis_url, set_as_current=False)
    app.conf.update(settings() | overrides)
    return app


def settings() -> dict[str, Any]:
    """Our Celery settings; each is explained in docs/operations.md."""
    return {
        "task_queues": [
            # The anonymous direct exchange: a publish is one LPUSH to the lane's own list.
            Queue(lane.value, Exchange("", type="direct"), routing_key=lane.value)
            for lane in LANES
        ],
        "task_default_queue": LANES[-1].value,
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": False,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "result_backend": None,
        "task_send_sent_event": False,
        "worker_send_task_events": False,
        "worker_pool": "threads",
        "worker_concurrency": 4,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,
        "task_reject_on_worker_lost": False,
        "broker_connection_retry_on_startup": True,
        # None: for ever. The default gives up after 100 tries.
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 3,
        "broker_transport_options": transport_options(),
        "task_publish_retry": False,
        "enable_utc": True,
    }


def transport_options() -> dict[str, Any]:
    """How kombu talks to Redis: no wait without an end, no dead connection taken for a quiet one."""
    return {
        "socket_timeout": 2,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        # Looked at every second: a BRPOP (of one second) that is unanswered for two is given up. A line that swallows
        # everything is noticed in three seconds that way, where kombu's own 25 make it fifty.
        "health_check_interval": 1,
        # No `unacked` in Redis: acks are early, and what a worker takes down with it the relay publishes again. It
        # would only cost two writes a job, which a full Redis refuses, and hand old jobs out a second time.
        "ack_emulation": False,
        "visibility_timeout": 3600,
        # One list a queue: the lanes are our priorities, Redis priorities only multiply the lists.
        "priority_steps": [0],
    }
