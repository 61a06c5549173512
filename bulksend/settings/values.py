"""What the text of each setting may be: each function returns the value in its usual form or raises ValueError."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address, ip_network
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from bulksend.errors import InvalidInput
from bulksend.failpoints import check
from bulksend.messaging.exclusions import parse_cap
from bulksend.messaging.retention import parse_days
from bulksend.messaging.webhook_targets import read_networks
from bulksend.settings.oidc import parse_roles
from bulksend.settings.proxy import host_of, is_loopback

#: Words in the names of URL parameters whose values are not shown.
_PRIVATE = ("pass", "key", "secret", "token")
_HOST = re.compile(r"[\w.\-:%]+")
_ENCODE = "percent-encode @ : / # ? % in the password"


def database_url(value: SecretStr) -> SecretStr:
    """``postgres://`` and ``postgresql://`` become psycopg 3; sqlite stays."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    text = value.get_secret_value()
    for old in ("postgres://", "postgresql://"):
        if text.startswith(old):
            text = "postgresql+psycopg://" + text[len(old) :]
    try:
        url = make_url(text)
        # A bare @ in the password would make the rest of it part of the host, which is shown.
        sound = url.drivername.startswith("sqlite") or text.partition("?")[0].count("@") <= 1
    except (ArgumentError, ValueError):
        sound = False
    if not sound or (url.host is not None and not _HOST.fullmatch(url.host)):
        raise ValueError(
            "is not a database URL; write sqlite:///file.db or postgresql://user:password@host/name, and "
            + _ENCODE
        )
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError(f"begins with {url.drivername}:; write sqlite:///… or postgresql://…")
    if url.drivername == "sqlite" and url.query:
        # They would be ignored: ?mode=ro would not keep the file from being written.
        raise ValueError(
            "has parameters after a ?, which a SQLite ledger does not take; leave them out, or write %3F for a ?"
        )
    return SecretStr(text)


def redis_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
        # A bare @ or # in the password would make the rest of it part of the host, which is shown.
        rest = parts.netloc.rpartition("@")[0] + parts.path + parts.query + parts.fragment
        sound = (
            sound and "@" not in rest and not parts.fragment and bool(_HOST.fullmatch(parts.hostname or ""))
        )
    except ValueError:  # the port is not a number
        sound = False
    if not sound:
        raise ValueError("is not a Redis URL; write redis://host:6379/0, or rediss://… for TLS; " + _ENCODE)
    for number in (parts.path.strip("/"), *parse_qs(parts.query).get("db", [])):
        # redis-py would use database 0 and Celery would end.
        if number and not (number.isascii() and number.isdigit()):
            raise ValueError(f"/{number[:40]} is not a database; write a number, redis://host:6379/0")
    return SecretStr(text)


def cap(value: str) -> str:
    try:
        return str(parse_cap(value))
    except InvalidInput:
        raise ValueError("is not a number of messages in a time; write it like 2/7d") from None


def http_url(value: str) -> str:
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


def issuer(value: str) -> str:
    """As it was written: what the provider calls itself is compared letter by letter, with its last slash."""
    http_url(value)
    if urlsplit(value).scheme == "http" and not is_loopback(host_of(value)):
        raise ValueError("must begin with https://, since users and secrets go there")
    if len(value) > 255:
        raise ValueError("is longer than 255 characters")
    return value


def scopes(value: str) -> str:
    found = value.replace(",", " ").split()
    if "openid" not in found:
        raise ValueError("must have openid among the scopes, e.g. openid profile email")
    for each in found:
        if not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", each):
            raise ValueError(f"has {each[:40]!r}, which is not a scope")
    return " ".join(found)


def oidc_roles(value: str) -> str:
    parse_roles(value)
    return value


def region(value: str) -> str:
    from phonenumbers import SUPPORTED_REGIONS

    if value.upper() not in SUPPORTED_REGIONS:
        raise ValueError("is not a country; write its two letters by ISO 3166, e.g. GB")
    return value.upper()


