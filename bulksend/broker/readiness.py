"""Whether a Redis can do what workers and relay need of it: tried, not asked; and what to do where it cannot.

A trouble that lasts until a person mends it (a wrong password, a missing right, cluster mode) ends a worker at its
start. One that may end by itself (away, full, loading) is outlived.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import redis

from bulksend.broker.eviction import eviction
from bulksend.errors import Unfit
from bulksend.messaging.states import LANES

#: What every key of the limiter and the relay begins with; lanes and kombu's bindings have names of their own.
PREFIX = "bs:"
#: The lock of the relay that leads; it exists while one does.
LEADER_KEY = f"{PREFIX}relay:leader"
_KOMBU = "_kombu.binding.probe"
_RIGHTS = "give the user the rights that docs/operations.md lists (redis-cli ACL SETUSER …)"
#: A value written, read and deleted under one key, and another key of the same database, as the limiter's scripts do.
_SCRIPT = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
redis.call('EXISTS', ARGV[2])
local found = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('TIME')
return found
"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong and what to do. ``lasts`` until a person mends it."""

    what: str
    remedy: str
    lasts: bool

    def text(self, address: str) -> str:
        """One sentence that names the server."""
        return f"Redis at {address}: {self.what}; {self.remedy}"


class RedisUnfit(Unfit):
    """This Redis cannot be used as it is set up, however long one waits."""

    def __init__(self, trouble: Trouble, address: str) -> None:
        self.trouble = trouble
        super().__init__(trouble.text(address))


_CLUSTER = Trouble(
    "it is a cluster (INFO: cluster_enabled:1), whose scripts reach the keys of one slot only",
    "use a Redis or Valkey without cluster mode",
    lasts=True,
)
#: By a part of the error's text, in this order: a cause and its remedy. Redis's own words follow where they say more.
_CAUSES: tuple[tuple[tuple[str, ...], Trouble], ...] = (
    (
        ("CERTIFICATE_VERIFY_FAILED: Hostname", "Hostname mismatch", "IP address mismatch"),
        Trouble(
            "its certificate is for another name",
            "write the name of the certificate into REDIS_URL",
            lasts=True,
        ),
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"),
        Trouble(
            "its certificate is not trusted",
            "add the file of the authority that signed it to REDIS_URL: ?ssl_ca_certs=FILE",
            lasts=True,
        ),
    ),
    (
        ("WRONG_VERSION_NUMBER", "wrong version number", "RECORD_LAYER_FAILURE", "record layer failure"),
        Trouble("it speaks no TLS", "write redis:// instead of rediss://", lasts=True),
    ),
    (
        ("handshake operation timed out",),
        Trouble("no TLS connection is made in time", "where it speaks no TLS, write redis://", lasts=False),
    ),
    (
        ("SSL", "TLS"),
        Trouble("a TLS connection cannot be made", "check the ssl_… parameters of REDIS_URL", lasts=True),
    ),
    (
        ("NOAUTH", "Authentication required", "HELLO must be called"),
        Trouble(
            "it asks for a password, and REDIS_URL has none",
            "write redis://:PASSWORD@host:6379/0, special characters percent-encoded",
            lasts=True,
        ),
    ),
    (
        ("without any password configured", "no password is set"),
        Trouble("it knows no password", "leave the password out of REDIS_URL", lasts=True),
    ),
    (
        ("WRONGPASS", "invalid username-password", "invalid password"),
        Trouble(
            "the password is wrong, or the user is not known or disabled",
            "check user and password in REDIS_URL, special characters percent-encoded",
            lasts=True,
        ),
    ),
    (
        ("DB index is out of range", "invalid DB index"),
        Trouble(
            "it has no database of that number",
            "write a smaller one at the end of REDIS_URL; `redis-cli CONFIG GET databases` says how many there are",
            lasts=True,
        ),
    ),
    (("CROSSSLOT", "MOVED", "CLUSTERDOWN", "cluster mode", "non local key"), _CLUSTER),
    (("NOPERM", "no permissions", "No permissions"), Trouble("it refuses this user", _RIGHTS, lasts=True)),
    (
        ("unknown command", "Unknown Redis command"),
        Trouble("it lacks a command", "use Redis 7.0, Valkey 7.2 or newer with all its commands", lasts=True),
    ),
    (
        ("protected mode", "DENIED"),
        Trouble(
            "it is in protected mode and serves its own machine only",
            "set a password or `bind` in its configuration",
            lasts=True,
        ),
    ),
    (
        ("Protocol Error", "Invalid response", "unknown data type", "HTTP/"),
        Trouble("what answers there is no Redis", "check the host and the port of REDIS_URL", lasts=True),
    ),
    (
        ("READONLY", "read only replica"),
        Trouble("it is a replica and takes no jobs", "set REDIS_URL to the primary", lasts=False),
    ),
    (
        ("OOM", "used memory >"),
        Trouble("its memory is full", "raise maxmemory, or look with redis-cli --bigkeys", lasts=False),
    ),
    (
        ("MISCONF",),
        Trouble("it cannot write its disk and refuses jobs", "free its disk; see its log", lasts=False),
    ),
    (
        ("LOADING", "loading the dataset"),
        Trouble("it is reading its file", "wait until it has", lasts=False),
    ),
    (
        ("max number of clients",),
        Trouble("it takes no more connections", "raise maxclients, or end other clients", lasts=False),
    ),
    (
        ("not known", "nodename", "name resolution", "No address associated"),
        Trouble(
            "its host name is not known", "check the host in REDIS_URL, and the name server", lasts=False
        ),
    ),
    (
        ("refused", "No such file or directory"),
        Trouble(
            "nothing listens there",
            "start it, e.g. with `docker compose up -d valkey`, or set REDIS_URL",
            lasts=False,
        ),
    ),
    (
        ("imeout", "timed out"),
        Trouble(
            "it does not answer in time",
            "check the host, the port and what lies between, such as a firewall",
            lasts=False,
        ),
    ),
    (
        ("closed by server", "reset by peer", "closed the connection"),
        Trouble(
            "it closed the connection at once",
            "where it wants TLS, write rediss://; else see its log",
            lasts=False,
        ),
    ),
)
#: Causes whose own text says more than ours: which command, which number, which name.
_TELLING = ("NOPERM", "o permissions", "unknown command", "DB index", "verify failed", "TLS", "SSL")


