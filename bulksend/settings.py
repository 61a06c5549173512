"""Settings: read once at the door into a frozen value, with a table that says what each means.

The environment wins over a ``.env`` file. A secret may also be given as ``NAME_FILE``, the path of a file that
holds it (docker secrets). An unknown ``BULKSEND_`` name is an error that names the nearest right one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bulksend.messaging.errors import InvalidInput

PREFIX = "BULKSEND_"


def _database_url(value: SecretStr) -> SecretStr:
    """``postgres://`` and ``postgresql://`` mean psycopg 3; SQLite stays."""
    text = value.get_secret_value().strip()
    for old in ("postgres://", "postgresql://"):
        if text.startswith(old):
            text = "postgresql+psycopg://" + text[len(old) :]
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("is not a database URL; write sqlite:///file.db or postgresql://user:password@host/name") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"names {url.get_backend_name()}; the ledger is kept in sqlite:///… or postgresql://…")
    return SecretStr(text)


def _redis_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not text.startswith(("redis://", "rediss://")):
        raise ValueError("is not a Redis URL; write redis://host:6379/0 or rediss://…")
    return SecretStr(text)


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("is not a link; write https://host/path")
    return value.rstrip("/")


class Settings(BaseModel):
    """Every setting. Names in the environment are upper-case; those under ``BULKSEND_`` have that prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        SecretStr("sqlite:///bulksend.db"), description="The ledger: sqlite:///… or postgresql://…"
    )
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = Field(
        None, description="Broker and limiter: redis:// or rediss://"
    )
    uspeedo_base_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "https://api.uspeedo.com/api", description="The vendor's endpoint"
    )
    uspeedo_accesskey_id: str | None = Field(None, description="The vendor's access key")
    uspeedo_accesskey_secret: SecretStr | None = Field(None, description="Its secret; never shown")
    uspeedo_account_id: int | None = Field(None, gt=0, description="The vendor's account, a number")
    uspeedo_action: Literal["SendMessage", "SendWhatsappMessage"] = Field(
        "SendMessage", description="The vendor's name of the send call: its page and its SDKs differ"
    )
    encryption_key: SecretStr | None = Field(
        None, description="Url-safe base64 of 32 bytes; a comma list rotates: the first encrypts, all decrypt"
    )
    encrypt: Literal["otp", "all"] = Field("otp", description="Whose content is encrypted in the ledger")
    request_timeout: float = Field(30, gt=0, le=600, description="Total deadline of one POST, seconds")
    connect_timeout: float = Field(5, gt=0, le=60, description="Deadline of connecting to the vendor, seconds")
    lease_seconds: float = Field(60, ge=3, le=3600, description="How long a claim lasts unrenewed, seconds")
    stop_grace_seconds: float = Field(
        30, ge=0, le=600, description="How long a stopping worker lets POSTs in flight finish, seconds"
    )
    worker_in_flight: int = Field(200, ge=2, le=10_000, description="POSTs under way at once in a worker")
    max_tries: int = Field(5, ge=1, le=100, description="Attempts of a message that may count before it fails")
    retry_base_seconds: float = Field(2, gt=0, le=3600, description="First backoff, doubled each time, seconds")
    retry_cap_seconds: float = Field(600, gt=0, le=86_400, description="Longest backoff, seconds")
    resend_wait_seconds: float = Field(
        600, ge=0, le=86_400, description="How long a campaign's resend waits for a receipt first, seconds"
    )
    batch_size: int = Field(500, ge=1, le=5000, description="Messages in one job")
    window_seconds: float = Field(
        60, gt=0, le=3600, description="How much of a blast lies in Redis at most, in seconds of its rate"
    )
    republish_seconds: float = Field(10, ge=1, le=600, description="When a job is taken for lost, seconds")
    relay_interval_seconds: float = Field(0.5, ge=0.05, le=60, description="How often the relay looks, seconds")
    intake_chunk: int = Field(2000, ge=1, le=50_000, description="Rows taken in by one transaction")
    default_rate: float = Field(80, gt=0, le=100_000, description="Rate of a sender not on record, messages/s")
    account_rate: float | None = Field(None, gt=0, description="Rate of the whole account, messages/s")
    otp_reserve: float = Field(0.05, ge=0, le=1, description="Part of a sender's quota kept for one-time codes")
    pair_interval_seconds: float = Field(
        6, gt=0, description="One message per so many seconds to one recipient, seconds"
    )
    pair_burst: int = Field(45, ge=1, description="Messages to one recipient that may go at once")
    default_region: str | None = Field(
        None, pattern="^[A-Z]{2}$", description="Country of numbers written without one, e.g. GB"
    )
    timezone: str | None = Field(None, description="Zone of times written without one, e.g. Europe/London")
    spool_dir: str = Field(
        ".bulksend/spool", description="Where results wait that the ledger could not take before a stop"
    )
    tls_ca: str | None = Field(None, description="File of certificate authorities for the vendor's endpoint")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="How much is logged")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="How it is logged")
    actor: str | None = Field(None, description="Who operates, for the record; default: the system's user")

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], dotenv: Path | None = None) -> Settings:
        """Read the environment, and a ``.env`` file where there is one. Raises InvalidInput."""
        given, sources = _gather(environ, dotenv)
        try:
            made = cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = environment_name(str(first["loc"][0]))
            why = str(first["msg"]).removeprefix("Value error, ")
            raise InvalidInput(f"{name}: {why[:1].lower() + why[1:]}") from None
        made._sources.update(sources)
        return made

    def table(self) -> list[SettingRow]:
        """Every setting for ``bulksend settings``; secrets as ``****``."""
        return [
            SettingRow(
                environment_name(name),
                self._shown(name),
                self._sources.get(name, "default"),
                field.description or "",
            )
            for name, field in type(self).model_fields.items()
        ]

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        if name in ("database_url", "redis_url") and value is not None:
            return make_url(value.get_secret_value()).render_as_string(hide_password=True)
        if isinstance(value, SecretStr):
            return "****"
        return "" if value is None else str(value)

    def database_url_text(self) -> str:
        """The ledger's URL with its password."""
        return self.database_url.get_secret_value()

    def redis_url_text(self) -> str:
        """The Redis URL with its password. Raises InvalidInput where there is none."""
        if self.redis_url is None:
            raise InvalidInput("REDIS_URL is not set, e.g. REDIS_URL=redis://127.0.0.1:6379/0")
        return self.redis_url.get_secret_value()

    def redis_address(self) -> str:
        """The Redis URL without its password."""
        return self._shown("redis_url")

    def encryption_key_text(self) -> str:
        """The encryption keys; empty where there are none."""
        return "" if self.encryption_key is None else self.encryption_key.get_secret_value()

    def with_encryption_key(self, keys: str) -> Settings:
        """The same settings with these encryption keys."""
        made = self.model_copy(update={"encryption_key": SecretStr(keys)})
        made._sources.update(self._sources)
        return made

    def account(self) -> str:
        """The account that pauses and limits are kept for."""
        return str(self.uspeedo_account_id) if self.uspeedo_account_id is not None else "default"

    def missing_credentials(self) -> list[str]:
        """Names of credentials that are not set. The account id is optional: the key implies it."""
        wanted = ("uspeedo_accesskey_id", "uspeedo_accesskey_secret")
        return [environment_name(name) for name in wanted if getattr(self, name) is None]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A line of ``bulksend settings``: ``source`` is default, environment, .env or a file."""

    name: str
    value: str
    source: str
    meaning: str


def environment_name(field: str) -> str:
    """How a setting is called in the environment."""
    plain = field in ("database_url", "redis_url") or field.startswith("uspeedo_")
    return field.upper() if plain else PREFIX + field.upper()


def _gather(environ: Mapping[str, str], dotenv: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    fields = {environment_name(name): name for name in Settings.model_fields}
    secrets = {name for name in fields if "SecretStr" in str(Settings.model_fields[fields[name]].annotation)}
    given: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, values in ((".env", _dotenv(dotenv)), ("environment", environ)):
        for name, value in values.items():
            base = name.removesuffix("_FILE")
            if name in fields:
                if value.strip() == "":
                    continue  # an empty variable is one that is not set, as docker compose writes it
                given[fields[name]], sources[fields[name]] = value.strip(), source
            elif name.endswith("_FILE") and base in secrets:
                given[fields[base]], sources[fields[base]] = _read_secret(name, value), "file"
            elif name.startswith((PREFIX, "USPEEDO_")):
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"did you mean {near[0]}?" if near else "`bulksend settings` lists them"
                raise InvalidInput(f"{name}: there is no such setting; {hint}")
    return given, sources


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise InvalidInput(f"{name}: {path} cannot be read: {error.strerror}") from None


def _dotenv(path: Path | None) -> dict[str, str]:
    if path is None or not path.is_file():
        return {}
    from dotenv import dotenv_values

    return {
        name: value
        for name, value in dotenv_values(path, interpolate=False).items()
        if value is not None and (name.startswith((PREFIX, "USPEEDO_")) or name in ("DATABASE_URL", "REDIS_URL"))
    }
