"""Where webhooks may go: the form of a URL, and the addresses that are refused.

The URL is a customer's, and the server that sends stands inside a network: without these rules a URL could reach
services there, or the cloud's metadata service, which give secrets to any caller.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bulksend.errors import InvalidValue

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 2_000
PORTS = {"https": 443, "http": 80}
#: Networks that ``ipaddress`` counts as global, or that carry an IPv4 address inside an IPv6 one.
_ALSO_REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15"),
        *("64:ff9b:1::/48", "2001::/32", "2002::/16", "fec0::/10", "::/96"),
    )
)
#: A network with IPv6 only reaches IPv4 addresses by these (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL that a connection needs. ``host`` is a name or an address without brackets."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def address(self) -> Address | None:
        """The address, where the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def shown(self) -> str:
        """The URL without its query, which may hold a secret of the receiver."""
        return self.url.partition("?")[0]


def read_target(url: str, *, allowed: Sequence[Network], field: str = "url") -> Target:
    """Check the form of a URL. ``allowed``: private networks that webhooks may go to. Raises InvalidValue.

    The error does not repeat the URL.
    """

    def wrong(why: str) -> InvalidValue:
        return InvalidValue(field, "", why)

    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise wrong(f"must be at most {MAX_URL} printable ASCII characters without spaces; encode the others")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise wrong("is not a URL; write https://host/path") from None
    if parts.scheme not in PORTS or not host or port == 0 or "\\" in url:
        raise wrong("is not a link; write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise wrong("must have no user and password; put a secret into the path or verify the signature")
    if parts.fragment:
        raise wrong("must have no fragment (#…), which is not sent")
    if parts.scheme == "http" and not allowed:
        raise wrong(
            "must begin with https://; http:// is for private networks, see BULKSEND_WEBHOOKS_ALLOW_PRIVATE"
        )
    target = Target(url, parts.scheme, host.rstrip("."), port or PORTS[parts.scheme])
    if target.address is None and _looks_like_an_address(target.host):
        raise wrong("has an address in an unusual form; write it like 203.0.113.7")
    if target.address is not None:
        why = why_refused(target.address, scheme=target.scheme, allowed=allowed)
        if why is not None:
            raise wrong(why)
    return target


def why_refused(address: Address, *, scheme: str, allowed: Sequence[Network]) -> str | None:
    """Why webhooks may not go to the address; None where they may. It is to be asked for each connection."""
    plain = _inner(address)
    if any(plain.version == network.version and plain in network for network in allowed):
        return None
    if not plain.is_global or plain.is_multicast or plain.is_reserved or _also_refused(plain):
        return (
            f"leads to {plain}, which is not a public address; BULKSEND_WEBHOOKS_ALLOW_PRIVATE lists "
            "private networks that webhooks may go to"
        )
    if scheme == "http":
        return f"leads to the public address {plain} without encryption; use https://"
    return None


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for: a mapped one, or one behind a NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _also_refused(address: Address) -> bool:
    return any(address.version == network.version and address in network for network in _ALSO_REFUSED)


def _looks_like_an_address(host: str) -> bool:
    """``127.1``, ``0x7f000001`` and ``2130706433`` are addresses to the system's resolver."""
    last = host.rpartition(".")[2]
    return last.isdigit() or last.lower().startswith("0x")


def read_networks(text: str) -> tuple[Network, ...]:
    """``10.0.0.0/8, 127.0.0.1``, or ``all``. Raises ValueError, which says what is wrong."""
    if text.strip().lower() == "all":
        return (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    found = []
    for each in text.replace(",", " ").split():
        try:
            found.append(ipaddress.ip_network(each))
        except ValueError:
            raise ValueError(
                f"{each[:40]!r} is not a network; write 10.0.0.0/8 or 127.0.0.1, or all for every address"
            ) from None
    return tuple(found)
