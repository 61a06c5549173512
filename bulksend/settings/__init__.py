"""Settings: read once when a process starts, into a frozen value. `bulksend settings` shows their descriptions.

The environment wins over a ``.env`` file. A secret may also be given as ``NAME_FILE``, the path of a file that holds it
(docker secrets). An unknown ``BULKSEND_`` name is an error that names the nearest known one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)

from bulksend.errors import IncompleteSetup, InvalidInput, InvalidValue
from bulksend.messaging.retention import Retention, in_order, parse_days
from bulksend.messaging.sentences import say
from bulksend.messaging.states import Kind
from bulksend.messaging.webhook_targets import Network, read_networks
from bulksend.settings import oidc, proxy, values
from bulksend.settings.dotenv import read_dotenv
from bulksend.settings.environment import environment_name, gather, one_sentence
from bulksend.settings.oidc import OidcSettings
from bulksend.settings.values import MAY_HAVE_GONE_OUT, without_secrets

__all__ = [
    "MAY_HAVE_GONE_OUT",
    "OidcSettings",
    "SettingRow",
    "Settings",
    "environment_name",
    "read_dotenv",
    "without_secrets",
]


#: The longest time to live: a year.
MOST_TTL_S = 366 * 86_400


class Settings(BaseModel):
    """Every setting. Its name in the environment is ``environment_name(field)``."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    database_url: Annotated[SecretStr, AfterValidator(values.database_url)] = Field(
        SecretStr("sqlite:///bulksend.db"),
        description="The database of the ledger: sqlite:///… or postgresql://…",
    )
    redis_url: Annotated[SecretStr, AfterValidator(values.redis_url)] | None = Field(
        None, description="The Redis or Valkey of broker and limiter: redis://… or rediss://…"
    )
    uspeedo_base_url: Annotated[str, AfterValidator(values.http_url)] = Field(
        "https://api.uspeedo.com/api", description="URL of the vendor's API"
    )
    allow_plain_http: bool = Field(
        False,
        description="Allow http:// in USPEEDO_BASE_URL to another machine: numbers and contents are sent unencrypted",
    )
    ignore_proxy: bool = Field(
        False,
        description="Start although HTTPS_PROXY or ALL_PROXY is set, and connect to the vendor without the proxy",
    )
    connection_max_age_seconds: float = Field(
        300,
        ge=1,
        le=86_400,
        description="Maximum age of a connection to the vendor, whose address may change, seconds",
    )
    uspeedo_accesskey_id: str | None = Field(None, description="Public part of the vendor's access key")
    uspeedo_accesskey_secret: SecretStr | None = Field(
        None, description="Secret part of the vendor's access key; never shown"
    )
    uspeedo_account_id: int | None = Field(None, gt=0, description="Number of the account at the vendor")
    uspeedo_action: Literal["SendMessage", "SendWhatsappMessage"] = Field(
        "SendMessage",
        description="Name of the vendor's send call: SendMessage by its documentation, SendWhatsappMessage by its SDKs",
    )
    uspeedo_extra_params: Annotated[str, AfterValidator(values.extra_params)] | None = Field(
        None,
        description='JSON object that is added to each request and signed, e.g. {"companyId": 8899, "Purpose": 1}',
    )
    pooler: Annotated[Literal["session", "transaction"], BeforeValidator(values.lower)] = Field(
        "session",
        description="transaction if DATABASE_URL points to a pooler in transaction mode, such as PgBouncer",
    )
    encryption_key: SecretStr | None = Field(
        None,
        description="URL-safe base64 of 32 bytes. To rotate keys, a list with commas: the first encrypts, all decrypt",
    )
    encrypt: Annotated[Literal["otp", "all"], BeforeValidator(values.lower)] = Field(
        "otp", description="Contents to encrypt in the ledger: otp or all"
    )
    request_timeout: float = Field(30, gt=0, le=600, description="Timeout of one POST to the vendor, seconds")
    connect_timeout: float = Field(5, gt=0, le=60, description="Timeout of connecting to the vendor, seconds")
    lease_seconds: float = Field(
        60,
        ge=3,
        le=3600,
        description="Time after which the messages of a worker that renews no lease are rescued, seconds",
    )
    stop_grace_seconds: float = Field(
        30,
        ge=0,
        le=600,
        description="Time that a stopping worker gives its POSTs under way to finish, seconds",
    )
    watchdog_seconds: float = Field(
        60,
        ge=0,
        le=3600,
        description="A worker ends if it takes no job for this time while jobs wait and it has room; 0: never, seconds",
    )
    worker_in_flight: int = Field(
        200,
        ge=2,
        le=10_000,
        description="Maximum number of POSTs under way in a worker; a tenth is reserved for one-time codes",
    )
    not_sent_codes: Annotated[str, AfterValidator(values.not_sent_codes)] | None = Field(
        None,
        description='RetCodes and HTTP statuses that mean "not sent" by the vendor\'s assurance, e.g. 503,150: their '
        "messages are tried again instead of unknown, except one-time codes",
    )
    stop_words: str = Field(
        "",
        description="Further words by which a person stops marketing messages, separated by commas; the usual ones "
        "of many languages are known",
    )
    start_words: str = Field(
        "",
        description="Further words by which a person resumes what a stop word stopped, separated by commas",
    )
    max_tries: int = Field(5, ge=1, le=100, description="Number of tries after which a message fails")
    retry_base_seconds: float = Field(
        2, gt=0, le=3600, description="Backoff after the first try, doubled after each further one, seconds"
    )
    retry_cap_seconds: float = Field(600, gt=0, le=86_400, description="Maximum backoff, seconds")
    resend_wait_seconds: float = Field(
        600,
        ge=0,
        le=86_400,
        description="Wait for a receipt before a campaign with `resend` sends an unknown message again, seconds",
    )
    otp_undelivered_seconds: float = Field(
        60,
        ge=0,
        le=3600,
        description="Time after which an accepted one-time code without a receipt of delivery is said to be "
        "undelivered, once, by an event; 0: never, seconds",
    )
    events_keep_days: float = Field(
        7, gt=0, le=3650, description="Age at which events are deleted (/v1/events, webhooks), days"
    )
    reads_keep_days: float = Field(
        90, gt=0, le=3650, description="Age at which records of who read phone numbers are deleted, days"
    )
    retention_content_days: Annotated[str, AfterValidator(values.days_by_kind)] | None = Field(
        None,
        description="Age after its end at which the variables and content of a message are deleted, days: 90, or by "
        "kind such as utility=400,marketing=90; never if it is not set",
    )
    retention_rows_days: Annotated[str, AfterValidator(values.days_by_kind)] | None = Field(
        None,
        description="Age after its end at which a message is deleted with its attempts and receipts, days, by kind as "
        "above; its campaign keeps the counts; never if it is not set",
    )
    retention_totals_days: Annotated[str, AfterValidator(values.days_by_kind)] | None = Field(
        None,
        description="Age after its end at which a campaign whose messages are deleted is deleted with its counts and "
        "refused rows, days, by kind as above; never if it is not set",
    )
    retention_inbound_days: float | None = Field(
        None,
        ge=1,
        le=36_500,
        description="Age at which what people wrote is deleted, days; never if it is not set",
    )
    batch_size: int = Field(500, ge=1, le=5000, description="Maximum number of messages in one job")
    window_seconds: float = Field(
        10,
        gt=0,
        le=3600,
        description="Part of a campaign that is in Redis or claimed at once, in seconds of its rate",
    )
    republish_seconds: float = Field(
        10, ge=1, le=600, description="Time after which the relay publishes a missing job again, seconds"
    )
    relay_interval_seconds: float = Field(
        0.5, ge=0.05, le=60, description="Interval at which the relay looks for due messages, seconds"
    )
    template_sync_seconds: float = Field(
        5,
        ge=0,
        le=3600,
        description="Interval at which the relay reads the templates in use from the vendor, seconds; 0: never",
    )
    max_failed: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of failures among its last messages that pauses a campaign without a limit of its own, 0 to "
        "1; 1: never. Campaigns of one-time codes pause only by a limit of their own",
    )
    max_failed_window: int = Field(
        200, ge=1, le=1_000_000, description="Number of a campaign's last messages among which failures count"
    )
    canary_delivered: float = Field(
        0.7, ge=0, le=1, description="Share of a canary that must be delivered, 0 to 1"
    )
    canary_wait_seconds: float = Field(
        900,
        ge=0,
        le=604_800,
        description="Time after the last message of a canary in which its receipts are awaited, seconds",
    )
    intake_chunk: int = Field(4000, ge=1, le=50_000, description="Number of rows stored in one transaction")
    default_rate: float = Field(
        80,
        gt=0,
        le=100_000,
        description="Rate of a sender without a rate of its own (`bulksend senders set`), messages/s",
    )
    account_rate: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Maximum rate of the whole account, messages/s; no limit if it is not set",
    )
    otp_reserve: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Part of the account's quota that marketing leaves to one-time codes and utility messages, 0 to 1",
    )
    pair_interval_seconds: float = Field(
        6,
        gt=0,
        le=86_400,
        description="Average interval between messages of one sender to one recipient, seconds",
    )
    pair_burst: int = Field(
        45,
        ge=1,
        le=10_000,
        description="Maximum number of messages of one sender to one recipient without that interval",
    )
    cap: Annotated[str, AfterValidator(values.cap)] | None = Field(
        None,
        description="Maximum number of marketing messages to a person in a time, over all campaigns, e.g. 2/7d; for "
        "campaigns without a cap of their own; no limit if it is not set",
    )
    prices: str | None = Field(
        None,
        description="CSV file of what one message costs (country, category, price, currency), for the cost of a "
        "campaign before it is sent",
    )
    plan_hours: float = Field(
        24, gt=0, le=720, description="Time after which a plan that was not applied expires, hours"
    )
    default_region: Annotated[str, AfterValidator(values.region)] | None = Field(
        None, description="Country of phone numbers without a country code, e.g. GB"
    )
    timezone: Annotated[str, AfterValidator(values.timezone)] | None = Field(
        None, description="Time zone of times without one, e.g. Europe/London"
    )
    quiet_hours: str | None = Field(
        None,
        description="CSV file of quiet hours, in which marketing or utility messages may not go out to a country or an "
        "area, by the clocks there; none if it is not set",
    )
    otp_ttl_seconds: float = Field(
        600, ge=1, le=MOST_TTL_S, description="Time to live of one-time codes without their own, seconds"
    )
    utility_ttl_seconds: float | None = Field(
        None,
        ge=1,
        le=MOST_TTL_S,
        description="Time to live of utility messages without their own, seconds; no limit if it is not set",
    )
    marketing_ttl_seconds: float | None = Field(
        None,
        ge=1,
        le=MOST_TTL_S,
        description="Time to live of marketing messages without their own, seconds; no limit if it is not set",
    )
    webhooks_allow_private: Annotated[str, AfterValidator(values.private_networks)] | None = Field(
        None,
        description="Private networks that webhooks may go to, also by http://, e.g. 10.0.0.0/8,127.0.0.1; all: any "
        "address",
    )
    webhooks_concurrency: int = Field(
        10, ge=1, le=100, description="Maximum number of requests under way to one endpoint of webhooks"
    )
    receipts_keep_days: float = Field(
        30, ge=1, le=3650, description="Time that the vendor's callbacks are kept as they came, days"
    )
    spool_dir: str = Field(
        ".bulksend/spool",
        description="Folder for results of a stopping worker and for callbacks, while the ledger is away",
    )
    upload_dir: str = Field(
        ".bulksend/uploads",
        description="Folder for files that programs post, until they are taken in, and for files of messages; only "
        "this user may read it",
    )
    upload_max_mb: int = Field(
        2048, ge=1, le=1_000_000, description="Maximum size of a file that a program posts, MB"
    )
    upload_keep: bool = Field(
        False,
        description="Keep the files that programs post after they are taken in; they hold phone numbers",
    )
    export_dir: str = Field(
        ".bulksend/exports",
        description="Folder for the files of exports that programs request; all `serve` processes share it",
    )
    tls_ca: str | None = Field(
        None, description="PEM file of certificate authorities that sign the vendor's certificate"
    )
    requests_per_second: int = Field(
        500,
        ge=1,
        le=1_000_000,
        description="Maximum number of HTTP requests of one key in a serving process, requests/s",
    )
    trusted_proxies: Annotated[str, AfterValidator(values.networks)] | None = Field(
        None,
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, e.g. 10.0.0.5,10.1.0.0/16",
    )
    cors_origins: Annotated[str, AfterValidator(values.origins)] | None = Field(
        None,
        description="Origins whose scripts may use the HTTP API, e.g. https://shop.example; none if it is not set",
    )
    oidc_issuer: Annotated[str, AfterValidator(values.issuer)] | None = Field(
        None,
        description="OpenID provider at which users of the console may sign in, as it names itself, e.g. "
        "https://login.shop.example; none if it is not set",
    )
    oidc_client_id: str | None = Field(None, description="Id that the OpenID provider gave to this console")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Secret that the OpenID provider gave to this console; never shown"
    )
    oidc_label: str | None = Field(
        None,
        max_length=60,
        description="Name of the OpenID provider on the button of the sign-in page; its host if it is not set",
    )
    oidc_scopes: Annotated[str, AfterValidator(values.scopes)] = Field(
        "openid profile email", description="Scopes that are asked of the OpenID provider"
    )
    oidc_name_claim: str | None = Field(
        None,
        description="Claim with the name of a new user; preferred_username, else email, if it is not set",
    )
    oidc_role_claim: str = Field(
        "groups",
        description="Claim whose values give a user its role, e.g. groups or realm_access.roles",
    )
    oidc_roles: Annotated[str, AfterValidator(values.oidc_roles)] | None = Field(
        None,
        description="Values of that claim and the roles that they give, e.g. it-staff=admin,marketing=sender, or a "
        "JSON object",
    )
    oidc_only: bool = Field(
        False,
        description="Let users sign in to the console by the OpenID provider and by one-time links only, not by "
        "password",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(values.upper)] = Field(
        "INFO", description="Least severe level that is logged"
    )
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(values.lower)] = Field(
        "auto", description="Format of the log: auto means console on a terminal and json elsewhere"
    )
    actor: str | None = Field(
        None, description="Name of the operator in the operator log; the system's user if it is not set"
    )

    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on which a process answers scrapes of its metrics; none if not set",
    )
    metrics_host: str = Field("127.0.0.1", description="Address that the metrics port listens on")
    metrics_token: SecretStr | None = Field(
        None,
        description="Token for /metrics of the HTTP API (Authorization: Bearer …); without it there is none",
    )
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(values.http_url)] | None = Field(
        None,
        description="OpenTelemetry collector (OTLP over HTTP) for traces, e.g. http://127.0.0.1:4318; an extra",
    )
    url: Annotated[str, AfterValidator(values.http_url)] | None = Field(
        None, description="Address of the HTTP API, for programs that use bulksend.client"
    )
    api_key: SecretStr | None = Field(
        None, description="Key of the HTTP API, for programs that use bulksend.client; never shown"
    )

    failpoints: Annotated[str, AfterValidator(values.failpoints)] | None = Field(
        None, description="For fault tests only: steps at which a process dies, NAME:ACTION[:NTH]"
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _proxies: dict[str, str] = PrivateAttr(default_factory=dict)
    """The variables of the environment that name proxies."""

    @model_validator(mode="after")
    def _check_backoff(self) -> Self:
        if self.retry_cap_seconds < self.retry_base_seconds:
            raise InvalidValue(
                environment_name("retry_cap_seconds"),
                f"{self.retry_cap_seconds:g}",
                f"must be at least {environment_name('retry_base_seconds')}, {self.retry_base_seconds:g}",
            )
        return self

    @model_validator(mode="after")
    def _check_retention(self) -> Self:
        """Contents go before rows, and rows before totals."""
        ages = ("retention_content_days", "retention_rows_days", "retention_totals_days")
        for first, then in pairwise(ages):
            kind = in_order(self._days(first), self._days(then))
            if kind is not None:
                raise InvalidValue(
                    environment_name(first),
                    f"{self._days(first)[kind]:g}",
                    f"of {kind} must be at most {environment_name(then)}, {self._days(then)[kind]:g}",
                )
        for kind in self._days("retention_totals_days"):
            if kind not in self._days("retention_rows_days"):
                raise InvalidValue(
                    environment_name("retention_totals_days"),
                    kind.value,
                    f"needs {environment_name('retention_rows_days')} of {kind}: totals go after the rows",
                )
        return self

    def _days(self, field: str) -> dict[Kind, float]:
        return parse_days(getattr(self, field) or "")

    @model_validator(mode="after")
    def _check_account(self) -> Self:
        other = json.loads(self.uspeedo_extra_params or "{}").get("accountId", self.uspeedo_account_id)
        if self.uspeedo_account_id is not None and other != self.uspeedo_account_id:
            raise InvalidValue(
                environment_name("uspeedo_extra_params"),
                f"accountId {other}",
                f"must be the same account: {environment_name('uspeedo_account_id')} is {self.uspeedo_account_id}",
            )
        return self

    @model_validator(mode="after")
    def _check_encryption_in_transit(self) -> Self:
        if self.sends_in_the_clear() and not self.allow_plain_http:
            raise InvalidValue(
                environment_name("uspeedo_base_url"),
                self.uspeedo_base_url,
                "sends numbers, contents and the access key unencrypted; write https://, or set "
                f"{environment_name('allow_plain_http')}=1 if the network is yours",
            )
        return self

    @classmethod
    def from_env(cls, environ: Mapping[str, str], dotenv: Path | None = None) -> Settings:
        """Read the environment, and the ``.env`` file if it exists. Raises InvalidInput."""
        given = gather(cls.model_fields, environ, dotenv)
        try:
            made = cls.model_validate({field: entry.value for field, entry in given.items()})
        except ValidationError as error:
            raise one_sentence(error, given) from None
        made._sources.update({field: entry.source for field, entry in given.items()})
        made._proxies.update(proxy.variables(environ))
        return made

    def is_given(self, field: str) -> bool:
        """Whether a setting was given; otherwise it has its default."""
        return field in self._sources

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
            return without_secrets(value.get_secret_value())
        if isinstance(value, SecretStr):
            return "****"
        return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    def database_url_text(self) -> str:
        """The ledger's URL with its password."""
        return self.database_url.get_secret_value()

    def database_address(self) -> str:
        """The ledger's URL without its password."""
        return self._shown("database_url")

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
        made._sources, made._proxies = dict(self._sources), dict(self._proxies)
        return made

    def retention(self) -> Retention:
        """How long messages, campaigns and what people wrote are kept."""
        return Retention(
            self._days("retention_content_days"),
            self._days("retention_rows_days"),
            self._days("retention_totals_days"),
            self.retention_inbound_days,
        )

    def account(self) -> str:
        """The key of the account's pauses and limits."""
        return str(self.uspeedo_account_id) if self.uspeedo_account_id is not None else "default"

    def oidc(self) -> OidcSettings | None:
        """The OpenID provider of the console; None where there is none. Raises IncompleteSetup.

        A process in which no user signs in does not ask: it need not have the secret.
        """
        given = [name for name in oidc.FIELDS if self.is_given(name)]
        if not given:
            return None
        for name in oidc.REQUIRED:
            if getattr(self, name) is None:
                raise IncompleteSetup(
                    say(
                        "{name} is not set, and {other} is",
                        name=environment_name(name),
                        other=environment_name(given[0]),
                    ),
                    say("set it, as users cannot sign in at the OpenID provider without it"),
                )
        return OidcSettings(
            issuer=self.oidc_issuer or "",
            client_id=self.oidc_client_id or "",
            client_secret=""
            if self.oidc_client_secret is None
            else self.oidc_client_secret.get_secret_value(),
            label=self.oidc_label or proxy.host_of(self.oidc_issuer or ""),
            scopes=self.oidc_scopes,
            name_claims=oidc.NAME_CLAIMS if self.oidc_name_claim is None else (self.oidc_name_claim,),
            role_claim=self.oidc_role_claim,
            roles=oidc.parse_roles(self.oidc_roles or ""),
        )

    def webhook_networks(self) -> tuple[Network, ...]:
        """The private networks that webhooks may go to."""
        return read_networks(self.webhooks_allow_private or "")

    def vouched_codes(self) -> frozenset[int]:
        """RetCodes and HTTP statuses that mean "not sent" by the operator's word."""
        return frozenset(int(code) for code in (self.not_sent_codes or "").split(",") if code)

    def sends_in_the_clear(self) -> bool:
        """Whether requests to the vendor leave this machine without TLS."""
        url = self.uspeedo_base_url
        return urlsplit(url).scheme == "http" and not proxy.is_loopback(proxy.host_of(url))

    def proxy_in_the_way(self) -> str | None:
        """The error if the environment names a proxy for the vendor; None if it does not.

        Requests go to the vendor directly: a proxy could answer instead, which hides whether the vendor got them.
        """
        if self.ignore_proxy:
            return None
        name = proxy.proxy_for(self.uspeedo_base_url, self._proxies)
        if name is None:
            return None
        host = proxy.host_of(self.uspeedo_base_url)
        return (
            f"{name} is set, and bulksend does not send through a proxy; to connect to {host} directly set "
            f"{environment_name('ignore_proxy')}=1, or name {host} in NO_PROXY, or unset {name}"
        )

    def missing_credentials(self) -> list[str]:
        """Names of credentials that are not set. The account id is optional."""
        wanted = ("uspeedo_accesskey_id", "uspeedo_accesskey_secret")
        return [environment_name(name) for name in wanted if getattr(self, name) is None]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A line of ``bulksend settings``. ``source``: default, environment, .env or the name of a ``…_FILE``."""

    name: str
    value: str
    source: str
    meaning: str
