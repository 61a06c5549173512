"""A Redis that cannot be used as it is set up: the sentence, the remedy and the exit code of each command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from bulksend.broker import RedisUnfit, check_redis_works, problem_of
from bulksend.errors import InvalidInput
from bulksend.redis_client import open_redis
from bulksend.settings import Settings
from ops.local.valkey import EmbeddedValkey, free_port
from tests.acceptance.many_commands import Shell

ROOT = Path(__file__).resolve().parents[2]
SENDER = "8615000579987"
BULKSEND = "ops.cli.main"
#: One trial for each way in which Celery's own command meets it: at a call, and at the connection.
BY_CELERY = ("cluster", "no_scripts", "wrong_password", "database_99")
#: A worker or relay says what is wrong within five seconds of its start; importing takes its time on a busy machine.
SOON_S = 40


@dataclass(frozen=True)
class Trial:
    """How a Redis is set up, the URL that leads to it, and what is said of it."""

    name: str
    said: str
    remedy: str


CLUSTER = Trial("cluster", "it is a cluster", "without cluster mode")
TRIALS = [
    CLUSTER,
    Trial("no_scripts", "it refuses this user", "docs/operations.md"),
    Trial("few_keys", "it refuses this user", "docs/operations.md"),
    Trial("no_lanes", "it refuses this user", "docs/operations.md"),
    Trial("no_password", "it asks for a password", "redis://:PASSWORD@"),
    Trial("wrong_password", "the password is wrong", "percent-encoded"),
    Trial("database_99", "it has no database with that number", "CONFIG GET databases"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("fitness"), durable=False)
    with redis.Redis.from_url(server.start()) as client:
        for name, rules in {
            "no_scripts": ["~*", "&*", "+@all", "-@scripting"],
            "few_keys": ["~otp", "~utility", "~marketing", "~_kombu*", "+@all"],
            "no_lanes": ["~bs:*", "~_kombu*", "+@all"],
            "listed": _listed_rights(),
        }.items():
            client.execute_command("ACL", "SETUSER", name, "on", ">hush", *rules)
        # `default` keeps its way in until the last: then it wants a password.
        client.config_set("requirepass", "a#b")
    yield server
    server.stop()


def _listed_rights() -> list[str]:
    """The rights of the user that docs/operations.md makes."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(r"ACL SETUSER bulksend on '>PASSWORD' (.+)", page)
    assert found is not None
    return [word.strip("'") for word in found[1].split()]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cluster")
    from ops.local.process import ChildProcess
    from ops.local.valkey import find_binary

    port = free_port()
    child = ChildProcess(
        [
            str(find_binary()),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--cluster-enabled",
            "yes",
            # Its default, the port and 10000, is no port at all where the system gives high ones.
            "--cluster-port",
            str(free_port()),
            "--save",
            "",
        ],
        cwd=folder,
    )
    client = redis.Redis(port=port)
    deadline = time.monotonic() + 60
    while True:
        try:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            break
        except redis.ConnectionError:
            assert time.monotonic() < deadline
    while client.cluster("info")["cluster_state"] != "ok":
        assert time.monotonic() < deadline
    yield f"redis://127.0.0.1:{port}/0"
    client.close()
    child.stop()


@pytest.fixture
def urls(server: EmbeddedValkey, cluster: str) -> dict[str, str]:
    at = f"127.0.0.1:{server.port}"
    return {
        "cluster": cluster,
        "no_password": f"redis://{at}/0",
        "wrong_password": f"redis://:nonsense@{at}/0",
        "database_99": f"redis://:a%23b@{at}/99",
        "tls": f"rediss://:a%23b@{at}/0",
        **{name: f"redis://{name}:hush@{at}/0" for name in ("no_scripts", "few_keys", "no_lanes", "listed")},
    }


