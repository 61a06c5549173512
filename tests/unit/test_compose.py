"""docker-compose.yml, the Dockerfile and .env.example say the same as the program."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
from dotenv import dotenv_values
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from ruamel.yaml import YAML

from bulksend.settings import Settings
from notifier.process import STOP_S as NOTIFIER_STOP_S
from ops.cli.main import app
from ops.http.server import STOP_S as SERVE_STOP_S
from ops.local.ports import free_port
from ops.local.valkey import find_binary
from simulator.cli import read_options

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
TEXT = COMPOSE.read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
#: What the file asks for and .env gives.
GIVEN = {"USPEEDO_ACCESSKEY_ID": "an-id"}
MAKE_SECRETS = ROOT / "deploy" / "make-secrets"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<rest>[^}]*))?\}")


def interpolated(held: Any) -> Any:
    """As docker compose does it, text by text; KeyError where a required variable is not given."""

    def value(found: re.Match[str]) -> str:
        if found["how"] == "-":
            return GIVEN.get(found["name"], found["rest"])
        return GIVEN[found["name"]]

    if isinstance(held, str):
        return VARIABLE.sub(value, held)
    if isinstance(held, dict):
        return {key: interpolated(inner) for key, inner in held.items()}
    return [interpolated(inner) for inner in held] if isinstance(held, list) else held


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What deploy/make-secrets makes in a new folder."""
    folder = tmp_path_factory.mktemp("compose")
    (folder / "deploy").mkdir()
    shutil.copy(MAKE_SECRETS, folder / "deploy")
    subprocess.run([folder / "deploy" / "make-secrets"], check=True, capture_output=True)
    (folder / "secrets" / "uspeedo_accesskey_secret").write_text("a-word")
    return folder / "secrets"


def environment_of(service: str, secrets: Path) -> dict[str, str]:
    """A service's environment, with its secrets at the place where the test has them."""
    mounted = {f"/run/secrets/{name}": str(secrets / name) for name in SERVICES[service].get("secrets", [])}
    return {
        name: mounted[value] if name.endswith("_FILE") else str(value)
        for name, value in OURS[service]["environment"].items()
    }


LOADED: dict[str, Any] = interpolated(YAML(typ="safe").load(TEXT))
SERVICES: dict[str, dict[str, Any]] = LOADED["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "bulksend"}


def seconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()  # type: ignore[union-attr]
    return int(number) * (60 if unit == "m" else 1)


def copied_into_the_image() -> set[str]:
    return set(re.findall(r"(?m)^COPY (?!--from)(\S+) \S+$", DOCKERFILE))


def test_it_follows_the_compose_specification() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout


def test_it_starts_what_the_product_is_made_of() -> None:
    assert set(SERVICES) == {
        "postgres",
        "valkey",
        "migrate",
        "worker",
        "worker-otp",
        "relay",
        "serve",
        "notifier",
        "simulator",
    }
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"simulator"}


@pytest.mark.parametrize("service", OURS)
def test_each_command_is_one_that_bulksend_understands(service: str) -> None:
    program, name, *arguments = OURS[service]["command"]
    assert program == "bulksend"
    group: Any = typer.main.get_command(app)
    with group.make_context("bulksend", [name, *arguments]) as context:
        found, command, rest = group.resolve_command(context, [name, *arguments])
        with command.make_context(found, list(rest), parent=context) as inner:
            # Those of Celery and of the simulator are handed on, all others are understood here.
            assert inner.args in ([], arguments)


@pytest.mark.parametrize("service", [name for name in OURS if name.startswith("worker")])
def test_what_a_worker_is_told_more_is_what_celery_understands(service: str) -> None:
    from celery.bin.worker import worker

    with worker.make_context("worker", list(OURS[service]["command"][2:]), resilient_parsing=True) as context:
        assert not context.args
        assert context.params["queues"] == (["otp"] if service == "worker-otp" else None)


