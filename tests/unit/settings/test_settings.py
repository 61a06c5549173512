"""Settings from the environment and a .env file, and the errors for wrong ones."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bulksend.errors import InvalidInput
from bulksend.ledger.database import Database
from bulksend.settings import Settings, environment_name
from bulksend.settings.environment import PREFIX

SECRET = "aB3-dont-show-me"  # a word to look for, not a secret


def refusal(**environ: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        Settings.from_env(environ)
    return str(caught.value)


def row(settings: Settings, name: str) -> tuple[str, str]:
    return next((r.value, r.source) for r in settings.table() if r.name == name)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_env({})
    assert settings.database_url_text() == "sqlite:///bulksend.db"
    assert settings.redis_url is None
    assert settings.uspeedo_base_url == "https://api.uspeedo.com/api"
    assert settings.uspeedo_action == "SendMessage"
    assert (settings.request_timeout, settings.lease_seconds) == (30, 60)
    assert settings.default_rate == 80
    assert settings.account_rate is None


def test_variables_of_other_programs_are_ignored() -> None:
    assert Settings.from_env(
        {"PATH": "/bin", "CELERY_LOG": "1", "USPEEDO_PUBLIC_KEY": "x"}
    ) == Settings.from_env({})


def test_an_unknown_name_is_refused_with_the_nearest_right_one() -> None:
    assert refusal(BULKSEND_BATCHSIZE="5") == (
        "BULKSEND_BATCHSIZE: there is no such setting; did you mean BULKSEND_BATCH_SIZE?"
    )
    assert "did you mean USPEEDO_ACCESSKEY_SECRET?" in refusal(USPEEDO_ACCESSKEY_SECERT="x")


def test_an_unknown_name_without_a_near_one_is_refused_with_where_to_look() -> None:
    assert refusal(BULKSEND_XYZZY="5").endswith("there is no such setting; `bulksend settings` lists them")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.from_env({"REDIS_URL": "", "BULKSEND_BATCH_SIZE": "  "}) == Settings.from_env({})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("BULKSEND_BATCH_SIZE", "0", "BULKSEND_BATCH_SIZE: must be at least 1 (got '0')"),
        ("BULKSEND_BATCH_SIZE", "many", "BULKSEND_BATCH_SIZE: is not a whole number (got 'many')"),
        ("BULKSEND_BATCH_SIZE", "1e9", "BULKSEND_BATCH_SIZE: is not a whole number (got '1e9')"),
        ("BULKSEND_REQUEST_TIMEOUT", "0", "BULKSEND_REQUEST_TIMEOUT: must be more than 0 (got '0')"),
        ("BULKSEND_REQUEST_TIMEOUT", "601", "BULKSEND_REQUEST_TIMEOUT: must be at most 600 (got '601')"),
        ("BULKSEND_DEFAULT_RATE", "80/s", "BULKSEND_DEFAULT_RATE: is not a number (got '80/s')"),
        ("BULKSEND_DEFAULT_RATE", "nan", "BULKSEND_DEFAULT_RATE: is not a number (got 'nan')"),
        (
            "BULKSEND_CAP",
            "twice",
            "BULKSEND_CAP: is not a number of messages in a time; write it like 2/7d (got 'twice')",
        ),
        ("BULKSEND_ACCOUNT_RATE", "inf", "BULKSEND_ACCOUNT_RATE: is not a number (got 'inf')"),
        ("BULKSEND_ENCRYPT", "some", "BULKSEND_ENCRYPT: must be one of otp or all (got 'some')"),
        (
            "BULKSEND_TIMEZONE",
            "Mars/Olympus",
            "BULKSEND_TIMEZONE: is not a time zone; write a name like Europe/London (got 'Mars/Olympus')",
        ),
        (
            "BULKSEND_DEFAULT_REGION",
            "UK",
            "BULKSEND_DEFAULT_REGION: is not a country; "
            "write its two letters by ISO 3166, e.g. GB (got 'UK')",
        ),
        ("USPEEDO_ACCOUNT_ID", "12a", "USPEEDO_ACCOUNT_ID: is not a whole number (got '12a')"),
        (
            "USPEEDO_BASE_URL",
            "api.uspeedo.com",
            "USPEEDO_BASE_URL: is not a link; write https://host/path (got 'api.uspeedo.com')",
        ),
        (
            "BULKSEND_RETRY_CAP_SECONDS",
            "1",
            "BULKSEND_RETRY_CAP_SECONDS: must be at least BULKSEND_RETRY_BASE_SECONDS, 2 (got '1')",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence_with_its_name(name: str, value: str, sentence: str) -> None:
    assert refusal(**{name: value}) == sentence


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///x.db?mode=ro",
        "mysql://u:p@h/db",
        "bulksend.db",
        "postgresql+psycopg2://h/db",
        "postgres://h:port/db",
    ],
)
def test_a_ledger_other_than_sqlite_or_postgresql_is_refused(url: str) -> None:
    assert refusal(DATABASE_URL=url).startswith("DATABASE_URL: ")


@pytest.mark.parametrize("url", ["127.0.0.1:6379", "http://h/0", "redis://", "redis://h:port/0", "amqp://h"])
def test_a_broker_other_than_redis_is_refused(url: str) -> None:
    assert refusal(REDIS_URL=url).startswith(
        "REDIS_URL: is not a Redis URL; write redis://host:6379/0, or rediss://… for TLS"
    )


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_means_psycopg_3(scheme: str) -> None:
    settings = Settings.from_env({"DATABASE_URL": f"{scheme}://user:word@host:5432/name?sslmode=require"})
    assert settings.database_url_text() == "postgresql+psycopg://user:word@host:5432/name?sslmode=require"


def test_a_sqlite_url_stays_as_it_is() -> None:
    assert (
        Settings.from_env({"DATABASE_URL": "sqlite:////srv/a b.db"}).database_url_text()
        == "sqlite:////srv/a b.db"
    )


def test_secrets_are_not_shown_in_the_table_a_repr_or_an_error() -> None:
    environ = {
        "DATABASE_URL": f"postgres://user:{SECRET}@host/name?sslpassword={SECRET}",
        "REDIS_URL": f"rediss://:{SECRET}@host:6380/0?password={SECRET}",
        "USPEEDO_ACCESSKEY_SECRET": SECRET,
        "BULKSEND_ENCRYPTION_KEY": SECRET,
    }
    settings = Settings.from_env(environ)
    shown = (
        f"{settings!r} {settings} {settings.table()} {settings.database_address()} {settings.redis_address()}"
    )
    assert SECRET not in shown
    assert row(settings, "USPEEDO_ACCESSKEY_SECRET") == ("****", "environment")
    assert row(settings, "DATABASE_URL")[0] == "postgresql+psycopg://user:***@host/name?sslpassword=***"
    assert row(settings, "REDIS_URL")[0] == "rediss://:***@host:6380/0?password=***"
    with contextlib.closing(Database(settings.database_url_text())) as database:
        assert database.address == settings.database_address()
    assert SECRET not in refusal(**environ | {"REDIS_URL": f"http://:{SECRET}@host"})
    assert SECRET not in refusal(**environ | {"DATABASE_URL": f"mysql://u:{SECRET}@host/name"})


def test_the_environment_wins_over_the_dotenv_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "BULKSEND_BATCH_SIZE=7\nBULKSEND_INTAKE_CHUNK='9'\nPOSTGRES_PASSWORD=x # compose's own\n"
    )
    settings = Settings.from_env({"BULKSEND_BATCH_SIZE": "8"}, dotenv)
    assert row(settings, "BULKSEND_BATCH_SIZE") == ("8", "environment")
    assert row(settings, "BULKSEND_INTAKE_CHUNK") == ("9", ".env")
    assert row(settings, "BULKSEND_MAX_TRIES") == ("5", "default")


def test_a_wrong_value_in_the_dotenv_file_says_so(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("BULKSEND_BATCH_SIZE=much\n")
    with pytest.raises(InvalidInput, match=r"^BULKSEND_BATCH_SIZE in \.env: is not a whole number"):
        Settings.from_env({}, dotenv)


def test_a_dollar_sign_in_the_dotenv_file_is_a_dollar_sign(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("USPEEDO_ACCESSKEY_SECRET=a${HOME}b\n")
    secret = Settings.from_env({}, dotenv).uspeedo_accesskey_secret
    assert secret is not None
    assert secret.get_secret_value() == "a${HOME}b"


def test_a_missing_dotenv_file_is_no_error(tmp_path: Path) -> None:
    assert Settings.from_env({}, tmp_path / ".env") == Settings.from_env({})


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    settings = Settings.from_env({"USPEEDO_ACCESSKEY_SECRET_FILE": str(secret)})
    assert settings.uspeedo_accesskey_secret is not None
    assert settings.uspeedo_accesskey_secret.get_secret_value() == SECRET
    assert row(settings, "USPEEDO_ACCESSKEY_SECRET") == ("****", "USPEEDO_ACCESSKEY_SECRET_FILE")


@pytest.mark.parametrize("name", ["DATABASE_URL_FILE", "REDIS_URL_FILE", "BULKSEND_ENCRYPTION_KEY_FILE"])
def test_a_secrets_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refusal(**{name: str(missing)}) == f"{name}: {missing} cannot be read: No such file or directory"


def test_a_secrets_file_that_is_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    assert refusal(REDIS_URL_FILE=str(tmp_path / "secret")).endswith("is empty")


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    assert "are both set" in refusal(REDIS_URL="redis://h", REDIS_URL_FILE=str(tmp_path / "secret"))


def test_only_secrets_may_be_in_a_file() -> None:
    assert "there is no such setting" in refusal(BULKSEND_BATCH_SIZE_FILE="x")


def test_settings_are_frozen() -> None:
    settings = Settings.from_env({})
    with pytest.raises(ValidationError):
        settings.batch_size = 1  # type: ignore[misc]


def test_setting_an_encryption_key_changes_nothing_else() -> None:
    settings = Settings.from_env({"BULKSEND_BATCH_SIZE": "9"})
    changed = settings.with_encryption_key("k")
    assert (changed.encryption_key_text(), settings.encryption_key_text()) == ("k", "")
    assert row(changed, "BULKSEND_BATCH_SIZE") == ("9", "environment")


def test_every_setting_says_what_it_means_and_has_a_name_of_its_own() -> None:
    rows = Settings.from_env({}).table()
    assert all(r.meaning for r in rows)
    assert len({r.name for r in rows}) == len(rows)
    assert {r.name for r in rows if not r.name.startswith(PREFIX)} == {
        "DATABASE_URL",
        "REDIS_URL",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        *(
            f"USPEEDO_{what}"
            for what in (
                "BASE_URL",
                "ACCESSKEY_ID",
                "ACCESSKEY_SECRET",
                "ACCOUNT_ID",
                "ACTION",
                "EXTRA_PARAMS",
            )
        ),
    }


@given(name=st.sampled_from(list(Settings.model_fields)), value=st.text(min_size=1))
def test_any_text_is_either_accepted_or_refused_as_invalid_input(name: str, value: str) -> None:
    said = ""
    try:
        Settings.from_env({environment_name(name): value})
    except InvalidInput as refused:
        said = str(refused)
    assert said == "" or (said.startswith(f"{environment_name(name)}: ") and "\n" not in said)


# -- USPEEDO_EXTRA_PARAMS and BULKSEND_NOT_SENT_CODES -------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ('{"companyId": 8899, "Purpose": 1}', '{"companyId":8899,"Purpose":1}'),
        ('{"accountId": 8899}', '{"accountId":8899}'),
        ('{"name": "Zoë", "on": true}', '{"name":"Zoë","on":true}'),
        ("{}", "{}"),
    ],
)
def test_extra_parameters_are_a_flat_json_object(given: str, kept: str) -> None:
    assert Settings.from_env({"USPEEDO_EXTRA_PARAMS": given}).uspeedo_extra_params == kept


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("companyId=8899", "is not JSON"),
        ('{"companyId": 8899', "is not JSON"),
        ("{'companyId': 8899}", "is not JSON"),
        ("{1: 2}", "is not JSON"),
        ("[1]", "not an object"),
        ("8899", "not an object"),
        ("null", "not an object"),
        ('"companyId"', "not an object"),
        ('{"companyId": null}', "is null"),
        ('{"companyId": 1.5}', "is a fraction"),
        ('{"companyId": 1.0}', "is a fraction"),
        ('{"companyId": NaN}', "is a fraction"),
        ('{"companyId": 1e3}', "is a fraction"),
        ('{"companyId": {"a": 1}}', "has values inside"),
        ('{"companyId": [1]}', "has values inside"),
        ('{"companyId": 99999999999999999999}', "64 bits"),
        ('{"companyId": "a\\u0000b"}', "cannot be printed"),
        ('{"companyId": "\\ud800"}', "cannot be printed"),
        ('{"": 1}', "not a name"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"To": "447700900123"}', "each request has already"),
        ('{"to": "447700900123"}', "each request has already"),
        ('{"Content": "x"}', "each request has already"),
        ('{"Action": "x"}', "each request has already"),
        ('{"BusinessPhone": "1"}', "each request has already"),
        ('{"Type": "text"}', "each request has already"),
        ('{"AccountId": 1}', "set USPEEDO_ACCOUNT_ID"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_extra_parameters_that_cannot_be_sent_are_refused_with_a_reason(given: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        Settings.from_env({"USPEEDO_EXTRA_PARAMS": given})
    assert "USPEEDO_EXTRA_PARAMS" in str(refused.value)


def test_an_account_id_in_extra_parameters_must_be_the_account() -> None:
    """The vendor may read ``accountId`` as ``AccountId``: two accounts in one request would be one by chance."""
    extra = '{"accountId": 8899}'
    told = refusal(USPEEDO_EXTRA_PARAMS=extra, USPEEDO_ACCOUNT_ID="8898")
    assert "USPEEDO_ACCOUNT_ID is 8898" in told
    assert Settings.from_env({"USPEEDO_EXTRA_PARAMS": extra, "USPEEDO_ACCOUNT_ID": "8899"})


@pytest.mark.parametrize(
    ("given", "codes"),
    [("503,150", {150, 503}), (" 503 , 150,503 ", {150, 503}), ("200", {200}), ("4242", {4242})],
)
def test_vouched_codes_are_numbers(given: str, codes: set[int]) -> None:
    assert Settings.from_env({"BULKSEND_NOT_SENT_CODES": given}).vouched_codes() == codes
    assert Settings.from_env({}).vouched_codes() == frozenset()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("HTTP 503", "'HTTP' is not a RetCode"),
        ("5xx", "'5xx'"),
        ("-1", "'-1'"),
        ("503;150", "'503;150'"),
        ("٣", "is not a RetCode"),
        ("1" * 10, "is not a RetCode"),
        ("110", "110 means that the message may have been sent"),
        ("503,504", "504 means that the message may have been sent"),
        ("0", "0 means"),
        ("408,500,502", "408 means"),
    ],
)
def test_codes_that_cannot_be_vouched_for_are_refused_with_a_reason(given: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        Settings.from_env({"BULKSEND_NOT_SENT_CODES": given})


# -- the way to the vendor ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8700/api",
        "http://127.8.9.1/api",
        "http://localhost:8700/api",
        "http://LOCALHOST./api",
        "http://vendor.localhost/api",
        "http://[::1]:8700/api",
        "http://[::ffff:127.0.0.1]/api",
        "https://api.uspeedo.com/api",
    ],
)
def test_an_address_on_this_machine_or_with_tls_needs_no_setting(url: str) -> None:
    assert not Settings.from_env({"USPEEDO_BASE_URL": url}).sends_in_the_clear()


@pytest.mark.parametrize(
    "url",
    [
        "http://api.uspeedo.com/api",
        "HTTP://api.uspeedo.com/api",
        "http://simulator:8700/api",
        "http://10.0.0.7/api",
        "http://0.0.0.0:8700/api",
        "http://localhost.example.com/api",
        "http://127.0.0.1.example.com/api",
        "http://[2001:db8::1]/api",
    ],
)
def test_an_address_on_another_machine_without_tls_needs_a_setting(url: str) -> None:
    told = refusal(USPEEDO_BASE_URL=url)
    assert "unencrypted" in told
    assert "BULKSEND_ALLOW_PLAIN_HTTP=1" in told
    allowed = Settings.from_env({"USPEEDO_BASE_URL": url, "BULKSEND_ALLOW_PLAIN_HTTP": "1"})
    assert allowed.sends_in_the_clear()


PROXY = f"http://user:{SECRET}@proxy:3128"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_for_the_vendor_is_refused_with_the_remedies(name: str) -> None:
    told = Settings.from_env({name: PROXY}).proxy_in_the_way()
    assert told is not None
    assert f"{name} is set" in told
    assert "BULKSEND_IGNORE_PROXY=1" in told
    assert "api.uspeedo.com in NO_PROXY" in told
    assert SECRET not in told


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HTTPS_PROXY": " "},
        {"HTTP_PROXY": PROXY},  # for http:// only
        {"HTTPS_PROXY": PROXY, "BULKSEND_IGNORE_PROXY": "1"},
        {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"},
        {"HTTPS_PROXY": PROXY, "NO_PROXY": "localhost,API.uspeedo.com"},
        {"HTTPS_PROXY": PROXY, "no_proxy": "uspeedo.com"},
        {"HTTPS_PROXY": PROXY, "no_proxy": ".uspeedo.com:443, x"},
        {"HTTPS_PROXY": PROXY, "USPEEDO_BASE_URL": "http://127.0.0.1:8700/api"},
        {"HTTPS_PROXY": PROXY, "USPEEDO_BASE_URL": "https://10.1.2.3/api", "NO_PROXY": "10.0.0.0/8"},
        {"HTTPS_PROXY": PROXY, "USPEEDO_BASE_URL": "https://[fd00::1]/api", "NO_PROXY": "fd00::1"},
    ],
)
def test_a_proxy_for_other_addresses_is_ignored(environ: dict[str, str]) -> None:
    assert Settings.from_env(environ).proxy_in_the_way() is None


@pytest.mark.parametrize(
    "no_proxy", ["speedo.com", "uspeedo.com.evil.org", "localhost", "10.0.0.0/8", ",", "."]
)
def test_a_no_proxy_list_without_the_vendor_does_not_exempt_it(no_proxy: str) -> None:
    assert Settings.from_env({"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}).proxy_in_the_way()


def test_a_proxy_for_plain_http_counts_where_the_vendor_is_http() -> None:
    environ = {"USPEEDO_BASE_URL": "http://simulator:8700/api", "BULKSEND_ALLOW_PLAIN_HTTP": "yes"}
    assert Settings.from_env(environ | {"http_proxy": PROXY}).proxy_in_the_way()
    assert Settings.from_env(environ | {"HTTPS_PROXY": PROXY}).proxy_in_the_way() is None


def test_a_switch_that_is_neither_yes_nor_no_is_refused_with_a_reason() -> None:
    assert "write 1 or 0" in refusal(BULKSEND_IGNORE_PROXY="perhaps")


def test_private_networks_of_webhooks_are_networks() -> None:
    assert Settings.from_env({}).webhook_networks() == ()
    given = Settings.from_env({"BULKSEND_WEBHOOKS_ALLOW_PRIVATE": "10.0.0.0/8, 127.0.0.1"})
    assert [str(network) for network in given.webhook_networks()] == ["10.0.0.0/8", "127.0.0.1/32"]
    assert "'yes' is not a network" in refusal(BULKSEND_WEBHOOKS_ALLOW_PRIVATE="yes")
