"""Whether a full Redis would throw data away. Jobs are found again; a limiter that is evicted key by key is not."""

from __future__ import annotations

from dataclasses import dataclass

import redis

KEEPS_ALL = "noeviction"


@dataclass(frozen=True, slots=True)
class Eviction:
    """A policy that is not ``noeviction``. ``ours_to_change``: CONFIG is not forbidden, as it is on managed servers."""

    policy: str
    ours_to_change: bool

    @property
    def remedy(self) -> str:
        """What to do."""
        if self.ours_to_change:
            return (
                f"redis-cli CONFIG SET maxmemory-policy {KEEPS_ALL}, and the same in its configuration file"
            )
        return f"set maxmemory-policy to {KEEPS_ALL} where this server is managed"

    @property
    def what(self) -> str:
        """What is wrong."""
        return (
            f"maxmemory-policy is {self.policy}: once full it would throw jobs and limits away without a word"
        )

    def text(self, address: str) -> str:
        """What is wrong, and what to do."""
        return f"Redis at {address}: {self.what}; {self.remedy}"


def eviction(client: redis.Redis) -> Eviction | None:
    """The policy where it is wrong; None where it is right, or where Redis tells nobody. Raises redis.RedisError."""
    try:
        found = client.config_get("maxmemory-policy")
        policy, ours = str(found.get("maxmemory-policy", "")), True
    except redis.ResponseError:  # forbidden by ACL, or renamed away: a managed server
        policy, ours = _told_by_info(client), False
    return None if policy in (KEEPS_ALL, "") else Eviction(policy, ours)


def _told_by_info(client: redis.Redis) -> str:
    try:
        return str(client.info("memory").get("maxmemory_policy", ""))
    except redis.ResponseError:
        return ""
