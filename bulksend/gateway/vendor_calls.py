"""The vendor's calls other than the POST of a message, over plain httpx (docs/vendor.md#other-calls).

One connection for each call; a failed call is not repeated.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping

import httpx

from bulksend.gateway.address import Verify, read_address, tls_context
from bulksend.gateway.payload import Credentials, build_call, new_nonce
from bulksend.gateway.phones import PHONE_LIST_ACTION, PhoneList, read_phone_list
from bulksend.gateway.replies import MAX_BODY
from bulksend.gateway.transport import RawReply


class VendorCalls:
    """Signs a call, sends it and reads the reply.

    No redirects, no proxy or netrc from the environment; at most ``MAX_BODY`` bytes of a reply are read. ``seconds``
    bounds the whole call, ``connect_seconds`` making its connection. Raises ValueError for a URL that is not http(s),
    OSError for a PEM file that cannot be read.
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
    ) -> None:
        self._url = read_address(url)
        self._credentials = credentials
        self._timeout = httpx.Timeout(seconds, connect=min(connect_seconds, seconds))
        self._seconds = seconds
        self._tls: ssl.SSLContext | bool = tls_context(verify) if self._url.scheme == "https" else False
        self._clock = clock

    async def phone_list(self) -> PhoneList:
        """The account's senders."""
        return read_phone_list(await self._call(PHONE_LIST_ACTION, {}), now_seconds=self._clock())

    async def _call(self, action: str, fields: Mapping[str, object]) -> RawReply | str:
        """The reply, or why there is none."""
        body, headers = build_call(
            action, fields, self._credentials, now_seconds=int(self._clock()), nonce=new_nonce()
        )
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(body, {"Accept-Encoding": "identity", **headers})
        except httpx.ConnectTimeout:
            return f"no connection within {self._timeout.connect:g} s"
        except httpx.ConnectError as error:
            return f"no connection: {error}"
        except (TimeoutError, httpx.TimeoutException):
            return f"no reply within {self._seconds:g} s"
        except httpx.HTTPError as error:
            return f"the connection failed before the reply was complete ({type(error).__name__})"

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> RawReply:
        client = httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._timeout)
        async with client, client.stream("POST", self._url, content=body, headers=headers) as response:
            read = bytearray()
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) > MAX_BODY:
                    break
            return RawReply(response.status_code, dict(response.headers), bytes(read[: MAX_BODY + 1]))
