"""What a notifier sends, and what follows from each answer: over real connections."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from bulksend import bootstrap
from bulksend.ledger import webhook_deliveries
from bulksend.ledger.encryption import Cipher
from bulksend.metrics import WebhookMetrics, process_registry
from bulksend.operations import webhooks
from bulksend.settings import Settings
from notifier import Notifier
from tests.contracts.test_vendor_client_contract import make_certificate
from tests.integration.notifier.conftest import LOCAL, PATIENCE_S, PostOffice
from tests.receiver import Request, receiving

#: For what does not hang on the ledger.
ON_ONE_DATABASE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def test_an_event_is_delivered_once_and_a_foreign_client_verifies_it(post_office: PostOffice) -> None:
    with receiving() as receiver:
        made = post_office.add(receiver.url + "/orders?token=t")
        with post_office.notifying():
            post_office.happen()
            (request,) = receiver.wait_for(1)
            (delivery,) = post_office.until(made["id"], "delivered", 1)
    assert request.path == "/in/orders?token=t"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    content = Webhook(made["secret"]).verify(request.body, dict(request.headers))
    assert (content["type"], content["data"]["sender"]) == ("sender.changed", "15550100100")
    assert delivery["id"] == request.id
    assert (delivery["attempts"], delivery["http_status"], delivery["error"]) == (1, 200, None)
    assert len(receiver.requests) == 1


def test_a_notifier_that_starts_before_there_is_a_key_sends_what_is_sealed_later(tmp_path: Path) -> None:
    """As `bulksend up` starts it in a new folder, beside the process that makes the key file."""
    of = Settings.from_env(
        {
            "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
            "BULKSEND_WEBHOOKS_ALLOW_PRIVATE": "127.0.0.0/8",
        }
    )
    database = bootstrap.checked_database(of)
    notifier, stop = Notifier.from_settings(of), threading.Event()
    running = threading.Thread(target=notifier.run, args=(stop,))
    running.start()
    office = PostOffice(database, bootstrap.cipher(of))
    with receiving() as receiver:
        made = office.add(receiver.url)
        office.happen()
        try:
            (delivery,) = office.until(made["id"], "delivered", 1)
        finally:
            stop.set()
            running.join(PATIENCE_S)
            database.close()
    assert delivery["attempts"] == 1


def test_an_event_reaches_a_quick_endpoint_well_within_a_second(post_office: PostOffice) -> None:
    """From commit to request, in the quickest of several: the others may be a loaded machine's."""
    arrived = threading.Event()

    def answer(request: Request, connection: socket.socket) -> int:
        arrived.set()
        return 200

    delays = []
    with receiving(answer) as receiver:
        post_office.add(receiver.url)
        with post_office.notifying():
            for _ in range(7):
                arrived.clear()
                post_office.happen()
                committed = time.monotonic()
                assert arrived.wait(60)
                delays.append(time.monotonic() - committed)
    assert min(delays) < 0.8, delays


@ON_ONE_DATABASE
def test_after_a_rotation_both_secrets_verify(post_office: PostOffice) -> None:
    with receiving() as receiver:
        made = post_office.add(receiver.url)
        rotated = webhooks.rotate(post_office.database, post_office.cipher, made["id"], actor="ada")
        with post_office.notifying():
            post_office.happen()
            (request,) = receiver.wait_for(1)
    assert rotated["secret"] != made["secret"]
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(request.body, dict(request.headers))


def test_a_failure_is_tried_again_with_the_same_id_and_a_new_timestamp(post_office: PostOffice) -> None:
    answers = iter([500, 200])
    registry = process_registry()
    with receiving(lambda *_: next(answers)) as receiver:
        made = post_office.add(receiver.url)
        with post_office.notifying(metrics=WebhookMetrics(registry)):
            post_office.happen()
            (failed,) = _tried(post_office, made["id"])
            assert (failed["status"], failed["http_status"], failed["attempts"]) == ("pending", 500, 1)
            assert post_office.show(made["id"])["failing_since"] is not None
            post_office.make_due()
            (done,) = post_office.until(made["id"], "delivered", 1)
    first, second = receiver.requests
    assert first.id == second.id == done["id"]
    assert first.body == second.body
    assert done["attempts"] == 2
    for outcome in ("failed", "delivered"):
        assert registry.get_sample_value("bulksend_webhook_deliveries_total", {"outcome": outcome}) == 1
    assert registry.get_sample_value("bulksend_webhook_lag_seconds_count") == 1
    assert post_office.show(made["id"])["failing_since"] is None


