"""The rules of single values of a content: text, template variable, one-time code, link, degrees.

Each check takes (value, path, limit) and returns the value, or raises InvalidValue. No error shows the value, because
it may be private. The value of a ``PlaceholderText`` is known only per message, so the check records itself in it.
"""

from __future__ import annotations

import ipaddress
import operator
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import urlsplit

from bulksend.errors import InvalidValue

OTP_CODE_MAX = 15  # docs/vendor.md#content
#: Programs write it for a character that they cannot read.
REPLACEMENT_CHARACTER = "\ufffd"
HAS_REPLACEMENT_CHARACTER = (
    "has a U+FFFD, which another program wrote for a character that it could not read; export the data as UTF-8 "
    "again"
)

#: Begins an id of ours in place of the vendor's id of a file.
OUR_FILE = "media:"
_OUR_FILE = re.compile(rf"{OUR_FILE}[0-9a-f]{{8}}-([0-9a-f]{{4}}-){{3}}[0-9a-f]{{12}}", re.ASCII)

Rule = Callable[[str, str, int], str | float]
"""(text, path, limit) -> the value that is sent. Raises InvalidValue."""

_FIVE_SPACES = "     "
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}\w)?")
#: Browsers and fetchers read a host whose last label is a number as an IPv4 address: 2130706433, 0x7f.1, 127.1.
_NUMBER = re.compile(r"0x[0-9a-f]*|\d+", re.ASCII | re.IGNORECASE)
_OURS = (".localhost", ".local", ".localdomain", ".internal", ".intranet", ".lan", ".home.arpa")
_DEGREES = re.compile(r"[+-]?\d{1,3}(?:[.,]\d{1,17})?", re.ASCII)
#: Symbols (emoji), format marks, surrogates, private use, unassigned.
_NOT_IN_A_CODE = frozenset({"So", "Sk", "Cf", "Cs", "Co", "Cn", "Cc"})


class PlaceholderText(str):
    """Text with placeholders during compilation. ``rule`` is the check that each message's text must pass."""

    __slots__ = ("rule", "source")

    source: str
    rule: tuple[Rule, str, int] | None

    def __new__(cls, source: str) -> PlaceholderText:
        made = super().__new__(cls, source)
        made.source = source
        made.rule = None
        return made


def check_text(value: object, path: str, most: int) -> str:
    """Text of 1 to ``most`` characters (code points) that can be sent without loss. Raises InvalidValue otherwise."""
    if isinstance(value, PlaceholderText):
        value.rule = (check_text, path, most)
        return value
    text = check_name(value, path, most)
    if not text.isascii() and REPLACEMENT_CHARACTER in text:
        raise InvalidValue(path, "", HAS_REPLACEMENT_CHARACTER)
    return text


def check_name(value: object, path: str, most: int) -> str:
    """As ``check_text``, but a U+FFFD is allowed: it may replace a byte of a file's name that is not UTF-8."""
    if not isinstance(value, str):
        raise InvalidValue(path, describe_type(value), "must be a string")
    if not value or value.isspace():
        raise InvalidValue(path, "", "is empty; fill it, or omit the field if it is optional")
    if len(value) > most:
        raise InvalidValue(path, describe_length(value), f"may have at most {most:,} characters; shorten it")
    if "\0" in value:
        raise InvalidValue(path, "", "has a NUL character; remove it")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidValue(
                path, "", "has half of a character (a lone surrogate); export the data as UTF-8 again"
            ) from None
    return value


def check_parameter(value: object, path: str, most: int) -> str:
    """A template's variable: text without newline, tab or more than 4 spaces in a row (132018). Raises InvalidValue."""
    if isinstance(value, PlaceholderText):
        value.rule = (check_parameter, path, most)
        return value
    text = check_text(value, path, most)
    if "\n" in text or "\r" in text or "\t" in text:
        raise InvalidValue(
            path,
            "",
            "has a newline or tab, which WhatsApp refuses in a template's variable (132018); remove it",
        )
    if _FIVE_SPACES in text:
        raise InvalidValue(
            path,
            "",
            "has more than 4 spaces in a row, which WhatsApp refuses in a template's variable (132018); "
            "remove some",
        )
    return text


