"""docker-compose.yml, the Dockerfile and .env.example say the same as the program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from dotenv import dotenv_values
from ruamel.yaml import YAML

from bulksend.settings import Settings
from ops.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
TEXT = COMPOSE.read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
#: What the file asks for and .env gives.
GIVEN = {
    "POSTGRES_PASSWORD": "pgword",
    "VALKEY_PASSWORD": "vkword",
    "BULKSEND_ENCRYPTION_KEY": "a-key",
    "USPEEDO_ACCESSKEY_ID": "an-id",
    "USPEEDO_ACCESSKEY_SECRET": "a-word",
}
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
    assert set(SERVICES) == {"postgres", "valkey", "migrate", "worker", "worker-otp", "relay", "simulator"}
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"simulator"}


@pytest.mark.parametrize("service", OURS)
def test_each_command_is_one_that_bulksend_understands(service: str) -> None:
    program, name, *arguments = OURS[service]["command"]
    assert program == "bulksend"
    group: Any = typer.main.get_command(app)
    with group.make_context("bulksend", [name, *arguments]) as context:
        found, command, rest = group.resolve_command(context, [name, *arguments])
        with command.make_context(found, list(rest), parent=context) as inner:
            assert inner.args == arguments


@pytest.mark.parametrize("service", [name for name in OURS if name.startswith("worker")])
def test_what_a_worker_is_told_more_is_what_celery_understands(service: str) -> None:
    from celery.bin.worker import worker

    with worker.make_context("worker", list(OURS[service]["command"][2:]), resilient_parsing=True) as context:
        assert not context.args
        assert context.params["queues"] == (["otp"] if service == "worker-otp" else None)


@pytest.mark.parametrize("service", [name for name in OURS if name != "simulator"])
def test_each_environment_is_one_that_settings_take(service: str) -> None:
    settings = Settings.from_env(OURS[service]["environment"])
    assert settings.database_url_text() == "postgresql+psycopg://bulksend:pgword@postgres:5432/bulksend"
    assert settings.redis_url_text() == "redis://:vkword@valkey:6379/0"
    if service.startswith("worker"):
        assert settings.missing_credentials() == []
        assert settings.encryption_key_text() == "a-key"
        assert settings.uspeedo_base_url == Settings.from_env({}).uspeedo_base_url


def test_no_password_has_a_default() -> None:
    found = {match["name"]: match["how"] for match in VARIABLE.finditer(TEXT)}
    assert {name for name, how in found.items() if how == "?"} == set(GIVEN)
    assert all(how in ("?", "-") for how in found.values())
    assert all(not match["rest"] for match in VARIABLE.finditer(TEXT) if match["how"] == "-")


@pytest.mark.parametrize("service", SERVICES)
def test_no_port_is_open_to_the_world(service: str) -> None:
    assert "ports" not in SERVICES[service]
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
    for service in ("worker", "worker-otp", "relay"):
        assert SERVICES[service]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("service", ["worker", "worker-otp"])
def test_a_stopping_worker_has_the_time_that_it_may_take(service: str) -> None:
    settling_s = 20
    assert (
        seconds(SERVICES[service]["stop_grace_period"])
        > Settings.from_env({}).stop_grace_seconds + settling_s
    )


def test_what_must_survive_lies_in_volumes_with_names() -> None:
    mounted = {volume.split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", [])}
    assert mounted == set(LOADED["volumes"])
    assert OURS["worker"]["environment"]["BULKSEND_SPOOL_DIR"].startswith("/var/lib/bulksend/")
    assert "spool:/var/lib/bulksend" in OURS["worker"]["volumes"]


def test_valkey_throws_nothing_away() -> None:
    command = SERVICES["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"
    assert "--requirepass" in command


def test_the_rehearsal_vendor_sees_nobodys_keys() -> None:
    assert OURS["simulator"]["env_file"] == []
    assert "environment" not in OURS["simulator"]


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


def test_the_image_installs_only_what_the_lock_pins_and_runs_as_nobody_special() -> None:
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
