"""Where webhooks may go: public addresses over TLS, and private networks only where the installation allows them."""

from __future__ import annotations

import ipaddress

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging.webhook_targets import read_networks, read_target, why_refused

HERE = read_networks("127.0.0.0/8, 10.1.0.0/16")

REFUSED = [
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "192.0.0.192", "198.18.0.1", "240.0.0.1", "192.0.2.1", "::1", "::"),
    *("fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:1::1"),
    *("::7f00:1", "fec0::1", "2001:db8::1", "64:ff9b:1::a00:1"),
]


@pytest.mark.parametrize("text", REFUSED)
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    why = why_refused(ipaddress.ip_address(text), scheme="https", allowed=())
    assert why is not None
    assert "not a public address" in why


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_taken_over_tls_only(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert why_refused(address, scheme="https", allowed=()) is None
    assert "use https" in (why_refused(address, scheme="http", allowed=HERE) or "")


def test_an_allowed_network_is_taken_in_each_of_its_forms() -> None:
    for text in ("127.0.0.1", "::ffff:127.0.0.1", "10.1.2.3"):
        assert why_refused(ipaddress.ip_address(text), scheme="http", allowed=HERE) is None
    assert why_refused(ipaddress.ip_address("10.2.0.1"), scheme="http", allowed=HERE) is not None
    assert why_refused(ipaddress.ip_address("::1"), scheme="http", allowed=read_networks("all")) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com/x", "not a link"),
        ("file:///etc/passwd", "not a link"),
        ("https://", "not a link"),
        ("http://example.com/", "https://"),
        ("https://user:word@example.com/", "no user"),
        ("https://user@example.com/", "no user"),
        ("https://example.com/#part", "no fragment"),
        ("https://example.com:99999/", "not a URL"),
        ("https://example.com:0/", "not a link"),
        ("https://[::1/", "not a URL"),
        ("https://example.com/a b", "without spaces"),
        ("https://exämple.com/", "printable ASCII"),
        ("https://example.com\\@127.0.0.1/", "not a link"),
        ("https://127.0.0.1/", "not a public address"),
        ("https://[::ffff:10.0.0.1]/", "not a public address"),
        ("https://127.1/", "unusual form"),
        ("https://2130706433/", "unusual form"),
        ("https://0x7f000001/", "unusual form"),
        ("https://0x7f.1/", "unusual form"),
        ("https://" + "a" * 2000, "at most 2000"),
    ],
)
def test_a_url_that_is_not_possible_is_refused_without_being_repeated(url: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why) as refused:
        read_target(url, allowed=())
    assert "user:word" not in str(refused.value)
    assert refused.value.value == ""


def test_the_parts_of_a_url_are_those_that_a_connection_needs() -> None:
    target = read_target("https://Hooks.Example.com:8443/in/abc?token=t", allowed=())
    assert (target.scheme, target.host, target.port) == ("https", "hooks.example.com", 8443)
    assert target.shown == "https://Hooks.Example.com:8443/in/abc"
    assert read_target("http://[::ffff:127.0.0.1]/", allowed=HERE).port == 80


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "intranet", "yes"])
def test_a_list_of_networks_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network"):
        read_networks(text)
