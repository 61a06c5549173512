"""The handshake of producer and worker: the Celery app, the lanes' queues, the body of a job."""

from bulksend.broker.app import BATCH_TASK, make_app
from bulksend.broker.jobs import batches, ids_in, publish, published_ms_of, read_ids

__all__ = ["BATCH_TASK", "batches", "ids_in", "make_app", "publish", "published_ms_of", "read_ids"]
