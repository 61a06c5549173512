"""The parts of a process, each made of the settings in one function.

Every command opens the ledger. All else is imported by the function that needs it: a command loads what it uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bulksend.errors import IncompleteSetup, InvalidInput, RedisUnreachable, SchemaOutdated
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.installation import limiter_key
from bulksend.ledger.key_file import encryption_keys, kept_keys, ledger_file
from bulksend.ledger.migrate import check_schema, migrate
from bulksend.messaging.sentences import say

if TYPE_CHECKING:
    import redis

    from bulksend.gateway import Credentials, VendorClient
    from bulksend.gateway.vendor_calls import VendorCalls
    from bulksend.ledger.message_rows import EncryptionPolicy
    from bulksend.limits import RedisPermits
    from bulksend.messaging.quiet_hours import QuietHours
    from bulksend.messaging.time_rules import TimeRules
    from bulksend.oidc.issuer import Issuer
    from bulksend.settings import Settings
    from bulksend.tracing import Tracing

#: Redis answers the limiter within about a millisecond; a worker does not wait longer than this.
_LIMITER_TIMEOUT_S = 0.5
#: A send that makes a forecast does not wait longer for it.
_FORECAST_TIMEOUT_S = 0.25


def database(of: Settings, *, by_key: bool = False) -> Database:
    """The ledger; it connects at first use. ``by_key``: see Database."""
    return Database(of.database_url_text(), by_key=by_key, pooled=of.pooler == "transaction")


def checked_database(of: Settings) -> Database:
    """The ledger, reachable and with this program's schema. A SQLite ledger is migrated.

    Raises LedgerUnreachable, LedgerUnfit, SchemaNewer, and on PostgreSQL SchemaOutdated.
    """
    made = database(of)
    made.check()
    try:
        check_schema(made)
    except SchemaOutdated:
        # One file of one user: no other installation depends on its schema.
        if not made.is_sqlite:
            raise
        migrate(made)
    return made


def existing_database(of: Settings) -> Database | None:
    """The ledger for a command that changes nothing; None where its SQLite file does not exist.

    Raises LedgerUnreachable, LedgerUnfit, SchemaNewer, SchemaOutdated.
    """
    file = ledger_file(of.database_url_text())
    if file is not None and not file.exists():
        return None
    made = database(of)
    made.check()
    check_schema(made)
    return made


def cipher(of: Settings) -> Cipher:
    """Encrypts and decrypts contents. Makes the key file of a SQLite ledger that has none.

    Raises InvalidInput for a malformed key.
    """
    return Cipher.from_text(encryption_keys(of))


def reading_cipher(of: Settings) -> Cipher:
    """Decrypts contents with the keys that exist; makes no key file. Raises InvalidInput for a malformed key."""
    return Cipher.from_text(kept_keys(of))


def encryption_policy(of: Settings) -> EncryptionPolicy:
    """Which kinds of message are stored encrypted."""
    from bulksend.ledger.message_rows import encrypt_all, encrypt_otp_only

    return encrypt_all if of.encrypt == "all" else encrypt_otp_only


def time_rules(of: Settings) -> TimeRules:
    """How long messages live, and quiet hours. Raises InvalidInput when the file of quiet hours cannot be used."""
    from bulksend.messaging.states import Kind
    from bulksend.messaging.time_rules import TimeRules

    seconds = {
        Kind.OTP: of.otp_ttl_seconds,
        Kind.UTILITY: of.utility_ttl_seconds,
        Kind.MARKETING: of.marketing_ttl_seconds,
    }
    ttls_ms = {kind: int(each * 1000) for kind, each in seconds.items() if each is not None}
    return TimeRules(ttls_ms, quiet_hours(of))


def quiet_hours(of: Settings) -> QuietHours | None:
    """The quiet hours; None where none are set. Raises InvalidInput when their file cannot be used."""
    if of.quiet_hours is None:
        return None
    from pathlib import Path

    from bulksend.messaging.quiet_hours import read_quiet_hours

    try:
        text = Path(of.quiet_hours).read_text("utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise InvalidInput(f"BULKSEND_QUIET_HOURS: {of.quiet_hours} cannot be read: {why}") from None
    return read_quiet_hours(text, name=of.quiet_hours)


def redis_client(of: Settings, *, timeout_s: float = 2.0) -> redis.Redis:
    """Redis; it connects at first use, and each call ends within ``timeout_s``.

    Raises RedisUnreachable where REDIS_URL is not set.
    """
    from bulksend.redis_client import open_redis

    if of.redis_url is None:
        raise RedisUnreachable(
            "REDIS_URL is not set; set it to your Redis or Valkey, e.g. REDIS_URL=redis://127.0.0.1:6379/0, or "
            "use `bulksend demo` or `bulksend up`, which start their own"
        )
    return open_redis(of.redis_url_text(), timeout_s=timeout_s)


def answering_redis(of: Settings, *, timeout_s: float = 2.0) -> redis.Redis:
    """Redis, answering. Raises RedisUnreachable; RedisUnfit where waiting does not help."""
    import redis

    from bulksend.broker import RedisUnfit, problem_of

    client = redis_client(of, timeout_s=timeout_s)
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        problem = problem_of(error)
        if problem.fatal:
            raise RedisUnfit(problem, of.redis_address()) from None
        raise RedisUnreachable(problem.text(f"Redis at {of.redis_address()}")) from None
    return client


def check_redis(of: Settings, *, tolerates_passing: bool = False, timeout_s: float = 2.0) -> None:
    """Try all that workers and relay do in Redis. Raises RedisUnreachable, RedisUnfit.

    ``tolerates_passing``: a problem that may end by itself, such as a full memory, does not raise.
    """
    import redis

    from bulksend.broker import check_redis_works, problem_of

    with answering_redis(of, timeout_s=timeout_s) as client:
        try:
            check_redis_works(client, of.redis_address())
        except redis.RedisError as error:
            if not tolerates_passing:
                raise RedisUnreachable(problem_of(error).text(f"Redis at {of.redis_address()}")) from None


def limiter(
    of: Settings, database: Database, *, timeout_s: float = _LIMITER_TIMEOUT_S, reconnects: int = 1
) -> RedisPermits:
    """The limiter of this installation. Raises LedgerUnreachable."""
    from bulksend.limits import LimitRules, RedisPermits
    from bulksend.redis_client import open_redis

    return RedisPermits(
        open_redis(of.redis_url_text(), timeout_s=timeout_s, reconnects=reconnects),
        hash_key=limiter_key(database),
        account=of.account(),
        rules=LimitRules(
            account_rate=of.account_rate,
            pair_interval_ms=of.pair_interval_seconds * 1000,
            pair_burst=of.pair_burst,
            otp_reserve=of.otp_reserve,
            answer_ms=(of.connect_timeout + of.request_timeout) * 1000,
        ),
    )


def forecast_limiter(of: Settings, database: Database) -> RedisPermits | None:
    """The limiter for forecasts; None where REDIS_URL is not set. Raises LedgerUnreachable."""
    if of.redis_url is None:
        return None
    return limiter(of, database, timeout_s=_FORECAST_TIMEOUT_S, reconnects=0)


def working_limiter(
    of: Settings, database: Database, tell: Callable[[str], None], *, timeout_s: float = 2.0
) -> RedisPermits | None:
    """The limiter if Redis does its work; else None, and ``tell`` gets the reason where REDIS_URL is set.

    A Redis that does not answer within ``timeout_s`` does not work.

    Without it the ledger alone answers, and an act is done once the ledger has it. Raises LedgerUnreachable.
    """
    from bulksend.broker import RedisUnfit

    if of.redis_url is None:
        return None
    try:
        check_redis(of, timeout_s=timeout_s)
    except (RedisUnreachable, RedisUnfit) as error:
        tell(str(error))
        return None
    return limiter(of, database)


def tracing(of: Settings, service: str) -> Tracing | None:
    """Traces of this kind of process; None where no collector is set. Raises InvalidInput without the extra."""
    if of.otel_exporter_otlp_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise InvalidInput(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and its packages are not installed: pip install 'bulksend[otel]'"
        ) from None
    from bulksend.tracing import Tracing

    return Tracing(OTLPSpanExporter(f"{of.otel_exporter_otlp_endpoint}/v1/traces"), service)


def issuer(of: Settings) -> Issuer | None:
    """The OpenID provider of the console; None where none is set. Raises IncompleteSetup."""
    settings = of.oidc()
    if settings is None:
        return None
    try:
        from bulksend.oidc.issuer import Issuer
    except ImportError:
        raise IncompleteSetup(
            say("BULKSEND_OIDC_ISSUER is set, and its package is not installed"),
            "pip install 'bulksend[oidc]'",
        ) from None
    return Issuer(settings)


def vendor_client(of: Settings, clock: Callable[[], float]) -> VendorClient:
    """The vendor over HTTPS, its requests signed at the time of ``clock`` (seconds since the epoch).

    Belongs to the event loop it is made on. Raises InvalidInput without credentials.
    """
    from bulksend.gateway import Timeouts, VendorClient
    from bulksend.gateway.socket_transport import SocketTransport

    credentials = _credentials(of)
    transport = SocketTransport(
        of.uspeedo_base_url,
        timeouts=Timeouts(
            connect=min(of.connect_timeout, of.request_timeout),
            read=of.request_timeout,
            write=of.request_timeout,
            total=of.request_timeout,
        ),
        connections=of.worker_in_flight,
        verify=True if of.tls_ca is None else of.tls_ca,
        max_age_seconds=of.connection_max_age_seconds,
    )
    return VendorClient(transport, credentials, clock=clock, vouched=of.vouched_codes())


def vendor_calls(of: Settings, *, seconds: float | None = None, tries: int = 1) -> VendorCalls:
    """The vendor's calls beside the POST of a message. Raises InvalidInput without credentials.

    ``seconds`` bounds each call, by default as a POST; one that only reads is made up to ``tries`` times.
    """
    from bulksend.gateway.vendor_calls import VendorCalls

    return VendorCalls(
        of.uspeedo_base_url,
        _credentials(of),
        connect_seconds=of.connect_timeout,
        seconds=seconds or of.request_timeout,
        verify=of.tls_ca or True,
        tries=tries,
    )


def _credentials(of: Settings) -> Credentials:
    from bulksend.gateway import Credentials

    missing = of.missing_credentials()
    if missing or of.uspeedo_accesskey_id is None or of.uspeedo_accesskey_secret is None:
        raise InvalidInput(f"{' and '.join(missing)} not set: take them from the vendor's console")
    return Credentials(
        of.uspeedo_accesskey_id,
        of.uspeedo_accesskey_secret.get_secret_value(),
        of.uspeedo_account_id,
        of.uspeedo_action,
        of.uspeedo_extra_params or "",
    )
