"""A foreign judge: what the vendor's own SDK signs and sends must be treated as the vendor would treat it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from uspeedo.core import exc
from uspeedo.services.whatsapp.client import WhatsAppClient

from simulator import (
    REHEARSAL_ACCESS_KEY_ID,
    REHEARSAL_SECRET,
    Simulator,
    SimulatorSettings,
    VendorPhone,
    VendorTemplate,
    run_in_thread,
)

SENDER = "8615000579987"
CONTENT = {
    "name": "otp_test_02",
    "language": {"policy": "deterministic", "code": "zh_CN"},
    "components": [{"type": "body", "parameters": [{"type": "text", "text": "123456"}]}],
}
MESSAGE = {"BusinessPhone": SENDER, "To": "447700900123", "Type": "template", "Content": json.dumps(CONTENT)}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    settings = SimulatorSettings(
        phones=(VendorPhone(SENDER),), templates=(VendorTemplate("otp_test_02", "zh_CN", body_parameters=1),)
    )
    with run_in_thread(settings) as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK heeds proxies from the environment; this machine's own address needs none."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Tampered:
    """A transport that changes the body after the SDK has signed it."""

    def __init__(self, inner: Any, **changes: Any) -> None:
        self._inner, self._changes = inner, changes

    def send(self, request: Any, **options: Any) -> Any:
        request.json = request.json | self._changes
        return self._inner.send(request, **options)


def sdk(simulator: Simulator, secret: str = REHEARSAL_SECRET, key: str = REHEARSAL_ACCESS_KEY_ID) -> Any:
    # The SDK's own logger prints the whole request at INFO, number and code in clear: this one says nothing.
    silent = logging.Logger("silent", level=logging.CRITICAL + 1)
    return WhatsAppClient(
        {"base_url": simulator.url, "public_key": key, "private_key": secret}, logger=silent
    )


def last_record(simulator: Simulator) -> dict[str, Any]:
    rows = httpx.get(simulator.origin + "/_/messages", trust_env=False).json()
    return dict(rows[-1])


def test_a_message_that_the_sdk_signs_is_accepted(simulator: Simulator) -> None:
    data = sdk(simulator).send_whatsapp_message(dict(MESSAGE))
    record = last_record(simulator)
    assert data["Data"]["MessageId"] == record["message_id"]
    assert (record["action"], record["verdict"]) == ("SendWhatsappMessage", "accepted")
    assert record["content"] == CONTENT
    assert "Python-SDK" in record["headers"]["user-agent"]


def test_a_text_in_many_scripts_that_the_sdk_signs_is_accepted(simulator: Simulator) -> None:
    text = json.dumps({"body": '你好 🎉 ½ \u202e \\ "quoted"', "preview_url": True}, ensure_ascii=False)
    sdk(simulator).send_whatsapp_message({**MESSAGE, "Type": "text", "Content": text})
    assert last_record(simulator)["content"] == json.loads(text)


def test_another_secret_is_refused_as_a_bad_signature(simulator: Simulator) -> None:
    with pytest.raises(exc.RetCodeException) as refused:
        sdk(simulator, secret="another").send_whatsapp_message(dict(MESSAGE))
    assert refused.value.code == 171
    assert last_record(simulator)["stored"] is False


@pytest.mark.parametrize("changes", [{"To": "447700900124"}, {"Content": "{}"}, {"Extra": "1"}])
def test_a_body_changed_after_signing_is_refused_as_a_bad_signature(
    simulator: Simulator, changes: dict[str, str]
) -> None:
    client = sdk(simulator)
    client.transport = Tampered(client.transport, **changes)
    with pytest.raises(exc.RetCodeException) as refused:
        client.send_whatsapp_message(dict(MESSAGE))
    assert refused.value.code == 171
    assert last_record(simulator)["stored"] is False


def test_a_bad_message_is_told_as_a_17115_with_the_request_id_of_the_header(simulator: Simulator) -> None:
    with pytest.raises(exc.RetCodeException) as refused:
        sdk(simulator).send_whatsapp_message({**MESSAGE, "Content": "{}"})
    assert refused.value.code == 17115
    assert "(#100)" in refused.value.message
    assert refused.value.request_uuid == last_record(simulator)["request_id"]


def test_the_sdk_can_read_phones_and_templates_and_upload(simulator: Simulator) -> None:
    client = sdk(simulator)
    (phone,) = client.get_account_phone_list({})["Data"]["PhoneList"]
    assert (phone["Number"], phone["Status"]) == (SENDER, "CONNECTED")
    (template,) = client.get_templates({"BusinessPhone": SENDER})["Data"]["Data"]
    assert (template["Name"], template["Status"]) == ("otp_test_02", "APPROVED")
    assert client.upload_media({"BusinessPhone": SENDER, "File": "cGljdHVyZQ=="})["Data"]["Id"]


def test_nothing_of_a_message_is_logged_by_either_side(
    simulator: Simulator, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="simulator"):
        sdk(simulator).send_whatsapp_message(dict(MESSAGE))
    said = caplog.text + "".join(capfd.readouterr())
    assert "447700900123" not in said
    assert "123456" not in said