def trouble_of(error: BaseException) -> Trouble:
    """What an error of Redis's means, and what to do about it. Its text is quoted only where it holds no argument."""
    said = " ".join(str(each) for each in _chain(error))
    for words, trouble in _CAUSES:
        if any(word in said for word in words):
            if any(word in said for word in _TELLING) and trouble is not _CLUSTER:
                return Trouble(f"{trouble.what} ({_own_words(error)})", trouble.remedy, trouble.lasts)
            return trouble
    return Trouble(f"it cannot be used ({_own_words(error)})", "see its log, or set REDIS_URL", lasts=False)


def try_out(client: redis.Redis, address: str) -> None:
    """Do what workers and relay do, on keys of its own; look whether it would throw data away.

    Raises RedisUnfit, and redis.RedisError for what may pass.
    """
    try:
        do_all(client)
        found = eviction(client)
        if found is not None and found.ours_to_change:
            raise RedisUnfit(Trouble(found.what, found.remedy, lasts=True), address)
    except (redis.RedisError, OSError) as error:
        trouble = trouble_of(error)
        if trouble.lasts:
            raise RedisUnfit(trouble, address) from None
        if isinstance(error, redis.RedisError):
            raise
        raise redis.ConnectionError(str(error)) from None


def do_all(client: redis.Redis) -> None:
    """Each kind of call that workers and relay make, once. Raises redis.RedisError, OSError."""
    client.ping()
    if _is_cluster(client):
        raise redis.ResponseError("cluster mode")
    name = f"{PREFIX}probe:{secrets.token_hex(8)}"
    client.eval(_SCRIPT, 1, name, "1", LEADER_KEY)
    client.evalsha(client.script_load(_SCRIPT), 1, name, "1", LEADER_KEY)
    client.set(name, "1", nx=True, px=60_000)
    client.delete(name)
    client.lpush(name, "1")
    client.brpop([name], timeout=1)
    client.lindex(name, -1)
    client.zadd(name, {"1": 1}, gt=True)
    client.pexpire(name, 1000)
    client.zrem(name, "1")
    client.sadd(_KOMBU, "1")
    client.delete(_KOMBU)
    for lane in LANES:
        client.llen(lane.value)
        if client.type(lane.value) in (b"list", b"none"):
            # A write that changes nothing: the right to the key is what is asked for.
            client.ltrim(lane.value, 0, -1)


def _is_cluster(client: redis.Redis) -> bool:
    try:
        return int(client.info("cluster").get("cluster_enabled", 0)) == 1
    except redis.ResponseError:  # INFO is forbidden: the script finds out
        return False


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _own_words(error: BaseException) -> str:
    """The first line; without the arguments that Redis repeats of a command."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.partition(", with args")[0][:200]
