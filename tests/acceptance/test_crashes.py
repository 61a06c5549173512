"""What dies, and what then: real processes, real signals, and the vendor's own record as the judge.

Every test ends with ``site.agrees()``: nothing lost, nothing twice, no request without a committed attempt.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

#: A quarter of a second a POST: with 80/s some twenty are in flight at any time.
SLOW_VENDOR = {"latency": {"kind": "uniform", "low_ms": 150, "high_ms": 350}}


def people(count: int, area: int = 212) -> list[str]:
    """Numbers reserved for fiction."""
    return [f"1{area + n // 100}55501{n % 100:02d}" for n in range(count)]


def open_of(site: Any, campaign: str, worker: str) -> int:
    """How many attempts of a worker are open."""
    return sum(a["outcome"] is None and a["worker"].endswith(worker) for a in site.attempts(campaign))


def in_flight(site: Any, campaign: str, least: int = 5) -> None:
    """Wait until some have been sent and some are on their way."""

    def check() -> bool:
        found = site.statuses(campaign)
        return found["accepted"] >= 20 and found["sending"] >= least

    site.wait("messages are in flight", check)


def test_a_killed_worker_leaves_only_what_was_in_flight_unknown_and_the_rest_goes_on_elsewhere(
    make_site: Any,
) -> None:
    with make_site(workers=2, vendor=SLOW_VENDOR) as site:
        blast = site.send("blast", people(400))
        in_flight(site, blast)
        victim = site.stack.member("worker1")
        name = f":{victim.child.pid}"
        # Not only the other one's: which of the two has how many is theirs to settle.
        site.wait("the victim has some in flight", lambda: open_of(site, blast, name) >= 5)
        victim.child.kill()
        ended = site.wait_ended(blast, seconds=60)
        assert ended.keys() <= {"accepted", "unknown"}
        unknown = [m for m in site.messages(blast) if m["status"] == "unknown"]
        assert 0 < len(unknown) <= 60
        assert all("worker was lost" in m["error"] for m in unknown)
        owners = {a["message_pk"]: a["worker"] for a in site.attempts(blast)}
        assert all(owners[m["id"]].endswith(name) for m in unknown)
        site.agrees()
        assert site.fullest_second() <= 80


def test_a_worker_told_to_stop_finishes_what_is_in_flight_and_leaves_nothing_unknown(make_site: Any) -> None:
    with make_site(workers=1, vendor=SLOW_VENDOR) as site:
        blast = site.send("blast", people(300))
        in_flight(site, blast)
        worker = site.stack.member("worker").child
        worker.ask_to_stop(signal.SIGTERM)
        assert worker.wait_or_kill(20) == 0
        after = site.statuses(blast)
        assert after.keys() <= {"accepted", "queued", "retry"}
        assert after["queued"] + after["retry"] > 0
        site.agrees()
        site.stack.add("successor", "worker", "-n", "w9@%h")
        assert site.wait_ended(blast) == {"accepted": 300}
        site.agrees()


def test_redis_wiped_in_mid_blast_goes_on_by_itself(make_site: Any) -> None:
    with make_site(workers=2) as site:
        blast = site.send("blast", people(400))
        site.wait("the blast is under way", lambda: site.statuses(blast)["accepted"] >= 100)
        site.redis.flushall()
        then = site.statuses(blast)["accepted"]
        assert then < 300
        site.wait("it goes on", lambda: site.statuses(blast)["accepted"] >= then + 60)
        assert site.wait_ended(blast) == {"accepted": 400}
        site.agrees()
        assert site.fullest_second() <= 80


def test_redis_killed_and_started_again_in_mid_blast_loses_and_doubles_nothing(make_site: Any) -> None:
    with make_site(workers=2) as site:
        blast = site.send("blast", people(400))
        site.wait("the blast is under way", lambda: site.statuses(blast)["accepted"] >= 100)
        server = site.stack._valkey
        server.kill()
        code = site.send("codes", people(5, area=312), kind="otp")  # taken in without Redis
        server.start()
        assert site.wait_ended(blast, code, seconds=60) == {"accepted": 405}
        site.agrees()
        assert site.fullest_second() <= 80


def test_a_second_relay_waits_and_takes_over_when_the_first_is_killed(make_site: Any) -> None:
    # More than what a send publishes by itself: the rest takes a relay.
    with make_site(workers=1, environ={"BULKSEND_WINDOW_SECONDS": "1"}) as site:
        second = site.stack.add("relay2", "relay")
        log = site.stack.folder / "logs" / "relay2.log"
        site.wait("the second relay waits or is up", lambda: leader(site) and second.child.running)
        first = leader(site)
        blast = site.send("blast", people(650))
        site.wait("the blast is under way", lambda: site.statuses(blast)["accepted"] >= 50)
        assert leader(site) == first
        assert "relay_leads" not in log.read_text()
        site.stack.member("relay").child.kill()
        assert site.wait_ended(blast) == {"accepted": 650}
        assert "relay_leads" in log.read_text()
        assert leader(site) == str(second.child.pid)
        site.agrees()


def leader(site: Any) -> str:
    """The pid of the relay that leads."""
    token = site.redis.get("bs:relay:leader") or b""
    return str(token.decode().partition("-")[0])


def test_a_send_killed_in_mid_file_and_run_again_is_exactly_the_file_and_a_third_run_sends_nothing(
    make_site: Any, tmp_path: Path
) -> None:
    # Chunks of 5 rows make a file of 900 rows a long one; nothing is due before it is all in.
    with make_site(workers=1, environ={"BULKSEND_INTAKE_CHUNK": "5"}) as site:
        to = people(900)
        file, content = tmp_path / "people.csv", tmp_path / "content.json"
        file.write_text("to,name\n" + "".join(f"{number},N{number[-4:]}\n" for number in to))
        content.write_text(json.dumps({"body": "hello {{name}}"}))
        site.run("senders", "add", site.sender, "--rate", "300")
        command = [
            *("send", str(file), "--sender", site.sender, "--type", "text", "--kind", "marketing"),
            *("--content", str(content), "--json"),
        ]
        killed = site.start(*command)
        site.wait("the file is half in", lambda: 100 <= len(site.messages()) < 800)
        killed.kill()
        killed.communicate()
        half = len(site.messages())
        assert half < 900
        again = json.loads(site.run(*command).splitlines()[0])
        assert again["resumed_at"] >= 100
        assert again["messages"] == 900
        assert site.wait_ended(again["campaign_id"]) == {"accepted": 900}
        site.agrees()
        assert sorted(m["recipient"] for m in site.messages()) == sorted(to)
        assert "sent before" in site.run(*command[:-1])
        assert len(site.messages()) == 900
        assert len(site.vendor()) == 900
