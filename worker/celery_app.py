"""The Celery side of a worker: takes jobs and hands their ids to the engine, which does all the rest."""

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
from bulksend.broker import BATCH_TASK, make_app
from bulksend.broker.app import transport_options
from bulksend.errors import InvalidInput
from bulksend.limits import Permits
from bulksend.redis_client import open_redis
from bulksend.settings import Settings
from worker.liveness import signs
from worker.remote_control import RemoteControl
from worker.runtime import Runtime
from worker.watchdog import Watchdog, jobs_wait

log = structlog.get_logger(__name__)

#: The exit status of a worker that ends by itself: a supervisor must not take it for a wish.
FAILED = 1
#: Of one whose settings, Redis or ledger cannot be used as they are: nothing was changed.
BAD_SETUP = 2

NO_TASK_EVENTS = (
    "a task only hands ids to the engine and ends before any POST: with -E it would show SUCCESS for what is not sent; "
    "`bulksend messages` and `bulksend campaigns` tell what became of messages"
)


def build_app(
    settings: Settings, *, around_permits: Callable[[Permits], Permits] = lambda permits: permits
) -> Celery:
    """A Celery app whose worker runs an engine by these settings; ``around_permits`` may watch its limiter."""
    if settings.redis_url is None:
        raise InvalidInput(
            "REDIS_URL is not set: a worker takes its jobs from Redis, e.g. REDIS_URL=redis://127.0.0.1:6379/0"
        )
    in_the_way = settings.proxy_in_the_way()
    if in_the_way is not None:
        raise InvalidInput(in_the_way)
    arm_failpoints(settings)
    app = make_app(
        settings.redis_url_text(),
        broker_transport="worker.kombu_transport:Transport",
        worker_consumer="worker.consumer:Consumer",
        broker_transport_options=transport_options() | {"queue_order_strategy": "worker.lanes:LaneOrder"},
    )
    runtime = Runtime(settings, on_death=_end_this_process, around_permits=around_permits)
    app.bulksend_runtime = runtime  # type: ignore[attr-defined]

    @app.task(name=BATCH_TASK, bind=True, ignore_result=True)
    def batch(self: Any, ids: object) -> None:
        failpoints.reach("job_taken")
        runtime.accept((self.request.delivery_info or {}).get("routing_key", ""), ids)

    class EngineStep(bootsteps.StartStopStep):
        """Starts the engine before the consumer, stops it after the consumer has stopped."""

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
            self._watchdog = build_watchdog(settings, app, runtime)
            self._watchdog.start()
            self._remote = RemoteControl(
                parent, settings.redis_url_text(), trouble=runtime.trouble, counts=runtime.counts
            )
            self._remote.start()
            hold_still_less()

        def stop(self, parent: Any) -> None:
            self._watchdog.stop()
            self._remote.stop()
            runtime.stop()

        terminate = stop

    app.steps["worker"].add(EngineStep)

    @signals.setup_logging.connect(weak=False)
    def _logging(**_: Any) -> None:
        logs.configure(settings.log_level, settings.log_format)
        # It says "Connected" at each try; worker/consumer.py says when it is over.
        logging.getLogger("celery.worker.consumer.connection").setLevel(logging.WARNING)

    return app


def hold_still_less() -> None:
    """Shorten what stops the engine's loop: slots are missed, and a POST after its last look goes too late.

    A full collection stands still for 150 ms here: Celery's and SQLAlchemy's modules are taken out of it, and it
    comes so rarely as young garbage allows. The loop waits for another thread that computes for 5 ms by default.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 1_000)
    sys.setswitchinterval(0.001)


def build_watchdog(settings: Settings, app: Celery, runtime: Runtime) -> Watchdog:
    """Over the lanes that this worker consumes (celery -Q)."""

    def end() -> None:
        runtime.failed = True
        # Not by way of Celery, which is what has stopped: finish what is in flight, then go.
        runtime.stop()
        os._exit(FAILED)

    client = open_redis(settings.redis_url_text())
    return Watchdog(
        waiting=jobs_wait(client, app.amqp.queues.consume_from, runtime.open_lanes),
        signs=signs.seen,
        end=end,
        patience_s=settings.watchdog_seconds,
    )


def arm_failpoints(settings: Settings) -> None:
    """Only the fault bench sets any; whoever else finds this in the log has a wrong environment."""
    armed = failpoints.arm(settings.failpoints)
    if armed:
        log.critical("failpoints_armed", steps=armed)


def runtime_of(app: Celery) -> Runtime:
    """The runtime of an app that ``build_app`` made."""
    runtime: Runtime = app.bulksend_runtime  # type: ignore[attr-defined]
    return runtime


def _end_this_process() -> None:
    """The engine is dead: stop taking jobs, so that whoever supervises us starts another."""
    # What Celery's own handler of SIGTERM does, but that ends with status 0.
    state.should_stop = FAILED  # type: ignore[assignment]
