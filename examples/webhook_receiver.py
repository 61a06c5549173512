"""Receive webhooks, verify them and print them: ``python examples/webhook_receiver.py whsec_… [PORT]``.

It needs Python alone. docs/webhooks.md says what comes and what an answer means.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


def verified(secret: str, headers: Mapping[str, str], body: bytes) -> Any:
    """What a webhook says. Raises ValueError for one that this secret did not sign within five minutes."""
    id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > 300:
        raise ValueError("too old, or a wrong clock")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    if not any(hmac.compare_digest(expected, one) for one in headers["webhook-signature"].split()):
        raise ValueError("not signed with this secret")
    return json.loads(body)


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is verified, and 400 to the rest. A real one remembers ids, and works after the answer."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            said = verified(sys.argv[1], {name.lower(): value for name, value in self.headers.items()}, body)
        except (KeyError, ValueError) as error:
            sys.stdout.write(f"refused: {error}\n")
            self.send_response(400)
        else:
            sys.stdout.write(f"{said['type']} {json.dumps(said['data'])}\n")
            self.send_response(204)
        sys.stdout.flush()
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 9000), Receiver).serve_forever()
