"""Whether a Redis can do what workers and relay need: found by doing it. Each problem comes with its remedy.

A problem that only a person can fix (a wrong password, a missing right, cluster mode) ends a worker at its start. One
that may end by itself (not reachable, full, loading) does not.
"""

from __future__ import annotations

import secrets

import redis

from bulksend.errors import ServerProblem, Unfit
from bulksend.messaging.sentences import say
from bulksend.messaging.states import LANES

#: The first part of every key of the limiter and the relay; the keys of lanes and of kombu have other names.
PREFIX = "bs:"
#: The lock of the relay that leads; it exists while a relay leads.
LEADER_KEY = f"{PREFIX}relay:leader"
_KOMBU = "_kombu.binding.probe"
_RIGHTS = "give the user the rights that docs/operations.md lists (redis-cli ACL SETUSER …)"
#: Writes, reads and deletes one key and reads another one, as the limiter's scripts do.
_SCRIPT = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
redis.call('EXISTS', ARGV[2])
local found = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('TIME')
return found
"""


class RedisUnfit(Unfit):
    """This Redis cannot be used as it is set up. Waiting does not help."""

    def __init__(self, problem: ServerProblem, address: str) -> None:
        self.problem = problem
        super().__init__(problem.text(f"Redis at {address}"))


def _fatal(what: str, remedy: str) -> ServerProblem:
    return ServerProblem(what, remedy, fatal=True)


def _passing(what: str, remedy: str) -> ServerProblem:
    return ServerProblem(what, remedy, fatal=False)


_CLUSTER = _fatal(
    "it is a cluster (INFO: cluster_enabled:1), whose scripts reach the keys of one slot only",
    "use a Redis or Valkey without cluster mode",
)
#: Parts of the error's text, separated by |; the first entry that matches counts.
_CAUSES: dict[str, ServerProblem] = {
    "CERTIFICATE_VERIFY_FAILED: Hostname|Hostname mismatch|IP address mismatch": _fatal(
        "its certificate is for another host name", "write the host name of the certificate into REDIS_URL"
    ),
    "CERTIFICATE_VERIFY_FAILED|certificate verify failed": _fatal(
        "its certificate is not trusted",
        "add the file of the authority that signed it to REDIS_URL: ?ssl_ca_certs=FILE",
    ),
    "WRONG_VERSION_NUMBER|wrong version number|RECORD_LAYER_FAILURE|record layer failure": _fatal(
        "it does not speak TLS", "write redis:// instead of rediss://"
    ),
    "handshake operation timed out": _passing(
        "the TLS handshake did not finish in time", "where it speaks no TLS, write redis://"
    ),
    "SSL|TLS": _fatal("a TLS connection cannot be made", "check the ssl_… parameters of REDIS_URL"),
    "NOAUTH|Authentication required|HELLO must be called": _fatal(
        "it asks for a password, and REDIS_URL has none",
        "write redis://:PASSWORD@host:6379/0, special characters percent-encoded",
    ),
    "without any password configured|no password is set": _fatal(
        "it has no password set", "leave the password out of REDIS_URL"
    ),
    "WRONGPASS|invalid username-password|invalid password": _fatal(
        "the password is wrong, or the user is not known or disabled",
        "check user and password in REDIS_URL, special characters percent-encoded",
    ),
    "DB index is out of range|invalid DB index": _fatal(
        "it has no database with that number",
        "write a smaller number at the end of REDIS_URL; `redis-cli CONFIG GET databases` shows how many there are",
    ),
    "CROSSSLOT|MOVED|CLUSTERDOWN|cluster mode|non local key": _CLUSTER,
    "NOPERM|no permissions|No permissions": _fatal("it refuses this user", _RIGHTS),
    "unknown command|Unknown Redis command": _fatal(
        "it lacks a command", "use Redis 7.0, Valkey 7.2 or newer with all its commands"
    ),
    "protected mode|DENIED": _fatal(
        "it is in protected mode and serves its own machine only",
        "set a password or `bind` in its configuration",
    ),
    "Protocol Error|Invalid response|unknown data type|HTTP/": _fatal(
        "the server there is no Redis", "check the host and the port of REDIS_URL"
    ),
    "READONLY|read only replica": _passing(
        "it is a replica and takes no jobs", "set REDIS_URL to the primary"
    ),
    "OOM|used memory >": _passing("its memory is full", "raise maxmemory, or look with redis-cli --bigkeys"),
    "MISCONF": _passing("it cannot write its disk and refuses jobs", "free its disk; see its log"),
    "LOADING|loading the dataset": _passing("it is still loading its data file", "wait until it is done"),
    "max number of clients": _passing(
        "it accepts no more connections", "raise maxclients, or end other clients"
    ),
    "not known|nodename|name resolution|No address associated": _passing(
        "its host name is not known", "check the host in REDIS_URL, and the name server"
    ),
    "refused|No such file or directory": _passing(
        "nothing listens there", "start it, e.g. with `docker compose up -d valkey`, or set REDIS_URL"
    ),
    "imeout|timed out": _passing(
        "it does not answer in time", "check the host, the port and the network between, such as a firewall"
    ),
    "closed by server|reset by peer|closed the connection": _passing(
        "it closed the connection at once", "if it wants TLS, write rediss://; otherwise see its log"
    ),
}
#: Errors whose text is added to ours, because it names the command, the number or the host.
_QUOTED = ("NOPERM", "o permissions", "unknown command", "DB index", "verify failed", "TLS", "SSL")


def problem_of(error: BaseException) -> ServerProblem:
    """The problem behind an error of Redis. Its text is quoted without arguments."""
    said = " ".join(str(each) for each in _chain(error))
    for marks, problem in _CAUSES.items():
        if any(mark in said for mark in marks.split("|")):
            if any(word in said for word in _QUOTED) and problem is not _CLUSTER:
                return ServerProblem(f"{problem.what} ({_own_words(error)})", problem.remedy, problem.fatal)
            return problem
    return ServerProblem(
        f"it cannot be used ({_own_words(error)})", "see its log, or set REDIS_URL", fatal=False
    )


def check_redis_works(client: redis.Redis, address: str) -> None:
    """Run the commands of workers and relay on keys of its own, and check that Redis does not evict keys.

    Raises RedisUnfit for a fatal problem, redis.RedisError for one that may end by itself.
    """
    try:
        try_commands(client)
        found = eviction_problem(client)
        if found is not None and found.fatal:
            raise RedisUnfit(found, address)
    except (redis.RedisError, OSError) as error:
        problem = problem_of(error)
        if problem.fatal:
            raise RedisUnfit(problem, address) from None
        if isinstance(error, redis.RedisError):
            raise
        raise redis.ConnectionError(str(error)) from None


def try_commands(client: redis.Redis) -> None:
    """Run each command that workers and relay use once. Raises redis.RedisError, OSError."""
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
            # A write that changes nothing, to test the right to the key.
            client.ltrim(lane.value, 0, -1)


def eviction_problem(client: redis.Redis) -> ServerProblem | None:
    """The problem of a policy that evicts keys when Redis is full; None for the right policy and for an unknown one.

    Lost jobs are published again, but a limiter that loses some of its keys gives too many permits. Not fatal where
    CONFIG is forbidden, as on managed servers. Raises redis.RedisError.
    """
    try:
        policy, may_configure = str(client.config_get("maxmemory-policy").get("maxmemory-policy", "")), True
    except redis.ResponseError:  # forbidden by ACL, or renamed
        policy, may_configure = _policy_in_info(client), False
    if policy in ("noeviction", ""):
        return None
    return ServerProblem(
        say(
            "maxmemory-policy is {policy}: when it is full it would silently delete jobs and limits",
            policy=policy,
        ),
        say("redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration file")
        if may_configure
        else say("set maxmemory-policy to noeviction where this server is managed"),
        fatal=may_configure,
    )


def _policy_in_info(client: redis.Redis) -> str:
    try:
        return str(client.info("memory").get("maxmemory_policy", ""))
    except redis.ResponseError:
        return ""


def _is_cluster(client: redis.Redis) -> bool:
    try:
        return int(client.info("cluster").get("cluster_enabled", 0)) == 1
    except redis.ResponseError:  # INFO is forbidden: the script fails on a cluster
        return False


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _own_words(error: BaseException) -> str:
    """The first line, without the arguments of the command that Redis repeats."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.partition(", with args")[0][:200]