def days_by_kind(value: str) -> str:
    """Days, or days by kind, separated by commas."""
    parse_days(value)
    return ",".join(part.strip() for part in value.split(",") if part.strip())


def private_networks(value: str) -> str:
    read_networks(value)
    return value


def timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # not found; not a name; a folder
        raise ValueError("is not a time zone; write a name like Europe/London") from None
    return value


def failpoints(value: str) -> str:
    try:
        check(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    return value


#: The fields of every request, in lower case because the vendor may ignore case. ``accountId`` is allowed: the
#: vendor's sample has it.
_OUR_FIELDS = frozenset({"action", "accountid", "businessphone", "to", "type", "content"})


def extra_params(value: str) -> str:
    """A flat JSON object in compact form."""
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
        why = _why_invalid(name, param)
        if why is not None:
            raise ValueError(f"has {name[:40]!r}, which {why}")
    return json.dumps(params, ensure_ascii=False, separators=(",", ":"))


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"has {name[:40]!r} twice")
    return dict(pairs)


def _why_invalid(name: str, param: object) -> str | None:
    """Why a parameter cannot be merged into a request; None where it can."""
    if name.lower() in _OUR_FIELDS and name != "accountId":
        return "each request has already" + (
            "; set USPEEDO_ACCOUNT_ID" if name.lower() == "accountid" else "; leave it out"
        )
    if not name or not name.isprintable():
        return "is not a name of a parameter"
    if param is None:
        return "is null, which cannot be signed; leave it out"
    if isinstance(param, float):
        return (
            "is a fraction, which the vendor's SDKs sign in different ways; write a whole number or a string"
        )
    if isinstance(param, dict | list):
        return "has values inside; write a string, a whole number, true or false"
    if isinstance(param, int) and abs(param) >= 2**63:
        return "is a number of more than 64 bits; write a string"
    if isinstance(param, str) and not param.isprintable():
        return "has characters that cannot be printed; leave them out"
    return None


#: Codes whose meaning is an unknown outcome: the vendor or a proxy failed or timed out.
MAY_HAVE_GONE_OUT = frozenset({0, 110, 408, 500, 502, 504})


def not_sent_codes(value: str) -> str:
    """``503,150`` in ascending order, each once."""
    codes: set[int] = set()
    for text in value.replace(",", " ").split():
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise ValueError(f"{text!r} is not a RetCode or an HTTP status; write numbers, e.g. 503,150")
        codes.add(int(text))
    unknown = sorted(codes & MAY_HAVE_GONE_OUT)
    if unknown:
        raise ValueError(f"{unknown[0]} means that the message may have been sent; leave it out")
    return ",".join(str(code) for code in sorted(codes))


def upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def without_secrets(url: str) -> str:
    """The URL without passwords, before the host and in its parameters."""
    from sqlalchemy.engine import make_url

    made = make_url(url)
    private = {name: "***" for name in made.query if any(word in name.lower() for word in _PRIVATE)}
    return made.update_query_dict(private).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def networks(text: str) -> str:
    """Addresses and networks, separated by commas."""
    return ",".join(str(_network(part)) for part in text.split(",") if part.strip())


def _network(text: str) -> object:
    try:
        return ip_network(text.strip()) if "/" in text else ip_address(text.strip())
    except ValueError:
        raise ValueError(
            f"has {text.strip()[:40]!r}, which is not an address or network; write 10.0.0.5 or 10.1.0.0/16"
        ) from None


def origins(text: str) -> str:
    """Origins of web pages, separated by commas."""
    found = [part.strip().rstrip("/") for part in text.split(",") if part.strip()]
    for each in found:
        if not re.fullmatch(r"https?://[A-Za-z0-9.\-]+(:[0-9]{1,5})?", each):
            raise ValueError(f"has {each[:60]!r}, which is not an origin; write https://shop.example")
    return ",".join(found)