@pytest.fixture
def ledger_file(tmp_path: Path, sqlite_template: Path) -> Path:
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(shell: Shell) -> Run:
    """Runs ``bulksend …`` on a ledger and a Redis; Celery's own command is a process from its beginning."""

    def run(*words: str, ledger: Path, url: str) -> subprocess.CompletedProcess[str]:
        environ = environ_of(ledger, url)
        if words[0] == BULKSEND:
            return shell.run(words[1:], environ, ledger.parent)
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ledger.parent,
            env=environ,
            capture_output=True,
            text=True,
            timeout=SOON_S,
            check=False,
        )

    return run


def environ_of(ledger: Path, url: str) -> dict[str, str]:
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("BULKSEND_", "USPEEDO_"))}
    environ |= {"DATABASE_URL": f"sqlite:///{ledger}", "REDIS_URL": url, "PYTHONPATH": str(ROOT)}
    environ |= {"USPEEDO_ACCESSKEY_ID": "id", "USPEEDO_ACCESSKEY_SECRET": "hush"}
    return environ | {"USPEEDO_BASE_URL": "http://127.0.0.1:1/api"}


@pytest.mark.parametrize("trial", TRIALS, ids=lambda t: t.name)
def test_the_check_finds_what_is_wrong_and_names_the_remedy(trial: Trial, urls: dict[str, str]) -> None:
    with open_redis(urls[trial.name]) as client, pytest.raises(RedisUnfit) as found:
        check_redis_works(client, "there")
    assert trial.said in str(found.value)
    assert trial.remedy in str(found.value)
    assert "hush" not in str(found.value)
    assert "nonsense" not in str(found.value)


@pytest.mark.parametrize(
    ("words", "trial"),
    [
        *(((BULKSEND, word), trial) for word in ("worker", "relay") for trial in TRIALS),
        *((("celery", "-A", "worker", "worker"), trial) for trial in TRIALS if trial.name in BY_CELERY),
    ],
    ids=lambda v: v.name if isinstance(v, Trial) else v[-1],
)
def test_a_worker_and_a_relay_end_with_a_sentence_and_status_2(
    trial: Trial, urls: dict[str, str], ledger_file: Path, words: tuple[str, ...], run: Run
) -> None:
    done = run(*words, ledger=ledger_file, url=urls[trial.name])
    said = done.stdout + done.stderr
    assert done.returncode == 2, said[-2000:]
    assert trial.said in said
    assert "Traceback" not in said


@pytest.mark.parametrize("trial", TRIALS, ids=lambda t: t.name)
def test_doctor_names_it_and_the_remedy(
    trial: Trial, urls: dict[str, str], ledger_file: Path, run: Run
) -> None:
    done = run(BULKSEND, "doctor", "--json", ledger=ledger_file, url=urls[trial.name])
    found = [f for f in json.loads(done.stdout)["findings"] if not f["well"] and f["about"] == "Redis"]
    assert len(found) == 1, done.stdout + done.stderr
    assert trial.said in found[0]["found"]
    assert trial.remedy in found[0]["remedy"]


def test_a_worker_starts_although_redis_is_full(ledger_file: Path, tmp_path: Path, run: Run) -> None:
    full = EmbeddedValkey(tmp_path / "full", durable=False)
    try:
        with redis.Redis.from_url(full.start()) as client:
            client.config_set("maxmemory", "1mb")
            with pytest.raises(redis.RedisError, match="used memory"):
                check_redis_works(client, "there")
        why = run(BULKSEND, "doctor", ledger=ledger_file, url=full.url)
        assert "memory is full" in why.stdout or "once full it takes no jobs" in why.stdout
        done = run(BULKSEND, "worker", "--pool", "processes", ledger=ledger_file, url=full.url)
        # It came as far as Celery's own options.
        assert "use --pool threads" in done.stderr
    finally:
        full.stop()


def test_a_server_without_tls_is_distinguished_from_an_unreachable_one(
    urls: dict[str, str], ledger_file: Path, run: Run
) -> None:
    done = run(BULKSEND, "worker", ledger=ledger_file, url=urls["tls"])
    assert (done.returncode, "where it speaks no TLS, write redis://" in done.stderr) == (3, True)


