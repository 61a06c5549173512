"""Settings: read once at the door into a frozen value, with a table that says what each means.

The environment wins over a ``.env`` file. A secret may also be given as ``NAME_FILE``, the path of a file
that holds it (docker secrets). An unknown ``BULKSEND_`` name is an error that names the nearest right one.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

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

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.failpoints import check
from bulksend.messaging.surrogates import replace_surrogates

if TYPE_CHECKING:
    from dotenv.parser import Binding

PREFIX = "BULKSEND_"
_PLAIN = ("DATABASE_URL", "REDIS_URL")
#: Words in the names of URL parameters whose values are not shown.
_PRIVATE = ("pass", "key", "secret", "token")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_HOST = re.compile(r"[\w.\-:%]+")
_ENCODE = "percent-encode @ : / # ? % in the password"


def _database_url(value: SecretStr) -> SecretStr:
    """``postgres://`` and ``postgresql://`` mean psycopg 3; SQLite stays."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    text = value.get_secret_value()
    for old in ("postgres://", "postgresql://"):
        if text.startswith(old):
            text = "postgresql+psycopg://" + text[len(old) :]
    try:
        url = make_url(text)
        # With a bare @ in the password the rest of it would be taken for the host, and shown.
        sound = url.drivername.startswith("sqlite") or text.partition("?")[0].count("@") <= 1
    except (ArgumentError, ValueError):
        sound = False
    if not sound or (url.host is not None and not _HOST.fullmatch(url.host)):
        raise ValueError(
            "is not a database URL; write sqlite:///file.db or postgresql://user:password@host/name, and "
            + _ENCODE
        )
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError(
            f"begins with {url.drivername}:; the ledger is kept in sqlite:///… or postgresql://…"
        )
    if url.drivername == "sqlite" and url.query:
        # They were ignored: with ?mode=ro the file was written all the same.
        raise ValueError(
            "has parameters behind a ?, and a SQLite ledger takes none; leave them out, or write %3F"
        )
    return SecretStr(text)


def _redis_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
        # With a bare @ or # in the password the rest of it would be taken for the host, and shown.
        rest = parts.netloc.rpartition("@")[0] + parts.path + parts.query + parts.fragment
        sound = (
            sound and "@" not in rest and not parts.fragment and bool(_HOST.fullmatch(parts.hostname or ""))
        )
    except ValueError:  # a port that is no number
        sound = False
    if not sound:
        raise ValueError("is not a Redis URL; write redis://host:6379/0, or rediss://… for TLS; " + _ENCODE)
    for number in (parts.path.strip("/"), *parse_qs(parts.query).get("db", [])):
        # By itself redis-py would take database 0 for it, and Celery end.
        if number and not (number.isascii() and number.isdigit()):
            raise ValueError(f"/{number[:40]} is no database; write a number, redis://host:6379/0")
    return SecretStr(text)


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("is not a link; write https://host/path")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain link: no user, password, query or fragment")
    return value.rstrip("/")


def _host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".").lower()


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _is_exempt(host: str, no_proxy: str) -> bool:
    """Whether a NO_PROXY list names the host: itself, a domain above it, a network of addresses, or ``*``."""
    for entry in no_proxy.lower().replace(",", " ").split():
        name = entry.rpartition(":")[0] if entry.count(":") == 1 else entry
        name = name.strip("[]").lstrip(".")
        if name in ("*", host) or (name and host.endswith(f".{name}")):
            return True
        with suppress(ValueError):
            if ip_address(host) in ip_network(name, strict=False):
                return True
    return False


def _region(value: str) -> str:
    from phonenumbers import SUPPORTED_REGIONS

    if value.upper() not in SUPPORTED_REGIONS:
        raise ValueError("is not a country; write its two letters by ISO 3166, e.g. GB")
    return value.upper()


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # not found; not a name; a folder of names
        raise ValueError("is not a time zone; write a name like Europe/London") from None
    return value


