"""The page for receivers verifies what the notifier signs, and names every type of event."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from bulksend.messaging.webhook_bodies import BATCH, TEST, TYPES
from bulksend.messaging.webhook_signature import headers, secret_text

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
RECEIVER = (Path(__file__).resolve().parents[2] / "examples" / "webhook_receiver.py").read_text(
    encoding="utf-8"
)
EXAMPLES = [*re.findall(r"```python\n(.*?)```", PAGE, re.S), RECEIVER]
OLD, NEW, OTHER = (secret_text(bytes([n]) * 32) for n in range(3))


@pytest.mark.parametrize("example", EXAMPLES, ids=["with a package", "by hand", "a receiver"])
def test_an_example_takes_our_signatures_and_no_other(example: str) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(example, names)  # noqa: S102
    body, now = b'{"type":"webhook.test","data":{}}', int(time.time())
    signed = dict(headers([NEW, OLD], "an-id", now, body))
    for secret in (OLD, NEW):
        assert names["verified"](secret, signed, body) == {"type": "webhook.test", "data": {}}
    late = dict(headers([NEW], "an-id", now - 600, body))
    for secret, given, content in ((OTHER, signed, body), (NEW, signed, body + b" "), (NEW, late, body)):
        with pytest.raises(Exception, match=r"."):
            names["verified"](secret, given, content)


def test_the_page_names_every_type() -> None:
    table = PAGE.split("| type | when |", 1)[1].split("\n\n", 1)[0]
    named = set(re.findall(r"`([a-z]+\.[a-z]+)`", table))
    assert named == {*TYPES, TEST}
    assert f"`{BATCH}`" in PAGE
