"""The vendor's calls other than the POST of a message, over plain httpx (docs/vendor.md#other-calls).

One connection for each call. A call that only reads may be repeated, any other never is.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping

import httpx

from bulksend.gateway.address import Verify, read_address, tls_context
from bulksend.gateway.call_replies import CallReply, read_call
from bulksend.gateway.media import (
    DELETE_ACTION,
    MEDIA_ACTION,
    UPLOAD_ACTION,
    Uploaded,
    VendorMedia,
    read_media,
    read_uploaded,
)
from bulksend.gateway.payload import Credentials, build_call, new_nonce
from bulksend.gateway.phones import PHONE_LIST_ACTION, PhoneList, read_phone_list
from bulksend.gateway.replies import MAX_BODY
from bulksend.gateway.templates import (
    MAX_PAGE,
    PAGE,
    TEMPLATES_ACTION,
    TemplatePage,
    VendorTemplate,
    read_template_page,
)
from bulksend.gateway.transport import RawReply

#: Pages of templates that are read at most: an account may have 250 templates in several languages.
MOST_PAGES = 200
#: The wait before a call that reads is repeated; it doubles, and a Retry-After lengthens it up to the longest.
RETRY_S, LONGEST_WAIT_S = 0.5, 10.0


class VendorCalls:
    """Signs a call, sends it and reads the reply.

    No redirects, no proxy or netrc from the environment; a bounded number of bytes of a reply is read. ``seconds``
    bounds the whole call, ``connect_seconds`` making its connection. ``tries``: how often a call that only reads is
    made while it fails for a reason that may pass; ``wait`` waits between two. Raises ValueError for a URL that is not
    http(s), OSError for a PEM file that cannot be read.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        connect_seconds: float = 5.0,
        seconds: float = 30.0,
        verify: Verify = True,
        clock: Callable[[], float] = time.time,
        tries: int = 1,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = read_address(url)
        self._credentials = credentials
        self._timeout = httpx.Timeout(seconds, connect=min(connect_seconds, seconds))
        self._seconds = seconds
        self._tls: ssl.SSLContext | bool = tls_context(verify) if self._url.scheme == "https" else False
        self._clock = clock
        self._tries = tries
        self._wait = wait

    async def phone_list(self) -> PhoneList:
        """The account's senders."""
        return read_phone_list(await self._read(PHONE_LIST_ACTION, {}, MAX_BODY), now_seconds=self._clock())

    async def template_page(
        self, sender: str, *, name: str = "", after: str = "", limit: int = PAGE
    ) -> TemplatePage:
        """One page of the templates that a sender may use; ``name``: only those of this name, in all languages."""
        given = {"Name": name, "After": after, "Limit": limit}
        fields = {"BusinessPhone": sender, **{key: value for key, value in given.items() if value}}
        reached = await self._read(TEMPLATES_ACTION, fields, MAX_PAGE)
        return read_template_page(read_call(reached, max_body=MAX_PAGE), limit=limit)

    async def templates(self, sender: str, *, name: str = "", limit: int = PAGE) -> TemplatePage:
        """All pages as one. With a ``problem`` it holds the pages before the one that failed."""
        found: list[VendorTemplate] = []
        after, at_ms = "", None
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            page = await self.template_page(sender, name=name, after=after, limit=limit)
            found += page.templates
            # The oldest: what later pages hold may have changed since the first.
            at_ms = page.at_ms if at_ms is None else at_ms
            after = page.after
            if page.problem or not after or after in seen:
                return TemplatePage(tuple(found), page.problem, at_ms=at_ms)
            seen.add(after)
        return TemplatePage(tuple(found), f"the vendor's list has more than {MOST_PAGES} pages", at_ms=at_ms)

    async def upload(self, sender: str, file: bytes) -> Uploaded:
        """Store a file with the vendor, once: after a failure it may be there, too, under an id that is not known."""
        fields = {"BusinessPhone": sender, "File": b64encode(file).decode("ascii")}
        return read_uploaded(read_call(await self._call(UPLOAD_ACTION, fields, MAX_BODY)))

    async def media(self, sender: str, id: str) -> VendorMedia:
        """What the vendor keeps under an id."""
        fields = {"BusinessPhone": sender, "MediaId": id}
        return read_media(read_call(await self._read(MEDIA_ACTION, fields, MAX_BODY)))

    async def delete_media(self, sender: str, id: str) -> str:
        """Delete a file. Returns the problem, empty where it is deleted."""
        fields = {"BusinessPhone": sender, "MediaId": id}
        return read_call(await self._call(DELETE_ACTION, fields, MAX_BODY)).problem

    async def _read(self, action: str, fields: Mapping[str, object], most: int) -> RawReply | str:
        """The reply to a call that only reads, repeated while a failure may pass."""
        for n in range(1, self._tries + 1):
            reached = await self._call(action, fields, most)
            reply = read_call(reached, max_body=most)
            if n == self._tries or not reply.passing:
                break
            await self._wait(_wait_s(n, reply))
        return reached

    async def _call(self, action: str, fields: Mapping[str, object], most: int) -> RawReply | str:
        """The reply, or why there is none."""
        body, headers = build_call(
            action, fields, self._credentials, now_seconds=int(self._clock()), nonce=new_nonce()
        )
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(body, {"Accept-Encoding": "identity", **headers}, most)
        except httpx.ConnectTimeout:
            return f"no connection within {self._timeout.connect:g} s"
        except httpx.ConnectError as error:
            return f"no connection: {error}"
        except (TimeoutError, httpx.TimeoutException):
            return f"no reply within {self._seconds:g} s"
        except httpx.HTTPError as error:
            return f"the connection failed before the reply was complete ({type(error).__name__})"

    async def _post(self, body: bytes, headers: Mapping[str, str], most: int) -> RawReply:
        client = httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._timeout)
        async with client, client.stream("POST", self._url, content=body, headers=headers) as response:
            read = bytearray()
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) > most:
                    break
            return RawReply(response.status_code, dict(response.headers), bytes(read[: most + 1]))


def _wait_s(n: int, reply: CallReply) -> float:
    """The seconds before the next try, after ``n`` of them."""
    return min(LONGEST_WAIT_S, max(RETRY_S * 2.0 ** (n - 1), (reply.retry_after_ms or 0) / 1000))