def check_code(code: str, path: str) -> None:
    """Raises InvalidValue when a one-time code is longer than 15 characters, or has a link or emoji."""
    if len(code) > OTP_CODE_MAX:
        raise InvalidValue(
            path,
            describe_length(code),
            f"is a one-time code, which has at most {OTP_CODE_MAX} characters",
        )
    if "://" in code or code.lower().startswith("www."):
        raise InvalidValue(path, "", "is a one-time code, which must not be a link")
    if not code.isascii() and any(unicodedata.category(c) in _NOT_IN_A_CODE for c in code):
        raise InvalidValue(path, "", "is a one-time code, which must not have emoji or invisible characters")


def check_file_id(value: object, path: str, most: int) -> str:
    """The vendor's id of a file, or ours behind ``media:``. Raises InvalidValue.

    Ours is the same for a whole campaign, as the file is renewed for all of it: a row can only give the vendor's.
    """
    if isinstance(value, PlaceholderText):
        value.rule = (_check_file_id_of_row, path, most)
        return value
    text = check_text(value, path, most)
    if text.startswith(OUR_FILE) and not _OUR_FILE.fullmatch(text):
        raise InvalidValue(
            path,
            "",
            f"has no id of ours behind {OUR_FILE}; `bulksend media list` shows the files and their ids",
        )
    return text


def _check_file_id_of_row(value: str, path: str, most: int) -> str:
    text = check_text(value, path, most)
    if text.startswith(OUR_FILE):
        raise InvalidValue(
            path, "", f"begins with {OUR_FILE}, which no row can give; use the vendor's id of the file"
        )
    return text


def check_link(value: object, path: str, most: int) -> str:
    """An http(s) link to a public host name, which the vendor fetches. The name is not resolved.

    Raises InvalidValue for another scheme, an IP address, or a host of a private network.
    """
    if isinstance(value, PlaceholderText):
        value.rule = (check_link, path, most)
        return value
    text = check_text(value, path, most)
    if not text.isprintable() or any(c.isspace() for c in text):
        raise InvalidValue(path, "", "has a blank or control character; percent-encode it")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidValue(path, "", "is not a link; write it like https://example.com/picture.jpg") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidValue(path, "", "must begin with http:// or https://")
    if "@" in parts.netloc:
        raise InvalidValue(path, "", "must not carry a user name or password (an @ before the path)")
    if not host:
        raise InvalidValue(path, "", "names no host; write it like https://example.com/picture.jpg")
    _check_host(host, path)
    return text


def _check_host(host: str, path: str) -> None:
    name = unicodedata.normalize("NFKC", host).rstrip(".").lower()
    if _is_address(name):
        raise InvalidValue(path, "", "names its host by an IP address; use a public host name")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidValue(
            path,
            "",
            "has a host that is not a valid host name; write it like https://example.com/picture.jpg",
        )
    if len(labels) == 1 or name.endswith(_OURS):
        raise InvalidValue(
            path, "", "has a host that is known only in a private network; use a public host name"
        )


def _is_address(host: str) -> bool:
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_degrees(value: object, path: str, most: int) -> float:
    """A latitude (``most`` 90) or longitude (180). Raises InvalidValue when it is not one."""
    if isinstance(value, PlaceholderText):
        value.rule = (check_degrees_text, path, most)
        return value  # type: ignore[return-value]  # a place for the number of each message
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(path, describe_type(value), "must be a number of degrees, like 51.5072")
    if not -most <= value <= most:
        raise InvalidValue(path, "", f"must be between -{most} and {most}")
    return float(value)


def check_degrees_text(text: str, path: str, most: int) -> float:
    """As ``check_degrees``, from a variable's text. A decimal comma is allowed."""
    if not _DEGREES.fullmatch(text.strip()):
        raise InvalidValue(path, "", "is not a number of degrees, like 51.5072")
    return check_degrees(float(text.strip().replace(",", ".")), path, most)


def describe_length(text: str) -> str:
    """The length of a private value, which errors show instead of it."""
    return f"{len(text):,} character{'' if len(text) == 1 else 's'}"


def as_integer(value: object) -> int | None:
    """The int of a whole number of any integer type, such as numpy's; None for other values and booleans."""
    if isinstance(value, (bool, float)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def describe_type(value: object) -> str:
    """The type of a value, which errors show instead of it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"
