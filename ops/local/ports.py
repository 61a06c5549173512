"""Ports of the loopback."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A TCP port that nobody listens on now. Another process may take it first: be ready to try again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