def test_retry_after_is_heeded(post_office: PostOffice) -> None:
    with receiving(lambda *_: (429, {"Retry-After": "3600"})) as receiver:
        made = post_office.add(receiver.url)
        with post_office.notifying():
            post_office.happen()
            _tried(post_office, made["id"])
    with post_office.database.read() as tx:
        waits = webhook_deliveries.next_due_in_ms(tx, [made["id"]])
    assert 3_500_000 < waits[made["id"]] <= 3_600_000


@ON_ONE_DATABASE
def test_a_redirect_is_a_failure_and_is_not_followed(post_office: PostOffice) -> None:
    with receiving() as elsewhere, receiving(lambda *_: (307, {"Location": elsewhere.url})) as receiver:
        made = post_office.add(receiver.url)
        with post_office.notifying():
            post_office.happen()
            (failed,) = _tried(post_office, made["id"])
    assert failed["http_status"] == 307
    assert elsewhere.requests == []


def test_410_disables_the_endpoint_at_once_and_says_so_by_an_event(post_office: PostOffice) -> None:
    with receiving(lambda *_: 410) as gone, receiving() as other:
        made = post_office.add(gone.url, "sender.changed")
        told = post_office.add(other.url, "webhook.disabled")
        with post_office.notifying():
            post_office.happen()
            (request,) = other.wait_for(1)
            post_office.happen()
            post_office.until(told["id"], "delivered", 1)
    assert request.content["data"]["endpoint_id"] == made["id"]
    shown = post_office.show(made["id"])
    assert (shown["status"], shown["status_why"]) == ("disabled", "it answered 410 Gone")
    assert len(gone.requests) == 1


def test_an_endpoint_that_failed_for_five_days_is_disabled(post_office: PostOffice) -> None:
    with receiving(lambda *_: 500) as receiver:
        made = post_office.add(receiver.url)
        with post_office.database.write() as tx:
            tx.exec_driver_sql("UPDATE webhook_endpoints SET failing_since = 1")
        with post_office.notifying():
            post_office.happen()
            _tried(post_office, made["id"])
    shown = post_office.show(made["id"])
    assert (shown["status"], shown["status_why"]) == ("disabled", "every try has failed for 5 days")


