"""What we sign, a foreign client verifies: the standardwebhooks package."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from bulksend.messaging.webhook_signature import headers, secret_text

OLD, NEW, OTHER = (secret_text(bytes([n]) * 32) for n in range(3))


@given(st.dictionaries(st.text(), st.text()))
def test_a_foreign_client_verifies_each_body(data: dict[str, str]) -> None:
    import json

    body = json.dumps({"type": "webhook.test", "data": data}, ensure_ascii=False).encode("utf-8", "replace")
    signed = headers([NEW], "an-id", int(time.time()), body)
    assert Webhook(NEW).verify(body, dict(signed)) == json.loads(body)


def test_during_a_rotation_the_old_secret_and_the_new_one_verify() -> None:
    signed = dict(headers([NEW, OLD], "an-id", int(time.time()), b"{}"))
    assert signed["webhook-signature"].count("v1,") == 2
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(b"{}", signed) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(b"{}", signed)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body"])
def test_nothing_that_is_signed_can_be_changed(changed: str) -> None:
    now = int(time.time())
    signed = dict(headers([NEW], "an-id", now, b"{}"))
    body = b"{}"
    if changed == "body":
        body = b"[]"
    else:
        signed[changed] = {"webhook-id": "other", "webhook-timestamp": str(now - 1)}[changed]
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body, signed)


def test_a_secret_says_what_it_is_and_has_32_bytes() -> None:
    assert secret_text(b"\x00" * 32) == "whsec_" + "A" * 43 + "="
