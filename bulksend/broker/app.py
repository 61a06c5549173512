"""The Celery app. Its settings keep it from sending a message twice; jobs that it loses are published again.

Celery only carries ids: the ledger's claim decides which worker sends, and the relay publishes again what Redis lost.
So: early ack (late ack adds redeliveries and still loses jobs), no results, no countdown or eta (messages wait in the
ledger), direct queues (a topic exchange silently loses publishes without its binding), JSON only.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from bulksend.messaging.states import LANES


def make_app(redis_url: str, *, name: str = "bulksend", **overrides: Any) -> Celery:
    """A Celery app on this broker. ``overrides`` are Celery settings that replace ours."""
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
        # None: without limit. The default gives up after 100 tries.
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 3,
        "broker_transport_options": transport_options(),
        "task_publish_retry": False,
        "enable_utc": True,
    }


def transport_options() -> dict[str, Any]:
    """How kombu talks to Redis: every wait has an end, and a dead connection is noticed."""
    return {
        "socket_timeout": 2,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        # Checked every second: a BRPOP (of one second) without an answer for two seconds is given up. So a connection
        # that loses everything is noticed within three seconds; with kombu's default of 25 it takes fifty.
        "health_check_interval": 1,
        # No `unacked` keys: acks are early, and the relay publishes again what a dead worker had taken. They would cost
        # two writes a job, which a full Redis refuses, and deliver old jobs a second time.
        "ack_emulation": False,
        "visibility_timeout": 3600,
        # One list a queue: the lanes are the priorities.
        "priority_steps": [0],
    }