def _drip(request: Request, connection: socket.socket) -> None:
    """A good head, and then a byte now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    ended = threading.Event()
    while not ended.wait(0.05):
        connection.sendall(b"x")


def _huge(request: Request, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


def _cut(request: Request, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")


@ON_ONE_DATABASE
@pytest.mark.parametrize("body", [_drip, _huge, _cut])
def test_a_2xx_counts_however_its_body_goes_on(post_office: PostOffice, body: Any) -> None:
    with receiving(body) as receiver:
        made = post_office.add(receiver.url)
        with post_office.notifying():
            post_office.happen()
            (done,) = post_office.until(made["id"], "delivered", 1)
    assert done["http_status"] == 200


def _silence(request: Request, connection: socket.socket) -> None:
    connection.recv(1)


def _slow_head(request: Request, connection: socket.socket) -> None:
    ended = threading.Event()
    for byte in b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1000:
        connection.sendall(bytes([byte]))
        ended.wait(0.05)


def _nonsense(request: Request, connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example.com ESMTP\r\n")


def _hang_up(request: Request, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


@ON_ONE_DATABASE
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_silence, "no answer within 0.5 s"),
        (_slow_head, "no answer within 0.5 s"),
        (_nonsense, "the connection failed before the answer came (RemoteProtocolError)"),
        (_hang_up, "the connection failed before the answer came (RemoteProtocolError)"),
    ],
)
def test_no_answer_is_a_failure_with_its_reason(post_office: PostOffice, answer: Any, error: str) -> None:
    with receiving(answer) as receiver:
        made = post_office.add(receiver.url)
        with post_office.notifying(rules={"try_s": 0.5}):
            post_office.happen()
            (failed,) = _tried(post_office, made["id"])
    assert (failed["status"], failed["http_status"], failed["error"]) == ("pending", None, error)


@ON_ONE_DATABASE
def test_a_slow_endpoint_and_a_dead_one_delay_a_quick_one_by_nothing(post_office: PostOffice) -> None:
    with receiving(_silence) as slow, receiving() as quick:
        post_office.add(slow.url)
        post_office.add("http://127.0.0.1:9/")
        made = post_office.add(quick.url)
        # The slow one's tries do not end within the test.
        with post_office.notifying(rules={"concurrency": 2, "total": 2, "try_s": 600.0}, stop_s=0.1):
            post_office.happen(20)
            post_office.until(made["id"], "delivered", 20)
            assert len(slow.requests) <= 2


@ON_ONE_DATABASE
def test_a_certificate_is_checked_for_the_name_while_the_address_is_pinned(
    post_office: PostOffice, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "receiver", "203.0.113.7", days=60, host="hooks.example.com")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.pem, certificate.key)

    async def resolve(host: str) -> list[str]:
        return ["127.0.0.1"]

    tls = ssl.create_default_context(cafile=certificate.pem)
    with receiving(tls=server) as receiver:
        good = post_office.add(f"https://hooks.example.com:{receiver.port}/good")
        bad = post_office.add(f"https://other.example.com:{receiver.port}/bad")
        with post_office.notifying(resolve=resolve, tls=tls):
            post_office.happen()
            post_office.until(good["id"], "delivered", 1)
            (failed,) = _tried(post_office, bad["id"])
    assert "certificate" in failed["error"]
    (request,) = receiver.requests
    assert (request.path, request.headers["host"]) == ("/good", f"hooks.example.com:{receiver.port}")


@ON_ONE_DATABASE
def test_a_name_that_leads_to_a_private_address_later_is_not_connected_to(post_office: PostOffice) -> None:
    """DNS rebinding: each try resolves the name, and connects to the address that was checked."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "169.254.169.254"], []])

    async def resolve(host: str) -> list[str]:
        assert host == "hooks.example.com"
        return next(answers)

    with receiving(lambda *_: 500) as receiver:
        made = post_office.add(f"http://hooks.example.com:{receiver.port}/")
        errors = []
        with post_office.notifying(resolve=resolve):
            post_office.happen()
            for attempts in (1, 2, 3, 4):
                (failed,) = _tried(post_office, made["id"], attempts)
                errors.append(failed["error"])
                post_office.make_due()
    assert len(receiver.requests) == 1
    assert errors[0] is None
    assert "10.0.0.1, which is not a public address" in errors[1]
    assert "169.254.169.254" in errors[2]
    assert "has no address" in errors[3]


def test_what_is_dead_is_kept_and_goes_out_again_with_the_same_id(post_office: PostOffice) -> None:
    answers = [500]
    with receiving(lambda *_: answers[-1]) as receiver:
        made = post_office.add(receiver.url)
        with post_office.database.write() as tx:
            tx.exec_driver_sql("UPDATE webhook_endpoints SET cursor = 0")
        with post_office.notifying():
            post_office.happen(3)
            for attempts in range(1, 11):
                _tried(post_office, made["id"], attempts)
                post_office.make_due()
            dead = post_office.until(made["id"], "dead", 3)
            assert {each["attempts"] for each in dead} == {10}
            answers.append(204)

            def replay(id: str, **which: Any) -> int:
                return webhooks.replay(post_office.database, id, actor="ada", **which)

            assert replay(made["id"], since="2099-01-01T00:00Z") == 0
            assert replay(made["id"], until="2001-01-01T00:00Z") == 0
            assert replay(dead[0]["id"]) == 1
            post_office.until(made["id"], "delivered", 1)
            assert replay(made["id"], ids=[dead[1]["id"], "nothing"]) == 1
            post_office.until(made["id"], "delivered", 2)
            assert replay(made["id"], since="2001-01-01T00:00Z") == 1
            done = post_office.until(made["id"], "delivered", 3)
            # Also what was delivered, for a program that lost it.
            assert replay(done[0]["id"]) == 1
            receiver.wait_for(34)
            post_office.until(made["id"], "delivered", 3)
    assert [each["id"] for each in done] == [each["id"] for each in dead]
    assert {request.id for request in receiver.requests} == {each["id"] for each in dead}