def _failpoints(value: str) -> str:
    try:
        check(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    return value


#: What every send has already. The vendor may read names without regard to case, so ``to`` would be ``To``; only the
#: page's own ``accountId`` is let through.
_OUR_FIELDS = frozenset({"action", "accountid", "businessphone", "to", "type", "content"})


def _extra_params(value: str) -> str:
    """A flat JSON object, written compactly."""
    example = 'write a JSON object such as {"companyId": 8899, "Purpose": 1}'
    try:
        params = json.loads(value, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError(f"is nested too deeply; {example}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error.msg} at character {error.pos + 1}); {example}") from None
    if not isinstance(params, dict):
        raise ValueError(f"is JSON, but not an object; {example}")
    for name, param in params.items():
        why = _why_not_sent(name, param)
        if why is not None:
            raise ValueError(f"has {name[:40]!r}, which {why}")
    return json.dumps(params, ensure_ascii=False, separators=(",", ":"))


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"has {name[:40]!r} twice")
    return dict(pairs)


def _why_not_sent(name: str, param: object) -> str | None:
    """Why a parameter cannot be merged into a request; None where it can."""
    if name.lower() in _OUR_FIELDS and name != "accountId":
        return "each request has already" + (
            "; set USPEEDO_ACCOUNT_ID" if name.lower() == "accountid" else "; leave it out"
        )
    if not name or not name.isprintable():
        return "is no name of a parameter"
    if param is None:
        return "is null, which cannot be signed; leave it out"
    if isinstance(param, float):
        return (
            "is a fraction, which the vendor's SDKs sign in different ways; write a whole number or a string"
        )
    if isinstance(param, dict | list):
        return "holds other values; write a string, a whole number, true or false"
    if isinstance(param, int) and abs(param) >= 2**63:
        return "is a number of more than 64 bits; write a string"
    if isinstance(param, str) and not param.isprintable():
        return "holds characters that cannot be printed; leave them out"
    return None


#: Codes that mean an unknown outcome: the vendor or a proxy gave up on an answer, or failed at its work.
MAY_HAVE_GONE_OUT = frozenset({0, 110, 408, 500, 502, 504})


def _not_sent_codes(value: str) -> str:
    """``503,150`` in ascending order, each once."""
    codes: set[int] = set()
    for text in value.replace(",", " ").split():
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise ValueError(f"{text!r} is not a RetCode or an HTTP status; write numbers, e.g. 503,150")
        codes.add(int(text))
    doubtful = sorted(codes & MAY_HAVE_GONE_OUT)
    if doubtful:
        raise ValueError(
            f"{doubtful[0]} means that it may have gone out, whatever is said of it; leave it out"
        )
    return ",".join(str(code) for code in sorted(codes))


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseModel):
    """Every setting. Names in the environment are upper-case; all but the well-known have our prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        SecretStr("sqlite:///bulksend.db"), description="The ledger: sqlite:///… or postgresql://…"
    )
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = Field(
        None, description="Broker and limiter: redis:// or rediss://"
    )
    uspeedo_base_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "https://api.uspeedo.com/api", description="The vendor's endpoint"
    )
    allow_plain_http: bool = Field(
        False,
        description="Let USPEEDO_BASE_URL be http:// beyond this machine: numbers and contents go in the clear",
    )
    ignore_proxy: bool = Field(
        False,
        description="Connect to the vendor directly though HTTPS_PROXY or ALL_PROXY is set, which is not used",
    )
    connection_max_age_seconds: float = Field(
        300,
        ge=1,
        le=86_400,
        description="The most seconds that a connection to the vendor is used, as its address may change",
    )
    uspeedo_accesskey_id: str | None = Field(None, description="The vendor's access key")
    uspeedo_accesskey_secret: SecretStr | None = Field(None, description="Its secret; never shown")
    uspeedo_account_id: int | None = Field(None, gt=0, description="The vendor's account, a number")
    uspeedo_action: Literal["SendMessage", "SendWhatsappMessage"] = Field(
        "SendMessage", description="The vendor's name of the send call: its page and its SDKs differ"
    )
    uspeedo_extra_params: Annotated[str, AfterValidator(_extra_params)] | None = Field(
        None,
        description="A JSON object merged into each request and signed with it; the page's sample has companyId and "
        "Purpose",
    )
    pooler: Annotated[Literal["session", "transaction"], BeforeValidator(_lower)] = Field(
        "session",
        description="transaction where DATABASE_URL leads to a pooler in transaction mode, such as PgBouncer",
    )
    encryption_key: SecretStr | None = Field(
        None, description="Url-safe base64 of 32 bytes; a comma list rotates: the first encrypts, all decrypt"
    )
    encrypt: Annotated[Literal["otp", "all"], BeforeValidator(_lower)] = Field(
        "otp", description="Whose content is encrypted in the ledger"
    )
    request_timeout: float = Field(30, gt=0, le=600, description="Total deadline of one POST, seconds")
    connect_timeout: float = Field(
        5, gt=0, le=60, description="Deadline of connecting to the vendor, seconds"
    )
    lease_seconds: float = Field(60, ge=3, le=3600, description="How long a claim lasts unrenewed, seconds")
    stop_grace_seconds: float = Field(
        30, ge=0, le=600, description="How long a stopping worker lets POSTs in flight finish, seconds"
    )
    watchdog_seconds: float = Field(
        60,
        ge=0,
        le=3600,
        description="A worker that takes no job for so long, though jobs wait and it has room, ends; 0: never, seconds",
    )
    worker_in_flight: int = Field(
        200,
        ge=2,
        le=10_000,
        description="POSTs under way at once in a worker; a tenth of them is kept for codes",
    )
    not_sent_codes: Annotated[str, AfterValidator(_not_sent_codes)] | None = Field(
        None,
        description="RetCodes and HTTP statuses of which your vendor assures that nothing was sent, e.g. 503,150: "
        "tried again instead of unknown; never of one-time codes",
    )
    max_tries: int = Field(
        5, ge=1, le=100, description="Attempts of a message that may count before it fails"
    )
    retry_base_seconds: float = Field(
        2, gt=0, le=3600, description="First backoff, doubled each time, seconds"
    )
    retry_cap_seconds: float = Field(600, gt=0, le=86_400, description="Longest backoff, seconds")
    resend_wait_seconds: float = Field(
        600, ge=0, le=86_400, description="How long a campaign's resend waits for a receipt first, seconds"
    )
    batch_size: int = Field(500, ge=1, le=5000, description="Messages in one job")
    window_seconds: float = Field(
        10, gt=0, le=3600, description="How much of a blast lies in Redis at most, in seconds of its rate"
    )
    republish_seconds: float = Field(10, ge=1, le=600, description="When a job is taken for lost, seconds")
    relay_interval_seconds: float = Field(
        0.5, ge=0.05, le=60, description="How often the relay looks, seconds"
    )
    intake_chunk: int = Field(4000, ge=1, le=50_000, description="Rows taken in by one transaction")
    default_rate: float = Field(
        80, gt=0, le=100_000, description="Rate of a sender not on record, messages/s"
    )
    account_rate: float | None = Field(
        None, gt=0, le=1_000_000, description="Rate of the whole account, messages/s; no limit unless set"
    )
    otp_reserve: float = Field(
        0.05, ge=0, le=1, description="Part of a sender's quota kept for one-time codes"
    )
    pair_interval_seconds: float = Field(
        6, gt=0, le=86_400, description="One message per so many seconds to one recipient, seconds"
    )
    pair_burst: int = Field(45, ge=1, le=10_000, description="Messages to one recipient that may go at once")
    default_region: Annotated[str, AfterValidator(_region)] | None = Field(
        None, description="Country of numbers written without one, e.g. GB"
    )
    timezone: Annotated[str, AfterValidator(_timezone)] | None = Field(
        None, description="Zone of times written without one, e.g. Europe/London"
    )
    spool_dir: str = Field(
        ".bulksend/spool", description="Where results wait that the ledger could not take before a stop"
    )
    tls_ca: str | None = Field(None, description="File of certificate authorities for the vendor's endpoint")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", description="How much is logged"
    )
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = Field(
        "auto", description="How it is logged: auto is console on a terminal, else json"
    )
    actor: str | None = Field(None, description="Who operates, for the record; default: the system's user")

    failpoints: Annotated[str, AfterValidator(_failpoints)] | None = Field(
        None, description="Only for the fault bench: steps at which to die, NAME:ACTION[:NTH]"
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _proxies: dict[str, str] = PrivateAttr(default_factory=dict)
    """What the environment says of proxies, by the variables' names."""

    @model_validator(mode="after")
    def _caps_are_above_bases(self) -> Self:
        if self.retry_cap_seconds < self.retry_base_seconds:
            raise InvalidValue(
                environment_name("retry_cap_seconds"),
                f"{self.retry_cap_seconds:g}",
                f"must be at least {environment_name('retry_base_seconds')}, {self.retry_base_seconds:g}",
            )
        return self

    @model_validator(mode="after")
    def _one_account(self) -> Self:
        other = json.loads(self.uspeedo_extra_params or "{}").get("accountId", self.uspeedo_account_id)
        if self.uspeedo_account_id is not None and other != self.uspeedo_account_id:
            raise InvalidValue(
                environment_name("uspeedo_extra_params"),
                f"accountId {other}",
                f"must be the same account: {environment_name('uspeedo_account_id')} is {self.uspeedo_account_id}",
            )
        return self

    @model_validator(mode="after")
    def _nothing_goes_in_the_clear(self) -> Self:
        if self.sends_in_the_clear() and not self.allow_plain_http:
            raise InvalidValue(
                environment_name("uspeedo_base_url"),
                self.uspeedo_base_url,
                "sends numbers, contents and the access key in the clear; write https://, or set "
                f"{environment_name('allow_plain_http')}=1 where the network is your own",
            )
        return self

    @classmethod
    def from_env(cls, environ: Mapping[str, str], dotenv: Path | None = None) -> Settings:
        """Read the environment, and a ``.env`` file where there is one. Raises InvalidInput."""
        given = _gather(environ, dotenv)
        try:
            made = cls.model_validate({field: entry.value for field, entry in given.items()})
        except ValidationError as error:
            raise _in_one_sentence(error, given) from None
        made._sources.update({field: entry.source for field, entry in given.items()})
        made._proxies.update({name: value for name in _PROXIES if (value := environ.get(name, "").strip())})
        return made

    def is_given(self, field: str) -> bool:
        """Whether a setting was given at all, rather than left to its default."""
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

    def account(self) -> str:
        """The account that pauses and limits are kept for."""
        return str(self.uspeedo_account_id) if self.uspeedo_account_id is not None else "default"

    def vouched_codes(self) -> frozenset[int]:
        """RetCodes and HTTP statuses of which the operator says that nothing was sent."""
        return frozenset(int(code) for code in (self.not_sent_codes or "").split(",") if code)

    def sends_in_the_clear(self) -> bool:
        """Whether requests to the vendor leave this machine without TLS."""
        return urlsplit(self.uspeedo_base_url).scheme == "http" and not _is_loopback(
            _host_of(self.uspeedo_base_url)
        )

    def proxy_in_the_way(self) -> str | None:
        """What is wrong where the environment names a proxy for the vendor; None where nothing is.

        Requests go to the vendor directly: a proxy could answer in its place, and hide whether it has them.
        """
        host = _host_of(self.uspeedo_base_url)
        no_proxy = " ".join(value for name, value in self._proxies.items() if name.lower() == "no_proxy")
        if self.ignore_proxy or _is_loopback(host) or _is_exempt(host, no_proxy):
            return None
        scheme = urlsplit(self.uspeedo_base_url).scheme
        for name in self._proxies:
            if name.lower() in (f"{scheme}_proxy", "all_proxy"):
                return (
                    f"{name} is set, and bulksend does not send through a proxy; to connect to {host} directly set "
                    f"{environment_name('ignore_proxy')}=1, or name {host} in NO_PROXY, or unset {name}"
                )
        return None

    def missing_credentials(self) -> list[str]:
        """Names of credentials that are not set. The account id is optional: the key implies it."""
        wanted = ("uspeedo_accesskey_id", "uspeedo_accesskey_secret")
        return [environment_name(name) for name in wanted if getattr(self, name) is None]


