"""One relay leads: a lock in Redis, which expires by itself."""

from __future__ import annotations

import contextlib
import os
import secrets

import redis

from bulksend.broker import LEADER_KEY

LEADER_MS = 6_000

_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) else return 0 end
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"


class LeaderLock:
    """The lock of one relay."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._token = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)
        self._server = ""
        self.is_held = False
        self.lost_track = False
        """Whether Redis may have lost jobs: the last ``acquire`` did not renew the lock, or met another server."""

    def acquire(self) -> bool:
        """Take or renew the lock. Returns whether it is held. Raises redis.RedisError."""
        was_held, self.is_held = self.is_held, False
        # After an outage the lock may still exist, and be ours: a Redis with a file keeps it.
        renewed = bool(self._renew(keys=[LEADER_KEY], args=[self._token, LEADER_MS]))
        is_held = renewed or bool(self._client.set(LEADER_KEY, self._token, nx=True, px=LEADER_MS))
        server = self._server_process()
        is_same_server = server == self._server if server else was_held
        self.lost_track = is_held and not (renewed and is_same_server)
        self._server, self.is_held = server, is_held
        return is_held

    def _server_process(self) -> str:
        """The id of the server process, which may have lost what its predecessor held. Empty where it is hidden."""
        try:
            return str(self._client.info("server").get("run_id", ""))
        except redis.ResponseError:
            return ""

    def release(self) -> None:
        """Let another relay lead at once."""
        if self.is_held:
            self.is_held = False
            with contextlib.suppress(redis.RedisError):
                self._release(keys=[LEADER_KEY], args=[self._token])