def test_a_disabled_endpoint_gets_nothing_and_goes_on_where_it_stopped(post_office: PostOffice) -> None:
    with receiving() as receiver, receiving() as other:
        made = post_office.add(receiver.url)
        witness = post_office.add(other.url)
        assert webhooks.set_active(post_office.database, made["id"], False, actor="ada", why="works")
        with post_office.notifying():
            post_office.happen(2)
            post_office.until(witness["id"], "delivered", 2)
            assert post_office.deliveries(made["id"]) == []
            webhooks.set_active(post_office.database, made["id"], True, actor="ada", why="done")
            post_office.until(made["id"], "delivered", 2)


@ON_ONE_DATABASE
def test_a_changed_url_gets_what_comes_after_with_the_same_secret(post_office: PostOffice) -> None:
    """Also when the notifier would not look at its endpoints for long."""
    with receiving() as before, receiving() as after:
        made = post_office.add(before.url)
        with post_office.notifying(rules={"look_s": 600.0}):
            post_office.happen()
            post_office.until(made["id"], "delivered", 1)
            webhooks.change(
                *(post_office.database, post_office.cipher, made["id"]),
                url=after.url,
                allowed=LOCAL,
                actor="ada",
            )
            post_office.happen(3)
            post_office.until(made["id"], "delivered", 4)
    assert (len(before.requests), len(after.requests)) == (1, 3)
    requests = before.requests + after.requests
    for request in requests:
        Webhook(made["secret"]).verify(request.body, dict(request.headers))
    assert len({request.id for request in requests}) == 4


@ON_ONE_DATABASE
def test_a_test_of_an_endpoint_is_a_signed_request(post_office: PostOffice) -> None:
    with receiving() as receiver:
        made = post_office.add(receiver.url, "campaign.finished")
        asked = webhooks.test(post_office.database, made["id"], actor="ada")
        with post_office.notifying():
            (request,) = receiver.wait_for(1)
    assert request.id == asked["id"]
    assert Webhook(made["secret"]).verify(request.body, dict(request.headers))["type"] == "webhook.test"


def test_two_notifiers_send_nothing_twice(post_office: PostOffice) -> None:
    with receiving() as receiver:
        made = post_office.add(receiver.url)
        with post_office.notifying(count=2):
            for _ in range(10):
                post_office.happen(20)
            post_office.until(made["id"], "delivered", 200)
    ids = [request.id for request in receiver.requests]
    assert len(ids) == len(set(ids)) == 200
    seqs = sorted(request.content["data"]["seq"] for request in receiver.requests)
    assert len(set(seqs)) == 200


@ON_ONE_DATABASE
def test_a_notifier_without_the_key_says_so_and_loses_nothing(post_office: PostOffice) -> None:
    with receiving() as receiver:
        made = post_office.add(receiver.url)
        right, post_office.cipher = post_office.cipher, Cipher([b"x" * 32])
        with post_office.notifying():
            post_office.happen()
            (failed,) = _tried(post_office, made["id"])
        assert "BULKSEND_ENCRYPTION_KEY" in failed["error"]
        post_office.cipher = right
        post_office.make_due()
        with post_office.notifying():
            post_office.until(made["id"], "delivered", 1)
    assert len(receiver.requests) == 1


def _tried(post_office: PostOffice, id: str, attempts: int = 1) -> list[dict[str, Any]]:
    """The deliveries of an endpoint, once each of them has the result of that try."""
    looking = threading.Event()
    for _ in range(1200):
        found = post_office.deliveries(id)
        if found and all(each["attempts"] >= attempts and each["tried_at"] is not None for each in found):
            return found
        looking.wait(0.05)
    raise AssertionError(found)