@pytest.mark.parametrize("service", [name for name in OURS if name != "simulator"])
def test_each_environment_is_one_that_settings_take(service: str, secrets: Path) -> None:
    settings = Settings.from_env(environment_of(service, secrets))
    password = (secrets / "postgres_password").read_text()
    assert settings.database_url_text() == f"postgresql+psycopg://bulksend:{password}@postgres:5432/bulksend"
    if service not in ("migrate", "notifier"):
        password = (secrets / "valkey_password").read_text()
        assert settings.redis_url_text() == f"redis://:{password}@valkey:6379/0"
    if service != "migrate":
        assert len(base64.urlsafe_b64decode(settings.encryption_key_text())) == 32
    if service.startswith("worker"):
        assert settings.missing_credentials() == []
        assert settings.uspeedo_base_url == Settings.from_env({}).uspeedo_base_url


def test_each_service_sees_only_the_secrets_that_it_needs() -> None:
    needed = {
        "postgres": {"postgres_password"},
        "valkey": {"valkey_password"},
        "migrate": {"database_url"},
        "relay": {"database_url", "redis_url", "encryption_key", "uspeedo_accesskey_secret"},
        "serve": {
            *("database_url", "redis_url", "encryption_key"),
            *("metrics_token", "uspeedo_accesskey_secret"),
        },
        "notifier": {"database_url", "encryption_key"},
        "worker": {"database_url", "redis_url", "encryption_key", "uspeedo_accesskey_secret"},
    }
    needed["worker-otp"] = needed["worker"]
    assert {name: set(held["secrets"]) for name, held in SERVICES.items() if "secrets" in held} == needed
    assert set.union(*needed.values()) == set(LOADED["secrets"])


