"""The Celery side of a worker: it takes jobs and passes their ids to the engine."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.worker import state

from bulksend import failpoints, logs
from bulksend.broker import BATCH_TASK
from bulksend.broker.app import make_app, transport_options
from bulksend.errors import InvalidInput
from bulksend.limits import Permits
from bulksend.redis_client import open_redis
from bulksend.settings import Settings
from worker.lanes import LaneCycle
from worker.liveness import liveness
from worker.remote_control import RemoteControl
from worker.runtime import Runtime
from worker.watchdog import Watchdog, jobs_waiting

log = structlog.get_logger(__name__)

#: The exit status of a worker that ends by itself, so that its supervisor starts another.
FAILED = 1
#: The exit status when the settings, Redis or the ledger cannot be used as they are; nothing was changed.
BAD_SETUP = 2

NO_TASK_EVENTS = (
    "a task only passes ids to the engine and ends before any POST: with -E it would show SUCCESS for messages that "
    "are not sent; `bulksend messages` and `bulksend campaigns` show the status of messages"
)


def build_app(
    settings: Settings, *, around_permits: Callable[[Permits], Permits] = lambda permits: permits
) -> Celery:
    """A Celery app whose worker runs an engine with these settings; ``around_permits`` may wrap its limiter.

    Raises InvalidInput for settings with which no worker can run.
    """
    if settings.redis_url is None:
        raise InvalidInput(
            "REDIS_URL is not set: a worker takes its jobs from Redis, e.g. REDIS_URL=redis://127.0.0.1:6379/0"
        )
    in_the_way = settings.proxy_in_the_way()
    if in_the_way is not None:
        raise InvalidInput(in_the_way)
    arm_failpoints(settings)
    runtime = Runtime(settings, on_failure=_stop_celery, around_permits=around_permits)
    app = make_app(
        settings.redis_url_text(),
        broker_transport="worker.kombu_transport:LaneTransport",
        worker_consumer="worker.consumer:Consumer",
        broker_transport_options=transport_options() | {"queue_order_strategy": "worker.lanes:LaneCycle"},
    )
    app.bulksend_runtime = runtime  # type: ignore[attr-defined]

    @app.task(name=BATCH_TASK, bind=True, ignore_result=True)
    def batch(self: Any, ids: object) -> None:
        failpoints.reach("job_taken")
        runtime.accept((self.request.delivery_info or {}).get("routing_key", ""), ids)

    class EngineStep(bootsteps.StartStopStep):
        """Starts the engine before the consumer and stops it after the consumer."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            pool = getattr(parent.pool_cls, "__module__", "")
            if not pool.endswith((".thread", ".solo")):
                raise InvalidInput(
                    f"the worker's pool is {pool.rsplit('.', 1)[-1]}; use --pool threads (the default here): the "
                    "engine that sends lives in the process that takes the jobs"
                )
            if parent.task_events:
                log.warning("task_events_not_sent", why=NO_TASK_EVENTS)
                parent.task_events = False

        def start(self, parent: Any) -> None:
            runtime.start()
            LaneCycle.open_lanes = runtime.open_lanes
            self._watchdog = build_watchdog(settings, app, runtime)
            self._watchdog.start()
            self._remote = RemoteControl(
                parent,
                settings.redis_url_text(),
                why_not_sending=runtime.why_not_sending,
                post_counts=runtime.post_counts,
            )
            self._remote.start()
            shorten_pauses()

        def stop(self, parent: Any) -> None:
            self._watchdog.stop()
            self._remote.stop()
            runtime.stop()

        terminate = stop

    app.steps["worker"].add(EngineStep)

    @signals.setup_logging.connect(weak=False)
    def _logging(**_: Any) -> None:
        logs.configure(settings.log_level, settings.log_format)
        # It logs "Connected" at each try; worker/consumer.py logs the end of an outage.
        logging.getLogger("celery.worker.consumer.connection").setLevel(logging.WARNING)

    return app


def shorten_pauses() -> None:
    """Shorten the pauses of the engine's event loop: each pause makes it miss the slices of POSTs.

    A full garbage collection takes 150 ms here. The modules of Celery and SQLAlchemy are excluded from it, which leaves
    12 ms with 800 messages in flight, and the engine asks for it once a minute. Python's default of 5 ms is the time
    that the loop waits for another thread that computes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 1_000)
    sys.setswitchinterval(0.001)


def build_watchdog(settings: Settings, app: Celery, runtime: Runtime) -> Watchdog:
    """A watchdog for the lanes that this worker consumes (celery -Q)."""

    def end() -> None:
        runtime.failed = True
        # Without Celery, which has stopped: finish the POSTs under way, then exit.
        runtime.stop()
        os._exit(FAILED)

    client = open_redis(settings.redis_url_text())
    return Watchdog(
        has_jobs=jobs_waiting(client, app.amqp.queues.consume_from, runtime.open_lanes),
        liveness=liveness.snapshot,
        end=end,
        patience_s=settings.watchdog_seconds,
    )


def arm_failpoints(settings: Settings) -> None:
    """Arm the failpoints that the settings name. Only the fault bench names any."""
    armed = failpoints.arm(settings.failpoints)
    if armed:
        log.critical("failpoints_armed", steps=armed)


def runtime_of(app: Celery) -> Runtime:
    """The runtime of an app that ``build_app`` made."""
    runtime: Runtime = app.bulksend_runtime  # type: ignore[attr-defined]
    return runtime


def _stop_celery() -> None:
    """Stop taking jobs and end with FAILED: the engine has ended."""
    # As Celery's own handler of SIGTERM, which ends with status 0.
    state.should_stop = FAILED  # type: ignore[assignment]
