"""A Redis whose memory went back: slices that it gave before must not be given again.

Real servers, and the ways in which they go back: an old file, a replica that lagged and was promoted, a primary that
took the memory of its own stale replica.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bulksend.limits import Ask, Gate, Grant, Permit, RedisPermits, SenderLimits, Wait
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind
from ops.local.valkey import EmbeddedValkey
from tests.waiting import until

KEY = b"a key of the stale memories ....."
SENDER = "447700900001"
RATE = 80.0


class Server:
    """A Valkey, and what one does to it."""

    def __init__(self, folder: Path) -> None:
        self.valkey = EmbeddedValkey(folder, durable=True)
        self.valkey.start()
        self.client = redis.Redis.from_url(self.valkey.url)
        # Each write is in the file when it is answered: what is copied is what was known.
        self.client.config_set("appendfsync", "always")
        # Followers are served at once.
        self.client.config_set("repl-diskless-sync-delay", 0)

    def close(self) -> None:
        self.client.close()
        self.valkey.stop()

    def worker(self, name: str) -> RedisPermits:
        return RedisPermits(self.client, hash_key=KEY, account="1")

    def follow(self, other: Server) -> None:
        """Become a copy of another server, and have all that it has."""
        self.client.execute_command("REPLICAOF", "127.0.0.1", other.valkey.port)
        until(lambda: self.client.info("replication")["master_link_status"] == "up")
        known = other.client.info("replication")["master_repl_offset"]
        until(lambda: self.client.info("replication")["slave_repl_offset"] >= known)

    def lead(self) -> None:
        """Go on alone, with what is here."""
        self.client.execute_command("REPLICAOF", "NO", "ONE")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    pair = Server(tmp_path / "a"), Server(tmp_path / "b")
    yield pair
    for server in pair:
        server.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "only")
    yield made
    made.close()


def message(quota: int | None = None) -> Ask:
    return Ask(Kind.OTP, SENDER, "spring", uuid.uuid4().hex, SenderLimits(RATE, quota), None)


def begins_of(grant: Grant) -> list[float]:
    return [answer.begin_ms for answer in grant.answers if isinstance(answer, Permit)]


def gates_of(grant: Grant) -> set[Gate]:
    return {answer.gate for answer in grant.answers if isinstance(answer, Wait)}


def warm(permits: RedisPermits) -> None:
    """Until it may give."""
    permits.ask([], lead_ms=0)
    permits.restore(pauses=[], recent=[])
    until(lambda: not permits.peek(message(quota=1)))


def take(permits: RedisPermits) -> list[float]:
    """As far ahead as it goes."""
    return begins_of(permits.ask([message() for _ in range(200)], lead_ms=0))


def begins_cold_and_far_from(old: list[float], who: RedisPermits) -> None:
    """The answers of a memory that is too old: nothing at first, then nothing near what was given before."""
    first = who.ask([message()], lead_ms=0)
    assert gates_of(first) == {Gate.COLD}
    assert first.needs_restore
    who.restore(pauses=[], recent=[])
    new: list[float] = []
    until(lambda: new.extend(begins_of(who.ask([message()], lead_ms=0))) or new)
    assert min(new) - max(old) > 1012


def test_a_redis_started_from_a_file_of_earlier_gives_nothing_near_the_slices_it_has_forgotten(
    server: Server, tmp_path: Path
) -> None:
    one, other = server.worker("one"), server.worker("other")
    warm(one)
    shutil.copytree(server.valkey.folder / "appendonlydir", tmp_path / "earlier")
    old = take(one)
    server.valkey.kill()
    shutil.rmtree(server.valkey.folder / "appendonlydir")
    shutil.copytree(tmp_path / "earlier", server.valkey.folder / "appendonlydir")
    server.valkey.start()
    # Who never knew of those slices comes first.
    begins_cold_and_far_from(old, other)


def test_a_promoted_replica_that_lagged_begins_cold_though_it_knows_our_scripts(
    servers: tuple[Server, Server],
) -> None:
    primary, replica = servers
    # It led before: it has answered our scripts.
    replica.worker("of long ago").ask([], lead_ms=0)
    one = primary.worker("one")
    warm(one)
    replica.follow(primary)
    replica.lead()  # cut off here; nobody has noticed yet
    old = take(one)
    begins_cold_and_far_from(old, replica.worker("one"))


def test_a_primary_that_took_back_the_memory_of_its_stale_replica_is_found_out_by_who_knows_better(
    servers: tuple[Server, Server],
) -> None:
    primary, replica = servers
    one = primary.worker("one")
    warm(one)
    replica.follow(primary)
    replica.lead()
    old = take(one)
    # The same process, the same epoch, the same scripts; only its memory is of earlier.
    primary.follow(replica)
    primary.lead()
    begins_cold_and_far_from(old, one)


def test_epochs_grow_from_one_memory_to_the_next_so_that_a_fleet_starts_over_only_once(
    servers: tuple[Server, Server],
) -> None:
    primary, replica = servers
    one, other = primary.worker("one"), primary.worker("other")
    before = one.ask([], lead_ms=0).epoch
    other.ask([], lead_ms=0)
    replica.follow(primary)
    replica.lead()
    one.ask([], lead_ms=0)
    other.ask([], lead_ms=0)
    primary.follow(replica)
    primary.lead()
    epochs = [who.ask([], lead_ms=0).epoch for who in (one, other, one, other)]
    assert len(set(epochs)) == 1
    assert int(epochs[0]) > int(before)


def test_a_pause_and_a_quota_that_a_stale_memory_forgot_hold_again_once_the_ledger_has_told(
    servers: tuple[Server, Server],
) -> None:
    primary, replica = servers
    one = primary.worker("one")
    warm(one)
    replica.follow(primary)
    replica.lead()
    sent_to = message(quota=1)
    assert begins_of(one.ask([sent_to], lead_ms=0))
    one.pause(Scope.CAMPAIGN, "autumn")
    late = replica.worker("late")
    assert gates_of(late.ask([message(quota=1)], lead_ms=0)) == {Gate.COLD}
    late.restore(pauses=[(Scope.CAMPAIGN, "autumn")], recent=[(sent_to.recipient, time.time() * 1000)])
    assert late.paused() == ((Scope.CAMPAIGN, "autumn"),)
    until(lambda: Gate.COLD not in gates_of(late.ask([message(quota=1)], lead_ms=0)))
    assert gates_of(late.ask([message(quota=1)], lead_ms=0)) == {Gate.QUOTA}


def test_a_redis_that_does_not_say_who_it_is_is_known_by_the_scripts_it_has_lost(server: Server) -> None:
    forbidding = f"redis://shy:secret@127.0.0.1:{server.valkey.port}/0"
    server.client.execute_command("ACL", "SETUSER", "shy", "on", ">secret", "~*", "&*", "+@all", "-info")
    with redis.Redis.from_url(forbidding) as client:
        shy = RedisPermits(client, hash_key=KEY, account="1")
        warm(shy)
        epoch = shy.ask([], lead_ms=0).epoch
        assert begins_of(shy.ask([message()], lead_ms=0))
        server.client.script_flush()
        shy.peek(message())  # a look from outside must not hide it
        assert shy.ask([], lead_ms=0).epoch != epoch
