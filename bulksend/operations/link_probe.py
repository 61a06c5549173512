"""Looks at the links of a content before a campaign begins: whether the vendor could fetch the files.

Only fixed links are asked: one with a variable is a row's own, and to ask it might count as that person's visit. No
private address is asked, as with webhooks. A link that does not answer here is a note: it may answer the vendor.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence

import httpx

from bulksend.messaging.content_json import load_content_json
from bulksend.messaging.link_rules import LinkReply, check_end, check_reply
from bulksend.messaging.media_files import HEAD
from bulksend.messaging.media_references import file_places
from bulksend.messaging.states import MessageType
from bulksend.messaging.webhook_targets import Address, Network, why_refused

#: The name, the connection and the answer of one link, each.
PROBE_S = 5.0
#: The addresses of a name as text; none where it has none, or within PROBE_S.
Resolve = Callable[[str], Sequence[str]]


def probe_links(
    type: MessageType,
    content: str,
    *,
    now_ms: int,
    due_ms: int,
    allowed: Sequence[Network] = (),
    resolve: Resolve | None = None,
) -> list[str]:
    """Notes on the fixed links of a checked content. ``allowed``: private networks that may be asked.

    Raises InvalidValue when a link leads to no file, to one that WhatsApp does not take, or ends too early.
    """
    notes: list[str | None] = []
    for place in file_places(type, load_content_json(content)):
        link, field = place.object.get("link"), f"{place.path}link"
        if not isinstance(link, str) or "{{" in link:
            continue
        notes.append(check_end(link, now_ms=now_ms, due_ms=due_ms, field=field))
        reply = _ask(link, allowed, resolve or _resolve)
        if isinstance(reply, str):
            notes.append(f"{field} was not checked: {reply}")
        else:
            notes.append(check_reply(reply, place.type, field=field))
    return [note for note in notes if note is not None]


def _ask(link: str, allowed: Sequence[Network], resolve: Resolve) -> LinkReply | str:
    """The beginning of what a link answers, or why there is none."""
    try:
        url = httpx.URL(link)
    except httpx.InvalidURL:
        return "it cannot be read as a URL"
    found: list[Address] = [ipaddress.ip_address(text.partition("%")[0]) for text in resolve(url.host)]
    if not found:
        return "the name of its host was not found here"
    # The rule for plain http is that of webhooks, which carry secrets.
    if any(why_refused(address, scheme="https", allowed=allowed) for address in found):
        return "its host has a private address here"
    try:
        return _read(url, found[0])
    except httpx.TimeoutException:
        return f"it does not answer within {PROBE_S:g} s"
    except httpx.HTTPError as error:
        return f"it does not answer ({error.__class__.__name__})"


def _read(url: httpx.URL, address: Address) -> LinkReply:
    """The answer of the checked address. Raises httpx.HTTPError."""
    # Without the address that was checked a name could lead elsewhere by now.
    asked = url.copy_with(host=str(address))
    headers = {
        "Host": url.netloc.decode("ascii"),
        "Range": f"bytes=0-{HEAD - 1}",
        "Accept-Encoding": "identity",
        "User-Agent": "bulksend",
    }
    tls: ssl.SSLContext | bool = ssl.create_default_context() if url.scheme == "https" else False
    until = time.monotonic() + PROBE_S
    head = bytearray()
    with (
        httpx.Client(verify=tls, trust_env=False, follow_redirects=False, timeout=PROBE_S) as client,
        client.stream(
            "GET", asked, headers=headers, extensions={"sni_hostname": url.raw_host.decode("ascii")}
        ) as response,
    ):
        for part in response.iter_raw():
            head += part
            if len(head) >= HEAD:
                break
            if time.monotonic() > until:
                raise httpx.ReadTimeout("the answer is too slow")
        return LinkReply.of(response.status_code, response.headers, bytes(head))


def _resolve(host: str) -> list[str]:
    found: list[str] = []

    def look() -> None:
        try:
            listed = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(address[0]) for *_, address in listed))
        except (OSError, UnicodeError):
            pass

    # A daemon: a resolver that hangs must not keep the command.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PROBE_S)
    return list(found)