@pytest.mark.parametrize("name", ["cluster", "no_scripts", "few_keys", "wrong_password"])
def test_commands_work_on_the_ledger_and_why_says_that_redis_refuses(
    name: str, urls: dict[str, str], ledger_file: Path, run: Run
) -> None:
    (ledger_file.parent / "c.json").write_text('{"body": "hello"}')
    (ledger_file.parent / "p.csv").write_text("to\n447700900123\n")
    words = [
        "--sender",
        SENDER,
        "--type",
        "text",
        "--content",
        "c.json",
        "--kind",
        "marketing",
        "--name",
        "s",
    ]
    sent = run(BULKSEND, "send", "p.csv", *words, ledger=ledger_file, url=urls[name])
    assert sent.returncode == 0, sent.stderr
    id = json.loads(run(BULKSEND, "messages", "find", "--json", ledger=ledger_file, url="").stdout)["id"]
    why = run(BULKSEND, "messages", "why", id, "--json", ledger=ledger_file, url=urls[name])
    assert (why.returncode, json.loads(why.stdout)["gate"]) == (0, "redis"), why.stdout + why.stderr
    for act in (["account", "pause"], ["campaigns", "pause", "s"]):
        done = run(BULKSEND, *act, "--why", "stop", ledger=ledger_file, url=urls[name])
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (
        "the account has been paused"
        in run(BULKSEND, "messages", "why", id, "--json", ledger=ledger_file, url=urls[name]).stdout
    )


def test_the_rights_that_the_docs_list_are_enough(urls: dict[str, str]) -> None:
    with open_redis(urls["listed"]) as client:
        check_redis_works(client, "there")


@pytest.mark.parametrize("end", ["/cache", "/0x", "/-1", "/0?db=cache"])
def test_a_database_that_is_no_number_is_refused_by_the_settings(end: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a database; write a number, redis://host:6379/0"):
        Settings.from_env({"REDIS_URL": f"redis://127.0.0.1:6379{end}"})


@pytest.mark.parametrize(
    "words", [(BULKSEND, "worker"), (BULKSEND, "relay"), ("celery", "-A", "worker", "worker")]
)
def test_such_a_worker_ends_with_status_2(words: tuple[str, ...], ledger_file: Path, run: Run) -> None:
    done = run(*words, ledger=ledger_file, url="redis://127.0.0.1:6379/cache")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr[-2000:]
    assert "/cache is not a database" in done.stderr


def test_a_worker_that_ends_by_an_error_of_its_own_does_not_end_with_0(
    ledger_file: Path, valkey_url: str, run: Run
) -> None:
    for wrong in (["-P", "processes"], ["-Q", "nowhere"]):
        done = run(BULKSEND, "worker", *wrong, ledger=ledger_file, url=valkey_url)
        assert done.returncode in (1, 2), done.stdout + done.stderr
    done = run(BULKSEND, "worker", "--nonsense", "x", ledger=ledger_file, url=valkey_url)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


@pytest.mark.parametrize(
    ("text", "said", "lasts"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed", "is not trusted", True),
        ("Error -2 connecting to x:6379. Name or service not known.", "host name is not known", False),
        ("Error 111 connecting to 127.0.0.1:1. Connection refused.", "nothing listens there", False),
        ("Timeout connecting to server", "does not answer in time", False),
        ("OOM command not allowed when used memory > 'maxmemory'.", "memory is full", False),
        ("READONLY You can't write against a read only replica.", "it is a replica", False),
        ("MISCONF Redis is configured to save RDB snapshots", "cannot write its disk", False),
        ("Connection closed by server.", "write rediss://", False),
        ("Protocol Error: b'HTTP/1.1 400 Bad Request'", "no Redis", True),
    ],
)
def test_each_cause_has_its_own_text_and_remedy(text: str, said: str, lasts: bool) -> None:
    problem = problem_of(redis.ConnectionError(text))
    assert said in problem.text("there")
    assert problem.fatal is lasts


def test_an_error_is_shown_without_the_arguments_that_it_repeats() -> None:
    error = redis.ResponseError("unknown command 'EVALSHA', with args beginning with: '447700900123'")
    assert "447700900123" not in problem_of(error).text("there")