#: Both spellings are in use; what they hold may be a secret.
_PROXIES = tuple(
    spelling
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
    for spelling in (name.upper(), name)
)


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A line of ``bulksend settings``: ``source`` is default, environment, .env or a ``…_FILE``."""

    name: str
    value: str
    source: str
    meaning: str


def environment_name(field: str) -> str:
    """How a setting is called in the environment."""
    name = field.upper()
    return name if name in _PLAIN or name.startswith("USPEEDO_") else PREFIX + name


@dataclass(frozen=True, slots=True)
class _Entry:
    """A setting as it was given: under which name, and from where."""

    name: str
    value: str
    source: str


def _gather(environ: Mapping[str, str], dotenv: Path | None) -> dict[str, _Entry]:
    """What was given, by field; the environment over the file."""
    return dict(_entries(read_dotenv(dotenv), ".env")) | dict(_entries(environ, "environment"))


def _entries(values: Mapping[str, str], source: str) -> Iterator[tuple[str, _Entry]]:
    fields = {environment_name(field): field for field in Settings.model_fields}
    files = {f"{name}_FILE": name for name, field in fields.items() if _is_secret(field)}
    # An empty variable is one that is not set: so docker compose writes it.
    for name, value in ((name, value.strip()) for name, value in values.items() if value.strip()):
        if name in fields or name in files:
            value = _text(name, value)
            if name in _URLS and _REFERENCE.search(value):
                where = f"{name} in .env" if source == ".env" else name
                raise InvalidInput(
                    f"{where}: refers to another variable, which is not filled in; write its value"
                )
        if name in fields:
            yield fields[name], _Entry(name, value, source)
        elif name in files:
            if values.get(files[name], "").strip():
                raise InvalidInput(f"{name} and {files[name]} are both set; leave one of them out")
            yield fields[files[name]], _Entry(name, _read_secret(name, value), name)
        else:
            _refuse_if_ours(name, [*fields, *files], exactly=source != ".env")


#: In a URL a dollar sign of its own is written %24, so ``${HOST}`` and ``/$HOME`` are meant to be filled in.
_URLS = frozenset({"DATABASE_URL", "REDIS_URL", "USPEEDO_BASE_URL"})
_REFERENCE = re.compile(r"\$\{\w|/\$[A-Za-z_]")


def _text(name: str, value: str) -> str:
    """Who operates is only for the record; any other value with bytes that are no text would be another value."""
    whole = replace_surrogates(value)
    if whole != value and name != environment_name("actor"):
        raise InvalidInput(f"{name}: is not UTF-8 text")
    return whole


def _is_secret(field: str) -> bool:
    return "SecretStr" in str(Settings.model_fields[field].annotation)


def _refuse_if_ours(name: str, known: list[str], *, exactly: bool) -> None:
    """An unknown name with our prefix is wrong; with the vendor's, only one that is nearly ours.

    In a file of ours also one in small letters, with hyphens, or nearly that of a server's address: an environment may
    hold such names for another program.
    """
    if not exactly:
        plain = name.upper().replace("-", "_").replace(".", "_")
        if plain in known:
            raise InvalidInput(
                f"{name} in .env: names of settings are in capitals, with underscores; write {plain}"
            )
        if near := difflib.get_close_matches(plain, _PLAIN, 1, 0.88):
            raise InvalidInput(f"{name} in .env: there is no such setting; did you mean {near[0]}?")
    for prefix, likeness in ((PREFIX, 0.5), ("USPEEDO_", 0.8)):
        if not name.startswith(prefix):
            continue
        # Compared without the prefix, which would make all of them alike.
        rests = [other.removeprefix(prefix) for other in known if other.startswith(prefix)]
        near = difflib.get_close_matches(name.removeprefix(prefix), rests, 1, likeness)
        if near:
            raise InvalidInput(f"{name}: there is no such setting; did you mean {prefix}{near[0]}?")
        if prefix == PREFIX:
            raise InvalidInput(f"{name}: there is no such setting; `bulksend settings` lists them")


def _read_secret(name: str, path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidInput(f"{name}: {path} cannot be read: {why}") from None
    if not text:
        raise InvalidInput(f"{name}: {path} is empty")
    return text


def read_dotenv(path: Path | None) -> dict[str, str]:
    """The variables of a ``.env`` file; none where there is no such file. Raises InvalidInput.

    A line that is not understood is an error: a default in its place would send elsewhere, or at another rate.
    """
    if path is None or not (path.exists() or path.is_symlink()):
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"{path} cannot be read: {why}") from None
    if "\0" in text:
        raise InvalidInput(
            f"{path} cannot be read: it is not UTF-8 text but perhaps UTF-16; save it as UTF-8"
        )
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line + _blank_lines_before(binding.original.string)
        if binding.error or (binding.key is not None and not _is_assignment(binding)):
            # Never the line itself: it may hold a password.
            raise InvalidInput(f"{path} line {line} is not NAME=value")
        if binding.key is None:
            continue
        if binding.key in lines:
            raise InvalidInput(
                f"{path} line {line}: {binding.key} is set on line {lines[binding.key]} too; leave one out"
            )
        lines[binding.key] = line
        found[binding.key] = binding.value or ""
    return found


def _is_assignment(binding: Binding) -> bool:
    return binding.value is not None and _NAME.fullmatch(binding.key or "") is not None


def _blank_lines_before(text: str) -> int:
    """A statement begins for the parser with the blank lines above it."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def _in_one_sentence(error: ValidationError, given: Mapping[str, _Entry]) -> InvalidInput:
    """The first thing that is wrong, under the name it was given by, in words of ours."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        return cause
    field = str(first["loc"][0])
    entry = given[field]
    name = entry.name + (" in .env" if entry.source == ".env" else "")
    return InvalidValue(name, "" if _is_secret(field) else entry.value[:40], _why(first["type"], first))


def _why(kind: str, problem: Mapping[str, Any]) -> str:
    context: Mapping[str, Any] = problem.get("ctx", {})
    limits = {"greater_than": "gt", "greater_than_equal": "ge", "less_than_equal": "le"}
    if kind in limits:
        words = {"gt": "more than", "ge": "at least", "le": "at most"}[limits[kind]]
        return f"must be {words} {context[limits[kind]]:g}"
    if kind == "literal_error":
        return f"must be one of {context['expected']}".replace("'", "")
    if kind == "value_error":
        return str(context["error"])
    if kind.startswith("bool_"):
        return "is neither yes nor no; write 1 or 0"
    if kind.startswith("int_"):
        return "is not a whole number"
    return "is not a number" if kind.startswith(("float_", "finite_")) else str(problem["msg"]).lower()


def without_secrets(url: str) -> str:
    """A URL as it may be shown: no password, neither before the host nor among the parameters."""
    from sqlalchemy.engine import make_url

    made = make_url(url)
    private = {name: "***" for name in made.query if any(word in name.lower() for word in _PRIVATE)}
    return made.update_query_dict(private).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")
