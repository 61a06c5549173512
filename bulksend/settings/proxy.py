"""Whether an address is this machine, and whether the environment names a proxy for it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

#: Both spellings are in use.
_VARIABLES = tuple(
    spelling
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
    for spelling in (name.upper(), name)
)


def host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".").lower()


def is_loopback(host: str) -> bool:
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


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of proxies that are set; their values may hold a secret."""
    return {name: value for name in _VARIABLES if (value := environ.get(name, "").strip())}


def proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    """The variable that names a proxy for the URL; None where there is none."""
    host, scheme = host_of(url), urlsplit(url).scheme
    no_proxy = " ".join(value for name, value in proxies.items() if name.lower() == "no_proxy")
    if is_loopback(host) or _is_exempt(host, no_proxy):
        return None
    return next((name for name in proxies if name.lower() in (f"{scheme}_proxy", "all_proxy")), None)
