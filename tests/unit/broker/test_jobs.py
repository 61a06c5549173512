"""The body of a job: ids and nothing else."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from bulksend.broker import batches, job_ids, job_published_ms, read_ids
from bulksend.broker.app import settings
from bulksend.ledger.ids import new_id


@given(st.lists(st.uuids().map(str), max_size=50), st.integers(1, 20))
def test_batches_hold_every_id_once_in_order_and_none_is_too_large(ids: list[str], size: int) -> None:
    made = list(batches(ids, size))
    assert [id for batch in made for id in batch] == ids
    assert all(0 < len(batch) <= size for batch in made)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_of_any_content_in_redis_only_ids_are_read(junk: object) -> None:
    good = new_id()
    assert read_ids(junk) in ([], junk)
    assert read_ids([junk, good])[-1:] == [good]


@given(st.binary() | st.text())
def test_a_job_that_is_not_ours_is_skipped(raw: bytes | str) -> None:
    assert job_published_ms(raw) is None
    assert job_ids(raw) == []


def test_a_header_without_a_time_has_none() -> None:
    assert job_published_ms(json.dumps({"headers": {"published_ms": "soon"}})) is None
    assert job_published_ms(json.dumps({"headers": {"published_ms": 5}})) == 5


def test_celery_holds_no_waiting_messages() -> None:
    ours = settings()
    assert ours["task_acks_late"] is False
    assert ours["task_ignore_result"] is True
    assert ours["result_backend"] is None
    assert ours["accept_content"] == ["json"]
    assert ours["worker_disable_prefetch"] is True
    assert [queue.name for queue in ours["task_queues"]] == ["otp", "utility", "marketing"]
    assert {queue.exchange.type for queue in ours["task_queues"]} == {"direct"}


def test_every_wait_for_redis_has_a_timeout() -> None:
    options = settings()["broker_transport_options"]
    assert options["socket_timeout"] > 0
    assert options["socket_connect_timeout"] > 0
    assert options["health_check_interval"] > 0
    assert settings()["broker_connection_max_retries"] is None