def test_secrets_are_made_once_and_kept_from_other_users(secrets: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    assert set(before) == set(LOADED["secrets"])
    subprocess.run([secrets.parent / "deploy" / "make-secrets"], check=True, capture_output=True)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert len({before["postgres_password"], before["valkey_password"], before["metrics_token"]}) == 3


def test_the_password_of_valkey_is_on_no_command_line(secrets: Path, tmp_path: Path) -> None:
    """The command of docker-compose.yml, with a folder for its files and a port."""
    port = free_port()
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "valkey-server").symlink_to(find_binary())
    shell = str(SERVICES["valkey"]["command"][2]).replace("$$", "$")
    shell = shell.replace("/run/secrets/valkey_password", str(secrets / "valkey_password"))
    shell = shell.replace("/tmp/valkey.conf", str(tmp_path / "valkey.conf"))  # noqa: S108 - of the container
    server = subprocess.Popen(
        ["sh", "-c", f"{shell} --bind 127.0.0.1 --port {port}"],
        cwd=tmp_path,
        env={"PATH": f"{binaries}:/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
    )
    try:
        password = (secrets / "valkey_password").read_text()
        with redis.Redis(port=port, password=password, retry=Retry(ConstantBackoff(0.05), 100)) as client:
            assert client.ping()
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        ps = subprocess.run(["ps", "-o", "args=", "-p", str(server.pid)], capture_output=True, check=True)
        assert b"valkey-server" in ps.stdout
        assert password.encode() not in ps.stdout
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.terminate()
        server.wait(10)


def test_no_password_has_a_default() -> None:
    found = {match["name"]: match["how"] for match in VARIABLE.finditer(TEXT)}
    assert {name for name, how in found.items() if how == "?"} == set(GIVEN)
    assert all(how in ("?", "-") for how in found.values())
    assert all(not match["rest"] for match in VARIABLE.finditer(TEXT) if match["how"] == "-")


@pytest.mark.parametrize("service", SERVICES)
def test_no_port_is_open_to_the_world(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))
    assert ("ports" in SERVICES[service]) == (service == "serve")
    assert "network_mode" not in SERVICES[service]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_runs_with_more_rights_than_it_needs(service: str) -> None:
    held = SERVICES[service]
    assert held["init"] is True
    assert held["read_only"] is True
    assert "no-new-privileges:true" in held["security_opt"]
    assert "privileged" not in held
    if service in OURS:
        assert held["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "migrate"])
def test_what_stays_up_has_a_health_check_and_comes_back(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["test"]
    assert SERVICES[service]["restart"] == "unless-stopped"


def test_what_runs_once_does_not_come_back_and_comes_first() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    for service in ("worker", "worker-otp", "relay", "serve", "notifier"):
        assert SERVICES[service]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("service", ["worker", "worker-otp"])
def test_a_stopping_worker_has_the_time_that_it_may_take(service: str) -> None:
    settling_s = 20
    assert (
        seconds(SERVICES[service]["stop_grace_period"])
        > Settings.from_env({}).stop_grace_seconds + settling_s
    )


@pytest.mark.parametrize(("service", "longest_s"), [("serve", SERVE_STOP_S), ("notifier", NOTIFIER_STOP_S)])
def test_requests_under_way_have_the_time_that_they_may_take(service: str, longest_s: float) -> None:
    assert seconds(SERVICES[service]["stop_grace_period"]) > longest_s


def test_what_must_survive_lies_in_volumes_with_names() -> None:
    mounted = {volume.split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", [])}
    assert mounted == set(LOADED["volumes"])
    assert OURS["worker"]["environment"]["BULKSEND_SPOOL_DIR"].startswith("/var/lib/bulksend/")
    assert "spool:/var/lib/bulksend" in OURS["worker"]["volumes"]
    for folder in ("BULKSEND_SPOOL_DIR", "BULKSEND_UPLOAD_DIR", "BULKSEND_EXPORT_DIR"):
        assert OURS["serve"]["environment"][folder].startswith("/var/lib/bulksend/")
    assert OURS["serve"]["volumes"] == ["serve:/var/lib/bulksend"]


def test_the_rehearsal_vendor_sees_no_keys() -> None:
    assert OURS["simulator"]["env_file"] == []
    assert "environment" not in OURS["simulator"]


def test_the_rehearsal_vendor_sends_receipts_where_a_variable_names_their_address() -> None:
    (option,) = [word for word in OURS["simulator"]["command"] if word.startswith("--receipts")]
    assert read_options(["--seed", "1", option]).receipts is None
    named = read_options([f"{option}http://serve:8080/v1/receipts/token"]).receipts
    assert named is not None
    assert named.url == "http://serve:8080/v1/receipts/token"


def test_the_image_holds_every_package_that_is_installed_from_a_wheel() -> None:
    product = set(re.findall(r'"(\w+)"', re.search(r"(?m)^packages = \[(.*)\]$", _wheel_section())[1]))  # type: ignore[index]
    copied = copied_into_the_image()
    assert product <= copied
    allowed = set(re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text()))
    assert copied == allowed


def _wheel_section() -> str:
    return (
        (ROOT / "pyproject.toml")
        .read_text()
        .split("[tool.hatch.build.targets.wheel]")[1]
        .split("[tool.ruff]")[0]
    )


def test_the_image_installs_only_what_the_lock_pins_and_runs_without_privileges() -> None:
    assert "--require-hashes -r /tmp/requirements.lock" in DOCKERFILE
    users = re.findall(r"(?m)^USER (\S+)$", DOCKERFILE)
    assert users == ["bulksend"]
    assert DOCKERFILE.index("USER bulksend") < DOCKERFILE.index("CMD")


def test_the_example_names_what_compose_requires_and_gives_it_no_value() -> None:
    example = dotenv_values(ROOT / ".env.example")
    assert set(GIVEN) <= set(example)
    assert not any(example.values()), "a secret in an example becomes the secret of those who copy it"


def test_every_setting_in_the_example_is_one_that_there_is(tmp_path: Path) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    offered = [match[1] for line in lines if (match := re.match(r"# ([A-Z_]+=\S+)$", line))]
    assert len(offered) > 5
    dotenv = tmp_path / ".env"
    dotenv.write_text("\n".join(offered))
    set_there = {r.name for r in Settings.from_env({}, dotenv).table() if r.source == ".env"}
    assert set_there == {line.split("=")[0] for line in offered}
